"""Linear equations: solve, inverses, determinants, triangular systems, pseudo-inverse, lstsq.

Every op takes batches of matrices. Where a matrix may be singular, the op reports it in a second
output and the public function raises.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper import dtypes
from taper import return_types as named
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops import elimination
from taper.ops.arithmetic import conj_of
from taper.ops.choose import where
from taper.ops.convert import cast
from taper.ops.matmul import adjoint, broadcast_batches
from taper.ops.matrix_checks import (
    check_floating,
    check_info,
    check_matrices,
    check_pair,
    check_same_dtype,
    check_square,
    refuse_not_lapack,
    spelled,
)
from taper.shapes import canonical_dim
from taper.tensor import Tensor

SINGULAR = "The solver failed because the input matrix is singular."
NOT_INVERTIBLE = (
    "The diagonal element {info} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)


def _no_report(a: np.ndarray) -> np.ndarray:
    return np.zeros(a.shape[:-2], np.int32)


@op
class Solve(Opaque):
    """X of input @ X = other, and the number of the first zero pivot of each matrix."""

    name = "linalg.solve"
    node_name = "LinalgSolveExBackward0"
    saves = ("input", "other.shape", "out")
    outputs = 2
    differentiable = (True, False)

    def forward(self, m: Any, input: Any, other: Any) -> Any:
        try:
            return np.linalg.solve(input, other), _no_report(input)
        except np.linalg.LinAlgError:
            lu, pivots, info = elimination.lu_factor(input)
            order = elimination.permutation(pivots, input.shape[-1])
            batch = np.broadcast_shapes(input.shape[:-2], other.shape[:-2])
            moved = np.broadcast_to(other, batch + other.shape[-2:])
            order = np.broadcast_to(order, (*batch, order.shape[-1]))
            moved = np.take_along_axis(moved, order[..., None], -2)
            lower = elimination.solve_triangular(lu, moved, upper=False, unit=True)
            return elimination.solve_triangular(lu, lower, upper=True, unit=False), info

    def vjp(self, m: Any, grads: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        to_other, _ = m.call(Solve, adjoint(m, input), grads[0])
        to_input = None
        if needs[0]:
            to_input = m.sum_to(-m.matmul(to_other, adjoint(m, out[0])), tuple(input.shape))
        return to_input, m.sum_to(to_other, tuple(other)) if needs[1] else None


@op
class Inv(Opaque):
    """The inverse, and the number of the first zero pivot of each matrix."""

    name = "linalg.inv"
    node_name = "LinalgInvExBackward0"
    saves = ("out",)
    outputs = 2
    differentiable = (True, False)

    def forward(self, m: Any, input: Any) -> Any:
        try:
            return np.linalg.inv(input), _no_report(input)
        except np.linalg.LinAlgError:
            return Solve.run(m, input, np.eye(input.shape[-1], dtype=input.dtype))

    def vjp(self, m: Any, grads: Any, out: Any, input: Any) -> Any:
        turned = adjoint(m, out[0])
        return -m.matmul(m.matmul(turned, grads[0]), turned)


@op
class SolveTriangular(Opaque):
    """X of input @ X = other, where one triangle of `input` counts."""

    name = "linalg.solve_triangular"
    node_name = "LinalgSolveTriangularBackward0"
    saves = ("input", "other.shape", "out")

    def forward(self, m: Any, input: Any, other: Any, *, upper: bool, unit: bool) -> Any:
        return elimination.solve_triangular(input, other, upper=upper, unit=unit)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        other: Any,
        *,
        upper: bool,
        unit: bool,
        needs: Any,
    ) -> Any:
        to_other = m.call(SolveTriangular, adjoint(m, input), grad, upper=not upper, unit=unit)
        to_input = None
        if needs[0]:
            whole = m.sum_to(-m.matmul(to_other, adjoint(m, out)), tuple(input.shape))
            to_input = m.triu(whole, int(unit)) if upper else m.tril(whole, -int(unit))
        return to_input, m.sum_to(to_other, tuple(other)) if needs[1] else None


def solve_lower(m: Any, a: Any, b: Any) -> Any:
    """X of a @ X = b for a lower triangular `a`, inside a derivative."""
    return m.call(SolveTriangular, a, b, upper=False, unit=False)


def solve_upper(m: Any, a: Any, b: Any) -> Any:
    """X of a @ X = b for an upper triangular `a`, inside a derivative."""
    return m.call(SolveTriangular, a, b, upper=True, unit=False)


# ---------------------------------------------------------------- determinants


def _scaled_identity(m: Any, scale: Any, n: int) -> Any:
    return m.where(np.eye(n, dtype=bool), scale[..., None, None], 0)


def _cofactors(m: Any, input: Any) -> Any:
    """det(A) * A^-H also where A is singular: the product of the other singular values takes the
    place of det / s, which would be 0 / 0.
    """
    from taper.ops.decompose import Svd

    u, s, vh = m.call(Svd, input, full=False)
    others = m.prod(m.where(np.eye(s.shape[-1], dtype=bool), 1, s[..., None, :]), -1)
    turn = conj_of(m, m.call(Det, u) * m.call(Det, vh))
    return turn[..., None, None] * m.matmul(u * others[..., None, :], vh)


@op
class Det(Opaque):
    """The determinant."""

    name = "linalg.det"
    node_name = "LinalgDetBackward0"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any) -> Any:
        return np.asarray(np.linalg.det(input), input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        values = getattr(out, "_array", out)
        if not values.all():
            return grad[..., None, None] * _cofactors(m, input)
        scaled = _scaled_identity(m, grad * conj_of(m, out), input.shape[-1])
        return m.call(Solve, adjoint(m, input), scaled)[0]


@op
class Slogdet(Opaque):
    """The determinant as its sign (or phase) and the logarithm of its size."""

    name = "linalg.slogdet"
    node_name = "LinalgSlogdetBackward0"
    saves = ("input", "out")
    outputs = 2

    def forward(self, m: Any, input: Any) -> Any:
        sign, size = np.linalg.slogdet(input)
        real = input.real.dtype
        return np.asarray(sign, input.dtype), np.asarray(size, real)

    def vjp(self, m: Any, grads: Any, out: Any, input: Any) -> Any:
        to_sign, scale = grads
        array = getattr(input, "_array", input)
        if to_sign is not None and array.dtype.kind == "c":
            turn = m.asarray(m.imag(conj_of(m, to_sign) * out[0])) * -1j
            scale = turn if scale is None else scale + turn
        elif scale is None:
            return None  # the sign of a real determinant is constant
        scaled = _scaled_identity(m, scale, input.shape[-1])
        return m.call(Solve, adjoint(m, input), m.astype(scaled, array.dtype))[0]


@public(out=True, namespaces=("linalg",))
def det(A: Tensor) -> Tensor:
    """The determinant of square matrices.

    Shape: (*, n, n) to (*). Dtype: float32, float64 and complex.
    Edges: the gradient is exact for singular matrices too.
    """
    check_square("linalg.det", A)
    check_floating("linalg.det", A, "lu_cpu")
    return apply(Det, A)


@public(method=True, name="det")
def torch_det(input: Tensor) -> Tensor:
    """The determinant of square matrices; linalg.det under its older name."""
    return det(input)


@public(out=True, namespaces=("linalg",))
def slogdet(A: Tensor) -> Any:
    """The sign (for complex matrices the phase) of the determinant, and the logarithm of its size.

    Edges: a singular matrix gives 0 and -inf.
    """
    check_square("linalg.slogdet", A)
    check_floating("linalg.slogdet", A, "lu_cpu")
    return named.linalg_slogdet(apply(Slogdet, A))


@public(method=True, out=True, name="slogdet")
def torch_slogdet(input: Tensor) -> Any:
    """linalg.slogdet under its older name."""
    return named.slogdet(slogdet(input))


@public(method=True)
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: nan for a negative one, -inf for zero."""
    check_square("logdet", input)
    check_floating("logdet", input, "lu_cpu")
    sign, size = apply(Slogdet, input)
    if input._array.dtype.kind == "c":
        return sign.log() + size
    return where(sign == -1.0, float("nan"), size)


# ---------------------------------------------------------------- inverses


@public(out=True, namespaces=("linalg",))
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and an int32 report: 0, or the number of the first zero pivot.

    Raises: LinAlgError for a singular matrix, with check_errors.
    """
    return _inverse("linalg.inv_ex", A, check_errors)


def _inverse(name: str, A: Tensor, check_errors: bool) -> Any:
    check_square("linalg.inv", A)
    check_floating("linalg.inv", A)
    made, info = apply(Inv, A)
    if check_errors:
        check_info(name, info, NOT_INVERTIBLE)
    return named.linalg_inv_ex((made, info))


@public(out=True, namespaces=("linalg",))
def inv(A: Tensor) -> Tensor:
    """The inverse of square matrices.

    Raises: LinAlgError for a singular matrix.
    """
    return _inverse("linalg.inv", A, True)[0]


@public(method=True, out=True)
def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices; linalg.inv under its older name."""
    return inv(input)


# ---------------------------------------------------------------- systems


@public(out=True, namespaces=("linalg",))
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """X of A @ X = B, and an int32 report: 0, or the number of the first zero pivot.

    left: False solves X @ A = B. Raises: LinAlgError for a singular matrix, with check_errors.
    """
    made = _solved(A, B, left)
    if check_errors:
        check_info("torch.linalg.solve_ex", made[1], SINGULAR)
    return named.linalg_solve_ex(made)


@public(out=True, namespaces=("linalg",))
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X of A @ X = B, or of X @ A = B with left=False.

    Shape: A (*, n, n); B (*, n, k), or (*, n) vectors with exactly A's batch. Batches broadcast.
    Raises: LinAlgError for a singular matrix, RuntimeError where sizes or dtypes do not fit.
    """
    made, info = _solved(A, B, left)
    check_info("torch.linalg.solve", info, SINGULAR)
    return made


def _solved(A: Tensor, B: Tensor, left: bool) -> tuple[Tensor, Tensor]:
    name = "linalg.solve"
    check_square(name, A)
    check_floating(name, A, "lu_cpu")
    check_same_dtype(name, A, B)
    vector = B._array.ndim == 1 or (
        B._array.ndim == A._array.ndim - 1 and B._array.shape == A._array.shape[:-1]
    )
    if vector:
        B = B.unsqueeze(-1)
    check_pair(name, A, B, left or vector)
    broadcast_batches(name, B._array.shape[:-2], A._array.shape[:-2])
    if left or vector:
        # For a vector the side does not change the shape, only the equation.
        made, info = apply(Solve, A if left else A.mT, B)
    else:
        made, info = apply(Solve, A.mT, B.mT)
        made = made.mT
    return (made.squeeze(-1) if vector else made), info


@public(out=True, namespaces=("linalg",))
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X of A @ X = B (X @ A = B with left=False), where A is triangular.

    The other triangle is not read; with `unitriangular`, the diagonal counts as ones.
    Shape: A (*, n, n), B (*, n, k). Batches broadcast.
    Edges: zeros on the diagonal give inf and nan. Raises: RuntimeError where sizes do not fit.
    """
    name = "linalg.solve_triangular"
    check_square(name, A)
    check_matrices(name, B, "B")
    refuse_not_lapack(A, "triangular_solve_cpu")
    wanted = dtypes.of_operands([A._array, B._array])
    check_pair(name, cast(A, wanted), cast(B, wanted), left)
    broadcast_batches(name, B._array.shape[:-2], A._array.shape[:-2])
    return _triangular(cast(A, wanted), cast(B, wanted), upper, left, unitriangular)


def _triangular(A: Tensor, B: Tensor, upper: bool, left: bool, unit: bool) -> Tensor:
    if left:
        return apply(SolveTriangular, A, B, upper=upper, unit=unit)
    return apply(SolveTriangular, A.mT, B.mT, upper=not upper, unit=unit).mT


def check_older_pair(name: str, b: Tensor, A: Tensor) -> None:
    """The errors that triangular_solve and cholesky_solve share."""
    n, k = A._array.shape[-2:]
    if n != k:
        raise ShapeError(f"A must be batches of square matrices, but they are {n} by {k} matrices")
    if b._array.dtype != A._array.dtype:
        raise DtypeError(
            f"Expected b and A to have the same dtype, but found b of type "
            f"{dtypes.cpp_name(b.dtype)} and A of type {dtypes.cpp_name(A.dtype)} instead."
        )
    rows, columns = b._array.shape[-2:]
    if rows != n:
        raise ShapeError(
            f"Incompatible matrix sizes for {name}: each A matrix is {n} by {n} but each b "
            f"matrix is {rows} by {columns}"
        )


@public(method=True, out=True)
@spelled(input="b")
def triangular_solve(
    b: Tensor,
    A: Tensor,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """X of A @ X = b for a triangular A, and A itself; linalg.solve_triangular is newer."""
    if b._array.ndim < 2:
        raise ShapeError(
            "torch.triangular_solve: Expected b to have at least 2 dimensions, but it has "
            f"{b._array.ndim} dimensions instead"
        )
    if A._array.ndim < 2:
        raise ShapeError(
            "torch.triangular_solve: Expected A to have at least 2 dimensions, but it has "
            f"{A._array.ndim} dimensions instead"
        )
    check_older_pair("triangular_solve", b, A)
    refuse_not_lapack(A, "triangular_solve_cpu")
    batch = broadcast_batches("triangular_solve", b._array.shape[:-2], A._array.shape[:-2])
    factor = A.mT if transpose else A
    made = apply(SolveTriangular, factor, b, upper=upper != transpose, unit=unitriangular)
    return named.triangular_solve((made, A.expand(*batch, *A._array.shape[-2:]).clone()))


# ---------------------------------------------------------------- tensors as matrices


@public(out=True, namespaces=("linalg",))
@spelled(input="A")
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse for tensordot over the first `ind` dimensions.

    Raises: RuntimeError unless the sizes before and after `ind` have equal products.
    """
    if ind <= 0:
        raise ShapeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    shape = A._array.shape
    before, after = prod(shape[:ind]), prod(shape[ind:])
    if before != after:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {after} != {before}"
        )
    made, info = apply(Inv, A.reshape(before, after))
    check_info("inv", info, NOT_INVERTIBLE)
    return made.reshape(*shape[ind:], *shape[:ind])


@public(out=True, namespaces=("linalg",))
@spelled(input="A", other="B")
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X of tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first.

    Raises: RuntimeError unless A's sizes fit B's.
    """
    if dims is not None:
        places = [canonical_dim(d, A._array.ndim) for d in dims]
        A = A.movedim(places, tuple(range(-len(places), 0)))
    shape = A._array.shape[B._array.ndim :]
    unknowns, equations = prod(shape), prod(A._array.shape[: B._array.ndim])
    if unknowns != equations:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {unknowns} != {equations}"
        )
    return solve(A.reshape(unknowns, unknowns), B.reshape(unknowns)).reshape(shape)
