"""Large draws go to kernels, where the backend has them; the numbers are the same, bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from taper.backends import math
from taper.generator.engine import Generator

Draw = TypeVar("Draw", bound=Callable[..., np.ndarray])

# Numbers from which kernels are used. They pay from a few on, save that the first is to be loaded.
LEAST = 16


def by_kernel(function: Draw) -> Draw:
    """The function, or for large counts the backend's kernel of its name if it takes the arguments."""
    name = function.__name__

    def chosen(generator: Generator, count: int, *args: Any, **kwargs: Any) -> np.ndarray:
        if count >= LEAST:
            kernel = math().draws.get(name)
            made: np.ndarray | None = kernel and kernel(generator, count, *args, **kwargs)
            if made is not None:
                return made
        return function(generator, count, *args, **kwargs)

    return cast(Draw, functools.update_wrapper(chosen, function))
