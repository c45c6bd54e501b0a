"""Products of matrices and vectors: mm, bmm, mv, dot, and matmul, which picks among them.

Sums such as addmm, and products over named dimensions such as einsum, are in contract.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError, UnsupportedDtype
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.tensor import Tensor


def adjoint(m: Any, x: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    return m.swapaxes(conj_of(m, x), -1, -2)


def folded(m: Any, x: Any) -> Any:
    """All dimensions but the last as one."""
    return x if len(x.shape) == 2 else m.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


@op
class Mm(Contraction):
    """Matrix times matrix."""

    built_in = "matmul"
    node_name = "MmBackward0"
    saves = ("input", "mat2")
    needed_for = {"input": "mat2", "mat2": "input"}

    def forward(self, m: Any, input: Any, mat2: Any) -> Any:
        return m.matmul(input, mat2)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, mat2: Any, *, needs: Any) -> Any:
        return (
            m.call(Mm, grad, conj_of(m, mat2).T) if needs[0] else None,
            m.call(Mm, conj_of(m, input).T, grad) if needs[1] else None,
        )


class _Batched(Contraction):
    """Matrices times matrices, whose leading dimensions broadcast."""

    name = "matmul"
    saves = ("input", "other")
    needed_for = {"input": "other", "other": "input"}

    def forward(self, m: Any, input: Any, other: Any) -> Any:
        if other.ndim == 2:  # one tall product is faster than many small ones
            return m.matmul(folded(m, input), other).reshape(*input.shape[:-1], other.shape[1])
        return m.matmul(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        to_input = to_other = None
        if needs[0]:
            to_input = m.sum_to(m.call(Matmul, grad, adjoint(m, other)), tuple(input.shape))
        if needs[1]:
            if len(other.shape) == 2:
                to_other = m.call(Mm, conj_of(m, folded(m, input)).T, folded(m, grad))
            else:
                to_other = m.sum_to(m.call(Matmul, adjoint(m, input), grad), tuple(other.shape))
        return to_input, to_other


@op
class Matmul(_Batched):
    """Factors of which one at least has more than two dimensions."""

    node_name = "UnsafeViewBackward0"


@op
class Bmm(_Batched):
    """Two factors of three dimensions."""

    name = "bmm"
    node_name = "BmmBackward0"


@op
class Mv(Contraction):
    """Matrix times vector."""

    node_name = "MvBackward0"
    saves = ("input", "vec")
    needed_for = {"input": "vec", "vec": "input"}

    def forward(self, m: Any, input: Any, vec: Any) -> Any:
        return m.matmul(input, vec)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, vec: Any, *, needs: Any) -> Any:
        return (
            grad[:, None] * conj_of(m, vec) if needs[0] else None,
            m.call(Mv, conj_of(m, input).T, grad) if needs[1] else None,
        )


@op
class Dot(Contraction):
    """Vector times vector, neither conjugated."""

    node_name = "DotBackward0"
    saves = ("input", "other")
    needed_for = {"input": "other", "other": "input"}

    def forward(self, m: Any, input: Any, other: Any) -> Any:
        return m.matmul(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return (
            grad * conj_of(m, other) if needs[0] else None,
            grad * conj_of(m, input) if needs[1] else None,
        )


# ---------------------------------------------------------------- errors


def refuse_bool(x: Tensor, kernel: str) -> None:
    """Raises: NotImplementedError for truth values, which PyTorch does not multiply either."""
    if x._array.dtype.kind == "b":
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for 'Bool'")


def check_mm(name: str, one: Tensor, other: Tensor) -> None:
    """The errors for two matrices that cannot be multiplied."""
    a, b = one._array, other._array
    if a.ndim != 2:
        raise ShapeError(name, "self must be a matrix")
    if b.ndim != 2:
        raise ShapeError(name, "mat2 must be a matrix")
    if a.shape[1] != b.shape[0]:
        raise ShapeError(name, unmatched(a.shape, b.shape))
    if a.dtype != b.dtype:
        raise DtypeError(name, _unlike(one, other))
    refuse_bool(one, "addmm_impl_cpu_")


def unmatched(a: tuple[int, ...], b: tuple[int, ...]) -> str:
    """PyTorch's words for matrices whose inner sizes differ."""
    return f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})"


def c_name(x: Tensor) -> str:
    """The dtype as C++ calls it, for PyTorch's error texts."""
    return dtypes.c_name(x.dtype)


def _unlike(one: Tensor, other: Tensor) -> str:
    return f"expected m1 and m2 to have the same dtype, but got: {c_name(one)} != {c_name(other)}"


def _check_same(name: str, one: Tensor, other: Tensor, kernel: str = "bmm") -> None:
    """Raises: RuntimeError for batches of different dtypes."""
    if one._array.dtype != other._array.dtype:
        raise DtypeError(
            name,
            f"expected scalar type {dtypes.cpp_name(one.dtype)} "
            f"but found {dtypes.cpp_name(other.dtype)}",
        )
    refuse_bool(one, kernel)


def widened_factors(name: str, out_dtype: dtypes.dtype, *factors: Tensor) -> list[Tensor]:
    """The factors in the dtype asked of the product, which may be float32 for the half types.

    Raises: RuntimeError for another dtype.
    """
    own = factors[-1].dtype
    half = own in (dtypes.float16, dtypes.bfloat16) and out_dtype is dtypes.float32
    if out_dtype is not own and not half:
        raise DtypeError(
            name, "out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs"
        )
    return [cast(x, out_dtype) for x in factors]


def check_bmm(name: str, one: Tensor, other: Tensor) -> None:
    """The errors for two batches of matrices that cannot be multiplied."""
    a, b = one._array.shape, other._array.shape
    for number, shape in ((1, a), (2, b)):
        if len(shape) != 3:
            raise ShapeError(name, f"batch{number} must be a 3D tensor")
    if a[0] != b[0] or a[2] != b[1]:
        raise ShapeError(name, _batch_words(a[0], a[2], b[0], b[1]))
    _check_same(name, one, other, name)


def _batch_words(count: int, inner: int, found: int, rows: int) -> str:
    return (
        "Expected size for first two dimensions of batch2 tensor to be: "
        f"[{count}, {inner}] but got: [{found}, {rows}]."
    )


def _check_mv(input: Tensor, vec: Tensor) -> None:
    a, v = input._array, vec._array
    if a.ndim != 2 or v.ndim != 1:
        got = f"1, {a.ndim}, {v.ndim}"
        raise ShapeError("mv", f"vector + matrix @ vector expected, got {got}")
    if a.shape[1] != v.shape[0]:
        rows, columns = a.shape
        raise ShapeError(
            "mv",
            f"size mismatch, got input ({rows}), mat ({rows}x{columns}), vec ({v.shape[0]})",
        )
    if a.dtype != v.dtype:
        one, other = dtypes.cpp_name(input.dtype), dtypes.cpp_name(vec.dtype)
        raise DtypeError(
            "mv",
            f"addmv input tensors must have the same dtype, but got {other}, {one}, and {other}",
        )
    refuse_bool(input, "addmv_impl_cpu")


def _check_dot(name: str, one: Tensor, other: Tensor) -> None:
    a, b = one._array, other._array
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(name, f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise DtypeError(
            name,
            "dot : expected both vectors to have same dtype, but found "
            f"{dtypes.cpp_name(one.dtype)} and {dtypes.cpp_name(other.dtype)}",
        )
    if a.shape != b.shape:
        raise ShapeError(
            name,
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have "
            f"the same number of elements, but got {a.size} and {b.size} elements respectively",
        )
    refuse_bool(one, name)


def broadcast_batches(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that two batches broadcast to. Raises: RuntimeError, naming the dimension."""
    made = list(a if len(a) >= len(b) else b)
    for back in range(1, min(len(a), len(b)) + 1):
        one, other = a[-back], b[-back]
        if one != other and 1 not in (one, other):
            raise ShapeError(
                name,
                f"The size of tensor a ({one}) must match the size of tensor b ({other}) at "
                f"non-singleton dimension {len(made) - back}",
            )
        made[-back] = other if one == 1 else one
    return tuple(made)


def _check_matmul(input: Tensor, other: Tensor) -> None:
    """Errors of factors that both have two dimensions or more, one of them more than two."""
    a, b = input._array.shape, other._array.shape
    if len(b) == 2:
        if a[-1] != b[0]:
            raise ShapeError("matmul", unmatched((prod(a[:-1]), a[-1]), b))
        if input._array.dtype != other._array.dtype:
            raise DtypeError("matmul", _unlike(input, other))
        refuse_bool(input, "addmm_impl_cpu_")
        return
    count = prod(broadcast_batches("matmul", a[:-2], b[:-2]))
    if a[-1] != b[-2]:
        raise ShapeError("matmul", _batch_words(count, a[-1], count, b[-2]))
    _check_same("matmul", input, other)


# ---------------------------------------------------------------- public functions


@public(method=True, out=True)
def mm(input: Tensor, mat2: Tensor, out_dtype: dtypes.dtype | None = None) -> Tensor:
    """The product of two matrices, (n, k) @ (k, m). No broadcasting.

    Dtype: both of one; float16 and bfloat16 are summed in float32, and with out_dtype=float32 the
        result is not rounded back.
    Raises: RuntimeError if the inner sizes differ or a factor is not a matrix.
    """
    if out_dtype is not None:
        input, mat2 = widened_factors("mm", out_dtype, input, mat2)
    a, b = input._array, mat2._array
    if (
        a.ndim != 2
        or b.ndim != 2
        or a.shape[1] != b.shape[0]
        or a.dtype is not b.dtype
        or a.dtype.kind == "b"
    ):
        check_mm("mm", input, mat2)
    return apply(Mm, input, mat2)


@public(method=True, out=True)
def bmm(input: Tensor, mat2: Tensor, out_dtype: dtypes.dtype | None = None) -> Tensor:
    """Batches of products, (b, n, k) @ (b, k, m). out_dtype: as in mm.

    Raises: RuntimeError if sizes or dtypes differ or a factor has not three dimensions.
    """
    if out_dtype is not None:
        input, mat2 = widened_factors("bmm", out_dtype, input, mat2)
    check_bmm("bmm", input, mat2)
    return apply(Bmm, input, mat2)


@public(method=True, out=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector, (n, k) @ (k,). Raises: RuntimeError where they do not fit."""
    _check_mv(input, vec)
    return apply(Mv, input, vec)


@public(method=True, out=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements; complex ones are not conjugated."""
    _check_dot("dot", input, tensor)
    return apply(Dot, input, tensor)


@public(method=True, out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The inner product of two vectors: `input` is conjugated."""
    _check_dot("vdot", input, other)
    return apply(Dot, input.conj(), other)


@public(method=True, out=True)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The matrix of all products of two vectors' elements, (n,) and (m,) to (n, m).

    Raises: RuntimeError if one is not a vector.
    """
    for who, x in (("self", input), ("vec2", vec2)):
        if x._array.ndim != 1:
            raise ShapeError(f"outer: Expected 1-D argument {who}, but got {x._array.ndim}-D")
    return input.unsqueeze(1) * vec2


@public(method=True, out=True)
def ger(input: Tensor, vec2: Tensor) -> Tensor:
    """Another name of outer."""
    return outer(input, vec2)


@public(method=True, out=True, namespaces=("torch", "linalg"))
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product with numpy's rules: vectors are rows or columns, batches broadcast.

    Dtype: both of one; float16 and bfloat16 are summed in float32.
    Raises: RuntimeError if the inner sizes differ or a factor is 0-d.
    """
    a, b = input._array, other._array
    rank, other_rank = a.ndim, b.ndim
    if rank == 2 and other_rank == 2:
        if a.shape[1] != b.shape[0] or a.dtype is not b.dtype or a.dtype.kind == "b":
            check_mm("matmul", input, other)
        return apply(Mm, input, other)
    if rank >= 2 and other_rank >= 2:
        _check_matmul(input, other)
        return apply(Matmul, input, other)
    if not rank or not other_rank:
        raise ShapeError(
            "matmul",
            "both arguments to matmul need to be at least 1D, but they are "
            f"{rank}D and {other_rank}D",
        )
    if rank == 1:
        return dot(input, other) if other_rank == 1 else matmul(input[None], other).squeeze(-2)
    if rank == 2:
        return mv(input, other)
    return mv(input.reshape(prod(a.shape[:-1]), a.shape[-1]), other).reshape(a.shape[:-1])


def _operator(self: Tensor, other: Any) -> Any:
    return matmul(self, other) if isinstance(other, Tensor) else NotImplemented


def _swapped(self: Tensor, other: Any) -> Any:
    return matmul(other, self) if isinstance(other, Tensor) else NotImplemented


Tensor.__matmul__ = _operator  # type: ignore[operator]
Tensor.__rmatmul__ = _swapped  # type: ignore[attr-defined]
