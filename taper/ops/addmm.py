"""A product of matrices added to a summand: addmm, addmv, addbmm, baddbmm and addr."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arguments import narrowed, widened
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.ops.matmul import (
    Matmul,
    Mm,
    adjoint,
    c_name,
    check_bmm,
    outer,
    refuse_bool,
    unmatched,
    widened_factors,
)
from taper.tensor import Tensor


def _number(value: Any, like: np.ndarray) -> Any:
    """A factor such as alpha, cut to an integer for integer matrices, as PyTorch does."""
    return int(value) if like.dtype.kind in "iu" else value


class _ProductSum(Contraction):
    """beta * input + alpha * (mat1 @ mat2). The subclasses differ in the number of dimensions."""

    saves = ("input.shape", "mat1", "mat2")
    needed_for = {"mat1": "mat2", "mat2": "mat1"}

    def forward(self, m: Any, input: Any, mat1: Any, mat2: Any, *, beta: Any, alpha: Any) -> Any:
        made = m.matmul(widened(mat1), widened(mat2))
        if alpha != 1:
            made *= _number(alpha, made)
        if beta == 1:
            made += input
        elif beta != 0:  # with 0 even nan in the input does not count
            made += _number(beta, made) * widened(input)
        return narrowed(made, input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        mat1: Any,
        mat2: Any,
        *,
        beta: Any,
        alpha: Any,
        needs: Any,
    ) -> Any:
        to_input = to_mat1 = to_mat2 = None
        product_op = Mm if len(mat1.shape) == 2 else Matmul
        if needs[0]:
            to_input = m.sum_to(grad if beta == 1 else grad * conj_of(m, beta), tuple(input))
        if alpha != 1:
            grad = grad * conj_of(m, alpha)
        if needs[1]:
            to_mat1 = m.call(product_op, grad, adjoint(m, mat2))
        if needs[2]:
            to_mat2 = m.call(product_op, adjoint(m, mat1), grad)
        return to_input, to_mat1, to_mat2


@op
class Addmm(_ProductSum):
    """Of matrices."""

    node_name = "AddmmBackward0"


@op
class Baddbmm(_ProductSum):
    """Of batches of matrices."""

    node_name = "BaddbmmBackward0"


def _check_expands(input: Tensor, shape: tuple[int, ...]) -> None:
    """Raises: RuntimeError unless the summand broadcasts to the product."""
    own = input._array.shape
    if own == shape or own == shape[1:]:
        return
    if len(own) <= len(shape) and all(
        n in (1, k) for n, k in zip(own[::-1], shape[::-1], strict=False)
    ):
        return
    input.expand(shape)  # which says what does not fit


def _check_addmm(input: Tensor, mat1: Tensor, mat2: Tensor) -> None:
    a, b = mat1._array, mat2._array
    for name, x in (("mat1", a), ("mat2", b)):
        if x.ndim != 2:
            raise ShapeError("addmm", f"{name} must be a matrix, got {x.ndim}-D tensor")
    if a.shape[1] != b.shape[0]:
        raise ShapeError("addmm", unmatched(a.shape, b.shape))
    _check_expands(input, (a.shape[0], b.shape[1]))
    for name, one in (("self", input), ("mat1", mat1)):
        if one._array.dtype != b.dtype:
            raise DtypeError(
                "addmm",
                f"{name} and mat2 must have the same dtype, but got "
                f"{dtypes.cpp_name(one.dtype)} and {dtypes.cpp_name(mat2.dtype)}",
            )
    refuse_bool(mat1, "addmm_impl_cpu_")


@public(method=True, inplace=True, out=True)
def addmm(
    input: Tensor,
    mat1: Tensor,
    mat2: Tensor,
    out_dtype: dtypes.dtype | None = None,
    *,
    beta: Any = 1,
    alpha: Any = 1,
) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2). out_dtype: as in mm.

    Shape: mat1 (n, k), mat2 (k, m); input broadcasts to (n, m).
    Dtype: all of one. Edges: with beta 0, nan and inf in `input` do not matter.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    if out_dtype is not None:
        input, mat1, mat2 = widened_factors("addmm", out_dtype, input, mat1, mat2)
    a, b = mat1._array, mat2._array
    if (
        a.ndim != 2
        or b.ndim != 2
        or a.shape[1] != b.shape[0]
        or not input._array.dtype is a.dtype is b.dtype
        or a.dtype.kind == "b"
    ):
        _check_addmm(input, mat1, mat2)
    _check_expands(input, (a.shape[0], b.shape[1]))
    return apply(Addmm, input, mat1, mat2, beta=beta, alpha=alpha)


@public(method=True, inplace=True, out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec).

    Shape: mat (n, k), vec (k,); input (n,), (1,) or 0-d.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    x, a, v = input._array, mat._array, vec._array
    if a.ndim != 2 or v.ndim != 1 or x.ndim > 1:
        raise ShapeError(
            "addmv", f"vector + matrix @ vector expected, got {x.ndim}, {a.ndim}, {v.ndim}"
        )
    rows, columns = a.shape
    if columns != v.shape[0] or x.size not in (1, rows):
        raise ShapeError(
            "addmv",
            f"size mismatch, got input ({x.shape[0] if x.ndim else 1}), "
            f"mat ({rows}x{columns}), vec ({v.shape[0]})",
        )
    if not x.dtype == a.dtype == v.dtype:
        names = [dtypes.cpp_name(t.dtype) for t in (input, mat, vec)]
        raise DtypeError(
            "addmv",
            f"addmv input tensors must have the same dtype, but got {names[0]}, {names[1]}, "
            f"and {names[2]}",
        )
    refuse_bool(mat, "addmv_impl_cpu")
    column = input.reshape(-1, 1)
    made = apply(Addmm, column, mat, vec.unsqueeze(1), beta=beta, alpha=alpha)
    return made.squeeze(1)


@public(method=True, inplace=True, out=True)
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * (the sum of batch1[i] @ batch2[i]).

    Shape: batch1 (b, n, k), batch2 (b, k, m); input broadcasts to (n, m).
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    a, b = batch1._array.shape, batch2._array.shape
    for number, shape in ((1, a), (2, b)):
        if len(shape) != 3:
            raise ShapeError("addbmm", f"batch{number} must be a 3D tensor")
    if a[0] != b[0]:
        raise ShapeError(
            "addbmm",
            f"batch1 and batch2 must have same number of batches, got {a[0]} and {b[0]}",
        )
    if a[2] != b[1]:
        raise ShapeError(
            "addbmm", f"Incompatible matrix sizes for bmm ({a[1]}x{a[2]} and {b[1]}x{b[2]})"
        )
    # The sum over the batch is one more inner dimension.
    wide = batch1.permute(1, 0, 2).reshape(a[1], a[0] * a[2])
    return addmm(input, wide, batch2.reshape(b[0] * b[1], b[2]), beta=beta, alpha=alpha)


@public(method=True, inplace=True, out=True)
def baddbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    out_dtype: dtypes.dtype | None = None,
    *,
    beta: Any = 1,
    alpha: Any = 1,
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2), batch by batch. out_dtype: as in mm.

    Shape: batch1 (b, n, k), batch2 (b, k, m); input broadcasts to (b, n, m).
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    if out_dtype is not None:
        input, batch1, batch2 = widened_factors("baddbmm", out_dtype, input, batch1, batch2)
    check_bmm("baddbmm", batch1, batch2)
    if input._array.dtype != batch1._array.dtype:
        names = [c_name(t) for t in (input, batch1, batch2)]
        raise DtypeError(
            "baddbmm",
            f"Input dtypes must be the same, got: input {names[0]}, batch1: {names[1]}, "
            f"batch2: {names[2]}",
        )
    count, rows, _ = batch1._array.shape
    _check_expands(input, (count, rows, batch2._array.shape[2]))
    return apply(Baddbmm, input, batch1, batch2, beta=beta, alpha=alpha)


@public(method=True, inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2).

    Dtype: promoted among the three. Raises: RuntimeError where sizes do not fit.
    """
    for number, x in ((1, vec1), (2, vec2)):
        if x._array.ndim != 1:
            raise ShapeError(f"addr: Expected 1-D argument vec{number}, but got {x._array.ndim}-D")
    shape = (vec1._array.shape[0], vec2._array.shape[0])
    _check_expands(input, shape)
    wanted = dtypes.of_operands([input._array, vec1._array, vec2._array])
    if wanted.category < dtypes.FLOAT:
        for name, value in (("beta", beta), ("alpha", alpha)):
            if isinstance(value, float):
                raise DtypeError(
                    "addr",
                    f"For integral input tensors, argument {name} must not be a floating point "
                    "number.",
                )
    made = outer(vec1, vec2)
    if wanted is dtypes.bool_:
        made = made if alpha else made & False
        return made | input if beta else made
    if alpha != 1:
        made = alpha * made
    if beta == 0:
        return cast(made, wanted)
    return made + (input if beta == 1 else beta * input)
