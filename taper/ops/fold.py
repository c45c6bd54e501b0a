"""Rearrangements of images: sliding blocks to columns and back, pixels to channels and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.window import Sizes, padded, tap, windows
from taper.tensor import Tensor

# ---------------------------------------------------------------- on arrays


def _blocks(size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Sizes:
    """Number of blocks along each dimension."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    )


def to_columns(
    x: np.ndarray, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> np.ndarray:
    """(..., channels, height, width) to (..., channels * block size, number of blocks)."""
    out = _blocks(x.shape[-2:], kernel, dilation, padding, stride)
    lead = x.shape[:-3]
    if x.size == 0:
        return np.zeros((*lead, x.shape[-3] * math.prod(kernel), math.prod(out)), x.dtype)
    seen = windows(padded(x, padding, padding), kernel, stride, dilation, out)
    return seen.reshape(*lead, x.shape[-3] * math.prod(kernel), math.prod(out))


def from_columns(
    columns: np.ndarray, size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> np.ndarray:
    """Adjoint of `to_columns`: overlapping blocks are added."""
    out = _blocks(size, kernel, dilation, padding, stride)
    lead = columns.shape[:-2]
    channels = columns.shape[-2] // math.prod(kernel)
    blocks = columns.reshape(*lead, channels, *kernel, *out)
    total = np.zeros(
        (*lead, channels, *(n + 2 * p for n, p in zip(size, padding, strict=True))), columns.dtype
    )
    for i, j in np.ndindex(*kernel):
        place = (
            ...,
            tap(i, dilation[0], stride[0], out[0]),
            tap(j, dilation[1], stride[1], out[1]),
        )
        total[place] += blocks[..., i, j, :, :]
    (top, left), (height, width) = padding, size
    return np.ascontiguousarray(total[..., top : top + height, left : left + width])


# ---------------------------------------------------------------- the ops


@op
class Im2Col(Opaque):
    """Sliding blocks as columns."""

    node_name = "Im2ColBackward0"
    saves = ("input.shape",)

    def forward(
        self, m: Any, input: Any, *, kernel: Any, dilation: Any, padding: Any, stride: Any
    ) -> Any:
        return to_columns(input, kernel, dilation, padding, stride)

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any, **geometry: Any) -> Any:
        return m.call(Col2Im, grad, size=tuple(shape[-2:]), **geometry)


@op
class Col2Im(Opaque):
    """Columns added into an image."""

    node_name = "Col2ImBackward0"

    def forward(
        self,
        m: Any,
        input: Any,
        *,
        size: Any,
        kernel: Any,
        dilation: Any,
        padding: Any,
        stride: Any,
    ) -> Any:
        return from_columns(input, size, kernel, dilation, padding, stride)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, size: Any, **geometry: Any) -> Any:
        return m.call(Im2Col, grad, **geometry)


@op
class PixelShuffle(Opaque):
    """Channels spread over factor x factor pixels."""

    def forward(self, m: Any, input: Any, *, factor: Any) -> Any:
        *lead, channels, height, width = input.shape
        split = input.reshape(math.prod(lead), channels // factor**2, factor, factor, height, width)
        return split.transpose(0, 1, 4, 2, 5, 3).reshape(
            *lead, channels // factor**2, height * factor, width * factor
        )

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, factor: Any) -> Any:
        return m.call(PixelUnshuffle, grad, factor=factor)


@op
class PixelUnshuffle(Opaque):
    """factor x factor pixels gathered in channels."""

    def forward(self, m: Any, input: Any, *, factor: Any) -> Any:
        *lead, channels, height, width = input.shape
        split = input.reshape(
            math.prod(lead), channels, height // factor, factor, width // factor, factor
        )
        return split.transpose(0, 1, 3, 5, 2, 4).reshape(
            *lead, channels * factor**2, height // factor, width // factor
        )

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, factor: Any) -> Any:
        return m.call(PixelShuffle, grad, factor=factor)


@op
class ChannelShuffle(Opaque):
    """Channels dealt out like cards, one of each group in turn."""

    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, groups: Any) -> Any:
        batch, channels = input.shape[:2]
        split = input.reshape(batch, groups, channels // groups, *input.shape[2:])
        return split.swapaxes(1, 2).reshape(input.shape)

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any, *, groups: Any) -> Any:
        return m.call(ChannelShuffle, grad, groups=shape[1] // groups)


# ---------------------------------------------------------------- the public functions


def _pair(value: Any, argument: str) -> Sizes:
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            return (int(value[0]),) * 2
        if len(value) != 2:
            raise ShapeError(
                "fold", f"It is expected {argument} equals to 2, but got size {len(value)}"
            )
        return (int(value[0]), int(value[1]))
    return (int(value),) * 2


def _geometry(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Sizes]:
    made = {
        "kernel": _pair(kernel_size, "kernel_size"),
        "dilation": _pair(dilation, "dilation"),
        "padding": _pair(padding, "padding"),
        "stride": _pair(stride, "stride"),
    }
    for key, word in (("kernel", "kernel size"), ("dilation", "dilation"), ("stride", "stride")):
        height, width = made[key]
        if height <= 0 or width <= 0:
            raise ShapeError(
                "fold",
                f"{word} should be greater than zero, but got "
                f"{key}_height: {height} {key}_width: {width}",
            )
    height, width = made["padding"]
    if height < 0 or width < 0:
        raise ShapeError(
            "fold",
            f"padding should be non-negative, but got pad_height: {height} pad_width: {width}",
        )
    return made


@public(namespaces=("nn.functional",))
def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Every block of `kernel_size` of an image, as a column.

    Shape: ([batch,] channels, height, width) to ([batch,] channels * block size, blocks).
    Raises: RuntimeError where sizes or settings do not fit.
    """
    geometry = _geometry(kernel_size, dilation, padding, stride)
    shape = tuple(input.shape)
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        raise ShapeError(
            "unfold",
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch "
            "size and other non-zero dimensions for input, but got: "
            f"{list(shape)}",
        )
    if input.dtype.name in ("int64", "int32", "int16", "int8", "uint8"):
        raise NotImplementedError("unfold: \"im2col_out_cpu\" not implemented for 'Long'")
    out = _blocks(shape[-2:], **geometry)
    if min(out) < 1:
        raise ShapeError(
            "unfold",
            f"Given input with spatial size {shape[-2:]}, "
            f"kernel_size={geometry['kernel']}, dilation={geometry['dilation']}, "
            f"padding={geometry['padding']}, calculated shape of the array of sliding blocks as "
            f"{out}, but its components must be at least one.",
        )
    return apply(Im2Col, input, **geometry)


@public(namespaces=("nn.functional",))
def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """The image whose blocks are the columns of `input`; where blocks overlap they are added.

    Shape: ([batch,] channels * block size, blocks) to ([batch,] channels, *output_size).
    Raises: RuntimeError where sizes or settings do not fit.
    """
    geometry = _geometry(kernel_size, dilation, padding, stride)
    size = _pair(output_size, "output_size")
    shape = tuple(input.shape)
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        raise ShapeError(
            "fold",
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 "
            "batch size and non-zero dimensions for input, but got: "
            f"{list(shape)}",
        )
    kernel = geometry["kernel"]
    where = len(shape) - 2
    if shape[-2] % math.prod(kernel):
        raise ShapeError(
            "fold",
            f"Expected size of input's dimension {where} to be divisible by "
            f"the product of kernel_size, but got input.size({where})={shape[-2]} "
            f"and kernel_size={kernel}.",
        )
    out = _blocks(size, **geometry)
    if min(out) < 0 or shape[-1] != math.prod(out):
        raise ShapeError(
            "fold",
            f"Given output_size={size}, kernel_size={kernel}, "
            f"dilation={geometry['dilation']}, padding={geometry['padding']}, "
            f"stride={geometry['stride']}, expected size of input's dimension {where + 1} to "
            f"match the calculated number of sliding blocks {out[0]} * {out[1]} = "
            f"{math.prod(out)}, but got input.size({where + 1})={shape[-1]}.",
        )
    return apply(Col2Im, input, size=size, **geometry)


def _check_shuffle(name: str, input: Tensor, factor: int, word: str) -> None:
    if input.dim() < 3:
        raise ShapeError(
            name,
            f"{name} expects input to have at least 3 dimensions, but got "
            f"input with {input.dim()} dimension(s)",
        )
    if factor <= 0:
        raise ShapeError(name, f"{name} expects a positive {word}, but got {factor}")


@public(namespaces=("torch", "nn.functional"))
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """An image `upscale_factor` times as large, its new pixels taken from channels.

    Shape: (*, channels * factor**2, height, width) to (*, channels, height * factor,
        width * factor).
    """
    _check_shuffle("pixel_shuffle", input, upscale_factor, "upscale_factor")
    if input.shape[-3] % upscale_factor**2:
        raise ShapeError(
            "pixel_shuffle",
            "pixel_shuffle expects its input's 'channel' dimension "
            "to be divisible by the square of upscale_factor, but input.size(-3)="
            f"{input.shape[-3]} is not divisible by {upscale_factor**2}",
        )
    return apply(PixelShuffle, input, factor=upscale_factor)


@public(namespaces=("torch", "nn.functional"))
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Inverse of `pixel_shuffle`: pixels of each block become channels."""
    _check_shuffle("pixel_unshuffle", input, downscale_factor, "downscale_factor")
    for axis, word in ((-2, "height"), (-1, "width")):
        if input.shape[axis] % downscale_factor:
            raise ShapeError(
                "pixel_unshuffle",
                f"pixel_unshuffle expects {word} to be divisible "
                f"by downscale_factor, but input.size({axis})={input.shape[axis]} is "
                f"not divisible by {downscale_factor}",
            )
    return apply(PixelUnshuffle, input, factor=downscale_factor)


@public(namespaces=("torch", "nn.functional"), aliases=("native_channel_shuffle",))
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels in another order: the first of each of `groups` groups, then the second, ...

    Shape: (batch, channels, *), kept.
    Raises: RuntimeError if groups does not divide the channels.
    """
    if input.dim() <= 2:
        raise ShapeError(
            "channel_shuffle",
            "channel_shuffle expects input with > 2 dims, but got "
            f"input with sizes {list(input.shape)}",
        )
    if groups <= 0:
        raise ShapeError(
            "channel_shuffle",
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}",
        )
    channels = input.shape[1]
    if channels % groups:
        raise ShapeError(
            "channel_shuffle",
            "Number of channels must be divisible by groups. Got "
            f"{channels} channels and {groups} groups.",
        )
    return apply(ChannelShuffle, input, groups=groups)
