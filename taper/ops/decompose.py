"""Eigenvalues and singular values, by numpy's LAPACK.

Their derivatives are the standard adjoint formulas: see M. Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008), and for complex matrices
the same with conjugate transposes. Other factorizations are in cholesky.py, reflections.py (QR) and
factor.py (LU, LDL).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.autograd.grad_mode import mode
from taper.dispatch import apply
from taper.errors import GradError, LinAlgError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.matmul import adjoint
from taper.ops.matrix_checks import (
    check_floating,
    check_info,
    check_matrices,
    check_square,
    refuse_not_lapack,
    spelled,
)
from taper.ops.solve import Solve
from taper.tensor import Tensor, wrap


def _eye(n: int) -> np.ndarray:
    return np.eye(n, dtype=bool)


def _is_complex(x: Any) -> bool:
    return getattr(x, "_array", x).dtype.kind == "c"


def wants_gradient(x: Tensor) -> bool:
    """Whether a result of `x` will be differentiable."""
    return mode.grad and x.requires_grad


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
    refuse_not_lapack(A, "linalg_eig_cpu")
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
    refuse_not_lapack(A, "linalg_eigh_cpu")
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
