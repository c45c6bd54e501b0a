"""Normalization of channels: batch, instance and group norm. That of rows is in layer_norm.py.

All of them subtract a mean and divide by a deviation, scale and shift. A call computes the moments
once, on arrays, and hands them to the op, which keeps them for the derivative. A derivative that
is itself recorded computes them again from the input, because it must see how they depend on it;
`recorded_vjp` does that for all norms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, store, touch
from taper.errors import DtypeError, GradError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.tensor import Tensor, wrap

Moments = tuple[np.ndarray, np.ndarray]  # mean and 1 / deviation

# Rows shorter than this are summed by a product with ones: numpy's sum costs more per row.
_SHORT = 1024


def row_sums(x: np.ndarray) -> np.ndarray:
    """Sum over the last dimension of a contiguous array of rows."""
    if x.shape[-1] < _SHORT:
        return x.dot(np.ones(x.shape[-1], x.dtype))
    return np.add.reduce(x, axis=-1)


def column_sums(x: np.ndarray) -> np.ndarray:
    """Sum over the rows of a matrix. The product takes a third of the time of numpy's sum."""
    return np.ones(x.shape[0], x.dtype).dot(x)


def _pixels(x: np.ndarray) -> np.ndarray:
    """The array as a matrix with a column per channel; a view if it is channels last."""
    return x if x.ndim == 2 else np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def channel_sums(x: np.ndarray) -> np.ndarray:
    """Sum over every dimension but the second."""
    if x.ndim > 2 and x.flags.c_contiguous:
        return np.add.reduce(row_sums(x.reshape(*x.shape[:2], -1)), axis=0)
    return column_sums(_pixels(x))


def channel_dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum of x * y over every dimension but the second."""
    if x.ndim > 2 and x.flags.c_contiguous and y.flags.c_contiguous:
        shape = (*x.shape[:2], -1)
        return np.add.reduce(np.vecdot(x.reshape(shape), y.reshape(shape)), axis=0)
    return np.einsum("pc,pc->c", _pixels(x), _pixels(y))


def _beside(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A value per channel, shaped to broadcast against the input."""
    return x if like.ndim == 2 else x.reshape(-1, *(1,) * (like.ndim - 2))


def rounded(grad: Any, like: Any) -> np.ndarray:
    """A parameter's gradient in the parameter's dtype."""
    return grad.astype(like.dtype, copy=False)


def unit_weight(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """The weight; ones where a bias stands alone in a dtype that the gradients must be told."""
    if weight is None and bias is not None and bias._array.dtype != input._array.dtype:
        return wrap(np.ones(bias._array.shape, bias._array.dtype))
    return weight


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and variance of every channel, and over how many elements each."""
    count = x.size // x.shape[1]
    mean = channel_sums(x) / count
    centred = x - _beside(mean, x)
    return mean, channel_dots(centred, centred) / count, count


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


def _scaled(
    input: np.ndarray, weight: Any, bias: Any, mean: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """(input - mean) * scale * weight + bias as one product and one sum per element."""
    if weight is not None:
        scale = scale * weight
    shift = mean * scale
    shift = np.negative(shift, out=shift) if bias is None else bias - shift
    x = widened(input)
    out = x * _beside(scale, x)
    out += _beside(shift, x)
    return narrowed(out, input)


@op
class BatchNorm(Opaque):
    """Normalizes with the moments of the input, which are computed unless given."""

    name = "batch_norm"
    node_name = "NativeBatchNormBackward0"
    saves = ("input", "weight", "bias.shape")

    def forward(
        self, m: Any, input: Any, weight: Any, bias: Any, *, eps: float, moments: Moments | None
    ) -> Any:
        if moments is None:
            mean, variance, _ = _moments(widened(input))
            moments = mean, 1 / np.sqrt(variance + eps)
        return _scaled(input, weight, bias, *moments)

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
        moments: Moments | None,
        needs: Any,
    ) -> Any:
        if not m.on_arrays or moments is None:
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
        mean, scale = moments
        x, g = widened(input), widened(grad)
        total = channel_sums(g) if needs[0] or needs[2] else None
        centred = x - _beside(mean, x)
        dots = channel_dots(g, centred)
        to_weight = rounded(dots * scale, weight) if needs[1] else None
        to_bias = rounded(total, input if weight is None else weight) if needs[2] else None
        if not needs[0]:
            return None, to_weight, to_bias
        count = x.size // x.shape[1]
        factor = scale if weight is None else scale * weight
        # factor * (g - total / count - centred * dots * scale^2 / count), in as few passes.
        to_input = g * _beside(factor, x)
        centred *= _beside(factor * scale * scale * dots / -count, x)
        to_input += centred
        to_input -= _beside(factor * total / count, x)
        return narrowed(to_input, input), to_weight, to_bias


class _FixedNorm(Opaque):
    """Normalizes with moments that do not depend on the input."""

    name = "batch_norm"
    saves = ("input", "weight", "bias.shape")

    def forward(self, m: Any, input: Any, weight: Any, bias: Any, *, moments: Moments) -> Any:
        return _scaled(input, weight, bias, *moments)

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
class BatchNormFixed(_FixedNorm):
    """Batch norm in evaluation."""

    node_name = "NativeBatchNormBackward0"


@op
class InstanceNormFixed(_FixedNorm):
    """Instance norm in evaluation."""

    node_name = "ViewBackward0"


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


def _check_batch_norm(
    name: str,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    repeats: int = 1,
) -> None:
    shape = input._array.shape
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


def _follow(running: Tensor, value: np.ndarray, momentum: float) -> None:
    """running = (1 - momentum) * running + momentum * value, in place."""
    held = running._array
    store(held, widened(held) * (1 - momentum) + value * momentum)
    touch(running)


def _fixed_moments(mean: Tensor, variance: Tensor, eps: float) -> Moments:
    """The running statistics as they are now; the derivative must not see later updates."""
    return widened(mean._array).copy(), 1 / np.sqrt(widened(variance._array) + eps)


def _empty(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
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
    _check_batch_norm(name, input, running_mean, running_var, weight, bias, training)
    if not input._array.size:  # nothing to normalize, and no statistics to learn from
        return _empty(input, weight, bias), None
    weight = unit_weight(input, weight, bias)
    if not training:
        assert running_mean is not None and running_var is not None
        moments = _fixed_moments(running_mean, running_var, eps)
        return apply(BatchNormFixed, input, weight, bias, moments=moments), moments
    mean, variance, count = _moments(widened(input._array))
    moments = mean, 1 / np.sqrt(variance + eps)
    result = apply(BatchNorm, input, weight, bias, eps=eps, moments=moments)
    if running_mean is not None:
        _follow(running_mean, mean, momentum)
    if running_var is not None:
        unbiased = variance * (count / (count - 1) if count > 1 else math.nan)
        _follow(running_var, unbiased, momentum)
    return result, moments


def _momentum(name: str, position: int, value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    raise TypeError(
        f"{name}(): argument 'momentum' (position {position}) must be float, "
        f"not {type(value).__name__}"
    )


def _check_pair(running_mean: Any, running_var: Any) -> None:
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
    _check_pair(running_mean, running_var)
    if eps <= 0 and (training or eps < 0):
        rule = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {rule}, but got {eps}")
    shape = input._array.shape
    if training and len(shape) > 1 and input._array.size == shape[1] and shape[1]:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    momentum = _momentum("batch_norm", 7, momentum)
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


# ---------------------------------------------------------------- group and instance norm


def group_moments(x: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every group of channels of every sample."""
    rows = x.reshape(x.shape[0], groups, -1)
    count = rows.shape[2]
    mean = row_sums(rows) / count
    centred = rows - mean[:, :, None]
    return mean, np.vecdot(centred, centred) / count


class _GroupNorm(Opaque):
    """Normalizes every group of channels of every sample."""

    saves = ("input", "weight", "bias.shape")

    def forward(
        self,
        m: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        groups: int,
        eps: float,
        moments: Moments | None,
    ) -> Any:
        x = widened(input)
        if moments is None:
            mean, variance = group_moments(x, groups)
            moments = mean, 1 / np.sqrt(variance + eps)
        mean, scale = moments
        batch, channels = x.shape[:2]
        if weight is None and bias is None:
            rows = x.reshape(batch, groups, -1)
            shift = mean * scale
        else:
            rows = x.reshape(batch, channels, -1)
            per = (batch, groups, channels // groups)
            scale = np.broadcast_to(scale[:, :, None], per).reshape(batch, channels)
            mean = np.broadcast_to(mean[:, :, None], per).reshape(batch, channels)
            if weight is not None:
                scale = scale * weight
            shift = mean * scale
            if bias is not None:
                shift -= bias
        out = rows * scale[:, :, None]
        out -= shift[:, :, None]
        return narrowed(out.reshape(x.shape), input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        groups: int,
        eps: float,
        moments: Moments | None,
        needs: Any,
    ) -> Any:
        batch, channels = input.shape[:2]
        each = channels // groups
        if not m.on_arrays or moments is None:
            return recorded_vjp(
                m,
                grad,
                input,
                weight,
                bias,
                view=(batch, groups, each, math.prod(input.shape[2:])),
                beside=(1, groups, each, 1),
                axes=(2, 3),
                eps=eps,
            )
        mean, scale = moments
        x, g = widened(input), widened(grad)
        rows = g.reshape(batch, channels, -1)
        centred = x.reshape(batch, groups, -1) - mean[:, :, None]
        centred = centred.reshape(rows.shape)
        per = (batch, groups, each)
        total = row_sums(rows)
        # The dot products in units of the normalized input.
        dots = np.vecdot(rows, centred).reshape(per) * scale[:, :, None]
        to_weight = to_bias = None
        if needs[1]:
            to_weight = rounded(np.add.reduce(dots, axis=0).reshape(-1), weight)
        if needs[2]:
            like = input if weight is None else weight
            to_bias = rounded(np.add.reduce(total, axis=0), like)
        if not needs[0]:
            return None, to_weight, to_bias
        total = total.reshape(per)
        factor = np.broadcast_to(scale[:, :, None], per)
        if weight is not None:
            share = widened(weight).reshape(groups, each)
            factor, dots, total = factor * share, dots * share, total * share
        count = rows.shape[2] * each
        to_input = rows * factor.reshape(batch, channels, 1)
        in_groups = to_input.reshape(batch, groups, -1)
        centred = centred.reshape(in_groups.shape)
        centred *= (np.add.reduce(dots, axis=2) * scale * scale / count)[:, :, None]
        in_groups -= centred
        in_groups -= (np.add.reduce(total, axis=2) * scale / count)[:, :, None]
        return narrowed(to_input.reshape(x.shape), input), to_weight, to_bias


@op
class GroupNorm(_GroupNorm):
    """Group norm."""

    name = "group_norm"
    node_name = "NativeGroupNormBackward0"


@op
class InstanceNorm(_GroupNorm):
    """Instance norm: group norm with a group per channel."""

    name = "instance_norm"
    node_name = "ViewBackward0"


def _group_normalized(
    input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Moments]:
    shape = input._array.shape
    if len(shape) < 2:
        raise ShapeError(
            "group_norm",
            f"Expected at least 2 dimensions for input tensor but received {len(shape)}",
        )
    if num_groups <= 0:
        raise ShapeError(
            "group_norm", f"Expected num groups to be greater than 0, got {num_groups}"
        )
    if shape[1] % num_groups:
        raise ShapeError(
            "group_norm",
            "Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(shape)} and num_groups={num_groups}",
        )
    for called, held in (("weight", weight), ("bias", bias)):
        if held is not None and held._array.shape != (shape[1],):
            raise ShapeError(
                "group_norm",
                f"Expected {called} to be a vector of size equal to the number of channels in "
                f"input, but got {called} of shape {list(held._array.shape)} and input of shape "
                f"{list(shape)}",
            )
    refuse(input, "iubc", "GroupNormKernelImpl")
    check_parameters("group_norm", input, weight, bias)
    x = widened(input._array)
    if not x.size:
        empty = np.zeros((shape[0], num_groups), x.dtype)
        return _empty(input, weight, bias), (empty, empty.copy())
    mean, variance = group_moments(x, num_groups)
    moments = mean, 1 / np.sqrt(variance + eps)
    weight = unit_weight(input, weight, bias)
    result = apply(GroupNorm, input, weight, bias, groups=num_groups, eps=eps, moments=moments)
    return result, moments


@public(namespaces=("nn.functional",))
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Every group of channels of every sample with mean 0 and variance 1, scaled and shifted.

    Shape: input (batch, channels, *), channels divisible by num_groups; weight and bias (channels,).
    Dtype: floating; float16 and bfloat16 are computed in float32 and may have float32 parameters.
    Raises: RuntimeError where sizes or dtypes do not fit, ValueError for one value per group.
    Source: Wu and He, Group normalization, 2018.
    """
    shape = input._array.shape
    if len(shape) > 1 and shape[0] * (shape[1] // num_groups) * math.prod(shape[2:]) == 1:
        merged = [shape[0] * shape[1] // num_groups, num_groups, *shape[2:]]
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {merged}"
        )
    return _group_normalized(input, num_groups, weight, bias, eps)[0]


@public(name="group_norm")
def torch_group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """nn.functional.group_norm, also of a single value per group."""
    return _group_normalized(input, num_groups, weight, bias, eps)[0]


@public(out=True)
def native_group_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    N: int,
    C: int,
    HxW: int,
    group: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Group norm, and the mean and 1 / deviation of every group."""
    made, (mean, scale) = _group_normalized(input.reshape(N, C, HxW), group, weight, bias, eps)
    half = input._array.dtype if weight is None or weight.dtype is input.dtype else mean.dtype
    return made.reshape(input.shape), wrap(mean.astype(half)), wrap(scale.astype(half))


def _instance_normalized(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    name = "instance_norm"
    if not use_input_stats and (running_mean is None or running_var is None):
        raise ShapeError(
            name,
            "Expected running_mean and running_var to be defined when use_input_stats is false",
        )
    shape = input._array.shape
    _check_batch_norm(
        name,
        input,
        running_mean,
        running_var,
        weight,
        bias,
        use_input_stats,
        shape[0] if shape else 1,
    )
    if not use_input_stats:
        assert running_mean is not None and running_var is not None
        fixed = _fixed_moments(running_mean, running_var, eps)
        weight = unit_weight(input, weight, bias)
        return apply(InstanceNormFixed, input, weight, bias, moments=fixed)
    x = widened(input._array)
    channels = shape[1]
    if not x.size:
        return _empty(input, weight, bias)
    weight = unit_weight(input, weight, bias)
    mean, variance = group_moments(x, channels)
    moments = mean, 1 / np.sqrt(variance + eps)
    if running_mean is not None and running_var is not None:
        count = math.prod(shape[2:])
        unbiased = np.add.reduce(variance, axis=0) * (
            count / (count - 1) if count > 1 else math.nan
        )
        _follow(running_mean, np.add.reduce(mean, axis=0) / shape[0], momentum)
        _follow(running_var, unbiased / shape[0], momentum)
    return apply(InstanceNorm, input, weight, bias, groups=channels, eps=eps, moments=moments)


@public(namespaces=("nn.functional",))
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Every channel of every sample with mean 0 and variance 1, then scaled and shifted.

    Running statistics, if given, move towards the mean of the samples' moments; without
    use_input_stats they are what is normalized with.

    Shape: input (batch, channels, *) with at least one more dimension; the others (channels,).
    Raises: RuntimeError where sizes or dtypes do not fit, ValueError for one value per channel.
    Source: Ulyanov et al., Instance normalization, 2016.
    """
    _check_pair(running_mean, running_var)
    if use_input_stats and math.prod(input._array.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    momentum = _momentum("instance_norm", 7, momentum)
    return _instance_normalized(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


@public(name="instance_norm")
def torch_instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """nn.functional.instance_norm with its arguments in another order."""
    return _instance_normalized(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )
