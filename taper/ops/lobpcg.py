"""A few extreme eigenpairs of a symmetric matrix by the LOBPCG iteration.

Source: A. Knyazev, "Toward the optimal preconditioned eigensolver" (2001). The basis of each step is
made orthonormal through the eigenvalues of its Gram matrix, which drops directions that depend on
the others, so that the Cholesky factorization of the original cannot fail.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import MissingFeature, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.least_squares import Pinv
from taper.ops.matrix_checks import check_square
from taper.tensor import Tensor


def _orthonormal(basis: np.ndarray, b: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The matrix T with which basis @ T has orthonormal columns (in the product of `b`)."""
    length = np.sqrt(np.einsum("ij,ij->j", basis.conj(), basis if b is None else b @ basis).real)
    scale = 1 / np.where(length > 0, length, 1)
    gram = basis.conj().T @ (basis if b is None else b @ basis)
    values, vectors = np.linalg.eigh(scale[:, None] * gram * scale)
    kept = values > len(values) * np.finfo(basis.real.dtype).eps * max(values[-1], 0)
    made = (scale[:, None] * vectors[:, kept]) / np.sqrt(values[kept])
    return made, basis @ made


def _iterate(
    a: np.ndarray,
    b: np.ndarray | None,
    x: np.ndarray,
    inverse: np.ndarray | None,
    niter: int,
    tol: float,
    largest: bool,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`count` eigenpairs of one matrix, from the columns of `x`."""
    n = x.shape[1]
    norm_a, norm_b = _norm(a @ x) / _norm(x), 1.0 if b is None else _norm(b @ x) / _norm(x)
    basis, width, step = x, n, 0
    direction: np.ndarray | None = None
    while True:
        change, orthonormal = _orthonormal(basis, b)
        values, vectors = np.linalg.eigh(orthonormal.conj().T @ (a @ orthonormal))
        order = np.argsort(-values if largest else values, kind="stable")[:n]
        values, vectors = values[order], vectors[:, order]
        weights = change @ vectors
        x = orthonormal @ vectors
        # The conjugate direction is what the step added to the old vectors.
        direction = None if step == 0 else basis[:, width:] @ weights[width:]
        residual = a @ x - (x if b is None else b @ x) * values
        size = np.sqrt((np.abs(residual) ** 2).sum(0)) / np.sqrt((np.abs(x) ** 2).sum(0))
        error = size / (norm_a + np.abs(values) * norm_b)
        done = len(values) >= count and bool((error[:count] < tol).all())
        if done or step == niter or not np.isfinite(error).all():
            return values[:count], x[:, :count]
        new = residual if inverse is None else inverse @ residual
        # What is left of the new directions outside x; without it the Gram matrix loses digits.
        new = new - x @ (x.conj().T @ (new if b is None else b @ new))
        basis = np.concatenate([x, new] if direction is None else [x, new, direction], 1)
        width, step = x.shape[1], step + 1


def _norm(x: np.ndarray) -> float:
    return float(np.sqrt((np.abs(x) ** 2).sum())) or 1.0


@op
class Lobpcg(Opaque):
    """Eigenvalues and eigenvectors; see the public function."""

    name = "lobpcg"
    saves = ("input", "out")
    outputs = 2

    def forward(
        self,
        m: Any,
        input: Any,
        other: Any,
        start: Any,
        inverse: Any,
        *,
        niter: int,
        tol: float,
        largest: bool,
        count: int,
    ) -> Any:
        batch, n = input.shape[:-2], input.shape[-1]
        values = np.empty((*batch, count), input.real.dtype)
        vectors = np.empty((*batch, n, count), input.dtype)

        def part(x: Any, place: Any) -> Any:
            return None if x is None else np.broadcast_to(x, batch + x.shape[-2:])[place]

        for place in np.ndindex(*batch):
            values[place], vectors[place] = _iterate(
                input[place],
                part(other, place),
                part(start, place),
                part(inverse, place),
                niter,
                tol,
                largest,
                count,
            )
        return values, vectors

    def vjp(
        self,
        m: Any,
        grads: Any,
        out: Any,
        input: Any,
        other: Any,
        start: Any,
        inverse: Any,
        *,
        niter: int,
        tol: float,
        largest: bool,
        count: int,
        needs: Any,
    ) -> Any:
        (to_values, to_vectors), (values, vectors) = grads, out
        if needs[1]:
            raise MissingFeature(
                "lobpcg",
                "the derivative with respect to B does not exist; factor B = L @ L^T and give "
                "L^-1 @ A @ L^-T for A",
            )
        turned = m.swapaxes(conj_of(m, vectors), -1, -2)
        made = None
        if to_values is not None:
            made = m.matmul(vectors * to_values[..., None, :], turned)
        if to_vectors is not None:
            # A change dA moves vector i by (value_i - A)^+ @ dA @ vector_i.
            array = getattr(input, "_array", input)
            eye = m.asarray(np.eye(array.shape[-1], dtype=array.dtype))
            shifted = values[..., :, None, None] * eye - input[..., None, :, :]
            small = m.asarray(np.asarray(np.finfo(array.dtype).eps ** 0.5, array.real.dtype))
            zero = m.asarray(np.zeros((), array.real.dtype))
            resolvent = m.call(Pinv, shifted, zero, small, hermitian=False)
            moved = m.matmul(resolvent, m.swapaxes(to_vectors, -1, -2)[..., None])[..., 0]
            part = m.matmul(m.swapaxes(moved, -1, -2), turned)
            made = part if made is None else made + part
        return made, None, None, None


@public()
def lobpcg(
    A: Tensor,
    k: int | None = None,
    B: Tensor | None = None,
    X: Tensor | None = None,
    n: int | None = None,
    iK: Tensor | None = None,
    niter: int | None = None,
    tol: float | None = None,
    largest: bool | None = None,
    method: str | None = None,
    tracker: Any = None,
    ortho_iparams: dict[str, int] | None = None,
    ortho_fparams: dict[str, float] | None = None,
    ortho_bparams: dict[str, bool] | None = None,
) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) eigenvalues of A @ x = value * B @ x, and their vectors.

    A and B are symmetric, B is positive-definite (the identity by default). X (or n random columns)
    is where the iteration begins, iK an approximate inverse of A. It ends when the residuals,
    relative to the norms of A and B, are below `tol` (by default the root of the dtype's eps), or
    after `niter` steps.
    method: "ortho" and "basic" are accepted; both run the robust iteration, and the `ortho_`
        parameters, which tune PyTorch's, have no effect.
    Shape: A (*, m, m) with m >= 3 * n; values (*, k), vectors (*, m, k).
    Edges: the derivative exists for A; A is made symmetric first if it requires a gradient.
    Raises: ValueError if m is too small, NotImplementedError for a tracker.
    """
    import taper

    if tracker is not None:
        raise MissingFeature("lobpcg", "tracker is not available; call lobpcg with a small niter")
    if method not in (None, "ortho", "basic"):
        raise ValueError(f"lobpcg: method must be 'ortho' or 'basic', not {method!r}")
    check_square("lobpcg", A)
    if A._array.dtype.kind not in "fc" or A._array.dtype.itemsize == 2:
        raise ShapeError(f"lobpcg: expected float32 or float64, got {dtypes.cpp_name(A.dtype)}")
    rows = A._array.shape[-1]
    k = (1 if X is None else X._array.shape[-1]) if k is None else k
    n = (k if n is None else n) if X is None else X._array.shape[-1]
    if rows < 3 * n:
        raise ValueError(
            f"LOBPCG algorithm is not applicable when the number of A rows (={rows}) is smaller "
            f"than 3 x the number of requested eigenpairs (={n})"
        )
    if not 1 <= k <= n:
        raise ValueError(f"lobpcg: k must be from 1 to n (={n}), got {k}")
    if X is None:
        X = taper.randn(*A._array.shape[:-2], rows, n, dtype=A.dtype)
    if tol is None:
        tol = float(np.finfo(A._array.dtype).eps ** 0.5)
    if A.requires_grad:
        A = (A + A.mT) / 2
    settings = {
        "niter": -1 if niter is None else niter,
        "tol": tol,
        "largest": True if largest is None else largest,
        "count": k,
    }
    values, vectors = apply(Lobpcg, A, B, X, iK, **settings)
    return values, vectors
