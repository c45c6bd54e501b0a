"""pillow's images where pillow is installed, arrays where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np


def picture(array: np.ndarray) -> Any:
    """An array (height, width[, 3]) of uint8 as pillow's image; the array itself without pillow."""
    try:
        from PIL import Image
    except ImportError:
        return array
    return Image.fromarray(array)


def is_picture(value: Any) -> bool:
    """Whether the value is an image of pillow's; without asking for pillow."""
    return type(value).__module__.startswith("PIL.") and hasattr(value, "getbands")


def pillow(purpose: str) -> Any:
    """The module PIL.Image; ImportError that says what it is needed for."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"{purpose} needs pillow: pip install pillow") from error
    return Image
