"""An optimizer's step on flat arrays: `m.update_rule`, one kernel for any rule.

The kernel is found by the rule, the dtype and the kinds of the coefficients, among those that were
made before the one whose guards hold. Finding it takes some 2 us, less than three calls of numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends.llvm import call, tape, update
from taper.backends.llvm.functions.pointwise import Kernel, kernel_of, threads
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.pointwise import Unsupported
from taper.backends.llvm.update_many import Together

# Ways that a rule may take before it is left to numpy: one that asks about each learning rate.
MOST_WAYS = 64

_codes = {np.dtype(np.float32): "f", np.dtype(np.float64): "d"}
_PLAIN = (bool, str)
_known: dict[Any, list[Way]] = {}
_refused: set[Any] = set()


class Way:
    """A way that a rule takes with some coefficients: its kernels, on flat arrays and on tensors."""

    __slots__ = ("_dtype", "_rule", "_together", "flat", "holds")

    def __init__(self, made: update.Rule, dtype: np.dtype) -> None:
        self._rule, self._dtype = made.kernel, dtype
        self.holds = made.holds
        self.flat: Kernel = kernel_of(made.kernel)
        self._together: Callable[..., Any] | None = None

    @property
    def together(self) -> Callable[..., Any] | None:
        """The built-in of update_many.py; None before the first tensor is on the tape."""
        if self._together is None:
            layout = tape.layout
            if layout is None:
                return None
            at = layout.places
            code = kept_library(
                Together(self._rule, at["array"], at["grad"], at["storage"], layout.version)
            )
            objects = (None, self._dtype, layout.tensor, layout.parameter)
            table = np.array([id(x) for x in objects], np.int64)
            self._together = call.builtin("update", code.addresses["entry"], table)
        return self._together


def update_rule(
    rule: Callable[..., None],
    param: np.ndarray,
    grad: np.ndarray,
    state: list[np.ndarray],
    coefficients: Any,
    maximize: bool,
) -> bool:
    """Changes `param` and `state`, flat arrays without gaps, as the rule says; False if it did not.

    `rule(m, param, grad, state, coefficients)` is a method of an optimizer that looks at nothing
    but its arguments.
    """
    dtype = param.dtype
    for array in (param, grad, *state):
        if array.dtype is not dtype or not array.flags.c_contiguous:
            return False
    numbers = _numbers(coefficients)
    way = _way(rule, dtype, len(state), coefficients, numbers, maximize)
    if way is None:
        return False
    size = param.size
    way.flat(threads(size), param, grad, *state, *numbers, size)
    return True


def update_together(
    rule: Callable[..., None],
    params: tuple[Any, ...],
    arrays: tuple[np.ndarray, ...],
    state: list[np.ndarray],
    coefficients: Any,
    maximize: bool,
) -> bool:
    """As `update_rule` on tensors that have the arrays `arrays`, and on their gradients.

    The state arrays hold the parts of all parameters, one behind the other. False, with nothing
    done, if a gradient is not like its parameter, or one is not in one piece.
    """
    dtype = arrays[0].dtype
    numbers = _numbers(coefficients)
    way = _way(rule, dtype, len(state), coefficients, numbers, maximize)
    built_in = None if way is None else way.together
    return built_in is not None and built_in(params, arrays, *state, *numbers) is not None


def _numbers(coefficients: Any) -> list[float]:
    return [float(c) for c in coefficients or () if type(c) is float or type(c) is int]


def _way(
    rule: Callable[..., None], dtype: np.dtype, states: int, coefficients: Any,
    numbers: list[float], maximize: bool,
) -> Way | None:  # fmt: skip
    """The way that the rule takes with these coefficients, kept for others like them."""
    code = _codes.get(dtype)
    if code is None or type(coefficients) is not tuple:
        return None
    kinds = tuple([c if c is None or type(c) in _PLAIN else type(c) for c in coefficients])
    key = (getattr(rule, "__func__", rule), code, states, kinds, maximize)
    ways = _known.get(key, ())
    for way in ways:
        if way.holds(numbers):
            return way
    if key in _refused:
        return None
    try:
        if len(ways) >= MOST_WAYS:
            raise Unsupported("a rule that takes another way at each step")
        made = update.read(rule, code, states, coefficients, maximize)
    except (Unsupported, TypeError, AttributeError, ValueError):
        _refused.add(key)
        return None
    way = Way(made, dtype)
    _known.setdefault(key, []).append(way)
    return way
