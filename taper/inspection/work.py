"""How much a call computes and moves: floating-point operations, and bytes.

Operations are counted as the formula has them, whoever computes it:

    + - * /, sqrt, a comparison, the larger of two, a choice    1
    a product that is added to a sum                            2
    exp, log, tanh, erf, sin, ...    what our polynomials take (vmath.py; 24 for exp in float32)
    moving, casting, filling                                    0

Bytes are those of the arrays that come in and go out, each element once: what must move, if nothing
is read twice. What no rule here covers is counted as None: not known, which is not 0.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import vmath
from taper.backends.llvm.machine import cross
from taper.backends.llvm.pointwise import DTYPES, Program, Traced, trace
from taper.backends.llvm.text import Module

Array = np.ndarray


@dataclass(frozen=True)
class Work:
    """Operations (None if they are not known) and bytes; what the count leaves out."""

    operations: int | None
    bytes: int
    note: str = ""


# ---------------------------------------------------------------- bytes


def arrays_in(value: Any) -> Iterator[Array]:
    """The arrays in nested tuples, lists and dictionaries."""
    if isinstance(value, (np.ndarray, np.generic)):
        yield value  # type: ignore[misc]  # a number of numpy's has the same attributes
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from arrays_in(each)
    elif isinstance(value, dict):
        yield from arrays_in(tuple(value.values()))


def moved(values: Iterable[Any]) -> int:
    """Bytes of the arrays, each once; of one that is repeated by broadcasting, what lies in memory."""
    seen: dict[Any, int] = {}
    for x in arrays_in(tuple(values)):
        held = math.prod(n for n, s in zip(x.shape, x.strides, strict=True) if s or not n)
        seen[x.__array_interface__["data"][0], x.shape, x.strides] = held * x.itemsize
    return sum(seen.values())


# ---------------------------------------------------------------- elementwise programs

_UNCOUNTED = ("input", "number", "constant", "astype")
_COUNTED = re.compile(r"= (?:(fadd|fsub|fmul|fdiv) <|call <[^@]*@llvm\.(fma|sqrt)\.v)")


@functools.cache
def cost(function: str, code: str) -> int:
    """Operations of an elementary function, for one element of float32 ("f") or float64 ("d").

    Counted in the code that is written for AVX2, on any processor. What runs for huge arguments of
    sin and cos only is not written in vectors, and not counted.
    """
    module = Module(cross("avx2", "x86_64-linux-gnu"))
    kind = "<8 x float>" if code == "f" else "<4 x double>"
    f = module.function("kernel", kind, x=kind, y=kind)
    f.ret(vmath.FUNCTIONS[function](*[f.arg(x) for x in ("xy" if function == "pow" else "x")]))
    return sum(1 + (fused == "fma") for _, fused in _COUNTED.findall(module.text()))


def per_element(program: Program) -> int:
    """Operations of a program, for one element."""
    total = 0
    for name, code, *_ in program.steps:
        if name in _UNCOUNTED or code == "w":
            continue
        function = "pow" if name == "power" else name
        if function in vmath.FUNCTIONS and function != "absolute" and code in "fd":
            total += cost(function, code)
        else:
            total += 1
    return total


def traced(function: Callable[..., Any], operands: Any, attrs: dict[str, Any]) -> Program | None:
    """What a formula, or a derivative, does with each element; None if it does something else."""
    kinds = ""
    for x in operands:
        if isinstance(x, np.ndarray) and x.dtype.char in DTYPES:
            kinds += x.dtype.char
        elif isinstance(x, (int, float)) and not isinstance(x, bool):
            kinds += "w"
        elif x is None:
            kinds += "n"
        else:
            return None

    def results(m: Any, *given: Any, **more: Any) -> Any:
        made = function(m, *given, **more)
        kept = made if isinstance(made, tuple) else (made,)
        return tuple(x for x in kept if isinstance(x, Traced))

    try:
        program = trace(results, kinds, **attrs)
    except Exception:  # whatever a formula does that a trace cannot follow
        return None
    return program if program.outputs else None


# ---------------------------------------------------------------- everything else

# Functions of `m` that compute nothing.
_MOVES = frozenset(
    [
        "reshape",
        "broadcast_to",
        "swapaxes",
        "transpose",
        "moveaxis",
        "expand_dims",
        "squeeze",
        "ravel",
        "concatenate",
        "stack",
        "take_slices",
        "gather",
        "take",
        "take_along_axis",
        "pick",
        "astype",
        "asarray",
        "ascontiguousarray",
        "array",
        "copy",
        "zeros",
        "zeros_like",
        "ones",
        "ones_like",
        "empty",
        "empty_like",
        "full",
        "full_like",
        "tril",
        "triu",
        "diagonal",
        "flip",
        "roll",
        "repeat",
        "tile",
        "kept",
        "either",
        "constant",
        "pad",
        "split",
        "real",
        "conj",
        "conjugate",
        "rot90",
        "copyto",
    ]
)


# Of one operation an element, for dtypes too that have no kernels.
_SINGLE = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "true_divide",
        "floor_divide",
        "negative",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
        "logical_not",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "invert",
        "left_shift",
        "right_shift",
        "isnan",
        "isinf",
        "isfinite",
        "square",
        "sign",
        "absolute",
        "floor",
        "ceil",
        "trunc",
        "rint",
        "where",
    ]
)


def _exp(x: Array) -> int:
    return cost("exp", _code(x))


def _code(x: Array) -> str:
    return "d" if x.dtype.itemsize == 8 else "f"


def _lines(x: Array, axis: int) -> tuple[int, int]:
    """(number of lines along an axis, elements of one)."""
    n = x.shape[axis]
    return (x.size // n if n else 0), n


def _folded(out: Any, x: Array, *_: Any, **__: Any) -> int:
    return max(x.size - np.size(out), 0)


def _products(out: Array, x: Array, y: Array) -> int:
    return 2 * int(out.size) * x.shape[-1]


def _linear(out: Array, x: Array, w: Array, bias: Array | None) -> int:
    return _products(out, x, w) + (0 if bias is None else out.size)


def _softmax(out: Array, x: Array, axis: int) -> int:
    # The largest, the differences, their exponentials, the sum, its inverse, the products.
    lines, n = _lines(x, axis)
    return lines * (n * (4 + _exp(x)) - 1)


def _log_softmax(out: Array, x: Array, axis: int) -> int:
    lines, n = _lines(x, axis)
    return lines * (n * (4 + _exp(x)) - 2 + cost("log", _code(x)))


def _softmax_grad(out: Array, grad: Array, made: Array, axis: int) -> int:
    lines, n = _lines(made, axis)
    return lines * (4 * n - 1)


def _log_softmax_grad(out: Array, grad: Array, made: Array, axis: int) -> int:
    lines, n = _lines(made, axis)
    return lines * (n * (3 + _exp(made)) - 1)


def _softmax_loss(out: Any, x: Array, classes: Array) -> int:
    return _softmax(x, x, -1) + len(x) * (2 + cost("log", _code(x)))


def _softmax_loss_grad(out: Array, softmax: Array, classes: Array, share: Array) -> int:
    return softmax.size + len(softmax)


def _normalize(out: Any, x: Array, weight: Any, bias: Any, eps: float) -> int:
    # Mean n; variance 3 n; (x - mean) * scale 2 n; weight and bias n each; and a few for a row.
    rows, n = x.shape
    return rows * (n * (6 + (weight is not None) + (bias is not None)) + 3)


def _normalize_grad(
    out: Any, grad: Array, x: Array, weight: Any, mean: Any, scale: Any, normal: Any, needs: Any
) -> int:
    # Normal x 2 n, grad * weight n, two sums n and 2 n, the result 4 n; the sums of rows 2 n and n.
    rows, n = x.shape
    of_x = 9 + (weight is not None) if needs[0] else 2
    return rows * n * (of_x + 2 * needs[1] + needs[2])


def _channels_grad(
    out: Any, grad: Array, x: Array, weight: Any, mean: Any, scale: Any, needs: Any
) -> int:
    # Centred n, its products with grad 2 n, the sum of grad n, the result 4 n.
    return x.size * (3 + (needs[0] or needs[2]) + 4 * needs[0])


def _convolution(out: Array, x: Array, w: Array, bias: Any, *_: Any, **__: Any) -> int:
    return out.size * (2 * (w.size // max(len(w), 1)) + (bias is not None))


def _transposed(out: Array, grad: Array, w: Array, *_: Any, **__: Any) -> int:
    return 2 * grad.size * (w.size // max(len(w), 1))


def _weight_grad(out: Array, x: Array, grad: Array, *_: Any, **__: Any) -> int:
    return 2 * grad.size * (out.size // max(len(out), 1))


def _convolution_gradients(
    out: Any, x: Array, w: Array, grad: Array, needs: Any, *_: Any, **__: Any
) -> int:
    each = 2 * grad.size * (w.size // max(len(w), 1))
    to_bias = grad.size - grad.shape[1] if needs[2] else 0
    return each * (needs[0] + needs[1]) + to_bias


def _max_pool(out: Array, x: Array, kernel: Any, *_: Any, **__: Any) -> int:
    return out.size * (math.prod(kernel) - 1)


def _max_pool_grad(out: Array, grad: Array, x: Array, kernel: Any, *_: Any, **__: Any) -> int:
    return grad.size * math.prod(kernel)  # the comparisons again, and one addition


def _avg_pool(out: Array, x: Array, kernel: Any, *_: Any, **__: Any) -> int:
    return out.size * math.prod(kernel)


def _avg_pool_grad(out: Array, grad: Array, size: Any, kernel: Any, *_: Any, **__: Any) -> int:
    return grad.size * (1 + math.prod(kernel))


def _recurrent(cell: str) -> Callable[..., int]:
    def count(out: Any, x: Array, *rest: Any, **attrs: Any) -> int:
        w_ih, w_hh = rest[2:4] if cell == "lstm" else rest[1:3]
        steps = x.size // max(x.shape[-1], 1)  # of all sequences together
        code = _code(x)
        sigmoid, tanh = cost("sigmoid", code), cost("tanh", code)
        unit = {
            "rnn": 3 + (1 if attrs.get("relu") else tanh),
            "gru": 13 + 2 * sigmoid + tanh,
            "lstm": 16 + 3 * sigmoid + 2 * tanh,
        }[cell]
        return steps * (2 * (w_ih.size + w_hh.size) + w_hh.shape[1] * unit)

    return count


def _recurrent_grad(lstm: bool) -> Callable[..., tuple[int, str]]:
    def count(out: Any, grad: Any, reserve: Any, x: Array, *rest: Any, needs: Any, **_: Any) -> Any:
        first = 2 if lstm else 1
        w_ih, w_hh = rest[first : first + 2]
        steps = x.size // max(x.shape[-1], 1)
        inward = needs[0] + needs[first + 1]
        hidden = 1 + needs[first + 2]
        return 2 * steps * (inward * w_ih.size + hidden * w_hh.size), "products only"

    return count


def _attention(
    out: Any, query: Array, key: Array, value: Array, mask: Any, scale: float, causal: bool
) -> tuple[int, str]:
    queries, keys = query.size // max(query.shape[-1], 1), key.shape[-2]
    each = 2 * (query.shape[-1] + value.shape[-1]) + 5 + (mask is not None) + _exp(query)
    return queries * keys * each, _NO_CAUSE if causal else ""


def _attention_grad(
    out: Any, grad: Array, made: Array, kept: Array, query: Array, key: Array, value: Array,
    mask: Any, scale: float, causal: bool, needs: Any,
) -> tuple[int, str]:  # fmt: skip
    # The scores again; the gradients of value, of the weights, of query and of key.
    pairs = query.size // max(query.shape[-1], 1) * key.shape[-2]
    inner, outer = query.shape[-1], value.shape[-1]
    of_scores = needs[0] or needs[1] or needs[3]
    products = inner * (1 + needs[0] + needs[1]) + outer * (needs[2] + of_scores)
    arithmetic = 3 + _exp(query) + 3 * of_scores
    return pairs * (2 * products + arithmetic), _NO_CAUSE if causal else ""


_NO_CAUSE = "whole matrix of scores, of which a causal mask leaves out half"

# name -> f(result, *arguments): the operations, or (operations, what they leave out).
_COUNTS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "matmul": _products,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softmax_grad": _softmax_grad,
    "log_softmax_grad": _log_softmax_grad,
    "attention": _attention,
    "attention_grad": _attention_grad,
    "softmax_loss": _softmax_loss,
    "softmax_loss_grad": _softmax_loss_grad,
    "normalize_rows": _normalize,
    "normalize_rows_grad": _normalize_grad,
    # Mean n, variance 3 n; one factor and one shift for each channel.
    "normalize_channels": lambda out, x, *_, **__: 6 * x.size,
    "normalize_channels_grad": _channels_grad,
    "scale_channels": lambda out, x, *_, **__: 2 * x.size,
    "channel_sum": _folded,
    "channel_sums": _folded,
    "convolution": _convolution,
    "convolution_transposed": _transposed,
    "convolution_weight_grad": _weight_grad,
    "convolution_gradients": _convolution_gradients,
    "max_pool": _max_pool,
    "max_pool_grad": _max_pool_grad,
    "avg_pool": _avg_pool,
    "avg_pool_grad": _avg_pool_grad,
    **dict.fromkeys(["sum", "row_sums", "column_sums", "sum_to", "max", "min", "amax", "amin", "prod", "any", "all"], _folded),
    **dict.fromkeys(["add.reduce", "multiply.reduce", "maximum.reduce", "minimum.reduce"], _folded),
    "mean": lambda out, x, *_, **__: x.size,
    "running_sum": lambda out, x, *_, **__: x.size,
    "running_product": lambda out, x, *_, **__: x.size,
    "cumsum": lambda out, x, *_, **__: x.size,
    "cumprod": lambda out, x, *_, **__: x.size,
    "add_slices": lambda out, x, index, source, *_: source.size,
    "scatter_add": lambda out, x, index, source, *_: source.size,
    "sum_rows": lambda out, values, *_: values.size,
    "rnn_forward": _recurrent("rnn"),
    "gru_forward": _recurrent("gru"),
    "lstm_forward": _recurrent("lstm"),
    "rnn_backward": _recurrent_grad(False),
    "gru_backward": _recurrent_grad(False),
    "lstm_backward": _recurrent_grad(True),
}  # fmt: skip


# Of functions that touch some slices of an array only, what they move.
_TOUCHED: dict[str, Callable[..., int]] = {
    **dict.fromkeys(
        ("take_slices", "gather"), lambda out, x, index, *_, **__: index.nbytes + 2 * out.nbytes
    ),
    # A slice is read, added to and written; the copy that this happens in is numpy's.
    **dict.fromkeys(
        ("add_slices", "scatter_add"),
        lambda out, x, index, source, *_, **__: index.nbytes + 3 * source.nbytes,
    ),
    "sum_rows": lambda out, values, index, *_, **__: index.nbytes + 3 * values.nbytes,
}


def of_function(name: str, args: Any, keywords: dict[str, Any], made: Any) -> Work:
    """The work of `m.name(*args, **keywords)`, which gave `made`."""
    size = moved((*args, *keywords.values(), made))
    if name in _TOUCHED:
        size = _TOUCHED[name](made, *args, **keywords)
    if name in _MOVES:
        return Work(0, size)
    counted = _COUNTS.get(name)
    if counted is not None:
        try:
            found = counted(made, *args, **keywords)
        except (TypeError, AttributeError, IndexError, ValueError):  # called in another way
            return Work(None, size)
        operations, note = found if isinstance(found, tuple) else (found, "")
        return Work(int(operations), size, note)
    program = traced(lambda m, *x: getattr(m, name)(*x), args, {}) if not keywords else None
    elements = sum(x.size for x in arrays_in(made))
    if program is None and name in _SINGLE:
        return Work(elements, size)
    return Work(None if program is None else elements * per_element(program), size)


def of_program(program: Program | None, operands: Any, made: Any) -> Work:
    """The work of an elementwise formula or derivative."""
    size = moved((operands, made))
    if program is None:
        return Work(None, size)
    elements = max((x.size for x in arrays_in(made)), default=0)
    return Work(elements * per_element(program), size)
