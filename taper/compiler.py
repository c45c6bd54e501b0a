"""torch.compile and torch.compiler: what is compiled runs eagerly, with the same results.

The wrappers are PyTorch's, so that names in state_dict, decorators and arguments are those a
program expects; the switches of the compiler change nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.errors import MissingFeature
from taper.nn.modules.module import Module

__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset", "set_stance",
]  # fmt: skip


_BACKENDS = ("aot_eager", "cudagraphs", "eager", "inductor", "openxla", "tvm")


class OptimizedModule(Module):
    """A module that torch.compile was given: its state_dict has it under the name `_orig_mod`."""

    _orig_mod: Module

    def __init__(self, mod: Module) -> None:
        super().__init__()
        self._orig_mod = mod
        del self.__dict__["training"]  # the module's own is read and set

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self.__dict__["_modules"][name]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # What the wrapper does not have itself belongs to the module, as when it is read.
        inside = "_orig_mod" in self.__dict__.get("_modules", ())
        if inside and name != "_orig_mod" and not hasattr(type(self), name):
            setattr(self._orig_mod, name, value)
        else:
            super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self._orig_mod)


def _check(backend: Any, mode: str | None, options: Any) -> None:
    if mode is not None and options is not None:
        raise RuntimeError(
            "Either mode or options can be specified, but both can't be specified at the same time."
        )
    modes = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
    if mode is not None and mode not in modes and not mode.startswith("lite"):
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(modes)}")
    if callable(backend):
        raise MissingFeature(
            "torch.compile",
            "a function as backend needs torch.fx's graphs; leave backend out to run eagerly",
        )
    if backend is not None and backend not in _BACKENDS:
        raise RuntimeError(
            f"Invalid backend: {backend!r}, see `torch._dynamo.list_backends()` for available "
            "backends."
        )


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: Any = None, mode: str | None = None, options: dict[str, Any] | None = None,
    disable: bool = False, **more: Any,
) -> Any:  # fmt: skip
    """A wrapper of the module or function that runs it eagerly; without one, a decorator.

    The results are those of the module itself. A module is wrapped in an OptimizedModule, whose
    parameters are named `_orig_mod.*` as PyTorch names them.
    Raises: RuntimeError for an unknown mode or backend, or mode and options together;
        NotImplementedError for a function as backend.
    """
    _check(backend, mode, options)
    if model is None:
        return functools.partial(compile, backend=backend, mode=mode, options=options,
                                 disable=disable)  # fmt: skip
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model)
    if not callable(model):
        raise TypeError(f"torch.compile takes a module or a function, not {type(model).__name__}")
    if isinstance(model, type):
        return model

    @functools.wraps(model)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs)

    compiled._torchdynamo_orig_callable = model  # type: ignore[attr-defined]
    return compiled


def is_compiling() -> bool:
    """False."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """Names of the compilers that are accepted; each runs eagerly."""
    return [name for name in _BACKENDS if name not in ("aot_eager", "eager")]


def reset() -> None:
    """Nothing: nothing was compiled."""


def cudagraph_mark_step_begin() -> None:
    """Nothing: there is no GPU."""


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself (or a decorator that gives it back): it is never compiled."""
    return (lambda function: function) if fn is None else fn


def allow_in_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return fn


assume_constant_result = allow_in_graph


class set_stance:
    """How to compile from here on, as a call, context or decorator; without effect yet."""

    def __init__(self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False,
                 force_backend: Any = None) -> None:  # fmt: skip
        known = ("default", "eager_on_recompile", "fail_on_recompile", "force_eager",
                 "eager_then_compile", "aot_eager_then_compile")  # fmt: skip
        if stance not in known:
            raise RuntimeError(f"invalid torch.compile stance '{stance}'")

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn
