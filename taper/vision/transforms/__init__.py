"""torchvision.transforms: changes of pictures, as objects; functional.py has them as functions.

They take pillow's images where pillow is installed, and tensors (..., channels, height, width).
"""

from __future__ import annotations

from taper.vision.transforms import functional as functional
from taper.vision.transforms.compose import (
    Compose,
    Lambda,
    RandomApply,
    RandomChoice,
    RandomOrder,
)
from taper.vision.transforms.convert import (
    ConvertImageDtype,
    Grayscale,
    Normalize,
    PILToTensor,
    ToPILImage,
    ToTensor,
)
from taper.vision.transforms.functional import InterpolationMode
from taper.vision.transforms.geometry import (
    CenterCrop,
    FiveCrop,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from taper.vision.transforms.noise import ColorJitter, RandomErasing

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "FiveCrop",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomOrder",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToPILImage",
    "ToTensor",
]
