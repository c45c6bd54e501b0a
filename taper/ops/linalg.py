"""Norms of vectors and matrices, condition numbers, ranks and vecdot: torch.linalg.norm and kin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes
from taper.errors import DtypeError, ShapeError
from taper.op import public
from taper.ops import statistics
from taper.ops.choose import where
from taper.ops.convert import cast
from taper.ops.decompose import eigvalsh, singular_values
from taper.ops.matrix_checks import check_matrices, check_same_dtype, check_square, spelled
from taper.ops.solve import inv_ex
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap

_ORDERS = (1, -1, 2, -2, math.inf, -math.inf)


def _check_dtype(name: str, x: Tensor, dtype: dtypes.dtype | None) -> None:
    kind = x._array.dtype.kind
    if kind not in "fcV":
        raise DtypeError(
            f"{name}: Expected a floating point or complex tensor as input. "
            f"Got {dtypes.cpp_name(x.dtype)}"
        )
    if dtype is None:
        return
    wanted = dtypes.cpp_name(dtype)
    if dtype.category < dtypes.FLOAT:
        raise DtypeError(f"{name}: dtype should be floating point or complex, but got {wanted}")
    if (kind == "c") != dtype.is_complex:
        word = "complex" if kind == "c" else "real"
        raise DtypeError(f"{name}: dtype should be {word} for {word} inputs, but got {wanted}")
    if dtypes.promote_types(x.dtype, dtype) is not dtype:
        raise DtypeError(
            f"{name}: the dtype of the input ({dtypes.cpp_name(x.dtype)}) should be convertible "
            f"without narrowing to the specified dtype ({wanted})"
        )


@public(out=True, namespaces=("linalg",))
@spelled(input="x")
def vector_norm(
    x: Tensor,
    ord: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The norm of the elements over `dim`: (sum |x| ** ord) ** (1 / ord).

    ord: also inf and -inf, the largest and smallest size, and 0, the number of nonzeros.
    Dtype: real. Raises: RuntimeError for integers, and where an empty tensor has no such norm.
    """
    name = "linalg.vector_norm"
    if isinstance(ord, str):
        raise TypeError("linalg_vector_norm(): argument 'ord' (position 2) must be Number, not str")
    _check_dtype(name, x, dtype)
    if x._array.size == 0 and (ord < 0 or ord == math.inf):
        _check_empty(x, ord, dim)
    return statistics.vector_norm(x, ord, dim, keepdim, dtype, name)


def _check_empty(x: Tensor, ord: float, dim: Any) -> None:
    words = f"linalg.vector_norm cannot compute the {ord} norm on"
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        raise ShapeError(f"{words} an empty tensor because the operation does not have an identity")
    for each in (dim,) if isinstance(dim, int) else dim:
        if x._array.shape[canonical_dim(each, x._array.ndim)] == 0:
            raise ShapeError(
                f"{words} the dimension {each}because this dimension is empty and the operation "
                "does not have an identity"
            )


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def matrix_norm(
    A: Tensor,
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The norm of the matrices in the two dimensions `dim`.

    ord: "fro" (the root of the sum of squares), "nuc" (the sum of the singular values), 2 and -2
        (the largest and smallest singular value), 1 and -1 (of the column sums of sizes), inf and
        -inf (of the row sums).
    Dtype: real. Raises: RuntimeError for another order, and for integers.
    """
    name = "linalg.matrix_norm"
    check_matrices(name, A)
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise ShapeError(f"{name}: Order {ord} not supported.")
    elif ord not in _ORDERS:
        raise ShapeError(f"{name}: Order {ord} not supported.")
    _check_dtype(name, A, dtype)
    if len(dims) != 2:
        raise ShapeError(f"{name}: dim must be a 2-tuple. Got {', '.join(str(d) for d in dims)}")
    row, column = (canonical_dim(d, A._array.ndim) for d in dims)
    if row == column:
        raise ShapeError(f"{name}: dims must be different. Got ({dims[0]}, {dims[1]})")
    if dtype is not None:
        A = cast(A, dtype)
    if ord == "fro":
        return statistics.vector_norm(A, 2, (row, column), keepdim, None, name)
    if ord in ("nuc", 2, -2):
        values = singular_values(A.movedim((row, column), (-2, -1)))
        made = values.sum(-1) if ord == "nuc" else _largest(values, -1, ord > 0)
        if keepdim:
            for d in sorted((row, column)):
                made = made.unsqueeze(d)
        return made
    if abs(ord) == math.inf:
        row, column = column, row
    sums = statistics.vector_norm(A, 1, row, True, None, name)
    made = _largest(sums, column, ord > 0)
    if keepdim:
        return made.unsqueeze(column)
    return made.squeeze(row - (column < row))


def _largest(x: Tensor, dim: int, positive: bool) -> Tensor:
    """The maximum (or minimum) along `dim`; of nothing, zero."""
    if x._array.shape[dim] == 0 and positive:
        return x.sum(dim)
    return x.amax(dim) if positive else x.amin(dim)


@public(out=True, namespaces=("linalg",))
@spelled(A="input", x="input")
def norm(
    input: Tensor,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The norm of vectors or of matrices.

    With neither `ord` nor two dimensions, the 2-norm of the elements. Otherwise one dimension (or
    a vector) means vector_norm, two dimensions (or a matrix) and an order mean matrix_norm.
    Raises: RuntimeError for more dimensions, for unknown orders, and for integers.
    """
    dims = (dim,) if isinstance(dim, int) else None if dim is None else tuple(dim)
    if ord is not None:
        if dims is not None and len(dims) not in (1, 2):
            raise ShapeError(
                f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
            )
        if dims is None and input._array.ndim not in (1, 2):
            raise ShapeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. "
                f"Got {input._array.ndim}D."
            )
        rank = input._array.ndim if dims is None else len(dims)
        if isinstance(ord, str) or rank == 2:
            return matrix_norm(input, ord, (-2, -1) if dims is None else dims, keepdim, dtype=dtype)
        return vector_norm(input, ord, dims, keepdim, dtype=dtype)
    if dims is not None and len(dims) not in (1, 2):
        raise ShapeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
        )
    return vector_norm(input, 2, dims, keepdim, dtype=dtype)


@public(out=True)
def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of the singular values of the matrices in the two dimensions `dim`."""
    return matrix_norm(input, "nuc", dim, keepdim)


@public(out=True)
def frobenius_norm(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares over one or two dimensions."""
    return statistics.vector_norm(input, 2, dim, keepdim)


# ---------------------------------------------------------------- condition and rank


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """How much a matrix may magnify relative errors: norm(A) * norm(inv(A)).

    p: the norm, as in matrix_norm; None and 2 are the ratio of the largest and smallest singular
    value, and need no square matrix. Edges: a singular matrix gives inf.
    """
    name = "linalg.cond"
    if A._array.ndim < 2:
        raise ShapeError(f"{name}: The input tensor must have at least 2 dimensions.")
    if p is not None and p not in ("fro", "nuc") and (isinstance(p, str) or p not in _ORDERS):
        raise ShapeError(f"{name} got an invalid norm type: {p}")
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        values = singular_values(A)
        if values._array.shape[-1] == 0:
            return values.sum(-1)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    words = f"{name}(ord={p})"
    check_square(words, A)
    _check_dtype(words, A, None)
    if A._array.shape[-1] == 0:
        return A.abs().sum((-2, -1))
    if p == "nuc":
        values = singular_values(A)
        return values.sum(-1) * values.reciprocal().sum(-1)
    made, info = inv_ex(A)
    size = matrix_norm(A, p) * matrix_norm(made, p)
    return where(info > 0, math.inf, size) if info._array.any() else size


def tolerances(A: Tensor, atol: Any, rtol: Any, names: str) -> tuple[np.ndarray, np.ndarray]:
    """The absolute and the relative size below which a singular value counts as zero.

    By default the relative one is the larger size of the matrix times the dtype's eps, or 0 if an
    absolute one is given.
    """
    real = A._array.real.dtype

    def array(value: Any, which: str) -> np.ndarray | None:
        if isinstance(value, Tensor):
            if value._array.dtype.kind == "c":
                raise DtypeError(
                    f"{names}: {which} tensor of complex type is not supported. "
                    f"Got {dtypes.cpp_name(value.dtype)}"
                )
            return value._array
        return None if value is None else np.asarray(value, real)

    absolute, relative = array(atol, "atol"), array(rtol, "rtol")
    if relative is None:
        default = np.finfo(real).eps * max(A._array.shape[-2:])
        if absolute is None:
            relative = np.asarray(default, real)
        else:
            relative = np.where(absolute > 0, 0, default).astype(real)
    return (np.zeros((), real) if absolute is None else absolute), relative


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def matrix_rank(
    A: Tensor,
    tol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The number of singular values above max(atol, rtol * the largest).

    tol: an older name of atol. hermitian: uses the eigenvalues. Dtype: int64.
    """
    name = "torch.linalg.matrix_rank"
    check_matrices(name, A, "input")
    if A._array.dtype.kind not in "fc":
        raise DtypeError("This function doesn't handle types other than float and double")
    if tol is not None:
        # The older argument stands for both: an absolute bound and no relative one.
        atol, rtol = tol, 0.0
    absolute, relative = tolerances(A, atol, rtol, name)
    sizes = (eigvalsh(A).abs() if hermitian else singular_values(A.detach())).detach()._array
    if sizes.shape[-1] == 0:
        return wrap(np.zeros(sizes.shape[:-1], np.int64))
    bound = np.maximum(absolute, relative * sizes.max(-1))
    return wrap(np.asarray((sizes > bound[..., None]).sum(-1)))


# ---------------------------------------------------------------- vecdot, diagonal


@public(out=True, namespaces=("linalg",))
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The inner products of vectors along `dim`, `x` conjugated; the rest broadcasts.

    Raises: RuntimeError for integers and for two dtypes.
    """
    name = "linalg.vecdot"
    if x._array.dtype.kind not in "fcV":
        raise DtypeError(
            f"{name}: Expected a floating point or complex tensor as input. "
            f"Got {dtypes.cpp_name(x.dtype)}"
        )
    check_same_dtype(name, x, y, "x", "y")
    return (x.conj() * y).sum(dim)


@public(namespaces=("linalg",))
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of the diagonals of the matrices in the last two dimensions."""
    return A.diagonal(offset, dim1, dim2)
