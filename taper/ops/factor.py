"""Factorizations written out in numpy, because its LAPACK does not offer them: LU and LDL.

The array code of LU is in elimination.py, that of LDL in pivoted_ldl.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops import elimination, pivoted_ldl
from taper.ops.matmul import adjoint, broadcast_batches
from taper.ops.matrix_checks import (
    check_floating,
    check_info,
    check_pair,
    check_square,
    refuse_not_lapack,
    spelled,
)
from taper.ops.solve import SolveTriangular, check_older_pair, solve_upper
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- LU


def permutation_matrix(pivots: np.ndarray, rows: int, dtype: Any) -> np.ndarray:
    """P of A = P @ L @ U as a matrix."""
    order = elimination.permutation(pivots, rows)
    made: np.ndarray = np.swapaxes(np.eye(rows, dtype=dtype)[order], -1, -2)
    return made


@op
class LuFactor(Opaque):
    """L and U in one matrix, the row swaps, and the number of the first zero pivot."""

    name = "linalg.lu_factor"
    node_name = "LinalgLuFactorExBackward0"
    saves = ("out",)
    outputs = 3
    differentiable = (True, False, False)

    def forward(self, m: Any, input: Any) -> Any:
        return elimination.lu_factor(input)

    def vjp(self, m: Any, grads: Any, out: Any, input: Any) -> Any:
        lu, grad = out[0], grads[0]
        pivots = getattr(out[1], "_array", out[1])
        rows, columns = lu.shape[-2:]
        k = min(rows, columns)
        lower = _unit_lower(m, lu[..., :k])
        upper = m.triu(lu[..., :k, :])
        to_lower, to_upper = m.tril(grad[..., :k], -1), m.triu(grad[..., :k, :])
        beside = below = None
        if columns > k:  # wide: U's other columns are L^-1 times those of the permuted input
            turned = adjoint(m, lower)
            beside = m.call(SolveTriangular, turned, to_upper[..., k:], upper=True, unit=True)
            through = m.matmul(beside, adjoint(m, upper[..., k:]))
            to_lower = to_lower - m.tril(through, -1)
            upper, to_upper = upper[..., :k], to_upper[..., :k]
        elif rows > k:  # tall: L's other rows are those of the permuted input times U^-1
            below = _over(m, to_lower[..., k:, :], upper)
            through = m.matmul(adjoint(m, lower[..., k:, :]), below)
            to_upper = to_upper - m.triu(through)
            lower, to_lower = lower[..., :k, :], to_lower[..., :k, :]
        turned = adjoint(m, lower)
        inner = m.tril(m.matmul(turned, to_lower), -1)
        inner = inner + m.triu(m.matmul(to_upper, adjoint(m, upper)))
        made = m.call(SolveTriangular, turned, _over(m, inner, upper), upper=True, unit=True)
        if beside is not None:
            made = m.concatenate([made, beside], -1)
        if below is not None:
            made = m.concatenate([made, below], -2)
        array = getattr(lu, "_array", lu)
        return m.matmul(m.asarray(permutation_matrix(pivots, rows, array.dtype)), made)


def _unit_lower(m: Any, x: Any) -> Any:
    """The part below the diagonal, with ones on the diagonal."""
    eye: Any = np.eye(*x.shape[-2:], dtype=np.bool_)
    return m.where(eye, 1, m.tril(x, -1))


def _over(m: Any, x: Any, upper: Any) -> Any:
    """x @ upper^-H."""
    return adjoint(m, solve_upper(m, upper, adjoint(m, x)))


def _check_lu(name: str, A: Tensor, pivot: bool) -> None:
    if A._array.ndim < 2:
        raise ShapeError(
            f"{name}: Expected tensor with 2 or more dimensions. Got size: "
            f"{list(A._array.shape)} instead"
        )
    refuse_not_lapack(A, "lu_cpu")
    if not pivot:
        raise ShapeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")


ZERO_PIVOT = (
    "U[{info},{info}] is zero and using it on lu_solve would result in a division by zero. If you "
    "still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
    "linalg.lu_factor_ex(A, pivot)"
)


@public(out=True, namespaces=("linalg",))
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, the row swaps, and a report: 0, or the number of the first zero pivot.

    Shape: of A (*, m, n): (*, m, n), (*, min(m, n)) and (*). Dtype: the last two are int32.
    Raises: LinAlgError for a zero pivot, with check_errors.
    """
    _check_lu("torch.lu_factor", A, pivot)
    made = apply(LuFactor, A)
    if check_errors:
        check_info("torch.linalg.lu_factor_ex", made[2], ZERO_PIVOT)
    return named.linalg_lu_factor_ex(made)


@public(out=True, namespaces=("linalg",))
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L (without its unit diagonal) and U in one matrix, and the row swaps.

    Row i was swapped with row pivots[i] - 1. For lu_solve.
    Raises: LinAlgError if U has a zero on its diagonal.
    """
    _check_lu("torch.lu_factor", A, pivot)
    factors, pivots, info = apply(LuFactor, A)
    check_info("torch.linalg.lu_factor", info, ZERO_PIVOT)
    return named.linalg_lu_factor((factors, pivots))


@public(out=True, namespaces=("linalg",))
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L and U of A = P @ L @ U: a permutation, a unit lower and an upper triangle.

    Shape: of A (*, m, n), with k = min(m, n): (*, m, m), (*, m, k) and (*, k, n).
    """
    _check_lu("linalg.lu", A, pivot)
    factors, pivots, _ = apply(LuFactor, A)
    return named.linalg_lu(_unpacked(factors, pivots))


def _unpacked(factors: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = factors._array.shape[-2:]
    k = min(rows, columns)
    eye = wrap(np.eye(rows, k, dtype=factors._array.dtype))
    matrix = wrap(permutation_matrix(pivots._array, rows, factors._array.dtype))
    lower = factors[..., :k].tril(-1) + eye
    return matrix, lower, factors[..., :k, :].triu()


_LuWithInfo = named._named("_lu_with_info", ("LU", "pivots", "info"))


@public(method=True, name="lu")
def torch_lu(A: Tensor, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:
    """L and U in one matrix and the row swaps; with get_infos, also the report of lu_factor_ex."""
    made = lu_factor_ex(A, pivot=pivot)
    results = tuple(made) if get_infos else tuple(made)[:2]
    if out is not None:
        for target, result in zip(out, results, strict=True):
            target.resize_(result.shape).copy_(result)
        return out
    return _LuWithInfo(results) if get_infos else results


@public(out=True)
def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """P, L and U from the results of lu_factor; what is not asked for is empty.

    Raises: RuntimeError unless the pivots are int32.
    """
    if unpack_pivots and LU_pivots._array.dtype != np.int32:
        raise DtypeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype."
        )
    made = _unpacked(LU_data, LU_pivots)
    nothing = wrap(np.empty(0, LU_data._array.dtype))
    return named.lu_unpack(
        (
            made[0] if unpack_pivots else nothing,
            made[1] if unpack_data else nothing,
            made[2] if unpack_data else nothing,
        )
    )


@public(out=True, namespaces=("linalg",), name="lu_solve")
def linalg_lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X of A @ X = B from the results of lu_factor(A).

    left: False solves X @ A = B. adjoint: takes A^H for A.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    name = "linalg.lu_solve"
    check_square("torch.linalg.lu_solve", LU)
    check_floating(name, LU, "lu_solve_cpu")
    if pivots._array.dtype != np.int32:
        raise DtypeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    check_pair(name, LU, B, left, "LU")
    if LU._array.shape[-1] != pivots._array.shape[-1]:
        raise ShapeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix"
        )
    if LU._array.shape[:-1] != pivots._array.shape:
        raise ShapeError(
            f"{name}: Expected LU.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {list(pivots._array.shape)} instead"
        )
    broadcast_batches(name, B._array.shape[:-2], LU._array.shape[:-2])
    order = wrap(permutation_matrix(pivots._array, LU._array.shape[-1], LU._array.dtype))
    factors = LU.conj() if adjoint else LU
    made = _after_lu(factors, order, B if left else B.mT, adjoint == left)
    return made if left else made.mT


def _after_lu(factors: Tensor, order: Tensor, B: Tensor, transposed: bool) -> Tensor:
    """X of P @ L @ U @ X = B, or of the transposed equation."""
    if transposed:
        turned = factors.mT
        half = apply(SolveTriangular, turned, B, upper=False, unit=False)
        return order @ apply(SolveTriangular, turned, half, upper=True, unit=True)
    half = apply(SolveTriangular, factors, order.mT @ B, upper=False, unit=True)
    return apply(SolveTriangular, factors, half, upper=True, unit=False)


@public(method=True, out=True)
@spelled(input="b")
def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """X of A @ X = b from the results of lu_factor(A); linalg.lu_solve is newer."""
    return linalg_lu_solve(LU_data, LU_pivots, b)


# ---------------------------------------------------------------- LDL


@op
class LdlFactor(Opaque):
    """L and D in one matrix, the swaps, and the number of the first zero pivot."""

    name = "linalg.ldl_factor"
    outputs = 3

    def forward(self, m: Any, input: Any, *, hermitian: bool) -> Any:
        return pivoted_ldl.factor(input, hermitian)


@op
class LdlSolve(Opaque):
    """X of A @ X = other from the factors of A."""

    name = "linalg.ldl_solve"

    def forward(self, m: Any, input: Any, pivots: Any, other: Any, *, hermitian: bool) -> Any:
        return pivoted_ldl.solve(input, pivots, other, hermitian)


def _ldl(A: Tensor, hermitian: bool, check: str) -> Any:
    check_square("torch.linalg.ldl_factor_ex", A)
    check_floating("torch.linalg.ldl_factor_ex", A, "ldl_factor_cpu")
    made = apply(LdlFactor, A, hermitian=hermitian)
    if check:
        check_info(check, made[2], "The diagonal element {info} of D is zero.")
    return made


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """L and D of symmetric or Hermitian matrices in one matrix, the swaps, and a report.

    A = P @ L @ D @ L^T @ P^T, where D has blocks of size 1 and 2: for LAPACK's and ldl_solve's
    use. hermitian: takes L^H for L^T. Only the lower triangle is read. Not differentiable.
    Raises: LinAlgError for a zero pivot, with check_errors.
    """
    made = _ldl(A, hermitian, "torch.linalg.ldl_factor_ex" if check_errors else "")
    return named.linalg_ldl_factor_ex(made)


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """L and D in one matrix, and the swaps; see ldl_factor_ex.

    Raises: LinAlgError for a zero pivot.
    """
    return named.linalg_ldl_factor(_ldl(A, hermitian, "torch.linalg.ldl_factor")[:2])


@public(out=True, namespaces=("linalg",))
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X of A @ X = B from the results of ldl_factor(A).

    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    name = "torch.linalg.ldl_solve"
    check_square(name, LD)
    check_floating(name, LD, "ldl_solve_cpu")
    if B._array.ndim < 2:
        raise ShapeError(f"{name}: Expected B to have at least 2 dimensions")
    check_older_pair(name, B, LD)
    if pivots._array.dtype.kind not in "iu":
        raise DtypeError(
            f"{name}: Expected pivots to be integers. Got {dtypes.cpp_name(pivots.dtype)}"
        )
    if pivots._array.shape != LD._array.shape[:-1]:
        raise ShapeError(
            f"{name}: Expected LD.shape[:-1] and pivots.shape to be the same, but got pivots with "
            f"shape {list(pivots._array.shape)} instead"
        )
    broadcast_batches(name, B._array.shape[:-2], LD._array.shape[:-2])
    return apply(LdlSolve, LD, pivots, B, hermitian=hermitian)
