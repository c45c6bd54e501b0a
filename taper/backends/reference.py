"""The numpy meaning of every op: the namespace `math` that formulas are evaluated in.

`math` has numpy's names, so a formula reads like numpy code, and the functions numpy lacks
(`sigmoid`, `erf`, ...). Special functions are in special.py and are loaded when first used.
`silence`/`restore` switch numpy's floating-point warnings off around an op, because PyTorch gives
inf and nan without comment.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from taper.backends.products import linear, matmul

try:  # A context variable set and reset costs 0.1 us; numpy's public errstate costs 0.9 us.
    from numpy._core.umath import _extobj_contextvar as _errors
    from numpy._core.umath import _make_extobj

    # Switches numpy's floating-point warnings off; returns what `restore` takes.
    silence: Callable[[], Any] = partial(_errors.set, _make_extobj(all="ignore"))
    restore: Callable[[Any], None] = _errors.reset
except ImportError:  # another numpy: the public, slower way

    def silence() -> Any:
        """Switches numpy's floating-point warnings off; returns what `restore` takes."""
        return np.seterr(all="ignore")

    def restore(token: Any) -> None:
        np.seterr(**token)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind == "c":
        return 1 / (1 + np.exp(-x))
    # exp of minus the size never overflows, and the quotient keeps the small tail exact.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _astype(x: Any, dtype: Any) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
        x = x.real
    return x.astype(dtype, copy=False)


def _sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The adjoint of broadcasting `shape` to x's shape."""
    own = x.dtype
    wide = np.dtype(np.float32) if own.itemsize == 2 and own.kind in "fV" else own
    extra = x.ndim - len(shape)
    if extra > 0:
        x = np.add.reduce(x, axis=0 if extra == 1 else tuple(range(extra)), dtype=wide)
    if x.shape != shape:
        axes = tuple([i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1])
        if axes:
            x = np.add.reduce(x, axis=axes, keepdims=True, dtype=wide)
        if x.shape != shape:
            x = np.broadcast_to(x, shape)
    x = np.asarray(x)
    return x if x.dtype is own else x.astype(own)


def _call(op: Any, *inputs: Any, **attrs: Any) -> Any:
    """Runs another op on arrays."""
    out = op.run(math, *inputs, **attrs)
    return out if op.outputs > 1 or type(out) is np.ndarray else np.asarray(out)


# Files of functions that numpy lacks. They are loaded when one is first used.
_FAMILIES = (
    "attention",
    "channels",
    "convolution",
    "folds",
    "gathering",
    "order",
    "pooling",
    "pooling_uneven",
    "recurrent",
    "rows",
    "scans",
    "selection",
    "special",
)


def _row_major_copy(x: np.ndarray) -> np.ndarray:
    """The elements in row-major order, in memory of their own."""
    return x.copy("C")


def _evaluate(formula: Callable[..., Any], *operands: Any) -> Any:
    """`formula(m, *operands)`, whose result has as many elements as its operands broadcast to."""
    return formula(math, *operands)


def _fuse(op: Any) -> None:
    """Prepares an op whose elements are computed by themselves. numpy runs it step by step."""


def _built_in(op: Any) -> None:
    """A quick way for small arrays: numpy has none."""


def _tape(*classes: Any) -> None:
    """Built-ins that make tensors and nodes: there are none, so Python makes them."""


def _update_rule(*rule: Any) -> bool:
    """Runs an optimizer's rule in one pass. False: it is left to taper/optim/flat.py."""
    return False


class Math:
    """numpy's namespace with taper's additions; what it lacks is looked up in _FAMILIES."""

    on_arrays = True

    def ufunc(self, name: str) -> Any:
        """numpy's function, called without `m` in between."""
        return getattr(self, name)

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name, None)
        for family in _FAMILIES:
            if found is not None:
                break
            found = getattr(importlib.import_module(f"taper.backends.{family}"), name, None)
        if found is None:
            raise AttributeError(f"the reference backend has no function {name!r}")
        self.__dict__[name] = found
        return found


math: Any = Math()
math.__dict__.update(
    sigmoid=_sigmoid,
    astype=_astype,
    sum_to=_sum_to,
    row_major_copy=_row_major_copy,
    call=_call,
    asarray=np.asarray,
    draws={},  # kernels of random fills by name: generator/kernels.py
    update_rule=_update_rule,
    update_together=_update_rule,
    fuse=_fuse,
    tape=_tape,
    built_in=_built_in,
    evaluate=_evaluate,
    linear=linear,
    matmul=matmul,
)
