"""Pseudo-inverses, least squares, and approximations of low rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.decompose import svd
from taper.ops.linalg import tolerances
from taper.ops.matmul import adjoint, matmul
from taper.ops.matrix_checks import check_square, spelled
from taper.tensor import Tensor, wrap


@op
class Pinv(Opaque):
    """The pseudo-inverse; singular values up to max(atol, rtol * the largest) count as zero."""

    name = "linalg.pinv"
    node_name = "LinalgPinvBackward0"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
        return _pseudo_inverse(input, atol, rtol, hermitian)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, atol: Any, rtol: Any, *, hermitian: bool
    ) -> Any:
        return pinv_vjp(m, grad, out, input), None, None


def _pseudo_inverse(
    a: np.ndarray, atol: np.ndarray, rtol: np.ndarray, hermitian: bool
) -> np.ndarray:
    if a.size == 0:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    if hermitian:
        values, u = np.linalg.eigh(a)
        s, vh = np.abs(values), adjoint(np, u) * np.sign(values)[..., None]
    else:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
    inverted = _inverted(s, np.maximum(atol, rtol * s.max(-1)))
    made: np.ndarray = adjoint(np, vh) * inverted[..., None, :] @ adjoint(np, u)
    return made.astype(a.dtype, copy=False)


def _inverted(s: np.ndarray, bound: Any) -> np.ndarray:
    """1 / s where s is above the bound, else 0."""
    kept = s > np.asarray(bound)[..., None]
    return np.where(kept, 1 / np.where(kept, s, 1), np.zeros(1, s.dtype))


def pinv_vjp(m: Any, grad: Any, inverse: Any, input: Any) -> Any:
    """The gradient of a matrix from that of its pseudo-inverse.

    Source: G. Golub and V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least
    squares problems whose variables separate" (1973).
    """
    back, turned = adjoint(m, grad), adjoint(m, inverse)
    if input.shape[-2] <= input.shape[-1]:
        inner = m.matmul(back, inverse)
        across = m.matmul(inner, turned)
        return (
            across
            - adjoint(m, m.matmul(inverse, inner))
            - m.matmul(m.matmul(input, inverse), across)
            + m.matmul(m.matmul(turned, inverse), back - m.matmul(inner, input))
        )
    inner = m.matmul(inverse, back)
    across = m.matmul(turned, inner)
    return (
        across
        - adjoint(m, m.matmul(inner, inverse))
        + m.matmul(m.matmul(back - m.matmul(input, inner), inverse), turned)
        - m.matmul(m.matmul(across, inverse), input)
    )


def _check_pinv(A: Tensor) -> None:
    dtype = A._array.dtype
    if A._array.ndim < 2 or dtype.kind not in "fc" or dtype.itemsize == 2:
        raise ShapeError(
            f"linalg.pinv({dtypes.cpp_name(A.dtype)}{{{list(A._array.shape)}}}): expected a tensor "
            "with 2 or more dimensions of float, double, cfloat or cdouble types"
        )


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def pinv(
    A: Tensor,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The pseudo-inverse: of all X that make A @ X nearest to the identity, the smallest.

    Singular values up to max(atol, rtol * the largest) count as zero. rcond: an older name of
    rtol. hermitian: uses the eigenvalues, and reads the lower triangle.
    Shape: (*, m, n) to (*, n, m).
    """
    _check_pinv(A)
    absolute, relative = tolerances(A, atol, rcond if rtol is None else rtol, "linalg.pinv")
    if hermitian:
        check_square("linalg.eigh", A)
    return apply(Pinv, A, wrap(absolute), wrap(relative), hermitian=hermitian)


@public(method=True)
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """linalg.pinv under its older name, with a smaller bound."""
    return pinv(input, rcond)


# ---------------------------------------------------------------- least squares

_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@op
class Lstsq(Opaque):
    """The smallest X that makes input @ X nearest to other, the residuals (if so wanted and the
    rank is full), the rank, and the singular values.
    """

    name = "linalg.lstsq"
    node_name = "LinalgLstsqBackward0"
    saves = ("input", "other", "out")
    outputs = 4
    differentiable = (True, True, False, False)

    def forward(self, m: Any, input: Any, other: Any, *, rcond: float, residuals: bool) -> Any:
        rows, columns = input.shape[-2:]
        k = min(rows, columns)
        if input.size == 0:
            shape = (*np.broadcast_shapes(input.shape[:-2], other.shape[:-2]), columns)
            rank = np.zeros(input.shape[:-2], np.int64)
            values = np.zeros((*input.shape[:-2], k), input.real.dtype)
            made = np.zeros((*shape, other.shape[-1]), input.dtype)
            return made, _residuals(input, made, other, residuals), rank, values
        u, s, vh = np.linalg.svd(input, full_matrices=False)
        bound = rcond * s[..., 0]
        inverted = _inverted(s, bound)[..., None]
        made = adjoint(m, vh) @ (inverted * (adjoint(m, u) @ other))
        made = made.astype(input.dtype, copy=False)
        rank = (s > bound[..., None]).sum(-1)
        left_over = _residuals(input, made, other, residuals and bool((rank == columns).all()))
        return made, left_over, rank, s

    def vjp(
        self,
        m: Any,
        grads: Any,
        out: Any,
        input: Any,
        other: Any,
        *,
        rcond: float,
        residuals: bool,
        needs: Any,
    ) -> Any:
        grad, to_residuals = grads[:2]
        to_input = to_other = None
        if grad is not None:
            array = getattr(input, "_array", input)
            zero = m.asarray(np.zeros((), array.real.dtype))
            bound = m.asarray(np.asarray(rcond, array.real.dtype))
            inverse = m.call(Pinv, input, zero, bound, hermitian=False)
            if needs[0]:
                to_input = pinv_vjp(m, m.matmul(grad, adjoint(m, other)), inverse, input)
            if needs[1]:
                to_other = m.matmul(adjoint(m, inverse), grad)
        if to_residuals is not None and tuple(out[1].shape) != (0,):
            # At the solution the residuals do not change with it.
            share = 2 * to_residuals[..., None, :] * (m.matmul(input, out[0]) - other)
            through = m.matmul(share, adjoint(m, out[0]))
            to_input = through if to_input is None else to_input + through
            to_other = -share if to_other is None else to_other - share
        return to_input, to_other


def _residuals(a: np.ndarray, x: np.ndarray, b: np.ndarray, wanted: bool) -> np.ndarray:
    """The sums of the squares of a @ x - b, column by column; empty if not wanted."""
    if not wanted:
        return np.empty(0, a.real.dtype)
    made: np.ndarray = (np.abs(np.matmul(a, x) - b) ** 2).sum(-2)
    return made


def _check_lstsq(a: Tensor, b: Tensor, driver: Any) -> bool:
    """The errors of lstsq; whether `b` holds vectors."""
    name = "torch.linalg.lstsq"
    x, y = a._array, b._array
    if x.dtype.kind not in "fc" or x.dtype.itemsize == 2:
        raise DtypeError("This function doesn't handle types other than float and double")
    if x.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    if y.ndim < 1:
        raise ShapeError(f"{name}: other must have at least 1 dimension.")
    if x.dtype != y.dtype:
        raise DtypeError(
            f"{name}: Expected input and other to have the same dtype, but got input's dtype "
            f"{dtypes.cpp_name(a.dtype)} and other's dtype {dtypes.cpp_name(b.dtype)}"
        )
    if not 0 <= x.ndim - y.ndim <= 1:
        raise ShapeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - "
            "other.dim()) <= 1"
        )
    vector = x.ndim - y.ndim == 1 and x.shape[:-1] == y.shape
    if vector:
        if y.shape[-1] != x.shape[-2]:
            raise ShapeError(f"{name}: input.size(-2) should match other.size(-1)")
    elif y.ndim < 2 or y.shape[-2] != x.shape[-2]:
        raise ShapeError(f"{name}: input.size(-2) should match other.size(-2)")
    if driver is not None and driver not in _DRIVERS:
        raise ShapeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    return vector


@public(out=True, namespaces=("linalg",))
@spelled(input="A", b="B")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X that makes A @ X nearest to B, its residuals, A's rank and singular values.

    driver: PyTorch's names "gels" (A of full rank), "gelsy" (the default), "gelsd", "gelss". They
        differ in what they return besides the solution, as there; here all use the singular values.
    rcond: singular values up to rcond times the largest count as zero; by default the dtype's eps
        times the larger size of A.
    Shape: A (*, m, n), B (*, m, k) or (*, m). The residuals are empty unless m > n, A has full rank
        and the driver is not "gelsy".
    """
    vector = _check_lstsq(A, B, driver)
    driver = driver or "gelsy"
    rows, columns = A._array.shape[-2:]
    real = A._array.real.dtype
    bound = float(np.finfo(real).eps) * max(rows, columns) if rcond is None else float(rcond)
    right = B.unsqueeze(-1) if vector else B
    wanted = driver != "gelsy" and rows > columns
    solution, residuals, rank, values = apply(
        Lstsq, A, right, rcond=0.0 if driver == "gels" else bound, residuals=wanted
    )
    if vector and residuals._array.shape != (0,):
        residuals = residuals.squeeze(-1)
    if vector:
        solution = solution.squeeze(-1)
    if driver == "gels":
        rank = wrap(np.empty(0, np.int64))
    if driver not in ("gelsd", "gelss"):
        values = wrap(np.empty(0, real))
    return named.linalg_lstsq((solution, residuals, rank, values))


# ---------------------------------------------------------------- approximations of low rank


def _random_range(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    """An orthonormal basis that nearly spans the range of A - M, by powers of random vectors.

    Source: N. Halko, P. Martinsson and J. Tropp, "Finding structure with randomness" (2011),
    algorithm 4.4.
    """
    import taper

    def times(x: Tensor) -> Tensor:
        return matmul(A, x) if M is None else matmul(A, x) - matmul(M, x)

    def turned(x: Tensor) -> Tensor:
        return A.mH @ x if M is None else A.mH @ x - M.mH @ x

    start = taper.randn(*A.shape[-1:], q, dtype=A.dtype)
    basis = taper.linalg.qr(times(start)).Q
    for _ in range(niter):
        other = taper.linalg.qr(turned(basis)).Q
        basis = taper.linalg.qr(times(other)).Q
    return basis


@public()
def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V of an approximation of A (of A - M) of rank q, by random vectors.

    niter: how often A is applied once more, for accuracy. q should be a little larger than the
    rank wanted.
    """
    q = 6 if q is None else q
    niter = 2 if niter is None else niter
    rows, columns = A.shape[-2:]
    if M is not None:
        M = M.broadcast_to(A.size())
    swapped = rows < columns
    if swapped:
        A = A.mH
        M = None if M is None else M.mH
    q = min(q, *A.shape[-2:])
    basis = _random_range(A, q, niter, M)
    small = basis.mH @ A
    if M is not None:
        small = small - basis.mH @ M
    u, s, vh = svd(small, False)
    u, v = basis @ u, vh.mH
    return (v, s, u) if swapped else (u, s, v)


@public()
def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The first q principal components of A's rows: U, S and V of the centred A, approximately.

    Raises: ValueError for q or niter out of range.
    """
    rows, columns = A.shape[-2:]
    if q is None:
        q = min(6, rows, columns)
    elif not 0 <= q <= min(rows, columns):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)="
            f"{min(rows, columns)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if center:
        A = A - A.mean(-2, keepdim=True)
    return svd_lowrank(A, q, niter)


_REMOVED = {
    "lstsq": "`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`.",
    "solve": "`torch.solve` is deprecated in favor of `torch.linalg.solve`. `torch.linalg.solve` "
    "has its arguments reversed and does not return the LU factorization.",
    "eig": "`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble` rather than "
    "real tensors mimicking complex tensors.",
    "symeig": "The default behavior has changed from using the upper triangular portion of the "
    "matrix by default to using the lower triangular portion.",
    "matrix_rank": "Use `torch.linalg.matrix_rank`.",
}


def _removed(name: str, words: str) -> None:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "This function was deprecated since version 1.9 and is now removed. " + words
        )

    function.__doc__ = f"Removed from PyTorch. {words}"
    public(name=name, method=name != "matrix_rank")(function)


for _name, _words in _REMOVED.items():
    _removed(_name, _words)
