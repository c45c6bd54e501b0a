"""A call, explained: formula, kernels, LLVM IR, instructions, and what share of the machine it uses.

recorder.py     which ops, functions and kernels a call used, and how long each took
work.py         how many operations and bytes that is
peaks.py        how many the machine can do
code.py         kernels as text
explanation.py  the page that says all this
command.py      `taper inspect`
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.inspection.explanation import SECTIONS, Explanation
from taper.inspection.peaks import best, peaks_of
from taper.inspection.recorder import Recorder, described, is_reference
from taper.tensor import Tensor, wrap

# Seconds for which a whole call is timed.
WHOLE = 0.1

__all__ = ["SECTIONS", "Explanation", "explain"]


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """What `function(*args, **kwargs)` computes, and by what: print it.

    The function is called many times, on copies of the tensors (and of a module, if it is one), so
    that it can be timed. Where a tensor requires grad, the kernels of the gradients are included.

    Raises: what the function raises.

    >>> import taper
    >>> print(taper.explain(taper.exp, taper.ones(64, 1000)))  # doctest: +SKIP
    """
    return explained(written(_name_of(function), args, kwargs), function, args, kwargs)


def explained(
    call: str, function: Any, args: Any, kwargs: Any, *, again: bool = False
) -> Explanation:
    """As `explain`, of a call that is written so; `again` measures the machine's peaks anew."""
    from taper import generator, settings

    if not isinstance(function, type) and hasattr(function, "parameters"):
        function = copy.deepcopy(function)
    args, kwargs = _copied(args), _copied(kwargs)
    state = generator.default_generator.get_state()
    try:
        made = function(*args, **kwargs)  # compiles what has not been yet
        outputs = _differentiable(made)
        backward = bool(outputs)
        if backward:
            _gradients(outputs)()
        with Recorder() as recorder:
            recorded = function(*args, **kwargs)
            if backward:
                gradients = _gradients(_differentiable(recorded))
                recorder.backward = True
                gradients()
        seconds = best(lambda: function(*args, **kwargs), WHOLE)
        backward_seconds = _backward_seconds(function, args, kwargs) if backward else None
    finally:
        generator.default_generator.set_state(state)
    threads = settings.get_num_threads()
    found = [peaks_of(n, again) for n in sorted({1, threads})]
    return Explanation(
        call=call,
        result=_described(made),
        ops=recorder.ops,
        steps=recorder.all_steps(),
        seconds=seconds,
        backward_seconds=backward_seconds,
        peaks=found,
        backend="reference" if is_reference() else "llvm",
        about=(inspect.getdoc(function) or "").partition("\n")[0],
    )


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return "function" if name == "<lambda>" else str(name)


def written(name: str, args: Any, kwargs: Any) -> str:
    """A call as text: softmax(float32[64, 1000], dim=-1)."""
    given = [_described(x) for x in args] + [f"{k}={_described(x)}" for k, x in kwargs.items()]
    return f"{name}({', '.join(given)})"


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return described(value._array)
    if isinstance(value, (tuple, list)) and any(isinstance(x, Tensor) for x in value):
        return f"({', '.join(_described(x) for x in value)})"
    text = repr(value)
    return text if len(text) <= 40 else f"<{type(value).__name__}>"


def _copied(value: Any) -> Any:
    """The same with tensors of its own, laid out alike."""
    if isinstance(value, Tensor):
        twin = wrap(_twin(value._array))
        twin.requires_grad = value.requires_grad
        return twin
    if type(value) in (tuple, list):
        return type(value)(_copied(x) for x in value)
    if type(value) is dict:
        return {key: _copied(x) for key, x in value.items()}
    return value


def _twin(array: np.ndarray) -> np.ndarray:
    """A copy with the same strides, gaps and repetitions included."""
    if not array.size:
        return np.copy(array)
    size = array.itemsize
    span = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)) + size
    room = np.empty(span // size, array.dtype)
    made = np.lib.stride_tricks.as_strided(room, array.shape, array.strides)
    made[...] = array
    return made


def _differentiable(made: Any) -> list[Tensor]:
    if isinstance(made, Tensor):
        return [made] if made.requires_grad and made.grad_fn is not None else []
    if isinstance(made, dict):
        made = tuple(made.values())
    if isinstance(made, (tuple, list)):
        return [t for each in made for t in _differentiable(each)]
    return []


def _gradients(outputs: list[Tensor]) -> Callable[[], Any]:
    """What computes the gradients of all leaves from gradients of ones."""
    from taper import autograd

    ones = [wrap(np.ones(t._array.shape, t._array.dtype)) for t in outputs]
    leaves = _leaves(outputs)
    return lambda: autograd.grad(outputs, leaves, ones, allow_unused=True)


def _leaves(outputs: list[Tensor]) -> list[Tensor]:
    found: dict[int, Tensor] = {}
    seen: set[Any] = set()
    stack: list[Any] = [t.grad_fn for t in outputs]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for edge in node.edges:
            if edge is None:
                continue
            if isinstance(edge[0], Tensor):
                found[id(edge[0])] = edge[0]
            else:
                stack.append(edge[0])
    return list(found.values())


def _backward_seconds(function: Any, args: Any, kwargs: Any) -> float:
    import time

    shortest, begin = float("inf"), time.perf_counter()
    while shortest == float("inf") or time.perf_counter() - begin < WHOLE:
        gradients = _gradients(_differentiable(function(*args, **kwargs)))
        start = time.perf_counter()
        gradients()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest
