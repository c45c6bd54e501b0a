"""torch._check and torch._assert: conditions that libraries state with PyTorch's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.errors import warn
from taper.tensor import Tensor

__all__ = [
    "_assert", "_assert_async", "_check", "_check_index", "_check_is_size",
    "_check_not_implemented", "_check_tensor_all", "_check_type", "_check_value",
]  # fmt: skip

Message = Callable[[], Any] | None
_UNSAID = (
    "Expected cond to be True, but got False. (Could this error message be improved? If so, "
    "please report an enhancement request to PyTorch.)"
)


def _text(message: Message) -> str:
    if message is None:
        return _UNSAID
    if not callable(message):
        raise TypeError("message must be a callable")
    return str(message())


def _require(error: type[Exception], cond: Any, message: Message) -> None:
    if not isinstance(cond, bool):
        got = (
            "a Tensor. For tensor conditions, use torch._check_tensor_all() to assert that all "
            "elements are true."
            if isinstance(cond, Tensor)
            else str(type(cond))
        )
        raise TypeError(f"cond must be a bool, but got {got}")
    if not cond:
        raise error(_text(message))


def _check(cond: bool, message: Message = None) -> None:
    """RuntimeError with the text that `message` gives, unless the condition holds."""
    _require(RuntimeError, cond, message)


def _check_index(cond: bool, message: Message = None) -> None:
    """IndexError, unless the condition holds."""
    _require(IndexError, cond, message)


def _check_value(cond: bool, message: Message = None) -> None:
    """ValueError, unless the condition holds."""
    _require(ValueError, cond, message)


def _check_type(cond: bool, message: Message = None) -> None:
    """TypeError, unless the condition holds."""
    _require(TypeError, cond, message)


def _check_not_implemented(cond: bool, message: Message = None) -> None:
    """NotImplementedError, unless the condition holds."""
    _require(NotImplementedError, cond, message)


def _check_tensor_all(cond: Tensor, message: Message = None) -> None:
    """RuntimeError, unless all elements of a tensor of bools are true."""
    if not isinstance(cond, Tensor):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if cond.dtype.name != "bool":
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _require(RuntimeError, bool(cond.all().item()), message)


def _check_is_size(i: int, message: Message = None, *, max: int | None = None) -> None:
    """RuntimeError for a negative size."""
    warn(
        "_check_is_size will be removed in a future PyTorch release along with "
        "guard_size_oblivious.     Use _check(i >= 0) instead.",
        FutureWarning,
    )
    _check(i >= 0, message)
    if max is not None:
        _check(i <= max, message)


def _assert(condition: Any, message: Any) -> None:
    """AssertionError, unless the condition holds."""
    assert condition, message


def _assert_async(input: Tensor, assert_msg: str | None = None) -> None:
    """RuntimeError, unless the one element of a tensor is not zero; on the CPU it is seen at once.

    Raises: RuntimeError for another number of elements, too.
    """
    if input.numel() != 1:
        many = "no values" if input.numel() == 0 else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {many} is ambiguous")
    if not input.item():
        raise RuntimeError(assert_msg or "Expected Tensor with single nonzero value, but got zero")
