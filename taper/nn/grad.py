"""Gradients of convolutions, as functions: torch.nn.grad."""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.ops import load
from taper.tensor import Tensor

load("nn")

from taper.ops.conv import ConvTransposed, ConvWeightGrad  # noqa: E402 - after its group
from taper.ops.window import integers  # noqa: E402

__all__ = [
    "conv1d_input",
    "conv1d_weight",
    "conv2d_input",
    "conv2d_weight",
    "conv3d_input",
    "conv3d_weight",
]


def _geometry(
    rank: int, name: str, stride: Any, padding: Any, dilation: Any, groups: int
) -> dict[str, Any]:
    return {
        "stride": integers(stride, rank, name, "stride"),
        "padding": integers(padding, rank, name, "padding"),
        "dilation": integers(dilation, rank, name, "dilation"),
        "groups": groups,
    }


def conv1d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv1d's input, of shape `input_size`, from that of its output."""
    geometry = _geometry(1, "conv1d_input", stride, padding, dilation, groups)
    size = tuple(input_size)[2:]
    return apply(ConvTransposed, grad_output, weight, None, size=size, **geometry)


def conv1d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv1d's weight, of shape `weight_size`, from that of its output."""
    geometry = _geometry(1, "conv1d_weight", stride, padding, dilation, groups)
    kernel = tuple(weight_size)[2:]
    return apply(ConvWeightGrad, input, grad_output, kernel=kernel, **geometry)


def conv2d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d's input, of shape `input_size`, from that of its output."""
    geometry = _geometry(2, "conv2d_input", stride, padding, dilation, groups)
    size = tuple(input_size)[2:]
    return apply(ConvTransposed, grad_output, weight, None, size=size, **geometry)


def conv2d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv2d's weight, of shape `weight_size`, from that of its output."""
    geometry = _geometry(2, "conv2d_weight", stride, padding, dilation, groups)
    kernel = tuple(weight_size)[2:]
    return apply(ConvWeightGrad, input, grad_output, kernel=kernel, **geometry)


def conv3d_input(
    input_size: Any,
    weight: Tensor,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv3d's input, of shape `input_size`, from that of its output."""
    geometry = _geometry(3, "conv3d_input", stride, padding, dilation, groups)
    size = tuple(input_size)[2:]
    return apply(ConvTransposed, grad_output, weight, None, size=size, **geometry)


def conv3d_weight(
    input: Tensor,
    weight_size: Any,
    grad_output: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of conv3d's weight, of shape `weight_size`, from that of its output."""
    geometry = _geometry(3, "conv3d_weight", stride, padding, dilation, groups)
    kernel = tuple(weight_size)[2:]
    return apply(ConvWeightGrad, input, grad_output, kernel=kernel, **geometry)
