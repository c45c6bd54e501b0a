"""torch.jit: taper has no TorchScript; the decorators give the function itself, which means the same.

What needs a TorchScript archive (save, load) or the language itself raises NotImplementedError.
"""

from __future__ import annotations

import builtins
from typing import Any

from taper.errors import MissingFeature
from taper.nn.modules.module import Module

__all__ = ["ScriptModule", "annotate", "export", "ignore", "isinstance", "load", "save", "script",
           "script_if_tracing", "trace", "unused"]  # fmt: skip


class ScriptModule(Module):
    """A Module; code written for TorchScript runs as Python."""


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
           example_inputs: Any = None) -> Any:  # fmt: skip
    """The function, class or module itself: it runs as Python, with the same results."""
    return obj


def script_if_tracing(fn: Any) -> Any:
    """The function itself."""
    return fn


def trace(func: Any, example_inputs: Any = None, *args: Any, example_kwarg_inputs: Any = None,
          **kwargs: Any) -> Any:  # fmt: skip
    """The function or module itself, after it has run once on the example.

    A trace of PyTorch's repeats the branches that the example took; here Python decides anew.
    Raises: what the function raises on the example.
    """
    given = example_inputs if builtins.isinstance(example_inputs, (tuple, list)) else ()
    given = given if example_inputs is None or given else (example_inputs,)
    func(*given, **(example_kwarg_inputs or {}))
    return func


def export(fn: Any) -> Any:
    """The function itself."""
    return fn


def unused(fn: Any) -> Any:
    """The function itself."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself, or a decorator that gives it back."""
    return drop if callable(drop) else lambda fn: fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether `obj` is of a type; of a parametrised one (list[int]) its outer type counts."""
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, each) for each in target_type)
    return builtins.isinstance(obj, getattr(target_type, "__origin__", target_type))


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def save(m: Any, f: Any, _extra_files: Any = None) -> None:
    """Raises: NotImplementedError. Save the module's state_dict() with torch.save."""
    raise MissingFeature(
        "torch.jit.save", "there is no TorchScript; save the module's state_dict() with torch.save"
    )


def load(f: Any, *args: Any, **kwargs: Any) -> Any:
    """Raises: NotImplementedError. Load a state_dict() with torch.load."""
    raise MissingFeature(
        "torch.jit.load", "there is no TorchScript; load a state_dict() with torch.load"
    )


class Attribute:
    """A value with a type, as TorchScript wants attributes."""

    def __init__(self, value: Any, type: Any) -> None:
        self.value, self.type = value, type


Final = Any
