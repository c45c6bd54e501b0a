"""torchvision.utils: many pictures as one, and picture files."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import taper
from taper.autograd.grad_mode import no_grad
from taper.tensor import Tensor
from taper.vision.pictures import pillow

__all__ = ["make_grid", "save_image"]


@no_grad()
def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Pictures in rows of `nrow`, with margins, as one picture (3, height, width).

    `normalize` brings the values from `value_range` (None: the smallest and largest there are, of
    each picture with `scale_each`) to 0 to 1.
    Raises: TypeError for what are no tensors.
    """
    if not isinstance(tensor, Tensor):
        if not isinstance(tensor, list) or not all(isinstance(t, Tensor) for t in tensor):
            raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
        tensor = taper.stack(tensor, dim=0)
    images: Any = tensor
    while images.ndim < 4:
        images = images.unsqueeze(0)
    if images.size(1) == 1:
        images = taper.cat((images, images, images), 1)
    if normalize:
        images = images.clone()
        for each in images if scale_each else [images]:
            low, high = value_range or (float(each.min()), float(each.max()))
            each.clamp_(min=low, max=high).sub_(low).div_(max(high - low, 1e-5))
    if images.size(0) == 1:
        return images.squeeze(0)
    count, channels = images.size(0), images.size(1)
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = images.size(2) + padding, images.size(3) + padding
    grid = taper.full(
        (channels, height * rows + padding, width * columns + padding),
        pad_value,
        dtype=images.dtype,
    )
    for i in range(count):
        top, left = (i // columns) * height + padding, (i % columns) * width + padding
        grid[:, top : top + height - padding, left : left + width - padding] = images[i]
    return grid


@no_grad()
def save_image(
    tensor: Tensor | list[Tensor],
    fp: str | os.PathLike[str] | BinaryIO,
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Writes pictures with values from 0 to 1 to a file, as make_grid(**kwargs) arranges them.

    Raises: ImportError without pillow.
    """
    image = pillow("save_image")
    grid = make_grid(tensor, **kwargs)
    points = (grid * 255 + 0.5).clamp(0, 255).permute(1, 2, 0).to(taper.uint8)
    image.fromarray(points.contiguous().numpy()).save(fp, format=format)
