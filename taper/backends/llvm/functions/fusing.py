"""Ops as one kernel: an elementwise op's formula, or derivative, runs fused where that saves a pass.

Only what every call needs is here; how a formula is traced and what runs it is in pointwise.py,
which is loaded with the first array that is large enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# Elements from which a kernel beats numpy's steps.
LEAST = 64
# Values of attributes that an op remembers.
MOST_WAYS = 16
# Patterns of operands and of wanted gradients for which a derivative has a built-in.
MOST_QUICK = 8

_ndarray = np.ndarray
_FLOATING = (np.dtype(np.float32), np.dtype(np.float64))
_HALF_BYTES = 2  # of float16 and bfloat16, which numpy computes slowly, or rounds at each step


def _way(*arguments: Any) -> Any:
    from taper.backends.llvm.functions.pointwise import Way

    return Way(*arguments)


def fuse(op: Any) -> None:
    """Lets an op, and its derivative, run on arrays as one kernel where that saves a pass over them.

    An attribute is part of the kernel; of one that changes from call to call only the first few
    values have kernels. A function of the op that never pays is given back as it was.
    """
    if not op.takes_attrs:
        op.direct = _direct(op, op.run)
    op.run = _fused(op, "run", False)
    if op.vjp is not None:
        op.vjp = _fused(op, "vjp", True)


def _direct(op: Any, body: Callable[..., Any], halves: bool = False) -> Callable[..., Any]:
    """Stands in for the op's built-in of small arrays until the first call, which makes it."""

    def first(*operands: Any) -> Any:
        from taper.backends.llvm.direct import built_in

        op.direct = built_in(body, len(op.inputs), op.unpromoted, op.floating, halves)
        return None if op.direct is None else op.direct(*operands)

    return first


def _fused(op: Any, name: str, derivative: bool) -> Callable[..., Any]:
    body = getattr(op, name)
    ways: dict[Any, Any] = {}
    # By which gradients are needed: built-ins for small arrays, each with what arranges its results.
    quick: dict[Any, list[Any]] = {}

    def run(m: Any, *operands: Any, **attrs: Any) -> Any:
        for built_in, arranged in quick.get(attrs.get("needs"), ()) if quick else ():
            made = built_in(*operands)
            if made is not None:
                return arranged(operands[0], made)
        first = operands[0]
        if type(first) is not _ndarray:
            first = operands[-1]
            if type(first) is not _ndarray:
                return body(m, *operands, **attrs)
        if first.size < LEAST and first.itemsize != _HALF_BYTES:
            needs = attrs.get("needs")
            if derivative and not op.takes_attrs and needs not in quick:
                made = _way(body, operands, attrs, True).quick(body, operands, attrs)
                quick[needs] = [] if made is None else [made]
                return run(m, *operands, **attrs)
            return body(m, *operands, **attrs)
        key: Any = [x.dtype if type(x) is _ndarray else type(x) for x in operands]
        if attrs:
            key += attrs.items()
        key = tuple(key)
        try:
            way = ways.get(key)
        except TypeError:  # an attribute that cannot be a key
            return body(m, *operands, **attrs)
        if way is None:
            if len(ways) >= MOST_WAYS:
                return body(m, *operands, **attrs)
            way = ways[key] = _way(body, operands, attrs, derivative)
            if way.halves and op.direct is not None and not derivative:
                op.direct = _direct(op, body, True)
            if derivative and not op.takes_attrs and sum(map(len, quick.values())) < MOST_QUICK:
                made = way.quick(body, operands, attrs)
                if made is not None:
                    quick.setdefault(attrs.get("needs"), []).append(made)
                    return run(m, *operands, **attrs)
            if not way.traced and _is_whole(attrs) and first.dtype in _FLOATING:
                # It will not be better for others of its dtypes.
                setattr(op, name, body)
        if way.formula is not None:
            made = way.run(operands)
            if made is not None:
                if way.derivative is not None:
                    return way.derivative.gradients(first, made)
                return made[0] if len(made) == 1 else tuple(made)
        if way.halves:
            return _in_single(body, m, operands, attrs)
        return body(m, *operands, **attrs)

    return run


def _in_single(body: Callable[..., Any], m: Any, operands: Any, attrs: dict[str, Any]) -> Any:
    """The same in float32, and rounded at the end: what kernels do with the half types."""
    half = next(x.dtype for x in operands if _is_half(x))
    made = body(m, *[x.astype(np.float32) if _is_half(x) else x for x in operands], **attrs)

    def narrow(x: Any) -> Any:
        return x.astype(half) if getattr(x, "dtype", None) == np.float32 else x

    return tuple(map(narrow, made)) if isinstance(made, tuple) else narrow(made)


def _is_whole(attrs: dict[str, Any]) -> bool:
    """Whether an op has no attributes, and its derivative all gradients to give."""
    return all(name == "needs" and all(value) for name, value in attrs.items())


def _is_half(x: Any) -> bool:
    return type(x) is _ndarray and x.dtype.kind in "fV" and x.itemsize == _HALF_BYTES
