"""Factorizations by numpy's LAPACK: Cholesky, QR, eigenvalues, singular values.

Their derivatives are the standard adjoint formulas: see M. Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008), and for complex matrices
the same with conjugate transposes. LU, LDL and Householder reflections are in factor.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.autograd.grad_mode import mode
from taper.dispatch import apply
from taper.errors import GradError, LinAlgError, ShapeError, UnsupportedDtype
from taper.op import Opaque, op, public
from taper.ops import elimination
from taper.ops.matmul import adjoint, broadcast_batches
from taper.ops.matrix_checks import (
    check_floating,
    check_info,
    check_matrices,
    check_square,
    spelled,
)
from taper.ops.solve import NOT_INVERTIBLE, Solve, check_older_pair, solve_upper
from taper.tensor import Tensor, wrap


def _eye(n: int) -> np.ndarray:
    return np.eye(n, dtype=bool)


def _halved_diagonal(m: Any, x: Any) -> Any:
    return m.where(_eye(x.shape[-1]), x / 2, x)


def _hermitian_sum(m: Any, triangle: Any) -> Any:
    """The Hermitian matrix that has the given triangle, the real part of its diagonal included."""
    half = _halved_diagonal(m, triangle)
    return half + adjoint(m, half)


def _is_complex(x: Any) -> bool:
    return getattr(x, "_array", x).dtype.kind == "c"


def wants_gradient(x: Tensor) -> bool:
    """Whether a result of `x` will be differentiable."""
    return mode.grad and x.requires_grad


# ---------------------------------------------------------------- Cholesky


@op
class Cholesky(Opaque):
    """L of L @ L^H = input (with `upper`, its conjugate transpose), from that triangle of the
    input, and a report as in elimination.cholesky.
    """

    name = "linalg.cholesky"
    node_name = "LinalgCholeskyExBackward0"
    saves = ("out",)
    outputs = 2
    differentiable = (True, False)

    def forward(self, m: Any, input: Any, *, upper: bool) -> Any:
        made, info = _cholesky_factor(adjoint(m, input) if upper else input)
        return adjoint(m, made) if upper else made, info

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, *, upper: bool) -> Any:
        turned = out[0] if upper else adjoint(m, out[0])
        inner = m.matmul(turned, adjoint(m, grads[0]) if upper else grads[0])
        inner = m.tril(inner) + adjoint(m, m.tril(inner, -1))
        # L^-H inner L^-1; the second solve works on the transpose.
        half = solve_upper(m, turned, inner)
        return adjoint(m, solve_upper(m, turned, adjoint(m, half))) / 2


def _cholesky_factor(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        made = np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return elimination.cholesky(a)
    if np.isnan(np.diagonal(made, 0, -2, -1)).any():  # numpy lets nan pass
        return elimination.cholesky(a)
    return made, np.zeros(a.shape[:-2], np.int32)


NOT_POSITIVE = (
    "The factorization could not be completed because the input is not positive-definite (the "
    "leading minor of order {info} is not positive-definite)."
)


def _cholesky(name: str, A: Tensor, upper: bool, check: bool) -> tuple[Tensor, Tensor]:
    check_square("cholesky" if name == "cholesky" else "linalg.cholesky", A)
    check_floating("linalg.cholesky", A, "cholesky_cpu")
    factor, info = apply(Cholesky, A, upper=upper)
    if check:
        check_info(name, info, NOT_POSITIVE)
    return factor, info


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The Cholesky factor, and an int32 report: 0, or the order of the first leading minor that
    is not positive.

    Raises: LinAlgError for matrices that are not positive-definite, with check_errors.
    """
    made = _cholesky("linalg.cholesky_ex", A, upper, check_errors)
    return named.linalg_cholesky_ex(made)


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L of L @ L^H = A, lower triangular; U of U^H @ U = A with `upper`.

    Only that triangle of A is read. Shape: (*, n, n).
    Raises: LinAlgError if A is not positive-definite.
    """
    return _cholesky("linalg.cholesky", A, upper, True)[0]


@public(method=True, out=True, name="cholesky")
def torch_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The Cholesky factor; linalg.cholesky under its older name."""
    return _cholesky("cholesky", input, upper, True)[0]


@op
class CholeskySolve(Opaque):
    """X of A @ X = input, where `factor` is a Cholesky factor of A."""

    name = "cholesky_solve"
    node_name = "CholeskySolveBackward0"
    saves = ("input.shape", "factor", "out")

    def forward(self, m: Any, input: Any, factor: Any, *, upper: bool) -> Any:
        lower = adjoint(m, factor) if upper else factor
        half = elimination.solve_triangular(lower, input, upper=False, unit=False)
        return elimination.solve_triangular(adjoint(m, lower), half, upper=True, unit=False)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, factor: Any, *, upper: bool, needs: Any
    ) -> Any:
        to_input = m.call(CholeskySolve, grad, factor, upper=upper)
        to_factor = None
        if needs[1]:
            # The factor counts as a whole matrix here, not as a triangle.
            half = m.matmul(to_input, adjoint(m, out))
            both = half + adjoint(m, half)
            whole = m.matmul(factor, both) if upper else m.matmul(both, factor)
            to_factor = m.sum_to(-whole, tuple(factor.shape))
        return m.sum_to(to_input, tuple(input)) if needs[0] else None, to_factor


@public(method=True, out=True)
@spelled(input="B", input2="L")
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of A @ X = B, where A has the Cholesky factor L.

    Shape: B (*, n, k), L (*, n, n). Batches broadcast.
    """
    for name, x in (("b", B), ("u", L)):
        if x._array.ndim < 2:
            raise ShapeError(
                f"{name} should have at least 2 dimensions, but has {x._array.ndim} dimensions "
                "instead"
            )
    check_older_pair("cholesky_solve", B, L)
    _refuse(L, "cholesky_solve_cpu")
    broadcast_batches("cholesky_solve", B._array.shape[:-2], L._array.shape[:-2])
    return apply(CholeskySolve, B, L, upper=upper)


@public(method=True, out=True)
@spelled(input="L")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is L.

    Raises: LinAlgError for a zero on the diagonal.
    """
    check_square("cholesky_inverse", L)
    _refuse(L, "cholesky_inverse_cpu")
    zero = np.diagonal(L._array, 0, -2, -1) == 0
    if zero.any():
        info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0)
        check_info("cholesky_inverse", info, NOT_INVERTIBLE)
    eye = wrap(np.eye(L._array.shape[-1], dtype=L._array.dtype))
    return apply(CholeskySolve, eye, L, upper=upper)


def _refuse(x: Tensor, kernel: str) -> None:
    dtype = x._array.dtype
    if dtype.kind not in "fc" or dtype.itemsize == 2:
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(x.dtype)}'")


# ---------------------------------------------------------------- QR


@op
class Qr(Opaque):
    """Q and R of input = Q @ R, with orthonormal columns and an upper triangle.

    mode: "reduced", "complete" or "r", as in numpy; for the last, Q is empty.
    """

    name = "linalg.qr"
    node_name = "LinalgQrBackward0"
    saves = ("out",)
    outputs = 2

    def forward(self, m: Any, input: Any, *, mode: Any) -> Any:
        if mode == "r":
            return np.empty(0, input.dtype), np.linalg.qr(input, mode)
        return tuple(np.linalg.qr(input, mode))

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, *, mode: str) -> Any:
        if mode == "r":
            raise GradError(
                "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
                "Please use torch.linalg.qr(A, mode='reduced') if you are going to require "
                "gradients through its linalg.qr."
            )
        (to_q, to_r), (q, r) = grads, out
        rows, columns = q.shape[-2], r.shape[-1]
        if mode == "complete" and rows > columns:
            raise GradError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
            )
        if rows >= columns:
            return _qr_vjp(m, to_q, to_r, q, r)
        # Wide: the first columns make Q, and the rest is Q^H times the other columns.
        left, right = r[..., :rows], r[..., rows:]
        to_left = to_other = None
        if to_r is not None:
            to_left, to_right = to_r[..., :rows], to_r[..., rows:]
            to_other = m.matmul(q, to_right)
            through = m.matmul(m.matmul(q, right), adjoint(m, to_right))
            to_q = through if to_q is None else to_q + through
        square = _qr_vjp(m, to_q, to_left, q, left)
        if to_other is None:
            to_other = m.zeros_like(m.matmul(q, right))
        return m.concatenate([square, to_other], -1)


def _qr_vjp(m: Any, to_q: Any, to_r: Any, q: Any, r: Any) -> Any:
    """The gradient of a matrix with at least as many rows as columns."""
    inner = None
    if to_r is not None:
        inner = m.matmul(to_r, adjoint(m, r))
    if to_q is not None:
        across = m.matmul(adjoint(m, q), to_q)
        inner = -across if inner is None else inner - across
    made = m.matmul(q, _hermitian_sum(m, m.triu(inner)))
    if to_q is not None:
        made = made + to_q
    # made @ R^-H, as the adjoint of R^-1 @ made^H.
    return adjoint(m, solve_upper(m, r, adjoint(m, made)))


def _qr(A: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    check_matrices("linalg.qr", A)
    check_floating("linalg.qr", A, "geqrf_cpu")
    if mode not in ("reduced", "complete", "r"):
        raise ShapeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"
        )
    return apply(Qr, A, mode=mode)


@public(out=True, namespaces=("linalg",))
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q and R of A = Q @ R: orthonormal columns and an upper triangle.

    Shape: of A (*, m, n), with k = min(m, n): "reduced" gives (*, m, k) and (*, k, n),
        "complete" (*, m, m) and (*, m, n), "r" an empty Q and (*, k, n).
    Edges: the derivative needs the first k columns to be independent.
    Raises: RuntimeError for another mode; in backward, for "r", and "complete" with m > n.
    """
    return named.linalg_qr(_qr(A, mode))


@public(method=True, out=True, name="qr")
def torch_qr(input: Tensor, some: bool = True) -> Any:
    """Q and R; linalg.qr, reduced or (some=False) complete, under its older name."""
    return named.qr(_qr(input, "reduced" if some else "complete"))


# ---------------------------------------------------------------- eigenvalues


def _phase_error(name: str, what: str) -> GradError:
    return GradError(
        f"{name}_backward: The {what} in the complex case are specified up to multiplication by "
        "e^{i phi}. The specified loss function depends on this "
        + (
            "quantity, so it is ill-defined."
            if what == "eigenvectors"
            else "phase term, making it ill-defined."
        )
    )


def _check_phase(m: Any, diagonal: Any, name: str, what: str) -> None:
    """Raises: RuntimeError if the loss depends on the phases of complex vectors."""
    values = np.asarray(getattr(diagonal, "_array", diagonal))
    if values.dtype.kind == "c" and not np.allclose(values.imag, 0, rtol=1e-2, atol=1e-2):
        raise _phase_error(name, what)


def _gaps(m: Any, values: Any) -> Any:
    """values[j] - values[i] at (i, j), with ones on the diagonal."""
    return m.where(_eye(values.shape[-1]), 1, values[..., None, :] - values[..., :, None])


@op
class Eigh(Opaque):
    """Eigenvalues in ascending order and eigenvectors of a Hermitian matrix."""

    name = "linalg.eigh"
    node_name = "LinalgEighBackward0"
    saves = ("out",)
    outputs = 2

    def forward(self, m: Any, input: Any, *, uplo: Any) -> Any:
        return _finite(lambda a: tuple(np.linalg.eigh(a, uplo)), input)

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, *, uplo: str) -> Any:
        (to_values, to_vectors), (values, vectors) = grads, out
        turned = adjoint(m, vectors)
        if to_vectors is None:
            return m.matmul(vectors * to_values[..., None, :], turned)
        inner = m.matmul(turned, to_vectors)
        _check_phase(m, m.diagonal(inner, 0, -2, -1), "linalg_eigh", "eigenvectors")
        diagonal = 0 if to_values is None else to_values[..., None, :]
        skew = (inner - adjoint(m, inner)) / 2  # the vectors stay orthonormal
        inner = m.where(_eye(values.shape[-1]), diagonal, skew / _gaps(m, values))
        return m.matmul(m.matmul(vectors, inner), turned)


def _finite(function: Any, input: np.ndarray) -> Any:
    """Calls a LAPACK function that refuses nan and inf; such matrices give nan."""
    good = np.isfinite(input).all((-2, -1), keepdims=True)
    if good.all():
        return function(input)
    outs = function(np.where(good, input, np.zeros(1, input.dtype)))
    bad = ~good[..., 0, 0]
    for out in outs:
        out[bad] = np.nan
    return outs


@op
class EigenvaluesHermitian(Opaque):
    """Only the eigenvalues of a Hermitian matrix."""

    name = "linalg.eigvalsh"

    def forward(self, m: Any, input: Any, *, uplo: Any) -> Any:
        return _finite(lambda a: (np.linalg.eigvalsh(a, uplo),), input)[0]


@op
class Eig(Opaque):
    """Eigenvalues and eigenvectors of any square matrix, always complex."""

    name = "linalg.eig"
    node_name = "LinalgEigBackward0"
    saves = ("out",)
    outputs = 2

    def forward(self, m: Any, input: Any, *, real: bool) -> Any:
        values, vectors = np.linalg.eig(input)
        wanted = np.result_type(input.dtype, np.complex64)
        return values.astype(wanted, copy=False), vectors.astype(wanted, copy=False)

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, *, real: bool) -> Any:
        made = _eig_vjp(m, *grads, *out)
        return m.real(made) if real else made


def _eig_vjp(m: Any, to_values: Any, to_vectors: Any, values: Any, vectors: Any) -> Any:
    turned = adjoint(m, vectors)
    if to_vectors is None:
        return m.call(Solve, turned, to_values[..., :, None] * turned)[0]
    inner = m.matmul(turned, to_vectors)
    diagonal = m.diagonal(inner, 0, -2, -1)
    _check_phase(m, diagonal, "linalg_eig", "eigenvectors")
    # The vectors have length 1, so a change along themselves is not seen.
    inner = inner - m.matmul(turned, vectors * m.real(diagonal)[..., None, :])
    middle = 0 if to_values is None else to_values[..., None, :]
    inner = m.where(_eye(values.shape[-1]), middle, inner / m.conj(_gaps(m, values)))
    return m.call(Solve, turned, m.matmul(inner, turned))[0]


@op
class Eigenvalues(Opaque):
    """Only the eigenvalues of any square matrix, always complex."""

    name = "linalg.eigvals"

    def forward(self, m: Any, input: Any) -> Any:
        values = np.linalg.eigvals(input)
        return values.astype(np.result_type(input.dtype, np.complex64), copy=False)


def _check_eig(A: Tensor) -> None:
    check_square("linalg.eig", A)
    if A._array.dtype.kind in "iub":
        raise ShapeError(f"Unknown Complex ScalarType for {dtypes.cpp_name(A.dtype)}")
    _refuse(A, "linalg_eig_cpu")
    if not np.isfinite(A._array).all():
        raise ShapeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors (columns of length 1) of square matrices.

    Dtype: complex, also for real matrices. The order is not specified.
    Edges: the derivative needs the eigenvalues to be distinct.
    Raises: RuntimeError for nan and inf.
    """
    _check_eig(A)
    with _converging("linalg.eig"):
        return named.linalg_eig(_eig(A))


def _eig(A: Tensor) -> Any:
    return apply(Eig, A, real=A._array.dtype.kind != "c")


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of square matrices, complex and in no specified order."""
    _check_eig(A)
    with _converging("linalg.eig"):
        return _eig(A)[0] if wants_gradient(A) else apply(Eigenvalues, A)


def _check_eigh(A: Tensor, UPLO: str) -> str:
    check_square("linalg.eigh", A)
    if UPLO.upper() not in ("L", "U"):
        raise ShapeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    _refuse(A, "linalg_eigh_cpu")
    return UPLO.upper()


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues (ascending, real) and eigenvectors of symmetric or Hermitian matrices.

    UPLO: which triangle is read. Edges: nan and inf give nan.
    """
    uplo = _check_eigh(A, UPLO)
    with _converging("linalg.eigh"):
        return named.linalg_eigh(apply(Eigh, A, uplo=uplo))


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues, ascending, of symmetric or Hermitian matrices."""
    uplo = _check_eigh(A, UPLO)
    with _converging("linalg.eigh"):
        if wants_gradient(A):
            return apply(Eigh, A, uplo=uplo)[0]
        return apply(EigenvaluesHermitian, A, uplo=uplo)


class _converging:
    """numpy's error of an iteration that did not end, as PyTorch's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        cause = error.__cause__ if error is not None else None
        if isinstance(error, np.linalg.LinAlgError) or isinstance(cause, np.linalg.LinAlgError):
            raise LinAlgError(
                f"{self.name}: The algorithm failed to converge because the input matrix is "
                "ill-conditioned or has too many repeated eigenvalues."
            ) from error


# ---------------------------------------------------------------- singular values


@op
class Svd(Opaque):
    """U, S and V^H of input = U @ diag(S) @ V^H; with `full`, square U and V^H."""

    name = "linalg.svd"
    node_name = "LinalgSvdBackward0"
    saves = ("out",)
    outputs = 3

    def forward(self, m: Any, input: Any, *, full: bool) -> Any:
        return tuple(np.linalg.svd(input, full))

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, *, full: bool) -> Any:
        (to_u, to_s, to_vh), (u, s, vh) = grads, out
        k = s.shape[-1]
        if full:  # what the loss asks of the extra vectors is not determined by the input
            u, vh = u[..., :k], vh[..., :k, :]
            to_u = None if to_u is None else to_u[..., :k]
            to_vh = None if to_vh is None else to_vh[..., :k, :]
        if to_u is None and to_vh is None:
            return m.matmul(u * to_s[..., None, :], vh)
        return _svd_vjp(m, to_u, to_s, to_vh, u, s, vh)


def _svd_vjp(m: Any, to_u: Any, to_s: Any, to_vh: Any, u: Any, s: Any, vh: Any) -> Any:
    eye = _eye(s.shape[-1])
    row, column = s[..., None, :], s[..., :, None]
    gaps = m.where(eye, 1, (row - column) * (row + column))
    inner = None
    turn = 0
    if to_u is not None:
        across = m.matmul(adjoint(m, u), to_u)
        skew = across - adjoint(m, across)
        inner = skew / gaps * row
        turn = turn + skew
    if to_vh is not None:
        across = m.matmul(vh, adjoint(m, to_vh))
        other = across - adjoint(m, across)
        part = column * (other / gaps)
        inner = part if inner is None else inner + part
        turn = turn + other
    diagonal = 0 if to_s is None else to_s[..., None, :]
    if _is_complex(u):
        _check_phase(m, m.diagonal(turn, 0, -2, -1), "svd", "singular vectors")
        if to_u is not None and to_vh is not None:
            diagonal = diagonal + skew / (2 * row)
    inner = m.where(eye, diagonal, inner)
    rows, k, columns = u.shape[-2], s.shape[-1], vh.shape[-1]
    if rows > k and to_u is not None:
        outside = to_u - m.matmul(u, m.matmul(adjoint(m, u), to_u))
        return m.matmul(m.matmul(u, inner) + outside / row, vh)
    if columns > k and to_vh is not None:
        outside = to_vh - m.matmul(m.matmul(to_vh, adjoint(m, vh)), vh)
        return m.matmul(u, m.matmul(inner, vh) + outside / column)
    return m.matmul(m.matmul(u, inner), vh)


@op
class SingularValues(Opaque):
    """Only the singular values, largest first."""

    name = "linalg.svdvals"

    def forward(self, m: Any, input: Any) -> Any:
        return np.linalg.svd(input, compute_uv=False)


def _check_svd(A: Tensor, driver: str | None) -> None:
    check_matrices("linalg.svd", A)
    check_floating("linalg.svd", A, "svd_cpu")
    if driver is not None:
        raise ShapeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with "
            "cuSOLVER backend."
        )
    finite = np.isfinite(A._array).all((-2, -1))
    if not finite.all():
        check_info(
            "linalg.svd",
            ~finite,
            "The algorithm failed to converge because the input matrix contained non-finite "
            "values.",
        )


def singular_values(A: Tensor, driver: str | None = None) -> Tensor:
    """The singular values, largest first."""
    _check_svd(A, driver)
    with _converging("linalg.svd"):
        return apply(Svd, A, full=False)[1] if wants_gradient(A) else apply(SingularValues, A)


@public(out=True, namespaces=("linalg",))
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S and Vh of A = U @ diag(S) @ Vh; S is real, and largest first.

    Shape: of A (*, m, n), with k = min(m, n): U (*, m, m), S (*, k), Vh (*, n, n); without
        full_matrices U (*, m, k) and Vh (*, k, n).
    Edges: the derivatives of U and Vh need distinct singular values.
    Raises: LinAlgError for nan and inf.
    """
    _check_svd(A, driver)
    with _converging("linalg.svd"):
        return named.linalg_svd(apply(Svd, A, full=bool(full_matrices)))


@public(out=True, namespaces=("linalg",))
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, largest first."""
    return singular_values(A, driver)


@public(method=True, out=True, name="svd")
def torch_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not V^H) of input = U @ diag(S) @ V^H; linalg.svd is newer.

    With compute_uv=False, U and V are square and zero.
    """
    if input._array.ndim < 2:
        raise ShapeError(
            "linalg.svd: input should have at least 2 dimensions, but has "
            f"{input._array.ndim} dimensions instead"
        )
    if compute_uv:
        u, s, vh = svd(input, not some)
        return named.svd((u, s, vh.mH))
    *batch, rows, columns = input._array.shape
    u = wrap(np.zeros((*batch, rows, rows), input._array.dtype))
    v = wrap(np.zeros((*batch, columns, columns), input._array.dtype))
    return named.svd((u, singular_values(input), v))
