"""The QR factorization, and its products of Householder reflections as LAPACK stores them."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.dispatch import apply
from taper.errors import DtypeError, GradError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.matmul import adjoint
from taper.ops.matrix_checks import (
    check_floating,
    check_matrices,
    refuse_not_lapack,
    spelled,
)
from taper.ops.solve import SolveTriangular, solve_upper
from taper.tensor import Tensor, wrap


def _halved_diagonal(m: Any, x: Any) -> Any:
    return m.where(np.eye(x.shape[-1], dtype=np.bool_), x / 2, x)


def _hermitian_sum(m: Any, triangle: Any) -> Any:
    """The Hermitian matrix that has the given triangle, the real part of its diagonal included."""
    half = _halved_diagonal(m, triangle)
    return half + adjoint(m, half)


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


# ---------------------------------------------------------------- Householder reflections


@op
class Geqrf(Opaque):
    """R and the vectors of the reflections in one matrix, and the reflections' factors."""

    name = "geqrf"
    outputs = 2

    def forward(self, m: Any, input: Any) -> Any:
        packed, tau = np.linalg.qr(input, "raw")
        return packed.swapaxes(-1, -2), tau


@public(method=True, out=True)
def geqrf(input: Tensor) -> Any:
    """The QR factorization as LAPACK leaves it, for householder_product and ormqr.

    R is in the upper triangle, the reflections' vectors below it (their first element, 1, left
    out). Not differentiable; linalg.qr is.
    """
    if input._array.ndim < 2:
        raise ShapeError("torch.geqrf: input must have at least 2 dimensions.")
    refuse_not_lapack(input, "geqrf_cpu")
    return named.geqrf(apply(Geqrf, input))


def _check_reflections(name: str, input: Tensor, tau: Tensor) -> None:
    a, t = input._array, tau._array
    if a.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    if a.ndim - t.ndim != 1:
        raise ShapeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal "
            f"to {t.ndim} and input.ndim is equal to {a.ndim}"
        )
    if a.shape[:-2] != t.shape[:-1]:
        raise ShapeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(t.shape[:-1])}"
        )
    if a.dtype != t.dtype:
        raise DtypeError(
            f"{name}: tau dtype {dtypes.cpp_name(tau.dtype)} does not match input dtype "
            f"{dtypes.cpp_name(input.dtype)}"
        )


def _reflected(input: Tensor, tau: Tensor, x: Tensor, turned: bool) -> Tensor:
    """H1 @ H2 @ ... @ Hk @ x, or with `turned` the conjugate transpose of the product, times x.

    Hi = 1 - tau_i v_i v_i^H, and v_i is column i of `input` below the diagonal, 1 on it. With the
    v_i as columns of V, the product is 1 - V T V^H, where the triangle T is
    (1 + diag(tau) U)^-1 diag(tau) for U the part of V^H V above the diagonal.
    Source: R. Schreiber and C. Van Loan, "A storage-efficient WY representation for products of
    Householder transformations" (1989).
    """
    count = tau._array.shape[-1]
    rows = input._array.shape[-2]
    eye = wrap(np.eye(rows, count, dtype=input._array.dtype))
    vectors = input[..., :count].tril(-1) + eye
    scale = tau.unsqueeze(-1)
    triangle = scale * (vectors.mH @ vectors)
    inner = vectors.mH @ x
    if turned:
        inner = apply(SolveTriangular, triangle.mH, inner, upper=False, unit=True)
        return x - vectors @ (scale.conj() * inner)
    return x - vectors @ apply(SolveTriangular, triangle, scale * inner, upper=True, unit=True)


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of a product of Householder reflections: Q from geqrf's results.

    Shape: A (*, m, n) with m >= n, tau (*, k) with k <= n; result (*, m, n).
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    name = "torch.linalg.householder_product"
    if A._array.ndim < 2:
        raise ShapeError(f"{name}: input must have at least 2 dimensions.")
    rows, columns = A._array.shape[-2:]
    if rows < columns:
        raise ShapeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if columns < tau._array.shape[-1]:
        raise ShapeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    _check_reflections(name, A, tau)
    refuse_not_lapack(A, "orgqr_cpu")
    start = np.broadcast_to(np.eye(rows, columns, dtype=A._array.dtype), A._array.shape)
    return _reflected(A, tau, wrap(start.copy()), False)


@public(method=True, out=True)
@spelled(input2="tau")
def orgqr(input: Tensor, tau: Tensor) -> Tensor:
    """linalg.householder_product under its older name."""
    return householder_product(input, tau)


@public(method=True, out=True)
@spelled(input2="tau", input3="other")
def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """Q @ other for the Q of a QR factorization, from geqrf's results input and tau.

    left: False gives other @ Q. transpose: takes Q^H for Q.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    name = "torch.ormqr"
    side = -2 if left else -1
    for word, x in (("input", input), ("other", other)):
        if x._array.ndim < 2:
            raise ShapeError(f"{name}: {word} must have at least 2 dimensions.")
    size = other._array.shape[side]
    if tau._array.shape[-1] > size:
        raise ShapeError(
            f"{name}: other.shape[{side}] must be greater than or equal to tau.shape[-1]"
        )
    if size != input._array.shape[-2]:
        raise ShapeError(f"{name}: other.shape[{side}] must be equal to input.shape[-2]")
    if tau._array.shape[-1] != min(size, input._array.shape[-1]):
        raise ShapeError(
            f"{name}: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])"
        )
    _check_reflections(name, input, tau)
    if other._array.dtype != input._array.dtype:
        raise DtypeError(
            f"{name}: Expected input and other to have the same dtype, but input has dtype"
            f"{dtypes.cpp_name(input.dtype)} and other has dtype {dtypes.cpp_name(other.dtype)}"
        )
    if other._array.shape[:-2] != input._array.shape[:-2]:
        raise ShapeError(
            f"{name}: Expected batch dimensions of other to be equal to input.shape[:-2], but got "
            f"{list(other._array.shape[:-2])}"
        )
    if tau._array.size == 0:  # no reflections
        return other.clone()
    if left:
        return _reflected(input, tau, other, transpose)
    return _reflected(input, tau, other.mH, not transpose).mH
