"""Dropout layers. In evaluation mode all of them return their input."""

from __future__ import annotations

from typing import Any

from taper.nn import functional as F
from taper.nn.modules.module import Module
from taper.tensor import Tensor

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _DropoutNd(Module):
    __constants__ = ["p", "inplace"]

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Sets elements to zero with probability p and divides the others by 1 - p."""

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """Sets whole channels of a sequence (batch, channels, length) to zero with probability p."""

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """Sets whole channels of an image to zero with probability p."""

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """Sets whole channels of a volume to zero with probability p."""

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps mean and variance of SELU's outputs.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_DropoutNd):
    """AlphaDropout of whole channels."""

    def forward(self, input: Tensor) -> Any:
        """The thinned input."""
        return F.feature_alpha_dropout(input, self.p, self.training)
