"""Products of matrices and vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.tensor import Tensor


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x @ y, the half types accumulated in float32."""
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, y)


def _vjp(m: Any, grad: Any, x: Any, y: Any, needs: Any) -> Any:
    return (
        m.matmul(grad, m.swapaxes(conj_of(m, y), -1, -2)) if needs[0] else None,
        m.matmul(m.swapaxes(conj_of(m, x), -1, -2), grad) if needs[1] else None,
    )


@op
class Mm(Contraction):
    """Matrix times matrix."""

    node_name = "MmBackward0"
    saves = ("input", "mat2")

    def forward(self, m: Any, input: Any, mat2: Any) -> Any:
        return product(input, mat2)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, mat2: Any, *, needs: Any) -> Any:
        return _vjp(m, grad, input, mat2, needs)


@op
class Bmm(Contraction):
    """Matrices times matrices, one pair for each index of the first dimension."""

    node_name = "BmmBackward0"
    saves = ("input", "mat2")

    def forward(self, m: Any, input: Any, mat2: Any) -> Any:
        return product(input, mat2)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, mat2: Any, *, needs: Any) -> Any:
        return _vjp(m, grad, input, mat2, needs)


def check_product(name: str, one: Tensor, other: Tensor) -> None:
    """The errors for factors that do not fit: dtypes and inner sizes."""
    a, b = one._array, other._array
    if a.dtype != b.dtype:
        raise DtypeError(
            name,
            f"expected m1 and m2 to have the same dtype, but got: "
            f"{_c_name(one)} != {_c_name(other)}",
        )


def _c_name(t: Tensor) -> str:
    names = {
        "float32": "float",
        "float64": "double",
        "int64": "long",
        "int32": "int",
        "float16": "c10::Half",
        "bfloat16": "c10::BFloat16",
        "bool": "bool",
    }
    return names.get(t.dtype.name, t.dtype.name)


@public(method=True, out=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (n, k) @ (k, m). No broadcasting.

    Raises: RuntimeError if the inner sizes differ or a factor is not a matrix.
    """
    if input._array.ndim != 2:
        raise ShapeError("mm", "self must be a matrix")
    if mat2._array.ndim != 2:
        raise ShapeError("mm", "mat2 must be a matrix")
    _fit_inner("mm", input._array.shape, mat2._array.shape)
    check_product("mm", input, mat2)
    return apply(Mm, input, mat2)


def _fit_inner(name: str, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    if one[-1] != other[0]:
        raise ShapeError(
            name,
            "mat1 and mat2 shapes cannot be multiplied "
            f"({one[0]}x{one[1]} and {other[0]}x{other[1]})",
        )


@public(method=True, out=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Batches of products, (b, n, k) @ (b, k, m)."""
    a, b = input._array.shape, mat2._array.shape
    if len(a) != 3:
        raise ShapeError("bmm", "batch1 must be a 3D tensor")
    if len(b) != 3:
        raise ShapeError("bmm", "batch2 must be a 3D tensor")
    if a[0] != b[0] or a[2] != b[1]:
        raise ShapeError(
            "bmm",
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{a[0]}, {a[2]}] but got: [{b[0]}, {b[1]}].",
        )
    check_product("bmm", input, mat2)
    return apply(Bmm, input, mat2)


@public(method=True, out=True, namespaces=("torch", "linalg"))
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product with numpy's rules: vectors are rows or columns, batches broadcast.

    Raises: RuntimeError if the inner sizes differ or a factor is 0-d.
    """
    a, b = input._array.shape, other._array.shape
    if len(a) == 2 and len(b) == 2:
        _fit_inner("matmul", a, b)
        check_product("matmul", input, other)
        return apply(Mm, input, other)
    if not a or not b:
        raise ShapeError(
            "matmul",
            "both arguments to matmul need to be at least 1D, but they are "
            f"{len(a)}D and {len(b)}D",
        )
    left = input.unsqueeze(0) if len(a) == 1 else input
    right = other.unsqueeze(1) if len(b) == 1 else other
    check_product("matmul", input, other)
    if a[-1] != right._array.shape[-2]:
        if len(a) == 1 and len(b) == 1:
            raise ShapeError(
                "matmul",
                f"inconsistent tensor size, expected tensor [{a[0]}] and "
                f"src [{b[0]}] to have the same number of elements, but got {a[0]} "
                f"and {b[0]} elements respectively",
            )
        one, two = left._array.shape, right._array.shape
        raise ShapeError(
            "matmul",
            f"mat1 and mat2 shapes cannot be multiplied "
            f"({one[-2]}x{one[-1]} and {two[-2]}x{two[-1]})",
        )
    if left._array.ndim == 2 and right._array.ndim == 2:
        made = apply(Mm, left, right)
    elif right._array.ndim == 2 and left._array.ndim > 2:
        # One tall product is faster than a batch of small ones.
        lead = left._array.shape[:-1]
        made = apply(Mm, left.reshape(-1, left._array.shape[-1]), right)
        made = made.view(*lead, right._array.shape[-1])
    else:
        made = _batched(left, right)
    if len(a) == 1:
        made = made.squeeze(-2)
    if len(b) == 1:
        made = made.squeeze(-1)
    return made


def _batched(left: Tensor, right: Tensor) -> Tensor:
    from taper.shapes import broadcast_shapes

    a, b = left._array.shape, right._array.shape
    batch = broadcast_shapes(a[:-2], b[:-2])
    count = 1
    for n in batch:
        count *= n
    one = left.expand(*batch, *a[-2:]).reshape(count, *a[-2:])
    two = right.expand(*batch, *b[-2:]).reshape(count, *b[-2:])
    return apply(Bmm, one, two).view(*batch, a[-2], b[-1])


def _operator(self: Tensor, other: Any) -> Any:
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _swapped(self: Tensor, other: Any) -> Any:
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


Tensor.__matmul__ = _operator
Tensor.__rmatmul__ = _swapped  # type: ignore[attr-defined]
