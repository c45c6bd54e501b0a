"""Activations made of straight lines: relu and its kin, shrinkage, hard sigmoid.

The curved ones are in smooth_activation.py, those along a dimension in softmax.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.autograd.node import next_number
from taper.dispatch import apply, assign
from taper.dtypes import cpp_name, finfo
from taper.errors import DtypeError, ShapeError, UnsupportedDtype
from taper.op import Elementwise, Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.tensor import Tensor, wrap


def overwrite(name: str, kind: Any, input: Tensor, *others: Any, **attrs: Any) -> Tensor:
    """`input`, overwritten with the op's result: what `inplace=True` asks for."""
    since = next_number()
    return assign(input, apply(kind, input, *others, **attrs), name, since)


# ---------------------------------------------------------------- what the derivatives share


@op
class ZeroInside(Opaque):
    """grad, but 0 where low <= input <= high; a nan of the input lets the gradient pass."""

    elements = True
    node_name = "ThresholdBackwardBackward0"
    saves = ("input",)

    def forward(self, m: Any, grad: Any, input: Any, *, low: float, high: float) -> Any:
        inside = input <= high
        if low != -np.inf:
            inside = inside & (input >= low)
        return m.kept(grad, ~inside)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        g: Any,
        input: Any,
        *,
        low: float,
        high: float,
        needs: Any,
    ) -> Any:
        again = m.call(ZeroInside, grad, input, low=low, high=high)
        return again, m.zeros_like(grad) if needs[1] else None


@op
class ZeroOutside(Opaque):
    """grad, but 0 where input <= low or input >= high; a nan lets the gradient pass."""

    elements = True
    node_name = "HardtanhBackwardBackward0"
    saves = ("input",)

    def forward(self, m: Any, grad: Any, input: Any, *, low: float, high: float) -> Any:
        return m.kept(grad, ~((input <= low) | (input >= high)))

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        g: Any,
        input: Any,
        *,
        low: float,
        high: float,
        needs: Any,
    ) -> Any:
        again = m.call(ZeroOutside, grad, input, low=low, high=high)
        return again, m.zeros_like(grad) if needs[1] else None


# ---------------------------------------------------------------- relu and threshold


@op
class Relu(Elementwise):
    """max(input, 0)."""

    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        # In this order numpy keeps the sign of a negative zero, as PyTorch does.
        return m.maximum(0, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(ZeroInside, grad, out, low=-np.inf, high=0.0)


@op
class Threshold(Elementwise):
    """input where it exceeds `threshold`, else `value`."""

    saves = ("input",)

    def formula(self, m: Any, input: Any, *, threshold: Any, value: Any) -> Any:
        limit = input.dtype.type
        return m.where(input <= limit(threshold), limit(value), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, threshold: float, value: float
    ) -> Any:
        return m.call(ZeroInside, grad, input, low=-np.inf, high=threshold)


def _check_relu(input: Any) -> None:
    kind = input._array.dtype.kind
    if kind == "b":
        raise DtypeError("relu", "Boolean inputs not supported for relu")
    if kind == "c":
        raise UnsupportedDtype("clamp is not supported for complex types")


@public(method=True, inplace=True)
def relu(input: Tensor) -> Tensor:
    """max(input, 0), elementwise; the derivative at 0 is 0, and nan stays nan.

    Raises: RuntimeError for bool, NotImplementedError for complex numbers.
    """
    if input._array.dtype.kind in "bc":
        _check_relu(input)
    return apply(Relu, input)


@public(namespaces=("nn.functional",), name="relu")
def relu_layer(input: Tensor, inplace: bool = False) -> Tensor:
    """max(input, 0), elementwise; the derivative at 0 is 0, and nan stays nan."""
    if input._array.dtype.kind in "bc":
        _check_relu(input)
    if inplace:
        return overwrite("relu_", Relu, input)
    return apply(Relu, input)


@public(namespaces=("nn.functional",))
def relu_(input: Tensor) -> Tensor:
    """relu in place."""
    return relu_layer(input, inplace=True)


@public(namespaces=("torch", "nn.functional"))
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """input where it exceeds `threshold`, else `value`. Raises: NotImplementedError for bool."""
    refuse(input, "bc", "threshold_cpu")
    if inplace:
        return overwrite("threshold_", Threshold, input, threshold=threshold, value=value)
    return apply(Threshold, input, threshold=threshold, value=value)


@public(namespaces=("torch", "nn.functional"))
def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """threshold in place."""
    refuse(input, "bc", "threshold_cpu")
    return overwrite("threshold_", Threshold, input, threshold=threshold, value=value)


# ---------------------------------------------------------------- hardtanh


@op
class Hardtanh(Elementwise):
    """input kept between low and high."""

    saves = ("input",)

    def formula(self, m: Any, input: Any, *, low: Any, high: Any) -> Any:
        limit = input.dtype.type  # a Python number would widen bfloat16
        return m.minimum(m.maximum(input, limit(low)), limit(high))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, low: float, high: float) -> Any:
        return m.call(ZeroOutside, grad, input, low=low, high=high)


def _check_hardtanh(input: Tensor, low: float, high: float) -> None:
    if low > high:
        raise ValueError("min_val cannot be greater than max_val")
    kind = input._array.dtype.kind
    if kind == "b":
        raise DtypeError("hardtanh", "Bool inputs not supported for hardtanh")
    if kind == "u" and low < 0:
        raise DtypeError("hardtanh", "cannot do hardtanh on an unsigned type with negative limits")
    if kind == "c":
        raise UnsupportedDtype("clamp is not supported for complex types")


@public(namespaces=("nn.functional",))
def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """input kept between min_val and max_val; the derivative outside and at the ends is 0.

    Raises: ValueError if min_val exceeds max_val, RuntimeError for bool, or for unsigned integers
        with a negative limit.
    """
    _check_hardtanh(input, min_val, max_val)
    if inplace:
        return overwrite("hardtanh_", Hardtanh, input, low=min_val, high=max_val)
    return apply(Hardtanh, input, low=min_val, high=max_val)


@public(namespaces=("nn.functional",))
def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """hardtanh in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


@public(namespaces=("nn.functional",))
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6), elementwise."""
    return hardtanh(input, 0.0, 6.0, inplace)


# ---------------------------------------------------------------- hard sigmoid and swish


@op
class Hardsigmoid(Elementwise):
    """relu6(input + 3) / 6."""

    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(m.minimum(m.maximum(x + 3, 0), 6) / 6, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.where((input > -3) & (input < 3), grad / 6, 0)


@op
class Hardswish(Elementwise):
    """input * relu6(input + 3) / 6."""

    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(x * m.minimum(m.maximum(x + 3, 0), 6) / 6, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        between = m.where(input < 3, grad * (input / 3 + 0.5), grad)
        return m.where(input <= -3, 0, between)


@public(namespaces=("nn.functional",))
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(input + 3) / 6, elementwise. Raises: NotImplementedError unless input is floating."""
    refuse(input, "ciub", "hardsigmoid_cpu")
    if inplace:
        return overwrite("hardsigmoid_", Hardsigmoid, input)
    return apply(Hardsigmoid, input)


@public(namespaces=("nn.functional",))
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * relu6(input + 3) / 6, elementwise.

    Raises: NotImplementedError unless input is floating.
    Source: Howard et al., Searching for MobileNetV3, 2019.
    """
    refuse(input, "ciub", "hardswish_cpu")
    if inplace:
        return overwrite("hardswish_", Hardswish, input)
    return apply(Hardswish, input)


# ---------------------------------------------------------------- shrinkage


@op
class Hardshrink(Elementwise):
    """input, but 0 where its size is at most lambd."""

    saves = ("input",)

    def formula(self, m: Any, input: Any, *, lambd: float) -> Any:
        return m.kept(input, ~((input >= -lambd) & (input <= lambd)))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, lambd: float) -> Any:
        return m.call(ZeroInside, grad, input, low=-lambd, high=lambd)


@op
class Softshrink(Elementwise):
    """input moved towards 0 by lambd, and 0 where it would pass it."""

    saves = ("input",)

    def formula(self, m: Any, input: Any, *, lambd: float) -> Any:
        limit = input.dtype.type  # a Python number would widen bfloat16
        return input - m.minimum(m.maximum(input, limit(-lambd)), limit(lambd))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, lambd: float) -> Any:
        return m.call(ZeroInside, grad, input, low=-lambd, high=lambd)


@public(method=True, out=True, namespaces=("torch", "nn.functional"))
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input, but 0 where its size is at most lambd.

    Raises: NotImplementedError unless input is floating.
    """
    refuse(input, "ciub", "hardshrink_cpu")
    return apply(Hardshrink, input, lambd=lambd)


@public(out=True, namespaces=("nn.functional",))
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """input moved towards 0 by lambd, and 0 where it would pass it.

    Raises: NotImplementedError unless input is floating, RuntimeError for a negative lambd.
    """
    refuse(input, "ciub", "softshrink_check")
    if not 0 <= lambd <= finfo(input.dtype).max:
        raise RuntimeError(
            f"lambda must be in range [0, {finfo(input.dtype).max:g}] for input dtype "
            f"{cpp_name(input.dtype)}, but found {lambd:g}"
        )
    return apply(Softshrink, input, lambd=lambd)


# ---------------------------------------------------------------- leaky relu and prelu


@op
class LeakyRelu(Elementwise):
    """input where positive, else slope * input."""

    saves = ("input",)

    def formula(self, m: Any, input: Any, *, slope: float) -> Any:
        return m.call(LeakyReluGrad, input, input, slope=slope)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, slope: float) -> Any:
        return m.call(LeakyReluGrad, grad, input, slope=slope)


@op
class LeakyReluGrad(Opaque):
    """grad where input is positive, else slope * grad."""

    elements = True
    node_name = "LeakyReluBackwardBackward0"
    saves = ("input",)

    def forward(self, m: Any, grad: Any, input: Any, *, slope: float) -> Any:
        return m.either(input > 0, grad, narrowed(grad * slope, grad))

    def vjp(
        self, m: Any, grad: Any, out: Any, g: Any, input: Any, *, slope: float, needs: Any
    ) -> Any:
        again = m.call(LeakyReluGrad, grad, input, slope=slope)
        return again, m.zeros_like(grad) if needs[1] else None


@public(namespaces=("nn.functional",))
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """input where positive, else negative_slope * input.

    Raises: NotImplementedError unless input is floating.
    """
    refuse(input, "ciub", "leaky_relu_cpu")
    if inplace:
        return overwrite("leaky_relu_", LeakyRelu, input, slope=negative_slope)
    return apply(LeakyRelu, input, slope=negative_slope)


@public(namespaces=("nn.functional",))
def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """leaky_relu in place."""
    return leaky_relu(input, negative_slope, inplace=True)


@op
class Prelu(Elementwise):
    """input where positive, else weight * input."""

    node_name = "PreluKernelBackward0"
    saves = ("input", "weight")

    def formula(self, m: Any, input: Any, weight: Any) -> Any:
        return m.where(input > 0, input, weight * input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, weight: Any) -> Any:
        return m.call(PreluGrad, grad, input, weight)


@op
class PreluGrad(Opaque):
    """The gradients of input and, element by element, of weight."""

    node_name = "PreluKernelBackwardBackward0"
    outputs = 2
    saves = ("grad", "input", "weight")

    def forward(self, m: Any, grad: Any, input: Any, weight: Any) -> Any:
        positive = input > 0
        zero = grad.dtype.type(0)
        return m.where(positive, grad, weight * grad), m.where(positive, zero, input * grad)

    def vjp(self, m: Any, grads: Any, out: Any, grad: Any, input: Any, weight: Any) -> Any:
        one, two = (m.zeros_like(grad) if g is None else g for g in grads)
        positive = input > 0
        return (
            m.where(positive, one, weight * one + input * two),
            m.where(positive, 0, grad * two),
            m.sum_to(m.where(positive, 0, grad * one), tuple(weight.shape)),
        )


@public(method=True, namespaces=("torch", "nn.functional"))
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """input where positive, else weight * input.

    Shape: weight has one element, or as many as input has channels (its dimension 1).
    Raises: RuntimeError where they differ in channels or dtype.
    Source: He et al., Delving deep into rectifiers, 2015.
    """
    if input.dtype is not weight.dtype:
        raise DtypeError(
            "prelu",
            f"prelu: Type promoting not supported. Got {cpp_name(input.dtype)} and "
            f"{cpp_name(weight.dtype)}",
        )
    refuse(input, "ciub", "prelu_cpu")
    if weight.dim() > 1:
        raise ShapeError(
            "prelu",
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}",
        )
    ndim = input.dim()
    if weight.numel() != 1:
        if ndim == 0:
            raise ShapeError("prelu", "Not allow zero-dim input tensor.")
        channels = input.shape[1] if ndim > 1 else 1
        if channels != weight.numel():
            raise ShapeError(
                "prelu",
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}.",
            )
    if weight.dim() == 1:
        shape = (-1,) + (1,) * max(ndim - 2, 0) if ndim > 1 else (1,) * ndim
        weight = weight.reshape(shape)
    return apply(Prelu, input, weight)


# ---------------------------------------------------------------- random slopes


@op
class RreluWithNoise(Elementwise):
    """input times the slopes that were drawn for it."""

    saves = ("input", "noise")

    def formula(self, m: Any, input: Any, noise: Any) -> Any:
        return input * noise

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, noise: Any, *, needs: Any) -> Any:
        to_noise = grad * input if needs[1] else None
        return m.call(RreluWithNoiseGrad, grad, input, noise), to_noise


@op
class RreluWithNoiseGrad(Opaque):
    """grad times the slopes."""

    node_name = "RreluWithNoiseBackwardBackward0"
    saves = ("grad", "noise")

    def forward(self, m: Any, grad: Any, input: Any, noise: Any) -> Any:
        return grad * noise

    def vjp(
        self, m: Any, grad: Any, out: Any, g: Any, input: Any, noise: Any, *, needs: Any
    ) -> Any:
        return grad * noise, m.zeros_like(grad) if needs[1] else None, grad * g


def _slopes(input: Tensor, lower: float, upper: float) -> Tensor:
    """1 where input is positive, else a number drawn from [lower, upper].

    PyTorch draws in reading order, only where it needs a slope, and in double precision.
    """
    from taper.generator import default_generator, fills

    noise = np.ones(input._array.shape, input._array.dtype)
    needs = input._array <= 0
    count = int(np.count_nonzero(needs))
    noise[needs] = fills.slopes(default_generator, count, lower, upper, noise.dtype)
    return wrap(noise)


@public(namespaces=("nn.functional", "torch"))
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """input where positive, else input times a slope drawn from [lower, upper].

    Unless `training`, the slope is the mean of the two.
    Raises: RuntimeError if lower exceeds upper, NotImplementedError unless input is floating.
    Source: Xu et al., Empirical evaluation of rectified activations, 2015.
    """
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    refuse(input, "ciub", "rrelu_with_noise_out_cpu" if training else "leaky_relu_cpu")
    if training:
        noise = _slopes(input, lower, upper)
        if inplace:
            return overwrite("rrelu_", RreluWithNoise, input, noise)
        return apply(RreluWithNoise, input, noise)
    return _mean_slope(input, (lower + upper) / 2, inplace)


@op
class RreluMean(Elementwise):
    """leaky_relu under the name that PyTorch's tape gives rrelu."""

    node_name = "RreluWithNoiseBackward0"
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, slope: float) -> Any:
        return m.call(LeakyReluGrad, input, input, slope=slope)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, slope: float) -> Any:
        return m.call(LeakyReluGrad, grad, input, slope=slope)


def _mean_slope(input: Tensor, slope: float, inplace: bool) -> Tensor:
    if inplace:
        return overwrite("rrelu_", RreluMean, input, slope=slope)
    return apply(RreluMean, input, slope=slope)


@public(namespaces=("nn.functional", "torch"))
def rrelu_(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False
) -> Tensor:
    """rrelu in place."""
    return rrelu(input, lower, upper, training, inplace=True)
