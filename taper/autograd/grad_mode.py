"""Whether ops are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode.

The state is per thread, as PyTorch's is. Each class works as a context manager and a decorator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class _Mode(threading.local):
    """Assigned on the instance a field is the thread's own; on the class, everybody's."""

    grad = True
    inference = False
    anomaly = False
    check_nan = True
    # (pack, unpack) of the saved-tensor hooks in force, the innermost last; see saved_hooks.py.
    saved_hooks: tuple[Any, ...] = ()
    # Why there may be none: the text of disable_saved_tensors_hooks.
    no_saved_hooks: str | None = None


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether ops on tensors that require grad are recorded."""
    return mode.grad


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return mode.inference


class _Context:
    """A context manager that also decorates functions, generators and classes' methods."""

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError

    def clone(self) -> _Context:
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import functools
        import inspect

        if inspect.isclass(function):
            # PyTorch's reading of a decorated class: its construction is what runs inside.
            original = function.__init__

            @functools.wraps(original)
            def init(self: Any, *args: Any, **kwargs: Any) -> None:
                with context.clone():
                    original(self, *args, **kwargs)

            context = self
            function.__init__ = init  # type: ignore[method-assign]
            return function
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import functools

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            # The mode holds only while the generator's own code runs, not while it is suspended.
            try:
                with self.clone():
                    given = generator.send(None)
                while True:
                    try:
                        sent = yield given
                    except GeneratorExit:
                        with self.clone():
                            generator.close()
                        raise
                    except BaseException as error:
                        with self.clone():
                            given = generator.throw(error)
                    else:
                        with self.clone():
                            given = generator.send(sent)
            except StopIteration as stop:
                return stop.value

        return wrapped


class no_grad(_Context):
    """Turns recording off inside a with block or a decorated function."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        made = object.__new__(cls)
        return made if function is None else made(function)

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(mode.grad)
        mode.grad = False

    def __exit__(self, *error: object) -> None:
        mode.grad = self._before.pop()


class enable_grad(no_grad):
    """Turns recording on inside a with block or a decorated function."""

    def __enter__(self) -> None:
        self._before.append(mode.grad)
        mode.grad = True


class set_multithreading_enabled(_Context):
    """Accepted: a backward pass runs on the thread that asks for it either way."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None

    def clone(self) -> set_multithreading_enabled:
        return set_multithreading_enabled(self.mode)


class set_grad_enabled(_Context):
    """Turns recording on or off, at once when called as a function, until exit as a context."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.prev = is_grad_enabled()
        _set(mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        _set(self.prev)
        return super().__call__(function)

    def __enter__(self) -> None:
        _set(self.mode)

    def __exit__(self, *error: object) -> None:
        _set(self.prev)

    def clone(self) -> _Context:
        made = object.__new__(type(self))
        made.mode, made.prev = self.mode, is_grad_enabled()
        return made


def _set(value: bool) -> None:
    mode.grad = bool(value)


class inference_mode(_Context):
    """no_grad. PyTorch also forbids recording its results later; taper lets them be used anywhere."""

    def __new__(cls, mode: Any = True) -> Any:
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.__init__(True)  # type: ignore[misc]
        return made(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode
        self._before: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._before.append((mode.grad, mode.inference))
        mode.inference = self.mode
        mode.grad = not self.mode

    def __exit__(self, *error: object) -> None:
        mode.grad, mode.inference = self._before.pop()

    def clone(self) -> _Context:
        return inference_mode(self.mode)
