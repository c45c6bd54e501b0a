"""A batch norm in evaluation folded into the layer before it: both are affine."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import taper
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter
from taper.tensor import Tensor

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]

T_module = TypeVar("T_module", bound=Module)


def _check(layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")


def _fused(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    scale: Tensor | None,
    shift: Tensor | None,
    shape: tuple[int, ...],
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the layer followed by the norm; `shape` lines the scale up with it."""
    bias_dtype = weight.dtype if bias is None else bias.dtype
    factor = taper.rsqrt(variance + eps)
    if scale is not None:
        factor = factor * scale
    offset = -mean if bias is None else bias - mean
    made = offset * factor
    if shift is not None:
        made = made + shift
    return (
        Parameter((weight * factor.reshape(shape)).to(weight.dtype), weight.requires_grad),
        Parameter(made.to(bias_dtype), bias is not None and bias.requires_grad),
    )


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution that does what conv and batch norm do together.

    `transpose` says that the weight is that of a transposed convolution.
    """
    ones = (1,) * (conv_w.dim() - 2)
    shape = (1, -1, *ones) if transpose else (-1, 1, *ones)
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_conv_bn_eval(conv: T_module, bn: Any, transpose: bool = False) -> T_module:
    """A copy of the convolution that does what it and the batch norm do together.

    Raises: AssertionError unless both are in evaluation mode and the norm has statistics.
    """
    _check(conv, bn)
    fused: Any = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight,
        fused.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a linear layer that does what linear and batch norm do together."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def fuse_linear_bn_eval(linear: T_module, bn: Any) -> T_module:
    """A copy of the linear layer that does what it and the batch norm do together.

    Raises: AssertionError unless both are in evaluation mode, the norm has statistics, and as many
        features as the layer has outputs (or one).
    """
    layer: Any = linear
    _check(layer, bn)
    if bn.num_features not in (layer.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={layer.out_features} and bn.num_features={bn.num_features}"
        )
    fused: Any = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
