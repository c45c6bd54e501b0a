"""Transforms that disturb pictures: their colours, or a rectangle of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import taper
from taper.nn.modules.module import Module
from taper.tensor import Tensor
from taper.vision.transforms import functional as F
from taper.vision.transforms.geometry import integer, uniform


class ColorJitter(Module):
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Each is a number (how far from the picture's own) or a range of factors.
    Raises: ValueError for ranges that make no sense.
    """

    def __init__(
        self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0
    ) -> None:
        super().__init__()
        self.brightness = _range("brightness", brightness)
        self.contrast = _range("contrast", contrast)
        self.saturation = _range("saturation", saturation)
        self.hue = _range("hue", hue, 0.0, (-0.5, 0.5))

    def forward(self, img: Any) -> Any:
        """The changed picture."""
        order = taper.randperm(4).tolist()
        changes = []
        for change, bounds in (
            (F.adjust_brightness, self.brightness),
            (F.adjust_contrast, self.contrast),
            (F.adjust_saturation, self.saturation),
            (F.adjust_hue, self.hue),
        ):
            changes.append((change, None if bounds is None else uniform(*bounds)))
        for number in order:
            change, factor = changes[number]
            if factor is not None:
                img = change(img, factor)
        return img

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, "
            f"saturation={self.saturation}, hue={self.hue})"
        )


def _range(
    name: str, value: Any, center: float = 1.0, bounds: tuple[float, float] = (0.0, math.inf)
) -> tuple[float, float] | None:
    """The range of factors; None where nothing is to be changed."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        low, high = center - value, center + value
        if name != "hue":
            low = max(low, 0.0)
    else:
        low, high = (float(v) for v in value)
    if not bounds[0] <= low <= high <= bounds[1]:
        raise ValueError(f"{name} values should be between {bounds}, but got {[low, high]}.")
    return None if low == high == center else (low, high)


class RandomErasing(Module):
    """A rectangle of a tensor picture overwritten, with probability p.

    `value` is a number, one for each channel, or "random" for normally distributed points.
    Source: Zhong et al. 2017.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if p < 0 or p > 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value
        self.inplace = inplace

    def _rectangle(self, img: Tensor) -> tuple[int, int, int, int, Any] | None:
        channels, height, width = img.shape[-3:]
        low, high = taper.log(taper.tensor(self.ratio)).tolist()  # type: ignore[operator]
        for _ in range(10):
            area = height * width * uniform(self.scale[0], self.scale[1])
            aspect = float(taper.exp(taper.empty(1).uniform_(low, high)).item())
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= height or w >= width:
                continue
            if self.value == "random":
                value = taper.empty([channels, h, w], dtype=taper.float32).normal_()
            else:
                numbers = self.value if isinstance(self.value, (list, tuple)) else [self.value]
                value = taper.as_tensor(numbers, dtype=img.dtype).reshape(-1, 1, 1)
            return integer(height - h + 1), integer(width - w + 1), h, w, value
        return None

    def forward(self, img: Tensor) -> Tensor:
        """The picture with its rectangle."""
        if taper.rand(1) >= self.p:
            return img
        found = self._rectangle(img)
        return img if found is None else F.erase(img, *found, inplace=self.inplace)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(p={self.p}, scale={self.scale}, ratio={self.ratio}, "
            f"value={self.value}, inplace={self.inplace})"
        )
