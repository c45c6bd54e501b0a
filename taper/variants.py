"""The variants that are derived from a public function: in place, `out=`, numpy's spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.grad_mode import mode
from taper.autograd.node import next_number
from taper.dispatch import (
    READ_LATE,
    assign,
    check_history,
    check_overlap,
    update,
    write_out,
)
from taper.dtypes import cpp_name
from taper.tensor import Tensor

_SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}


def _respelled(kwargs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The keywords with numpy's names replaced, where the function has only PyTorch's."""
    for theirs in kwargs:
        if theirs in _SPELLINGS and theirs not in names:
            return {k if k in names else _SPELLINGS.get(k, k): v for k, v in kwargs.items()}
    return kwargs


def _dressed(wrapper: Any, function: Any, name: str) -> Any:
    wrapper.__name__ = name
    wrapper.__qualname__ = name
    wrapper.__doc__ = function.__doc__
    wrapper.__module__ = function.__module__
    wrapper.__wrapped__ = function
    return wrapper


def parameters(function: Any) -> tuple[str, ...]:
    """Names of the function's parameters, keyword-only ones included."""
    function = getattr(function, "__wrapped__", function)
    function = getattr(function, "function", function)
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def with_numpy_spelling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, also taking axis= for dim=, keepdims= for keepdim=, x= for input=."""
    names = parameters(function)
    if "dim" not in names or "axis" in names:
        return function

    def spelled(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            return function(*args, **_respelled(kwargs, names))
        return function(*args)

    made = _dressed(spelled, function, function.__name__)
    made.respells = True
    return made


# Functions that once took their factors before the tensors: how many tensors, the factors' names,
# and the names of the tensors after the first.
OLD_FORMS: dict[str, tuple[int, tuple[str, ...], str]] = {
    "add": (2, ("alpha",), "other"),
    "sub": (2, ("alpha",), "other"),
    "addcmul": (3, ("value",), "tensor1, tensor2"),
    "addcdiv": (3, ("value",), "tensor1, tensor2"),
    "addmm": (3, ("beta", "alpha"), "mat1, mat2"),
    "addmv": (3, ("beta", "alpha"), "mat, vec"),
    "addr": (3, ("beta", "alpha"), "vec1, vec2"),
    "addbmm": (3, ("beta", "alpha"), "batch1, batch2"),
    "baddbmm": (3, ("beta", "alpha"), "batch1, batch2"),
}
_warned_of_old_form = False


def with_old_form(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function, also taking its factors before the tensors: p.add_(-rate, grad)."""
    most = OLD_FORMS[name][0]

    def called(*args: Any, **kwargs: Any) -> Any:
        if len(args) > most:
            args, kwargs = _in_new_form(name, args, kwargs)
        return function(*args, **kwargs)

    return _dressed(called, function, name)


def _in_new_form(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments with the factors as keywords; as they are if they fit no old form.

    Warns once, as PyTorch does.
    """
    from numbers import Number

    from taper.errors import warn

    global _warned_of_old_form
    count, factors, others = OLD_FORMS[name]
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    numbers = [arg for arg in args if isinstance(arg, Number)]
    if count == 2:  # the second summand may be a number, too
        tensors, numbers = [args[0], *args[2:]], [args[1]]
    fits = len(tensors) == count and len(numbers) <= len(factors)
    if not fits or len(tensors) + len(numbers) != len(args) or not isinstance(numbers[0], Number):
        return args, kwargs
    if not _warned_of_old_form:
        _warned_of_old_form = True
        old = ", ".join(f"Number {factor}" for factor in factors)
        new = ", ".join(f"Number {factor} = 1" for factor in factors)
        tensor = "Tensor " + others.replace(", ", ", Tensor ")
        warn(
            f"This overload of {name} is deprecated:\n\t{name}({old}, {tensor})\nConsider using "
            f"one of the following signatures instead:\n\t{name}({tensor}, *, {new})"
        )
    return tuple(tensors), {**kwargs, **dict(zip(factors, numbers, strict=False))}


def with_out(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function with the keyword `out`, a tensor (or tuple of tensors) that takes the result."""
    names = parameters(function)
    if "out" in names:
        return function
    outer: Any = function
    function = outer.__wrapped__ if hasattr(outer, "respells") else outer

    def called(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = _respelled(kwargs, names)
        if out is None:
            try:
                return function(*args, **kwargs) if kwargs else function(*args)
            except AttributeError as error:
                raise _unless_no_tensor(name, names, args, error) from None
        if "layout" in names:  # it makes a tensor: of the dtype of `out`
            asked = kwargs.setdefault("dtype", out.dtype)
            if asked is not None and asked is not out.dtype:
                raise RuntimeError(
                    f"dtype {cpp_name(asked)} does not match dtype of out parameter "
                    f"({cpp_name(out.dtype)})"
                )
        return write_out(name, function, args, kwargs, out)

    made = _dressed(called, function, name)
    made.__wrapped__ = _WithOut(outer)
    return made


def _unless_no_tensor(
    name: str, names: tuple[str, ...], args: tuple[Any, ...], error: AttributeError
) -> Exception:
    """The error itself, or PyTorch's where it came of a first argument that is no tensor."""
    if args and names and error.obj is args[0] and error.name in ("_array", "requires_grad"):
        return TypeError(
            f"{name}(): argument '{names[0]}' (position 1) must be Tensor, not "
            f"{type(args[0]).__name__}"
        )
    return error


class _WithOut:
    """What a function with `out` wraps. `inspect.signature` looks here, and only then is the
    signature made: several hundred of them would be half the time of importing taper.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        from inspect import Parameter, signature

        plain = signature(self.function)
        given = list(plain.parameters.values())
        place = len(given) - (bool(given) and given[-1].kind is Parameter.VAR_KEYWORD)
        given.insert(place, Parameter("out", Parameter.KEYWORD_ONLY, default=None))
        return plain.replace(parameters=given)


# In-place methods of one operand that are one function of numpy, rounded as the kernels round.
_ARITHMETIC = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def in_place(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method `name_`: computes out of place, then assigns to the tensor."""
    reads_late = name in READ_LATE
    ufunc = _ARITHMETIC.get(name)

    def changed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if ufunc is not None and len(args) == 1 and not kwargs and update(ufunc, self, args[0]):
            return self
        storage = None
        if isinstance(self, Tensor):
            if mode.grad and self.requires_grad:
                check_history(self)  # before anything is computed, or complained of
            storage = self._storage
        shared = False
        for a in args:
            if a is self:
                shared = storage is not None or reads_late
            elif storage is not None and isinstance(a, Tensor) and a._storage is storage:
                shared = True
        if shared and name != "masked_scatter":
            check_overlap(name, self, args)
        since = next_number()
        return assign(self, function(self, *args, **kwargs), name + "_", since)

    return _dressed(changed, function, name + "_")
