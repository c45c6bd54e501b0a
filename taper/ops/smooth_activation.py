"""Activations that are curves: elu and its kin, gelu, silu, mish, softplus, gates.

sigmoid and tanh are in pointwise.py and trigonometry.py; what consists of straight lines is in
activation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Elementwise, op, public
from taper.ops.activation import overwrite
from taper.ops.arguments import either, narrowed, refuse, widened
from taper.ops.arithmetic import conj_of
from taper.shapes import canonical_dim
from taper.tensor import Tensor

SQRT_HALF = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution, at 0
# gelu's approximation: tanh(TANH_SCALE * (x + CUBIC * x ** 3)) for erf(x / sqrt(2))
TANH_SCALE = math.sqrt(2 / math.pi)
CUBIC = 0.044715
# selu's constants, for which mean 0 and variance 1 stay as they are
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class _Curve(Elementwise):
    """A function of one input whose derivative is `slope`; the half types are rounded once."""

    saves = ("input",)

    slope: Callable[..., Any]  # (m, x, **attrs): the derivative at x

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, **attrs: Any) -> Any:
        if m.on_arrays:
            return narrowed(widened(grad) * self.slope(m, widened(input), **attrs), grad)
        return grad * self.slope(m, input, **attrs)


# ---------------------------------------------------------------- exponential linear units


class _Exponential(_Curve):
    """scale * input where positive, else scale * alpha * (exp(rate * input) - 1)."""

    name = "elu"

    def formula(self, m: Any, input: Any, *, alpha: float, scale: float, rate: float) -> Any:
        x = widened(input)
        # Of the two parts one is 0 at every element; choosing would cost more than adding.
        below = m.expm1(m.minimum(x, 0) * rate) * (alpha * scale)
        return narrowed(m.maximum(0, x) * scale + below, input)

    def slope(self, m: Any, x: Any, *, alpha: float, scale: float, rate: float) -> Any:
        if m.on_arrays:
            below = m.exp(m.minimum(x, 0) * rate) * (alpha * scale * rate)
            return either(x <= 0, np.asarray(below), np.full_like(x, scale))
        below = m.exp(m.where(x <= 0, x, 0) * rate) * (alpha * scale * rate)
        return m.where(x <= 0, below, scale)


@op
class Elu(_Exponential):
    """elu and selu."""


@op
class Celu(_Exponential):
    """elu whose slope at 0 is 1 from both sides."""


@public(namespaces=("nn.functional",))
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """input where positive, else alpha * (exp(input) - 1).

    Raises: NotImplementedError unless input is floating.
    """
    refuse(input, "ciub", "elu_cpu")
    if inplace:
        return overwrite("elu_", Elu, input, alpha=alpha, scale=1.0, rate=1.0)
    return apply(Elu, input, alpha=alpha, scale=1.0, rate=1.0)


@public(namespaces=("nn.functional",))
def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """elu in place."""
    return elu(input, alpha, inplace=True)


@public(namespaces=("torch",), name="selu")
def selu_function(input: Tensor) -> Tensor:
    """scale * elu(input, alpha), with the constants that keep mean 0 and variance 1.

    Raises: NotImplementedError unless input is floating.
    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return selu(input)


@public(namespaces=("nn.functional",))
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale * elu(input, alpha), with the constants that keep mean 0 and variance 1.

    Raises: NotImplementedError unless input is floating.
    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    refuse(input, "ciub", "elu_cpu")
    if inplace:
        return overwrite("selu_", Elu, input, alpha=SELU_ALPHA, scale=SELU_SCALE, rate=1.0)
    return apply(Elu, input, alpha=SELU_ALPHA, scale=SELU_SCALE, rate=1.0)


@public(namespaces=("torch", "nn.functional"))
def selu_(input: Tensor) -> Tensor:
    """selu in place."""
    return selu(input, inplace=True)


@public(namespaces=("torch",), name="celu")
def celu_function(input: Tensor, alpha: float = 1.0) -> Tensor:
    """max(0, input) + min(0, alpha * (exp(input / alpha) - 1)). Raises: as nn.functional.celu."""
    return celu(input, alpha)


@public(namespaces=("nn.functional",))
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, input) + min(0, alpha * (exp(input / alpha) - 1)).

    Raises: RuntimeError if alpha is 0, NotImplementedError unless input is floating.
    Source: Barron, Continuously differentiable exponential linear units, 2017.
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    refuse(input, "ciub", "elu_cpu")
    if inplace:
        return overwrite("celu_", Celu, input, alpha=alpha, scale=1.0, rate=1 / alpha)
    return apply(Celu, input, alpha=alpha, scale=1.0, rate=1 / alpha)


@public(namespaces=("torch", "nn.functional"))
def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """celu in place."""
    return celu(input, alpha, inplace=True)


# ---------------------------------------------------------------- input times a share of itself


# The share of the normal distribution above x >= 0, divided by exp(-x * x / 2), as a polynomial in
# t = 1 / (1 + SHARE_RATE * x) without constant term, fitted to 2e-8 in the share (2e-7 relative).
SHARE_RATE = 0.28
SHARE_ABOVE = (
    0.11170383726387258,
    0.11170082594671588,
    0.10307150925275543,
    0.08369560696267092,
    0.07265212105494617,
    -0.006451416452142966,
    0.0927379863211012,
    -0.09397186144165366,
    0.024861412100523256,
)


# Elements worked on at a time, so that all that is made on the way stays in the cache: 65536
# elements take 0.26 ms, in one go 0.62, and with erf in float64 1.1 (2026-11).
BLOCK = 16384


def _share_above(
    x: np.ndarray, size: np.ndarray, bell: np.ndarray, t: np.ndarray, share: np.ndarray
) -> None:
    """Fills in |x|, exp(-x * x / 2), and the share of the normal distribution above |x|.

    The size is cut off where the share is 0.
    """
    np.absolute(x, out=size)
    np.minimum(size, np.float32(40), out=size)
    np.multiply(size, size, out=bell)
    np.multiply(bell, np.float32(-0.5), out=bell)
    np.exp(bell, out=bell)
    np.multiply(size, np.float32(SHARE_RATE), out=t)
    np.add(t, np.float32(1), out=t)
    np.reciprocal(t, out=t)
    np.multiply(t, np.float32(SHARE_ABOVE[-1]), out=share)
    for coefficient in SHARE_ABOVE[-2::-1]:
        np.add(share, np.float32(coefficient), out=share)
        np.multiply(share, t, out=share)
    np.multiply(share, bell, out=share)


def _in_blocks(x: np.ndarray, finish: Callable[..., None]) -> np.ndarray:
    """What `finish` makes of each block's x, size, bell, t and share, in share."""
    made = np.empty_like(x)
    if made.strides != x.strides:
        x = np.ascontiguousarray(x)
        made = np.empty_like(x)
    given, taken = x.ravel(order="K"), made.ravel(order="K")
    scratch = np.empty((3, min(BLOCK, given.size)), np.float32)
    for start in range(0, given.size, BLOCK):
        part = given[start : start + BLOCK]
        size, bell, t = scratch[:, : part.size]
        share = taken[start : start + BLOCK]
        _share_above(part, size, bell, t, share)
        finish(part, size, bell, t, share)
    return made


def _finish_gelu(
    x: np.ndarray, size: np.ndarray, bell: np.ndarray, t: np.ndarray, share: np.ndarray
) -> None:
    np.multiply(share, size, out=share)
    np.maximum(x, 0, out=t)
    np.subtract(t, share, out=share)


def _finish_slope(
    x: np.ndarray, size: np.ndarray, bell: np.ndarray, t: np.ndarray, share: np.ndarray
) -> None:
    # On the left the slope is share - size * density, on the right 1 less that.
    np.multiply(bell, size, out=bell)
    np.multiply(bell, np.float32(DENSITY), out=bell)
    np.subtract(share, bell, out=share)
    np.subtract(np.float32(0.5), share, out=share)
    sign = np.bitwise_and(x.view(np.int32), np.int32(-(2**31)), out=t.view(np.int32))
    bits = share.view(np.int32)
    np.bitwise_xor(bits, sign, out=bits)
    np.add(share, np.float32(0.5), out=share)


def gelu_single(x: np.ndarray) -> np.ndarray:
    """gelu in float32. Error: relative below 5e-6 far out on the left, below 7e-7 from -3 on."""
    return _in_blocks(x, _finish_gelu)


def gelu_slope_single(x: np.ndarray) -> np.ndarray:
    """The derivative of gelu in float32. Error: below 5e-7."""
    return _in_blocks(x, _finish_slope)


@op
class NormalShare(_Curve):
    """The share of the normal distribution below input."""

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed((m.erf(x * SQRT_HALF) + 1) * 0.5, input)

    def slope(self, m: Any, x: Any) -> Any:
        return m.exp(x * x * -0.5) * DENSITY


@op
class Gelu(_Curve):
    """input times the share of the normal distribution below it."""

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        if not m.on_arrays:  # a kernel's builder has the function itself
            return m.gelu(x)
        if x.dtype == np.float32:
            return narrowed(gelu_single(x), input)
        return m.maximum(x, -40.0) * m.call(NormalShare, x)

    def slope(self, m: Any, x: Any) -> Any:
        if m.on_arrays and x.dtype == np.float32:
            return gelu_slope_single(x)
        if not isinstance(x, Tensor):
            if not m.on_arrays:
                return m.gelu_slope(x)
            x = np.clip(x, -40.0, 40.0)  # of an infinity the product would be nan
        return m.call(NormalShare, x) + x * m.exp(x * x * -0.5) * DENSITY


@op
class GeluTanh(_Curve):
    """gelu with tanh in place of erf."""

    node_name = "GeluBackward0"

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(x * (m.tanh(_bent(x)) + 1) * 0.5, input)

    def slope(self, m: Any, x: Any) -> Any:
        t = m.tanh(_bent(x))
        slope = (1 - t * t) * (x * x * (3 * CUBIC) + 1) * TANH_SCALE
        return (t + 1) * 0.5 + x * slope * 0.5


def _bent(x: Any) -> Any:
    return (x * x * CUBIC + 1) * x * TANH_SCALE


@op
class Silu(_Curve):
    """input * sigmoid(input)."""

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(x / (1 + m.exp(-x)), input)

    def slope(self, m: Any, x: Any) -> Any:
        s = 1 / (1 + m.exp(-x))
        return conj_of(m, s * (x * (1 - s) + 1))


@op
class Mish(_Curve):
    """input * tanh(log(1 + exp(input)))."""

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(x * m.tanh(_softplus(m, x)), input)

    def slope(self, m: Any, x: Any) -> Any:
        t = m.tanh(_softplus(m, x))
        return t + x * m.sigmoid(x) * (1 - t * t)


def _softplus(m: Any, x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return m.where(x > 0, x, 0) + m.log1p(m.exp(-m.absolute(x)))


@public(out=True, namespaces=("nn.functional",))
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """input times the share of the normal distribution below it; "tanh" approximates the share.

    Raises: NotImplementedError unless input is floating, RuntimeError for another `approximate`.
    Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """
    refuse(input, "ciub", "GeluKernelImpl")
    if approximate == "none":
        return apply(Gelu, input)
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    return apply(GeluTanh, input)


@public(namespaces=("nn.functional",))
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """input * sigmoid(input), also called swish. Raises: NotImplementedError for integers."""
    refuse(input, "iub", "silu_cpu")
    if inplace:
        return overwrite("silu_", Silu, input)
    return apply(Silu, input)


@public(namespaces=("nn.functional",))
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input)).

    Raises: NotImplementedError unless input is floating.
    Source: Misra, Mish, 2019.
    """
    refuse(input, "ciub", "mish_cpu")
    if inplace:
        return overwrite("mish_", Mish, input)
    return apply(Mish, input)


# ---------------------------------------------------------------- softplus, logsigmoid


@op
class Softplus(_Curve):
    """log(1 + exp(beta * input)) / beta, and input itself where that is as good."""

    def formula(self, m: Any, input: Any, *, beta: float, threshold: float) -> Any:
        x = widened(input)
        bent = x * beta
        straight = bent > threshold
        return narrowed(m.where(straight, x, m.log1p(m.exp(bent)) / beta), input)

    def slope(self, m: Any, x: Any, *, beta: float, threshold: float) -> Any:
        bent = x * beta
        return m.where(bent > threshold, 1, m.sigmoid(bent))


@op
class LogSigmoid(_Curve):
    """log(sigmoid(input)) without underflow."""

    node_name = "LogSigmoidBackward0"

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        return narrowed(m.minimum(x, 0) - m.log1p(m.exp(-m.absolute(x))), input)

    def slope(self, m: Any, x: Any) -> Any:
        return m.sigmoid(-x)


@public(out=True, namespaces=("nn.functional",))
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta * input)) / beta, and input itself where beta * input > threshold.

    Raises: NotImplementedError unless input is floating.
    """
    refuse(input, "ciub", "softplus_cpu")
    return apply(Softplus, input, beta=beta, threshold=threshold)


@public(out=True, namespaces=("nn.functional",))
def logsigmoid(input: Tensor) -> Tensor:
    """log(1 / (1 + exp(-input))), without underflow.

    Raises: NotImplementedError unless input is floating.
    """
    refuse(input, "ciub", "log_sigmoid_cpu")
    return apply(LogSigmoid, input)


# ---------------------------------------------------------------- composites, gates


@public(namespaces=("nn.functional",))
def softsign(input: Tensor) -> Tensor:
    """input / (1 + |input|). Dtype: integers become the default float."""
    return input / (input.abs() + 1)


@public(namespaces=("nn.functional",))
def tanhshrink(input: Tensor) -> Tensor:
    """input - tanh(input). Dtype: integers become the default float."""
    return input - input.tanh()


@public(namespaces=("nn.functional",), name="sigmoid")
def sigmoid_layer(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return input.sigmoid()


@public(namespaces=("nn.functional",), name="tanh")
def tanh_layer(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


@op
class Gate(Elementwise):
    """input * sigmoid(gate)."""

    name = "glu"
    node_name = "GluBackward0"
    saves = ("input", "gate")

    def formula(self, m: Any, input: Any, gate: Any) -> Any:
        return narrowed(widened(input) * m.sigmoid(widened(gate)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, gate: Any) -> Any:
        if m.on_arrays:
            g, s = widened(grad), m.sigmoid(widened(gate))
            return narrowed(g * s, grad), narrowed(g * widened(input) * s * (1 - s), grad)
        s = m.sigmoid(gate)
        return grad * s, grad * input * s * (1 - s)


@public(out=True, namespaces=("nn.functional",))
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """One half of the dimension, times the sigmoid of the other half.

    Raises: RuntimeError if the dimension's size is odd, NotImplementedError unless input is
        floating.
    Source: Dauphin et al., Language modeling with gated convolutional networks, 2016.
    """
    if input.dim() == 0:
        raise ShapeError("glu", "glu does not support scalars because halving size must be even")
    axis = canonical_dim(dim, input.dim(), "glu")
    size = input.shape[axis]
    if size % 2:
        raise ShapeError(
            "glu", f"Halving dimension must be even, but dimension {axis} is size {size}"
        )
    refuse(input, "ciub", "glu_cpu")
    first, second = input.chunk(2, axis)
    return apply(Gate, first, second)
