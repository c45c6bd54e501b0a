"""Group and instance norm. Instance norm is group norm with a group per channel, but for its
running statistics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends.rows import row_sums
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.ops.norm import (
    FixedNorm,
    Moments,
    check_batch_norm,
    check_momentum,
    check_pair,
    check_parameters,
    fixed_moments,
    follow,
    of_nothing,
    quiet,
    recorded_vjp,
    rounded,
    unbiased,
    unit_weight,
)
from taper.tensor import Tensor, wrap


@quiet
def group_moments(
    x: np.ndarray, groups: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, 1 / deviation and variance of every group of channels of every sample."""
    rows = x.reshape(x.shape[0], groups, -1)
    count = rows.shape[2]
    mean = row_sums(rows) / count
    centred = rows - mean[:, :, None]
    variance = np.vecdot(centred, centred) / count
    return mean, 1 / np.sqrt(variance + eps), variance


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
            moments = group_moments(x, groups, eps)[:2]
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


@op
class InstanceNormFixed(FixedNorm):
    """Instance norm in evaluation."""

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
        return of_nothing(input, weight, bias), (empty, empty.copy())
    moments = group_moments(x, num_groups, eps)[:2]
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
    check_batch_norm(
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
        fixed = fixed_moments(running_mean, running_var, eps)
        weight = unit_weight(input, weight, bias)
        return apply(InstanceNormFixed, input, weight, bias, moments=fixed)
    x = widened(input._array)
    channels = shape[1]
    if not x.size:
        return of_nothing(input, weight, bias)
    weight = unit_weight(input, weight, bias)
    mean, scale, variance = group_moments(x, channels, eps)
    moments = mean, scale
    if running_mean is not None and running_var is not None:
        follow(running_mean, mean.mean(axis=0), momentum)
        follow(running_var, variance.mean(axis=0), momentum, unbiased(math.prod(shape[2:])))
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
    check_pair(running_mean, running_var)
    if use_input_stats and math.prod(input._array.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    momentum = check_momentum("instance_norm", 7, momentum)
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
