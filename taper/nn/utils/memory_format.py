"""Convolution weights in another memory format, such as channels_last."""

from __future__ import annotations

from typing import Any, TypeVar

from taper.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from taper.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]

T_module = TypeVar("T_module", bound=Module)


def _convert(module: Any, kinds: tuple[type, ...], memory_format: Any) -> None:
    layers: list[Any] = [each for each in module.modules() if isinstance(each, kinds)]
    for layer in layers:
        layer.weight.data = layer.weight.detach().clone(memory_format=memory_format)


def convert_conv2d_weight_memory_format(module: T_module, memory_format: Any) -> T_module:
    """Changes the memory format of all weights of Conv2d and ConvTranspose2d; returns the module."""
    _convert(module, (Conv2d, ConvTranspose2d), memory_format)
    return module


def convert_conv3d_weight_memory_format(module: T_module, memory_format: Any) -> T_module:
    """Changes the memory format of all weights of Conv3d and ConvTranspose3d; returns the module."""
    _convert(module, (Conv3d, ConvTranspose3d), memory_format)
    return module
