"""The checks that the functions on matrices share, in PyTorch's words."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from taper import dtypes
from taper.errors import DtypeError, LinAlgError, ShapeError, UnsupportedDtype
from taper.tensor import Tensor


def check_matrices(name: str, x: Tensor, letter: str = "A") -> None:
    """Raises: RuntimeError for fewer than two dimensions."""
    if x._array.ndim < 2:
        raise ShapeError(f"{name}: The input tensor {letter} must have at least 2 dimensions.")


def check_square(name: str, x: Tensor, letter: str = "A") -> None:
    """Raises: RuntimeError unless the last two sizes are equal."""
    check_matrices(name, x, letter)
    rows, columns = x._array.shape[-2:]
    if rows != columns:
        raise ShapeError(
            f"{name}: {letter} must be batches of square matrices, "
            f"but they are {rows} by {columns} matrices"
        )


def check_floating(name: str, x: Tensor, kernel: str = "") -> None:
    """Raises: RuntimeError for integers, and for the half types, which LAPACK does not have.

    With `kernel`, PyTorch's name of the routine, the half types raise NotImplementedError.
    """
    dtype = x._array.dtype
    given = dtypes.cpp_name(x.dtype)
    if dtype.kind not in "fcV":
        raise DtypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {given}"
        )
    if dtype.itemsize == 2:
        if kernel:
            raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{given}'")
        raise DtypeError(f"{name}: Low precision dtypes not supported. Got {given}")


def refuse_not_lapack(x: Tensor, kernel: str) -> None:
    """Raises: NotImplementedError, naming PyTorch's routine, for integers and the half types."""
    dtype = x._array.dtype
    if dtype.kind not in "fc" or dtype.itemsize == 2:
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(x.dtype)}'")


def check_info(name: str, info: Any, text: str) -> None:
    """Raises: LinAlgError saying which matrix of the batch failed; `text` may have {info}."""
    codes = np.asarray(getattr(info, "_array", info))
    if not codes.any():
        return
    flat = codes.reshape(-1)
    first = int(np.flatnonzero(flat)[0])
    where = f"(Batch element {first}): " if codes.ndim else ""
    raise LinAlgError(f"{name}: {where}" + text.format(info=int(flat[first])))


def check_pair(
    name: str, a: Tensor, b: Tensor, left: bool, one: str = "A", other: str = "B"
) -> None:
    """Raises: RuntimeError unless the sizes and dtypes of an equation's two sides fit."""
    check_square(name, a)
    check_matrices(name, b, "B")
    check_same_dtype(name, a, b, one, other)
    n, m = a._array.shape[-1], b._array.shape
    if n != m[-2 if left else -1]:
        equation = "AX = B" if left else "XA = B"
        raise ShapeError(
            f"{name}: Incompatible shapes of A and B for the equation {equation} "
            f"({n}x{n} and {m[-2]}x{m[-1]})"
        )


def check_same_dtype(name: str, a: Tensor, b: Tensor, one: str = "A", other: str = "B") -> None:
    """Raises: RuntimeError for two dtypes."""
    if a._array.dtype != b._array.dtype:
        raise DtypeError(
            f"{name}: Expected {one} and {other} to have the same dtype, but found {one} of type "
            f"{dtypes.cpp_name(a.dtype)} and {other} of type {dtypes.cpp_name(b.dtype)} instead"
        )


F = TypeVar("F", bound=Callable[..., Any])


def spelled(**names: str) -> Callable[[F], F]:
    """Lets a function take arguments under a second name: `spelled(input="A")` takes input= for A=.

    PyTorch's pages call many of these arguments A, B or x; its functions take input= and other=.
    """

    def decorate(function: F) -> F:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if kwargs:
                kwargs = {names.get(key, key): value for key, value in kwargs.items()}
            return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    return decorate
