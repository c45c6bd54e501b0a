"""The Cholesky factorization of positive-definite matrices, and solving with its factor."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import return_types as named
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops import elimination
from taper.ops.matmul import adjoint, broadcast_batches
from taper.ops.matrix_checks import (
    check_floating,
    check_info,
    check_square,
    refuse_not_lapack,
    spelled,
)
from taper.ops.solve import NOT_INVERTIBLE, check_older_pair, solve_upper
from taper.tensor import Tensor, wrap


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
    refuse_not_lapack(L, "cholesky_solve_cpu")
    broadcast_batches("cholesky_solve", B._array.shape[:-2], L._array.shape[:-2])
    return apply(CholeskySolve, B, L, upper=upper)


@public(method=True, out=True)
@spelled(input="L")
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is L.

    Raises: LinAlgError for a zero on the diagonal.
    """
    check_square("cholesky_inverse", L)
    refuse_not_lapack(L, "cholesky_inverse_cpu")
    zero = np.diagonal(L._array, 0, -2, -1) == 0
    if zero.any():
        info = np.where(zero.any(-1), zero.argmax(-1) + 1, 0)
        check_info("cholesky_inverse", info, NOT_INVERTIBLE)
    eye = wrap(np.eye(L._array.shape[-1], dtype=L._array.dtype))
    return apply(CholeskySolve, eye, L, upper=upper)
