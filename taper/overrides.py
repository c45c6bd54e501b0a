"""torch.overrides: questions about __torch_function__, which taper does not dispatch on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from taper.tensor import Tensor

__all__ = ["handle_torch_function", "has_torch_function", "is_tensor_like",
           "is_tensor_method_or_property", "resolve_name", "wrap_torch_function"]  # fmt: skip


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a tensor or has a __torch_function__ of its own."""
    return isinstance(inp, Tensor) or hasattr(inp, "__torch_function__")


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of the arguments has a __torch_function__ that is not Tensor's own."""
    plain: Any = Tensor.__torch_function__
    plain = plain.__func__
    return any(
        getattr(getattr(type(a), "__torch_function__", plain), "__func__", None) is not plain
        for a in relevant_args
    )


def has_torch_function_unary(arg: Any) -> bool:
    """has_torch_function of one argument."""
    return has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """has_torch_function of the arguments given."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Iterable[Any],
                          *args: Any, **kwargs: Any) -> Any:  # fmt: skip
    """Lets the first argument with a __torch_function__ of its own compute the call.

    Raises: TypeError if none of them does.
    """
    relevant = [a for a in relevant_args if has_torch_function((a,))]
    types = tuple(dict.fromkeys(type(a) for a in relevant))
    for each in relevant:
        result = type(each).__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    raise TypeError(
        f"no implementation found for '{resolve_name(public_api)}' on types that implement "
        f"__torch_function__: {[t.__name__ for t in types]}"
    )


def wrap_torch_function(dispatcher: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: arguments found by `dispatcher` may take over the call."""

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(called, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return called

    return decorated


def is_tensor_method_or_property(func: Callable[..., Any]) -> bool:
    """Whether the function is a method or the getter of a property of Tensor."""
    return any(
        value is func or getattr(value, "fget", None) is func for value in vars(Tensor).values()
    )


def resolve_name(f: Callable[..., Any]) -> str | None:
    """The function's name in PyTorch's terms, such as torch.add or torch.Tensor.add."""
    name = getattr(f, "__name__", None)
    if name is None:
        return None
    if is_tensor_method_or_property(f):
        return f"torch.Tensor.{name}"
    return f"torch.{name}"
