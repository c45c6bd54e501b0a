"""Batch norm, and what all norms share. Group and instance norm are in group_norm.py, the norms of
rows in layer_norm.py.

All of them subtract a mean and divide by a deviation, scale and shift. A call computes the moments
once, on arrays, and hands them to the op, which keeps them for the derivative. A derivative that
is itself recorded computes them again from the input, because it must see how they depend on it;
`recorded_vjp` does that for all norms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper import backends, dtypes
from taper.backends import reference
from taper.backends.channels import scale_channels
from taper.dispatch import apply, store, touch
from taper.errors import DtypeError, GradError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.tensor import Tensor, wrap

Moments = tuple[np.ndarray, np.ndarray]  # mean and 1 / deviation


def rounded(grad: Any, like: Any) -> np.ndarray:
    """A parameter's gradient in the parameter's dtype."""
    return grad.astype(like.dtype, copy=False)


def unit_weight(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """The weight; ones where a bias stands alone in a dtype that the gradients must be told."""
    if weight is None and bias is not None and bias._array.dtype != input._array.dtype:
        return wrap(np.ones(bias._array.shape, bias._array.dtype))
    return weight


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without numpy's warnings, which dispatch silences only inside ops."""

    def silenced(*args: Any) -> Any:
        token = reference.silence()
        try:
            return function(*args)
        finally:
            reference.restore(token)

    return silenced


class Kept:
    """What was computed of an input before its op runs: the result, and what its derivative uses."""

    __slots__ = ("mean", "normal", "out", "scale")

    def __init__(
        self,
        out: np.ndarray,
        mean: np.ndarray,
        scale: np.ndarray,
        normal: np.ndarray | None = None,
    ) -> None:
        self.out: np.ndarray | None = out  # until the op has taken it
        self.mean, self.scale = mean, scale  # of what is normalized, scale being 1 / deviation
        self.normal = normal  # the normalized rows, if they were kept

    def taken(self) -> np.ndarray:
        """The result, which is kept no longer."""
        out, self.out = self.out, None
        assert out is not None
        return out


# ---------------------------------------------------------------- the recorded derivative


def _wide(m: Any, x: Any) -> Any:
    dtype = getattr(x, "_array", x).dtype
    return m.astype(x, np.float32) if dtype.itemsize == 2 else x


def _like(m: Any, grad: Any, x: Any) -> Any:
    dtype = getattr(x, "_array", x).dtype
    return m.astype(grad, dtype)


def recorded_vjp(
    m: Any,
    grad: Any,
    input: Any,
    weight: Any,
    bias: Any,
    *,
    view: tuple[int, ...],
    beside: tuple[int, ...],
    axes: tuple[int, ...],
    eps: float,
    centred: bool = True,
) -> Any:
    """Gradients of input, weight and bias with operations that can be differentiated again.

    The input is seen in the shape `view`, normalized over `axes`, and scaled by a weight in the
    shape `beside`.
    """
    x = m.reshape(_wide(m, input), view)
    g = m.reshape(_wide(m, grad), view)
    if centred:
        x = x - m.mean(x, axes, keepdims=True)
    scale = 1 / m.sqrt(m.mean(x * x, axes, keepdims=True) + eps)
    normal = x * scale
    to_weight = to_bias = None
    if weight is not None:
        to_weight = _like(m, m.reshape(m.sum_to(g * normal, beside), weight.shape), weight)
    if bias:
        to_bias = _like(
            m, m.reshape(m.sum_to(g, beside), bias), input if weight is None else weight
        )
    if weight is not None:
        g = g * m.reshape(_wide(m, weight), beside)
    inner = g - normal * m.mean(g * normal, axes, keepdims=True)
    if centred:
        inner = inner - m.mean(g, axes, keepdims=True)
    return _like(m, m.reshape(inner * scale, input.shape), input), to_weight, to_bias


# ---------------------------------------------------------------- batch norm


@quiet
def _normalized(m: Any, x: Any, weight: Any, bias: Any, eps: float) -> tuple[Kept, np.ndarray]:
    """What is kept of an input, and the variance of every channel."""
    out, mean, scale, variance = m.normalize_channels(widened(x), weight, bias, eps)
    return Kept(out, mean, scale), variance


@op
class BatchNorm(Opaque):
    """Normalizes with the moments of the input; `kept` is what was computed of it already."""

    name = "batch_norm"
    node_name = "NativeBatchNormBackward0"
    saves = ("input", "weight", "bias.shape")

    def forward(
        self, m: Any, input: Any, weight: Any, bias: Any, *, eps: float, kept: Kept | None
    ) -> Any:
        if kept is None or kept.out is None:
            kept = _normalized(m, input, weight, bias, eps)[0]
        return narrowed(kept.taken(), input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        eps: float,
        kept: Kept | None,
        needs: Any,
    ) -> Any:
        if not m.on_arrays or kept is None:
            shape = input.shape
            return recorded_vjp(
                m,
                grad,
                input,
                weight,
                bias,
                view=shape,
                beside=(1, shape[1], *(1,) * (len(shape) - 2)),
                axes=(0, *range(2, len(shape))),
                eps=eps,
            )
        made = m.normalize_channels_grad(
            widened(grad), widened(input), weight, kept.mean, kept.scale,
            (needs[0], needs[1], needs[2]),
        )  # fmt: skip
        like = input if weight is None else weight
        return (
            None if made[0] is None else narrowed(made[0], input),
            None if made[1] is None else rounded(made[1], like),
            None if made[2] is None else rounded(made[2], like),
        )


class FixedNorm(Opaque):
    """Normalizes with moments that do not depend on the input."""

    name = "batch_norm"
    saves = ("input", "weight", "bias.shape")

    def forward(self, m: Any, input: Any, weight: Any, bias: Any, *, moments: Moments) -> Any:
        return narrowed(scale_channels(widened(input), weight, bias, *moments), input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        moments: Moments,
        needs: Any,
    ) -> Any:
        shape = input.shape
        beside = (1, shape[1], *(1,) * (len(shape) - 2))
        mean, scale = (m.asarray(each.reshape(beside)) for each in moments)
        g = _wide(m, grad)
        to_input = to_weight = to_bias = None
        if needs[0]:
            factor = scale if weight is None else scale * m.reshape(_wide(m, weight), beside)
            to_input = _like(m, g * factor, input)
        if needs[1]:
            normal = (_wide(m, input) - mean) * scale
            to_weight = _like(m, m.reshape(m.sum_to(g * normal, beside), weight.shape), weight)
        if needs[2]:
            like = input if weight is None else weight
            to_bias = _like(m, m.reshape(m.sum_to(g, beside), bias), like)
        return to_input, to_weight, to_bias


@op
class BatchNormFixed(FixedNorm):
    """Batch norm in evaluation."""

    node_name = "NativeBatchNormBackward0"


_CPP = {"float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double"}


def check_parameters(name: str, input: Tensor, *parameters: Tensor | None) -> None:
    """Raises: RuntimeError unless all have the input's dtype, or float32 where that is a half."""
    own = input._array.dtype
    given = {p._array.dtype for p in parameters if p is not None}
    if not given or given == {own}:
        return
    if own.itemsize == 2 or own == np.float32:
        if own.itemsize != 2 or given != {np.dtype(np.float32)}:
            raise DtypeError(
                name, "mixed dtype (CPU): expect parameter to have scalar type of Float"
            )
        return
    raise DtypeError(name, "mixed dtype (CPU): all inputs must share same datatype.")


def _check_statistics(
    name: str, input: Tensor, weight: Tensor | None, mean: Tensor | None, variance: Tensor | None
) -> None:
    own = input._array.dtype
    allowed = {own if weight is None else weight._array.dtype}
    if weight is None and own.itemsize == 2:
        allowed.add(np.dtype(np.float32))
    for each in (mean, variance):
        if each is not None and each._array.dtype not in allowed:
            wanted = _CPP[dtypes.of(own if weight is None else weight._array.dtype).name]
            if wanted == "Float" and own.itemsize == 2:
                raise DtypeError(
                    name, "mixed dtype (CPU): expect parameter to have scalar type of Float"
                )
            raise DtypeError(
                name,
                f"expected scalar type {wanted} but found {_CPP.get(each.dtype.name, each.dtype)}",
            )


def check_batch_norm(
    name: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    repeats: int = 1,
) -> None:
    shape, dtype = input._array.shape, input._array.dtype
    if dtype.kind == "f" and len(shape) > 1 and repeats == 1:  # the short way, where all is well
        for held in (running_mean, running_var):
            if (held is None and not training) or (held is not None and held._requires_grad):
                break
        else:
            for held in (running_mean, running_var, weight, bias):
                if held is None:
                    continue
                if held._array.dtype is not dtype or held._array.size != shape[1]:
                    break
            else:
                return
    channels = shape[1] * repeats if len(shape) > 1 else 0
    statistics = (("running_mean", running_mean), ("running_var", running_var))
    for called, held in statistics:
        if held is None and not training:
            raise ShapeError(name, f"{called} must be defined in evaluation mode")
    for called, held in (*statistics, ("weight", weight), ("bias", bias)):
        if held is not None and held._array.size * repeats != channels:
            raise ShapeError(
                name,
                f"{called} should contain {channels} elements not {held._array.size * repeats}",
            )
    refuse(input, "iubc", "batch_norm")
    check_parameters(name, input, weight, bias)
    if running_mean is not None or running_var is not None:
        _check_statistics(name, input, weight, running_mean, running_var)
        for called, held in statistics:
            if held is not None and held.requires_grad:
                raise GradError(
                    "The function 'native_batch_norm' is not differentiable with respect to "
                    f"argument '{called}'. This input cannot have requires_grad True."
                )


def unbiased(count: int) -> float:
    """What makes the variance of `count` elements one without bias."""
    return count / (count - 1) if count > 1 else math.nan


@quiet
def follow(running: Tensor, value: np.ndarray, momentum: float, factor: float = 1) -> None:
    """running = (1 - momentum) * running + momentum * factor * value, in place."""
    held = running._array
    if held.dtype.itemsize == 2:
        store(held, widened(held) * (1 - momentum) + value * (momentum * factor))
    else:
        np.multiply(held, 1 - momentum, out=held)
        np.add(held, value * (momentum * factor), out=held)
    touch(running)


@quiet
def fixed_moments(mean: Tensor, variance: Tensor, eps: float) -> Moments:
    """The running statistics as they are now; the derivative must not see later updates."""
    return widened(mean._array).copy(), 1 / np.sqrt(widened(variance._array) + eps)


def of_nothing(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """The norm of no elements, from which weight and bias get gradients of zeros."""
    ones = (1,) * (input._array.ndim - 2)
    result = input.clone()
    if weight is not None:
        result = result * weight.to(input.dtype).reshape(*weight.shape, *ones)
    if bias is not None:
        result = result + bias.to(input.dtype).reshape(*bias.shape, *ones)
    return result


def _batch_normalized(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    name: str = "batch_norm",
) -> tuple[Tensor, Moments | None]:
    """The result, and the moments it was normalized with."""
    check_batch_norm(name, input, running_mean, running_var, weight, bias, training)
    if not input._array.size:  # nothing to normalize, and no statistics to learn from
        return of_nothing(input, weight, bias), None
    weight = unit_weight(input, weight, bias)
    if not training:
        assert running_mean is not None and running_var is not None
        moments = fixed_moments(running_mean, running_var, eps)
        return apply(BatchNormFixed, input, weight, bias, moments=moments), moments
    own = (None if p is None else p._array for p in (weight, bias))
    kept, variance = _normalized(backends.math(), input._array, *own, eps)
    result = apply(BatchNorm, input, weight, bias, eps=eps, kept=kept)
    if running_mean is not None:
        follow(running_mean, kept.mean, momentum)
    if running_var is not None:
        follow(running_var, variance, momentum, unbiased(input._array.size // len(kept.mean)))
    return result, (kept.mean, kept.scale)


def check_momentum(name: str, position: int, value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    raise TypeError(
        f"{name}(): argument 'momentum' (position {position}) must be float, "
        f"not {type(value).__name__}"
    )


def check_pair(running_mean: Any, running_var: Any) -> None:
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")


@public(name="batch_norm", namespaces=("nn.functional",))
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Every channel with mean 0 and variance 1 over the batch, then scaled and shifted.

    In training the moments are the batch's, and the running statistics move towards them by the
    share `momentum` (the variance without bias); otherwise the running statistics are used.

    Shape: input (batch, channels, *); the other tensors (channels,).
    Dtype: floating; float16 and bfloat16 are computed in float32 and may have float32 parameters.
    Raises: RuntimeError where sizes or dtypes do not fit, ValueError for one value per channel.
    Source: Ioffe and Szegedy, Batch normalization, 2015.
    """
    check_pair(running_mean, running_var)
    if eps <= 0 and (training or eps < 0):
        rule = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {rule}, but got {eps}")
    shape = input._array.shape
    if training and len(shape) > 1 and input._array.size == shape[1] and shape[1]:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    momentum = check_momentum("batch_norm", 7, momentum)
    return _batch_normalized(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )[0]


@public(name="batch_norm")
def torch_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """nn.functional.batch_norm with its arguments in another order."""
    return _batch_normalized(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )[0]


@public(out=True)
def native_batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm, the batch's mean and its 1 / deviation (both empty in evaluation)."""
    result, moments = _batch_normalized(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )
    if not training:
        empty = np.zeros(0, widened(input._array).dtype)
        return result, wrap(empty), wrap(empty.copy())
    if moments is None:
        zero = np.zeros(input._array.shape[1], widened(input._array).dtype)
        moments = zero, zero.copy()
    return result, wrap(moments[0]), wrap(moments[1])


@public(out=True)
def _native_batch_norm_legit(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Any,
    running_var: Any,
    training: Any,
    momentum: float | None = None,
    eps: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """native_batch_norm, also without running statistics: (input, weight, bias, training, ...)."""
    if eps is None:
        training, momentum, eps = running_mean, running_var, training
        running_mean = running_var = None
    assert momentum is not None and eps is not None
    return native_batch_norm(
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )
