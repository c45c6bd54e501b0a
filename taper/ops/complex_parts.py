"""Complex numbers and their real and imaginary parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, look, write_out
from taper.errors import MissingFeature
from taper.op import View, op, public
from taper.ops.arguments import require_tensor
from taper.storage import memory_of
from taper.tensor import Tensor, wrap


@op
class RealPart(View):
    """The real parts of a complex tensor."""

    name = "real"
    node_name = "RealBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        return input.real

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(ToComplex, grad)


@op
class ImagPart(View):
    """The imaginary parts of a complex tensor."""

    name = "imag"
    node_name = "ImagBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        return input.imag

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(ToComplex, grad) * 1j


@op
class ToComplex(View):
    """A real tensor as a complex one."""

    view = False

    def forward(self, m: Any, input: Any) -> Any:
        return input.astype(np.complex128 if input.dtype == np.float64 else np.complex64)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.real(grad)


@op
class ViewAsReal(View):
    """A complex tensor as a real one with a last dimension of 2."""

    name = "view_as_real"
    node_name = "ViewAsRealBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        part = input.real
        return np.lib.stride_tricks.as_strided(
            part, (*part.shape, 2), (*part.strides, part.itemsize)
        )

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(JoinComplex, grad[..., 0], grad[..., 1])


@op
class ViewAsComplex(View):
    """A real tensor with a last dimension of 2 as a complex one."""

    name = "view_as_complex"
    node_name = "ViewAsComplexBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        _even_strides(input)
        wide = np.dtype(np.complex128 if input.dtype == np.float64 else np.complex64)
        flat = memory_of(input)
        whole = flat[: flat.size // 2 * 2].view(wide)
        return np.lib.stride_tricks.as_strided(whole, input.shape[:-1], input.strides[:-1])

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.stack([m.real(grad), m.imag(grad)], -1)


def _even_strides(array: np.ndarray) -> None:
    """The errors for memory that does not hold real and imaginary parts side by side."""
    steps = [s // array.itemsize for s in array.strides]
    if array.shape[-1] > 1 and steps[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s, n in zip(steps[:-1], array.shape[:-1], strict=True) if n > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")


@op
class JoinComplex(View):
    """real + 1j * imag."""

    name = "complex"
    node_name = "ComplexBackward0"
    view = False

    def forward(self, m: Any, real: Any, imag: Any) -> Any:
        real, imag = np.broadcast_arrays(real, imag)
        made = np.empty(real.shape, np.complex128 if real.dtype == np.float64 else np.complex64)
        made.real, made.imag = real, imag
        return made

    saves = ("real.shape", "imag.shape")

    def vjp(self, m: Any, grad: Any, out: Any, real: Any, imag: Any) -> Any:
        return m.sum_to(m.real(grad), real), m.sum_to(m.imag(grad), imag)


# ---------------------------------------------------------------- the functions


@public(method=True)
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as a real one whose last dimension holds real and imaginary part."""
    if input._array.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return look(ViewAsReal, input)


@public(method=True)
def view_as_complex(input: Tensor) -> Tensor:
    """A real tensor whose last dimension has size 2 as a complex one."""
    array = input._array
    if array.dtype == np.float16:
        raise MissingFeature("view_as_complex", "complex32 is not available; use float32")
    if array.dtype.kind != "f":
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, "
            f"but got a tensor of scalar type: {input.dtype.name}"
        )
    if array.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if array.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    _even_strides(array)
    return look(ViewAsComplex, input)


@public()
def real(input: Tensor) -> Tensor:
    """The real parts: a view of a complex tensor, a real one as it is."""
    return look(RealPart, input) if input._array.dtype.kind == "c" else input


@public()
def imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view. Raises: RuntimeError for real tensors."""
    if input._array.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return look(ImagPart, input)


@public()
def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + 1j * imag from two float tensors of one dtype."""
    require_tensor("complex", "real", 1, real)
    require_tensor("complex", "imag", 2, imag)
    names = [dtypes.cpp_name(x.dtype) for x in (real, imag)]
    if any(x._array.dtype.kind != "f" for x in (real, imag)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {names[0]} and "
            f"{names[1]}"
        )
    if names[0] == names[1] == "Half":
        raise MissingFeature("complex", "complex32 is not available; use float32")
    if names[0] != names[1]:
        raise RuntimeError(
            f"Expected object of scalar type {names[0]} but got scalar type {names[1]} for second "
            "argument"
        )
    made = apply(JoinComplex, real, imag)
    if out is None:
        return made
    if out.dtype is not made.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {dtypes.cpp_name(made.dtype)} but got scalar type "
            f"{dtypes.cpp_name(out.dtype)} for argument 'out'"
        )
    return write_out("complex", lambda *_: made, (real, imag), {}, out)


def _set_part(name: str) -> Any:
    def setter(self: Tensor, value: Any) -> None:
        part = real(self) if name == "real" else imag(self)
        part.copy_(value if isinstance(value, Tensor) else wrap(np.asarray(value)))

    return setter


Tensor.real = property(real, _set_part("real"))  # type: ignore[attr-defined]
Tensor.imag = property(imag, _set_part("imag"))  # type: ignore[attr-defined]
