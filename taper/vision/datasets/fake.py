"""FakeData: random pictures, to try a program without any data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.vision.datasets.base import VisionDataset


class FakeData(VisionDataset):
    """Pictures of normally distributed points and random classes, the same for the same index.

    `image_size` is (channels, height, width).
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(None, None, transform, target_transform)
        self.size = size
        self.num_classes = num_classes
        self.image_size = image_size
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import taper
        from taper.vision.transforms.functional import to_pil_image

        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        state = taper.get_rng_state()
        taper.manual_seed(index + self.random_offset)
        image = taper.randn(*self.image_size)
        target = taper.randint(0, self.num_classes, size=(1,), dtype=taper.int64)[0]
        taper.set_rng_state(state)
        return self._transformed(to_pil_image(image), target.item())

    def __len__(self) -> int:
        return self.size
