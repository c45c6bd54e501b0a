"""The errors taper raises: each is a subclass of the exception PyTorch raises in its place.

A message names the op first, then the shapes and dtypes at hand. `located` adds, by looking at the
stack at the moment of raising, the path of the module whose forward is running and the user's
line; nothing is recorded in advance, so a program without errors pays nothing for it.
"""

from __future__ import annotations

import sys
from pickle import UnpicklingError
from types import FrameType

__all__ = [
    "AcceleratorError",
    "ByteOrderError",
    "CheckpointError",
    "CheckpointPickleError",
    "DataFileError",
    "DataFileMissing",
    "DimError",
    "DtypeError",
    "GradError",
    "LinAlgError",
    "MissingFeature",
    "OutOfMemoryError",
    "ShapeError",
    "TaperError",
    "TruncatedCheckpoint",
    "UnsupportedDtype",
]


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _module_path(owner: object, root: object) -> str | None:
    """Name of module `owner` inside module `root`, such as encoder.layers.0."""
    for name, module in root.named_modules():  # type: ignore[attr-defined]
        if module is owner:
            return str(name)
    return None


def location(frame: FrameType | None = None) -> str:
    """Two lines saying where a frame (the caller's) is: the module's path and the user's line.

    Empty outside of any module and any user code.
    """
    modules: list[object] = []
    user_line = ""
    frame = sys._getframe(1) if frame is None else frame
    package = __name__.partition(".")[0]
    while frame is not None:
        if _package_of(frame) != package and not user_line:
            user_line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if frame.f_code.co_name in ("forward", "__call__"):
            owner = frame.f_locals.get("self")
            if hasattr(owner, "_modules") and hasattr(owner, "named_modules"):
                if not modules or modules[-1] is not owner:
                    modules.append(owner)
        frame = frame.f_back
    lines = []
    if modules:
        inner, outer = modules[0], modules[-1]
        path = _module_path(inner, outer) or ""
        name = type(outer).__name__ + ("." + path if path else "")
        extra = inner.extra_repr()  # type: ignore[attr-defined]
        lines.append(f"in module {name}, {type(inner).__name__}({extra})")
    if user_line:
        lines.append(f"called at {user_line}")
    return "".join(f"\n  {line}" for line in lines)


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """A warning at the line outside of taper that led here, however deep the call is."""
    import warnings

    package = __name__.partition(".")[0]
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package_of(frame) == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def annotate(error: BaseException) -> None:
    """Adds a note to an error on its way out of a module: the op with its arguments, and where.

    Only to what taper raised itself, once, and not to errors whose text says it already.
    """
    if isinstance(error, _Located) or hasattr(error, "__notes__"):
        return
    frames: list[FrameType] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    package = __name__.partition(".")[0]
    if not frames or _package_of(frames[-1]) != package:
        return
    told = [f"in {_call_of(frame)}" for frame in frames if _is_op_call(frame)][:1]
    error.add_note("".join(f"  {line}" for line in told) + location(frames[-1]))


def _is_op_call(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(_OPS) and not (
        frame.f_code.co_name.startswith("_")
    )


def _call_of(frame: FrameType) -> str:
    """The call that a frame runs, such as cross_entropy(input=float32[4, 3], target=int64[5])."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    shown = []
    for name in names:
        value = frame.f_locals.get(name)
        array = getattr(value, "_array", None)
        if array is not None:
            shown.append(f"{name}={value.dtype.name}{list(array.shape)}")  # type: ignore[union-attr]
        elif isinstance(value, (bool, int, float, str, tuple)):
            shown.append(f"{name}={value!r}")
    return f"{code.co_name}({', '.join(shown)})"


_OPS = __name__.partition(".")[0] + ".ops."


class TaperError(Exception):
    """Base of taper's own errors."""


class _Located(TaperError):
    """An error of an op call: `Class(op, text)` reads "op: text" and says where it happened."""

    def __init__(self, op: str, text: str | None = None) -> None:
        message = op if text is None else f"{op}: {text}"
        super().__init__(message + location())


class ShapeError(_Located, RuntimeError):
    """The sizes of the tensors do not fit together or do not fit the op."""


class DtypeError(_Located, RuntimeError):
    """The op does not exist for this dtype, or the dtypes do not fit together."""


class UnsupportedDtype(DtypeError, NotImplementedError):
    """The op does not exist for this dtype."""


class GradError(_Located, RuntimeError):
    """The derivative cannot be computed as asked."""


class LinAlgError(TaperError, RuntimeError):
    """A matrix is singular, not positive-definite or not finite, or an iteration did not end."""


class DimError(_Located, IndexError):
    """A dimension or an index lies outside the tensor."""


class MissingFeature(_Located, NotImplementedError):
    """taper does not have this yet; the text says what works instead."""


class CheckpointError(TaperError, RuntimeError):
    """A checkpoint file is damaged or is not what it claims to be."""


class CheckpointPickleError(CheckpointError, UnpicklingError):
    """The pickle inside a checkpoint names what is not plain data, or is damaged."""


class TruncatedCheckpoint(CheckpointPickleError, EOFError):
    """A checkpoint ends too early."""


class ByteOrderError(CheckpointError, ValueError):
    """A checkpoint's byte order is neither little nor big."""


class DataFileError(TaperError, ValueError):
    """A data file is missing, truncated or in another format than expected."""


class DataFileMissing(DataFileError, RuntimeError):
    """The files of a data set are not there and could not be fetched."""


class AcceleratorError(TaperError, RuntimeError):
    """An accelerator reported an error."""


class OutOfMemoryError(TaperError, RuntimeError):
    """The memory for a tensor could not be had."""
