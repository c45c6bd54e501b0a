"""Chains of matrices, Kronecker, Cartesian and vector products, traces and block diagonals."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arguments import narrowed, widened
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.ops.join import cat
from taper.ops.matmul import (
    broadcast_batches,
    c_name,
    mm,
    refuse_bool,
)
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- chains of matrices


def _split_points(sizes: list[int]) -> list[list[int]]:
    """For every stretch of a chain, where its last product falls, to multiply least.

    Matrix i is sizes[i] by sizes[i + 1].
    Source: the textbook dynamic programme for the order of a matrix chain.
    """
    count = len(sizes) - 1
    cost = [[0] * count for _ in range(count)]
    split = [[0] * count for _ in range(count)]
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i][j], split[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


@public(out=True, namespaces=("linalg",))
def multi_dot(tensors: Any) -> Tensor:
    """The product of two or more matrices, in the order that multiplies least.

    The first and the last may be vectors.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    chain = list(tensors)
    if len(chain) < 2:
        raise ShapeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    for which, i in (("first", 0), ("last", -1)):
        if chain[i]._array.ndim not in (1, 2):
            raise ShapeError(
                f"multi_dot(): the {which} tensor must be 1D or 2D but got {chain[i]._array.ndim}D"
            )
    for i, x in enumerate(chain[1:-1], 1):
        if x._array.ndim != 2:
            raise ShapeError(f"multi_dot(): tensor {i} must be 2D but got {x._array.ndim}D")
    row, column = chain[0]._array.ndim == 1, chain[-1]._array.ndim == 1
    for i, x in enumerate(chain):
        if x._array.dtype != chain[0]._array.dtype:
            raise DtypeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                f"{c_name(chain[0])} and tensor {i} {c_name(x)}"
            )
    if row:
        chain[0] = chain[0].unsqueeze(0)
    if column:
        chain[-1] = chain[-1].unsqueeze(1)
    for i in range(len(chain) - 1):
        a, b = chain[i]._array.shape, chain[i + 1]._array.shape
        if a[1] != b[0]:
            raise ShapeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a)} and {list(b)} "
                "cannot be multiplied"
            )
    made = _chained(chain)
    if row:
        made = made.squeeze(0)
    return made.squeeze(-1) if column else made


def _chained(chain: list[Tensor]) -> Tensor:
    split = _split_points([x._array.shape[0] for x in chain] + [chain[-1]._array.shape[1]])

    def stretch(i: int, j: int) -> Tensor:
        if i == j:
            return chain[i]
        k = split[i][j]
        return mm(stretch(i, k), stretch(k + 1, j))

    return stretch(0, len(chain) - 1)


@public(out=True)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, in the order that multiplies least; linalg.multi_dot is newer."""
    if not matrices:
        raise ShapeError("chain_matmul(): Expected one or more matrices")
    for i, x in enumerate(matrices):
        if x._array.ndim != 2:
            raise ShapeError(f"Tensor {i} does not have 2 dimensions, but {x._array.ndim}")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


# ---------------------------------------------------------------- kron, trace, blocks, cross


@public(method=True, out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of `input` times the whole of `other`.

    Shape: dimensions are matched from the last, and their sizes multiply.
    """
    ndim = max(input._array.ndim, other._array.ndim)
    a = (1,) * (ndim - input._array.ndim) + input._array.shape
    b = (1,) * (ndim - other._array.ndim) + other._array.shape
    made = input.reshape([n for size in a for n in (size, 1)]) * other.reshape(
        [n for size in b for n in (1, size)]
    )
    return made.reshape([n * k for n, k in zip(a, b, strict=True)])


@public(method=True)
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal. Raises: RuntimeError for anything but a matrix."""
    if input._array.ndim != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {input._array.ndim}")
    refuse_bool(input, "trace")
    return input.diagonal().sum()


@public()
def block_diag(*tensors: Tensor) -> Tensor:
    """The matrix with the given matrices along its diagonal and zeros elsewhere.

    Vectors are rows, 0-d tensors are 1 by 1. Dtype: promoted among all.
    """
    blocks = []
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
        if x._array.ndim > 2:
            raise ShapeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                f"Input {i} has {x._array.ndim} dimensions"
            )
        blocks.append(x.reshape((1,) * (2 - x._array.ndim) + x._array.shape))
    if not blocks:
        return wrap(np.zeros((1, 0), dtypes.get_default_dtype().numpy))
    wanted = blocks[0].dtype
    for block in blocks[1:]:
        wanted = dtypes.promote_types(wanted, block.dtype)
    width = sum(block._array.shape[1] for block in blocks)
    rows, before = [], 0
    for block in blocks:
        height, own = block._array.shape
        left = wrap(np.zeros((height, before), wanted.numpy))
        right = wrap(np.zeros((height, width - before - own), wanted.numpy))
        rows.append(cat([left, cast(block, wanted), right], 1))
        before += own
    return cat(rows, 0)


@public()
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of the elements of vectors, one a row; one vector is returned as it is."""
    for x in tensors:
        if x._array.ndim != 1:
            raise ShapeError(f"Expect a 1D vector, but got shape {list(x._array.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    if not tensors:
        raise ShapeError("meshgrid expects a non-empty TensorList")
    if any(x._array.dtype != tensors[0]._array.dtype for x in tensors):
        raise DtypeError("meshgrid expects all tensors to have the same dtype")
    sizes = [x._array.shape[0] for x in tensors]
    columns = []
    for i, x in enumerate(tensors):
        shape = [1] * len(sizes)
        shape[i] = sizes[i]
        columns.append(x.reshape(shape).expand(sizes).reshape(prod(sizes), 1))
    return cat(columns, 1)


@op
class Cross(Contraction):
    """The vector product over the dimension `axis`, counted from the last."""

    name = "linalg.cross"
    node_name = "LinalgCrossBackward0"
    saves = ("input", "other")

    def forward(self, m: Any, input: Any, other: Any, *, axis: int) -> Any:
        x, y = np.moveaxis(widened(input), axis, 0), np.moveaxis(widened(other), axis, 0)
        parts = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]]
        return narrowed(np.stack(parts, axis), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, axis: int, needs: Any
    ) -> Any:
        to_input = to_other = None
        if needs[0]:
            to_input = m.call(Cross, conj_of(m, other), grad, axis=axis)
            to_input = m.sum_to(to_input, tuple(input.shape))
        if needs[1]:
            to_other = m.call(Cross, grad, conj_of(m, input), axis=axis)
            to_other = m.sum_to(to_other, tuple(other.shape))
        return to_input, to_other


@public(out=True, name="cross", namespaces=("linalg",))
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product of three-component vectors along `dim`; the others broadcast.

    Raises: RuntimeError if `dim` has another size than 3.
    """
    a, b = input._array, other._array
    if a.ndim != b.ndim:
        raise ShapeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = canonical_dim(dim, a.ndim)
    if a.ndim == 0 or a.shape[axis] != 3 or b.shape[axis] != 3:
        n, k = (a.shape[axis], b.shape[axis]) if a.ndim else (1, 1)
        raise ShapeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {n} and {k}"
        )
    broadcast_batches("linalg.cross", a.shape, b.shape)
    if a.dtype != b.dtype:
        raise DtypeError(
            "linalg.cross",
            f"expected scalar type {dtypes.cpp_name(input.dtype)} "
            f"but found {dtypes.cpp_name(other.dtype)}",
        )
    refuse_bool(input, "cross")
    return apply(Cross, input, other, axis=axis - a.ndim)


@public(method=True, out=True)
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along `dim`, by default the first dimension of size 3."""
    if dim is None:
        shape = input._array.shape
        if 3 not in shape:
            raise ShapeError("cross", "no dimension of size 3 in input")
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)
