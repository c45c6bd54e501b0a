"""An optimizer's step on flat arrays: `m.update_rule`, one kernel for any rule.

The kernel is found by the rule, the dtype and the kinds of the coefficients, among those that were
made before the one whose guards hold. Finding it takes some 2 us, less than three calls of numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends.llvm import update
from taper.backends.llvm.functions.pointwise import Kernel, kernel_of, threads
from taper.backends.llvm.pointwise import Unsupported

# Ways that a rule may take before it is left to numpy: one that asks about each learning rate.
MOST_WAYS = 64

_codes = {np.dtype(np.float32): "f", np.dtype(np.float64): "d"}
_PLAIN = (bool, str)
_known: dict[Any, list[tuple[Callable[[list[float]], bool], Kernel]]] = {}
_refused: set[Any] = set()


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
    code = _codes.get(dtype)
    if code is None or type(coefficients) is not tuple:
        return False
    for array in (param, grad, *state):
        if array.dtype is not dtype or not array.flags.c_contiguous:
            return False
    kinds = tuple([c if c is None or type(c) in _PLAIN else type(c) for c in coefficients])
    key = (getattr(rule, "__func__", rule), code, len(state), kinds, maximize)
    numbers = [c for c in coefficients if type(c) is float or type(c) is int]
    kernel = None
    for holds, known in _known.get(key, ()):
        if holds(numbers):
            kernel = known
            break
    if kernel is None:
        if key in _refused:
            return False
        kernel = _way(key, rule, code, len(state), coefficients, maximize)
        if kernel is None:
            return False
    size = param.size
    kernel(threads(size), param, grad, *state, *map(float, numbers), size)
    return True


def _way(
    key: Any, rule: Callable[..., None], code: str, states: int, coefficients: Any, maximize: bool
) -> Kernel | None:
    """A kernel for the way that the rule takes with these coefficients, kept for others like them."""
    ways = _known.setdefault(key, [])
    try:
        if len(ways) >= MOST_WAYS:
            raise Unsupported("a rule that takes another way at each step")
        made = update.read(rule, code, states, coefficients, maximize)
    except (Unsupported, TypeError, AttributeError, ValueError):
        _refused.add(key)
        return None
    kernel = kernel_of(made.kernel)
    ways.append((made.holds, kernel))
    return kernel
