"""Functions of a square matrix as a whole: its powers and its exponential."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, widened
from taper.ops.cumulative import cumprod
from taper.ops.join import cat
from taper.ops.matmul import adjoint, matmul
from taper.ops.matrix_checks import check_floating, check_square, spelled
from taper.ops.solve import inv
from taper.tensor import Tensor, wrap

# Coefficients of the Pade approximant of degree 13, and the norm up to which it is exact in
# double precision. Source: N. Higham, "The scaling and squaring method for the matrix exponential
# revisited" (2005).
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_WITHIN = 5.371920351148152


def exponential(a: np.ndarray) -> np.ndarray:
    """exp of square matrices: scaled by a power of two into Pade's reach, then squared back."""
    norm = np.abs(a).sum(-2).max(-1, initial=0)
    finite = np.isfinite(norm)
    with np.errstate(divide="ignore"):
        squarings = np.ceil(np.log2(np.where(finite & (norm > 0), norm, 1) / _WITHIN))
    squarings = np.maximum(squarings, 0).astype(int)
    # Matrices with nan or inf have no exponential; zeros stand in for them on the way.
    x = np.where(finite[..., None, None], a, np.zeros(1, a.dtype))
    x = x * np.asarray(0.5**squarings, a.real.dtype)[..., None, None]
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    c = _PADE
    x2 = x @ x
    x4 = x2 @ x2
    x6 = x2 @ x4
    odd = x6 @ (c[13] * x6 + c[11] * x4 + c[9] * x2)
    odd = x @ (odd + c[7] * x6 + c[5] * x4 + c[3] * x2 + c[1] * eye)
    even = x6 @ (c[12] * x6 + c[10] * x4 + c[8] * x2)
    even = even + c[6] * x6 + c[4] * x4 + c[2] * x2 + c[0] * eye
    made: np.ndarray = np.linalg.solve(even - odd, even + odd)
    for done in range(int(squarings.max(initial=0))):
        made = np.where((squarings > done)[..., None, None], made @ made, made)
    return np.where(finite[..., None, None], made, np.full(1, np.nan, a.dtype))


@op
class MatrixExp(Opaque):
    """exp(input) as the power series of matrix products."""

    name = "linalg.matrix_exp"
    node_name = "LinalgMatrixExpBackward0"
    saves = ("input",)

    def forward(self, m: Any, input: Any) -> Any:
        return narrowed(exponential(widened(input)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        # The derivative of exp at A in direction G is the corner of exp of [[A, G], [0, A]]; its
        # adjoint takes A^H.
        n = input.shape[-1]
        turned = adjoint(m, input)
        top = m.concatenate([turned, grad], -1)
        bottom = m.concatenate([m.zeros_like(grad), turned], -1)
        return m.call(MatrixExp, m.concatenate([top, bottom], -2))[..., :n, n:]


@public(method=True, namespaces=("torch", "linalg"))
@spelled(input="A")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices, the sum of A^k / k!.

    Error: float64, within a few hundred ulp of the matrix's norm. Edges: nan and inf give nan.
    Raises: RuntimeError for integers and for matrices that are not square.
    """
    check_square("linalg.matrix_exp", A)
    if A._array.dtype.kind not in "fcV":
        check_floating("linalg.matrix_exp", A)
    return apply(MatrixExp, A)


def _power(A: Tensor, n: Any) -> Tensor:
    check_square("linalg.matrix_power", A)
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    if n == 0:
        # The result does not depend on A, yet it is on the tape, with a gradient of zero.
        nothing = A.masked_fill(wrap(np.ones((), bool)), 0)
        return nothing + wrap(np.eye(A._array.shape[-1], dtype=A._array.dtype))
    if n < 0:
        A, n = inv(A), -n
    if n == 1:
        return A.clone()
    # Squares of A, multiplied where n has a binary 1.
    made: Tensor | None = None
    square: Tensor | None = None
    while n:
        square = A if square is None else matmul(square, square)
        if n & 1:
            made = square if made is None else matmul(made, square)
        n >>= 1
    assert made is not None
    return made


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def matrix_power(A: Tensor, n: int) -> Tensor:
    """The product of `n` copies of square matrices; of -n copies of the inverse if n < 0.

    Raises: LinAlgError for a singular matrix and n < 0.
    """
    return _power(A, n)


@public(method=True, out=True, name="matrix_power")
def torch_matrix_power(input: Tensor, n: int) -> Tensor:
    """linalg.matrix_power under its older name."""
    return _power(input, n)


@public(out=True, namespaces=("linalg",))
def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of every element, along a new last dimension.

    Raises: RuntimeError for N below 2, and for truth values.
    """
    if x._array.dtype.kind == "b":
        raise ShapeError(
            "linalg.vander supports floating point, complex, and integer tensors, but got Bool"
        )
    count = (x._array.shape[-1] if x._array.ndim else 1) if N is None else N
    if count <= 1:
        raise ShapeError("N must be greater than 1.")
    if x._array.dtype.kind in "iu":
        x = x.long()
    return _powers(x if x._array.ndim else x.unsqueeze(0), count)


def _powers(x: Tensor, count: int) -> Tensor:
    ones = wrap(np.ones((*x._array.shape, 1), x._array.dtype))
    if count == 1:
        return ones
    if count == 2:
        return cat([ones, x.unsqueeze(-1)], -1)
    repeated = x.unsqueeze(-1).expand(*x._array.shape, count - 1)
    return cat([ones, cumprod(repeated, -1)], -1)


@public(name="vander")
def torch_vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The matrix of the powers of a vector's elements, highest first unless `increasing`.

    Raises: RuntimeError for anything but a vector, and for N below 0.
    """
    if x._array.ndim != 1:
        raise ShapeError("x must be a one-dimensional tensor.")
    count = x._array.shape[0] if N is None else N
    if count < 0:
        raise ShapeError("N must be non-negative.")
    if x._array.dtype.kind in "iub":
        x = x.long()
    if count == 0:
        return wrap(np.empty((x._array.shape[0], 0), x._array.dtype))
    made = _powers(x, count)
    return made if increasing else made.flip(-1)
