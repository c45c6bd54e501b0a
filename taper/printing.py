"""How a tensor reads when it is printed: PyTorch's rules, to the character.

Numbers of one tensor share one style (plain, whole, scientific) and one width, found from the
finite non-zero values that will be shown. Above `threshold` elements only the edges of each
dimension are looked at. Everything here works on arrays; `tensor_text` adds what only a tensor
knows (its dtype where it is not the usual one, its gradient).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from taper import dtypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from taper.tensor import Tensor

PROFILES: dict[str, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}

# The settings in force. sci_mode None: each tensor chooses for itself.
OPTIONS: dict[str, Any] = {**PROFILES["default"], "sci_mode": None}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Changes how tensors print from now on.

    `profile` ("default", "short" or "full") sets all numbers at once and those that are named
    override it; a number that is not named keeps its value, but `sci_mode` returns to None
    (chosen for each tensor) unless it is named.
    """
    OPTIONS.update(PROFILES.get(profile, {}) if profile is not None else {})
    named = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    OPTIONS.update({name: value for name, value in named.items() if value is not None})
    OPTIONS["sci_mode"] = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The settings in force, as keyword arguments of `set_printoptions`."""
    return dict(OPTIONS)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """The settings `options` (as in `set_printoptions`) inside a with block."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        OPTIONS.update(before)


class _Style:
    """Turns numbers of one tensor into texts of one width."""

    __slots__ = ("text", "width")

    def __init__(self, sample: np.ndarray) -> None:
        self.width = 1
        self.text: Callable[[Any], str] = str
        if sample.dtype.kind == "f":
            self._choose_floating(sample)
        else:
            self.width = max(map(len, map(str, sample.ravel().tolist())), default=1)

    def _choose_floating(self, sample: np.ndarray) -> None:
        precision, scientific = OPTIONS["precision"], OPTIONS["sci_mode"]
        shown = sample[np.isfinite(sample) & (sample != 0)]
        if shown.size == 0:  # only zeros, infinities and nans: whole numbers, whatever was asked
            self.text = _whole
            return
        size = np.abs(shown)
        smallest, largest = float(size.min()), float(size.max())
        if scientific is None:
            scientific = largest / smallest > 1000 or largest > 1e8 or smallest < 1e-4
        if scientific:
            self.width = max(len(f"{x:.{precision}e}") for x in shown.tolist())
            self.text = lambda x: f"{x:.{precision}e}"
        elif (shown == np.ceil(shown)).all():
            self.width = max(len(f"{x:.0f}.") for x in shown.tolist())
            self.text = _whole
        else:
            self.width = max(len(f"{x:.{precision}f}") for x in shown.tolist())
            self.text = lambda x: f"{x:.{precision}f}"

    def __call__(self, number: Any) -> str:
        return self.text(number).rjust(self.width)


def _whole(number: float) -> str:
    # The dot tells a floating tensor from an integer one; inf and nan cannot be mistaken.
    return f"{number:.0f}." if math.isfinite(number) else f"{number:.0f}"


class _ComplexStyle:
    """Real and imaginary parts, each in the style of its own numbers."""

    __slots__ = ("imaginary", "real", "width")

    def __init__(self, sample: np.ndarray) -> None:
        self.real = _Style(sample.real)
        self.imaginary = _Style(sample.imag)
        self.width = self.real.width + self.imaginary.width + 1

    def __call__(self, number: complex) -> str:
        imaginary = self.imaginary(number.imag).lstrip() + "j"
        sign = "" if imaginary[0] in "+-" else "+"
        return self.real(number.real) + sign + imaginary


def _edges(array: np.ndarray) -> np.ndarray:
    """The elements that a summary shows."""
    edge = OPTIONS["edgeitems"]
    if not edge:
        # Nothing will be shown. PyTorch measures all of a vector then, and nothing of a matrix.
        return array if array.ndim < 2 else array[:0]
    for axis, extent in enumerate(array.shape):
        if extent > 2 * edge:
            ends = (*range(edge), *range(extent - edge, extent))
            array = np.take(array, ends, axis=axis)
    return array


def _bracketed(array: np.ndarray, indent: int, summarize: bool, style: Any) -> str:
    """The array's numbers in nested brackets, the opening one at column `indent`."""
    if array.ndim == 0:
        return str(style(array.item()))
    edge = OPTIONS["edgeitems"]
    cut = summarize and (not edge or len(array) > 2 * edge)
    head, tail = (array[:edge], array[len(array) - edge :]) if cut else (array, array[:0])
    if array.ndim == 1:
        words = [style(number) for number in head.tolist()]
        if cut:
            # One more space than the other rows, unless nothing but the dots is shown.
            words.append(" ..." if edge else "...")
        words += [style(number) for number in tail.tolist()]
        per_line = max(1, math.floor((OPTIONS["linewidth"] - indent) / (style.width + 2)))
        rows = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
        gap = "\n"
    else:
        rows = [_bracketed(part, indent + 1, summarize, style) for part in head]
        rows += ["..."] * cut
        rows += [_bracketed(part, indent + 1, summarize, style) for part in tail]
        gap = "\n" * (array.ndim - 1)
    return "[" + ("," + gap + " " * (indent + 1)).join(rows) + "]"


def array_text(array: np.ndarray, indent: int = 0) -> str:
    """The numbers of an array as a tensor prints them, the first bracket at column `indent`."""
    if array.size == 0:
        return "[]"
    if array.dtype.kind not in "biufc":
        array = array.astype(np.float64)  # bfloat16
    elif array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    summarize = array.size > OPTIONS["threshold"]
    sample = _edges(array) if summarize else array
    style = _ComplexStyle(sample) if array.dtype.kind == "c" else _Style(sample)
    return _bracketed(array, indent, summarize, style)


def _with_notes(text: str, notes: list[str], indent: int) -> str:
    """`text` and the notes after it, each on a new line where the current one is full."""
    column = len(text) - text.rfind("\n") + 1
    for note in notes:
        if column + len(note) + 2 > OPTIONS["linewidth"]:
            text += ",\n" + " " * indent + note
            column = indent + len(note)
        else:
            text += ", " + note
            column += len(note) + 2
    return text + ")"


def _dtype_is_obvious(dtype: dtypes.dtype) -> bool:
    return dtype in (
        dtypes.get_default_dtype(),
        dtypes.default_complex(),
        dtypes.int64,
        dtypes.bool_,
    )


def _is_parameter(tensor: Tensor) -> bool:
    # Without taper.nn there are no parameters, and printing need not load it to know.
    parameter = sys.modules.get("taper.nn.parameter")
    return parameter is not None and isinstance(tensor, parameter.Parameter)


def tensor_text(tensor: Tensor, contents: str | None = None) -> str:
    """The repr of a tensor; `contents` stands in for its numbers."""
    from taper.tensor import Tensor

    kind = type(tensor)
    plain = kind is Tensor or (_is_parameter(tensor) and kind.__name__ == "Parameter")
    prefix = "tensor(" if plain else kind.__name__ + "("
    dtype, notes = tensor.dtype, []
    size = "size=" + str(tuple(tensor.shape))
    if tensor.numel() == 0:
        if tensor.ndim != 1:
            notes.append(size)
        obvious = dtype is dtypes.get_default_dtype()
    else:
        if not OPTIONS["edgeitems"]:
            notes.append(size)
        obvious = _dtype_is_obvious(dtype)
    if not obvious:
        notes.append(f"dtype={dtype!r}")
    history = _history(tensor)
    if history:
        notes.append(history)
    if contents is None:
        contents = array_text(tensor._array, len(prefix))
    text = _with_notes(prefix + contents, notes, len(prefix))
    return f"Parameter({text})" if _is_parameter(tensor) and not plain else text


def _history(tensor: Tensor) -> str:
    try:
        function = tensor.grad_fn
    except RuntimeError:  # a view that the tape has lost
        return "grad_fn=<Invalid>"
    if function is not None:
        return f"grad_fn=<{function.name().rpartition(':')[2]}>"
    return "requires_grad=True" if tensor.requires_grad else ""


def parameter_text(parameter: Tensor) -> str:
    """The repr of a parameter."""
    return "Parameter containing:\n" + tensor_text(parameter)


def format_tensor(tensor: Tensor, spec: str) -> str:
    """`format(tensor, spec)`: a 0-d tensor formats as its number, others take no spec."""
    from taper.tensor import Tensor

    if tensor.ndim == 0 and type(tensor) is Tensor:
        return format(tensor._array.item(), spec)
    return object.__format__(tensor, spec)
