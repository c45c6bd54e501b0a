"""Attention by the kernels of attention.py: `attention` and `attention_grad`.

They take float32 and float64 in up to four dimensions. Arrays whose last dimension does not run
along memory are copied; empty ones, and the gradient of a mask, are left to the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import attention as reference
from taper.backends.attention import Needs
from taper.backends.llvm import call, pool
from taper.backends.llvm.attention import AttentionForward, AttentionGrad, Layout
from taper.backends.llvm.functions.gemm import Plans
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.machine import host

Array = np.ndarray

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# Multiplications from which threads are worth waking.
_PARALLEL = 1 << 20
# Most pieces that the heads are cut into, and elements of memory for the blocks of all of them.
_PIECES, _ROOM = 32, 1 << 22


@functools.cache
def _kernel(spec: Any, fast: bool) -> Callable[..., None]:
    """The kernel as a Python function: a built-in, or by way of ctypes."""
    addresses = kept_library(spec).addresses
    if fast:
        return call.builtin("attention", addresses["entry"])
    return call.through_ctypes(addresses["kernel"], spec.kinds)


class _Plan:
    """How arrays of certain shapes and strides are computed."""

    __slots__ = ("_cost", "_heads", "_kernel", "_numbers", "_piece", "_slot")

    def __init__(self, kind: type, dtype: np.dtype, causal: bool, mask: str, *given: Any) -> None:
        spec = kind(_ELEMENTS[dtype], mask)
        (batch, heads, queries, size), (*_, keys, _), (*_, width) = given[:6:2]
        layout = Layout(heads, queries, keys, size, width, causal)
        numbers = layout.numbers(host(), spec.element, spec.gradient)
        self._slot, self._heads = numbers["slot"], batch * heads
        self._piece = -(-self._heads // max(1, min(_PIECES, _ROOM // self._slot)))
        numbers["piece"] = self._piece
        for name, strides in zip(spec.arrays, given[1::2], strict=True):
            unit = 1 if (name, mask) == ("mask", "bool") else dtype.itemsize
            for of, stride in zip(("batch", "head", "row"), strides, strict=False):
                numbers[f"{name}_{of}"] = stride // unit
        self._numbers = np.array([numbers[field] for field in spec.fields], np.int64)
        self._cost = self._heads * queries * keys * (size + width)
        self._kernel = _kernel(spec, call.has_fast_calls())

    def run(self, arrays: list[Array], kept: Array, scale: float) -> None:
        """Fills in the results."""
        threads = pool.address() if self._cost >= _PARALLEL else 0
        slots = -(-self._heads // self._piece) if threads else 1
        work = np.empty(slots * self._slot, kept.dtype)
        self._kernel(threads, *arrays, kept, work, self._numbers, float(scale), self._heads)


_plans = Plans(_Plan)


def _run(kind: type, arrays: list[Array], mask: Array | None, kept: Array, scale: float,
         causal: bool) -> None:  # fmt: skip
    """Calls the kernel; `arrays` begin with query, key and value, and end with the results."""
    word = ""
    if mask is not None:
        word = "bool" if mask.dtype.kind == "b" else "number"
        arrays.insert(3, mask)
    key: list[Any] = [kind, kept.dtype, causal, word]
    for x in arrays:
        key += x.shape, x.strides
    _plans[tuple(key)].run(arrays, kept, scale)


def _heads(x: Array) -> Array:
    """With dimensions for batch and head, and the last along memory."""
    if x.ndim < 4:
        x = x[None] if x.ndim == 3 else x[None, None]
    size = x.itemsize
    if x.strides[3] != size or any(stride % size for stride in x.strides):
        return np.ascontiguousarray(x)
    return x


def _like(x: Array) -> Array:
    """Memory for an array in the order of x, but for the last dimension, which is the innermost."""
    made = np.empty_like(x)
    return made if made.strides[-1] == made.itemsize else np.empty(x.shape, x.dtype)


def _mask(mask: Array | None, query: Array, keys: int) -> Array | None:
    """The mask as large as the scores; a missing dimension has stride 0."""
    if mask is None:
        return None
    if mask.dtype.kind != "b":
        mask = mask.astype(query.dtype, copy=False)
    mask = np.atleast_1d(mask)
    if mask.shape[-1] != keys or mask.strides[-1] != mask.itemsize:
        mask = np.ascontiguousarray(np.broadcast_to(mask, (*mask.shape[:-1], keys)))
    return np.broadcast_to(mask, (*query.shape[:3], keys))


def _fits(query: Array, key: Array, value: Array) -> bool:
    return (
        query.ndim <= 4
        and query.dtype in _ELEMENTS
        and query.dtype == key.dtype == value.dtype
        and query.size > 0
        and key.size > 0
        and value.size > 0
    )


def attention(
    query: Array, key: Array, value: Array, mask: Array | None, scale: float, causal: bool
) -> tuple[Array, Array]:
    """softmax(query @ key.T * scale + mask) @ value, and (top, share) of each query."""
    if not _fits(query, key, value):
        return reference.attention(query, key, value, mask, scale, causal)
    q, k, v = _heads(query), _heads(key), _heads(value)
    shape = query.shape[:-1]
    if query.shape[-1] == value.shape[-1]:
        out = _like(query)
    else:
        out = np.empty((*shape, value.shape[-1]), query.dtype)
    kept = np.empty((*shape, 2), query.dtype)
    arrays = [q, k, v, _heads(out)]
    _run(AttentionForward, arrays, _mask(mask, q, k.shape[2]), kept, scale, causal)
    return out, kept


def attention_grad(
    grad: Array, out: Array, kept: Array, query: Array, key: Array, value: Array, mask: Array | None,
    scale: float, causal: bool, needs: Needs,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of query, key, value and mask, where they are needed."""
    if needs[3] or not _fits(query, key, value) or not kept.flags.c_contiguous:
        return reference.attention_grad(
            grad, out, kept, query, key, value, mask, scale, causal, needs
        )
    q = _heads(query)
    k = _heads(key)
    made = [_like(x) for x in (query, key, value)]
    arrays = [q, k, _heads(value), _heads(out), _heads(grad), *map(_heads, made)]
    _run(AttentionGrad, arrays, _mask(mask, q, k.shape[2]), kept, scale, causal)
    return made[0], made[1], made[2], None
