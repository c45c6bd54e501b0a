"""Inputs for the generic tests of every op: (arrays and numbers, attributes).

Elementwise ops get theirs automatically, from DOMAIN where not every number will do. The others
are listed in SAMPLES, here for the core and in samples/FAMILY.py for each family, whose tables are
joined to these. tests/test_every_op.py fails for an op that has no sample.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Sample = tuple[list[Any], dict[str, Any]]

# (low, high) of the inputs of elementwise ops whose formula needs it, and inputs that must differ.
DOMAIN: dict[str, tuple[float, float]] = {
    "Log": (0.2, 3),
    "Log2": (0.2, 3),
    "Log10": (0.2, 3),
    "Log1p": (-0.7, 3),
    "Sqrt": (0.2, 3),
    "Rsqrt": (0.2, 3),
    "Acosh": (1.2, 3),
    "Asin": (-0.9, 0.9),
    "Acos": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Logit": (0.1, 0.9),
    "Erfinv": (-0.9, 0.9),
    "Ndtri": (0.1, 0.9),
    "Div": (0.5, 2),
    "Pow": (0.5, 2),
    "PowScalar": (0.5, 2),
    "Reciprocal": (0.5, 2),
    "FloorDivide": (0.6, 0.9),
    "TruncDivide": (0.6, 0.9),
    "Remainder": (1.1, 1.4),
    "Fmod": (1.1, 1.4),
    "Digamma": (0.5, 3),
    "Lgamma": (0.5, 3),
    "Polygamma": (0.5, 3),
    "Xlogy": (0.3, 2),
    "Xlog1py": (0.3, 2),
    "Zeta": (1.5, 3),
    "Entr": (0.2, 2),
    "Igamma": (0.5, 3),
    "Igammac": (0.5, 3),
    "Atan2": (0.3, 2),
    "Hypot": (0.3, 2),
    "Logaddexp": (-2, 2),
    "Ldexp": (0.2, 2),
    "FloatPower": (0.5, 2),
    "Mvlgamma": (3, 5),
}

# Keyword attributes of elementwise ops that have any.
ATTRS: dict[str, dict[str, Any]] = {"PowScalar": {"exponent": 3}}

# Elementwise ops that take integers and bools only; their inputs are drawn as int64.
INTEGER: set[str] = set()
# Elementwise ops whose result is complex though the inputs are real.
COMPLEX_RESULT: set[str] = set()
# Ops whose derivative is an error that says so, as PyTorch's is.
NO_DERIVATIVE: set[str] = set()


# Ops whose derivative holds for some inputs only, or for functions of the outputs: what turns such
# an op (a function of tensors) into one that differences can check.
CHECKED: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {}


def number(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Distinct float64 numbers, so that ties do not blur derivatives."""
    generator = np.random.default_rng([seed, *shape])
    count = int(np.prod(shape))
    spread = np.linspace(low, high, count + 2)[1:-1]
    return generator.permutation(spread).reshape(shape)


def _index(*values: int) -> np.ndarray:
    return np.array(values)


SAMPLES: dict[str, Callable[[], list[Sample]]] = {
    # autograd/inplace
    "TakeFlat": lambda: [([number(3, 4)], {"index": _index(0, 5, 7)})],
    "PutFlat": lambda: [([number(3)], {"index": _index(0, 5, 5), "shape": (3, 4)})],
    "CopySlices": lambda: [([number(3, 4), number(3, seed=1)], {"index": _index(0, 5, 7)})],
    # view
    "Reshape": lambda: [([number(3, 4)], {"shape": (2, 6)})],
    "Permute": lambda: [([number(2, 3, 4)], {"axes": (2, 0, 1)})],
    "Transpose": lambda: [([number(2, 3, 4)], {"one": 0, "other": 2})],
    "T": lambda: [([number(2, 3)], {})],
    "Expand": lambda: [([number(3, 1)], {"shape": (2, 3, 4)})],
    "Unsqueeze": lambda: [([number(3, 2)], {"axis": 1})],
    "Squeeze": lambda: [([number(3, 1, 2, 1)], {"axis": (1, 3)})],
    "SqueezeDim": lambda: [([number(3, 1, 2, 1)], {"axis": (1,)})],
    "SqueezeDims": lambda: [([number(3, 1, 2, 1)], {"axis": (1, 3)})],
    "Select": lambda: [([number(3, 4)], {"axis": 1, "index": 2})],
    "Slice": lambda: [([number(5, 4)], {"key": (slice(1, 5, 2), None, 2)})],
    "SliceSelect": lambda: [([number(5, 4)], {"key": (slice(1, 3), 2)})],
    "SliceUnsqueeze": lambda: [([number(5, 4)], {"key": (2, None)})],
    "SliceAlias": lambda: [([number(5, 4)], {"key": (slice(None),)})],
    "Embed": lambda: [([number(2)], {"shape": (5, 4), "key": (slice(1, 5, 2), 2)})],
    "Unbind": lambda: [([number(3, 2)], {"axis": 0})],
    "SplitSizes": lambda: [([number(5, 2)], {"sizes": (3, 2), "axis": 0})],
    "SplitWithSizes": lambda: [([number(5, 2)], {"sizes": (2, 3), "axis": 0})],
    "Diagonal": lambda: [([number(3, 4)], {"offset": 1, "axis1": 0, "axis2": 1})],
    "EmbedDiagonal": lambda: [
        ([number(3)], {"shape": (3, 4), "offset": 1, "axis1": 0, "axis2": 1})
    ],
    "Unfold": lambda: [([number(7)], {"axis": 0, "size": 3, "step": 2})],
    "FoldWindows": lambda: [([number(3, 3)], {"shape": (7,), "axis": 0, "size": 3, "step": 2})],
    "JoinComplex": lambda: [([number(3, 2), number(3, 2, seed=1)], {})],
    "ToComplex": lambda: [([number(3, 2)], {})],
    "RealPart": lambda: [([number(3, 2) + 1j * number(3, 2, seed=1)], {})],
    "ImagPart": lambda: [([number(3, 2) + 1j * number(3, 2, seed=1)], {})],
    "ViewAsReal": lambda: [([number(3) + 1j * number(3, seed=1)], {})],
    "ViewAsComplex": lambda: [([number(3, 2)], {})],
    # convert, index
    "Clone": lambda: [([number(3, 4).T], {"order": "K"})],
    "Index": lambda: [([number(4, 3), _index(0, 2, 2)], {"spec": (None, 0)})],
    "IndexAdjoint": lambda: [
        ([number(4, 3), _index(0, 2, 2)], {"spec": (None, 0), "shape": (4, 3)})
    ],
    "IndexPut": lambda: [
        ([number(4, 3), number(2, 3, seed=1), _index(0, 2)], {"spec": (0,), "accumulate": False}),
        ([number(4, 3), number(3, 3, seed=1), _index(0, 2, 2)], {"spec": (0,), "accumulate": True}),
    ],
    # reduce, matmul
    "Sum": lambda: [
        ([number(3, 4, 2)], {"axis": (0, 2), "keepdims": False}),
        ([number(3, 4)], {"axis": (0, 1), "keepdims": True}),
    ],
    "Mean": lambda: [([number(3, 4, 2)], {"axis": (0, 2), "keepdims": False})],
    "Mm": lambda: [([number(3, 4), number(4, 2, seed=1)], {})],
    "Bmm": lambda: [([number(2, 3, 4), number(2, 4, 2, seed=1)], {})],
}


def _join() -> None:
    """Adds the tables of samples/*.py, each of which may have any of those above."""
    for path in sorted((Path(__file__).parent / "samples").glob("[a-z]*.py")):
        family = importlib.import_module("samples." + path.stem)
        for table in (
            "DOMAIN",
            "ATTRS",
            "SAMPLES",
            "INTEGER",
            "COMPLEX_RESULT",
            "NO_DERIVATIVE",
            "CHECKED",
        ):
            globals()[table].update(getattr(family, table, {}))


_join()
