"""torch.testing: assert_close, and tensors to test with."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import taper
from taper import dtypes
from taper.devices import require_cpu
from taper.tensor import Tensor, wrap

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

# (relative, absolute) tolerance that assert_close takes when none is given.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
    dtypes.complex64: (1.3e-6, 1e-5),
    dtypes.complex128: (1e-7, 1e-7),
}


def default_tolerances(*inputs: Any) -> tuple[float, float]:
    """(relative, absolute) tolerance of the least precise of some tensors or dtypes."""
    kinds = [x.dtype if isinstance(x, Tensor) else x for x in inputs]
    pairs = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """An AssertionError unless |actual - expected| <= atol + rtol |expected| everywhere.

    Takes tensors, arrays, numbers, bools, None, and sequences and mappings of them. Tensors must
    also agree in shape, dtype and, with `check_stride`, strides. The tolerances depend on the dtype
    (float32: 1.3e-6 and 1e-5); give both or none.

    Raises: AssertionError for a difference, ValueError for one tolerance without the other,
        TypeError for what cannot be compared.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "rtol and atol must both be specified or both be unspecified, but got no "
            f"{'rtol' if rtol is None else 'atol'}."
        )
    check = _Check(rtol, atol, equal_nan, check_dtype, check_stride, allow_subclasses)
    try:
        check.pair(actual, expected, "")
    except _Difference as error:
        text = str(error)
        if msg is not None:
            text = msg if isinstance(msg, str) else msg(text)
        raise AssertionError(text) from None


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The older assert_close: numbers and arrays count as tensors, dtypes may differ."""
    if not isinstance(actual, Tensor):
        actual = taper.as_tensor(actual)
    if not isinstance(expected, Tensor):
        expected = taper.as_tensor(expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        rtol, atol = default_tolerances(actual, expected)
    assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False,
        msg=msg or None,
    )  # fmt: skip


class _Difference(AssertionError):
    """What assert_close found; its text is the message."""


class _Check:
    """One comparison, nested containers included."""

    def __init__(self, rtol: float | None, atol: float | None, equal_nan: bool, dtype: bool,
                 stride: bool, subclasses: bool) -> None:  # fmt: skip
        self.rtol, self.atol, self.equal_nan = rtol, atol, equal_nan
        self.dtype, self.stride, self.subclasses = dtype, stride, subclasses

    def pair(self, actual: Any, expected: Any, where: str) -> None:
        """Compares two values of the same kind."""
        plain = (Tensor, np.ndarray, str)
        if isinstance(actual, Sequence) and isinstance(expected, Sequence):
            if not isinstance(actual, plain) and not isinstance(expected, plain):
                self.sequences(actual, expected, where)
                return
        if isinstance(actual, Mapping) and isinstance(expected, Mapping):
            self.mappings(actual, expected, where)
            return
        if actual is None or expected is None:
            if actual is not expected:
                raise _Difference(f"None mismatch: {actual} is not {expected}{_at(where)}")
            return
        if isinstance(actual, bool) and isinstance(expected, bool):
            if actual is not expected:
                raise _Difference(f"Booleans mismatch: {actual} is not {expected}{_at(where)}")
            return
        if isinstance(actual, numbers.Number) and isinstance(expected, numbers.Number):
            self.numbers(actual, expected, where)
            return
        if not self.subclasses and type(actual) is not type(expected):
            raise TypeError(
                f"No comparison pair was able to handle inputs of type {type(actual)} and "
                f"{type(expected)}."
            )
        if _is_array(actual) and _is_array(expected):
            self.tensors(_as_tensor(actual), _as_tensor(expected), where)
            return
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(actual)} and "
            f"{type(expected)}."
        )

    def sequences(self, actual: Any, expected: Any, where: str) -> None:
        """Compares item by item."""
        if len(actual) != len(expected):
            raise _Difference(
                "The length of the sequences mismatch: "
                f"{len(actual)} != {len(expected)}{_at(where)}"
            )
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            self.pair(one, other, f"{where}[{i}]")

    def mappings(self, actual: Any, expected: Any, where: str) -> None:
        """Compares value by value."""
        if set(actual) != set(expected):
            missing = sorted(set(expected) - set(actual), key=str)
            extra = sorted(set(actual) - set(expected), key=str)
            raise _Difference(
                "The keys of the mappings do not match:\n"
                f"Missing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {extra}{_at(where)}"
            )
        for key in actual:
            self.pair(actual[key], expected[key], f"{where}[{key!r}]")

    def numbers(self, actual: Any, expected: Any, where: str) -> None:
        """Compares two Python numbers."""
        if self.dtype and type(actual) is not type(expected):
            raise _Difference(
                f"The (d)types do not match: {type(actual)} != {type(expected)}{_at(where)}"
            )
        rtol, atol = self.rtol, self.atol
        if rtol is None or atol is None:
            kinds = {float: dtypes.float64, complex: dtypes.complex128}
            rtol, atol = default_tolerances(
                kinds.get(type(actual), dtypes.int64), kinds.get(type(expected), dtypes.int64)
            )
        self._scalars(actual, expected, rtol, atol, where)

    def _scalars(self, actual: Any, expected: Any, rtol: float, atol: float, where: str) -> None:
        if actual == expected:
            return
        both_nan = actual != actual and expected != expected
        if both_nan and self.equal_nan:
            return
        gap = abs(actual - expected)
        if math.isfinite(gap) and gap <= atol + rtol * abs(expected):
            return
        if rtol == atol == 0:
            raise _Difference(
                f"Scalars are not equal!\n\nExpected {expected} but got {actual}.\n"
                f"Absolute difference: {gap}\n"
                f"Relative difference: {_over(gap, expected)}{_at(where)}"
            )
        raise _Difference(
            f"Scalars are not close!\n\nExpected {expected} but got {actual}.\n"
            f"Absolute difference: {gap} (up to {atol} allowed)\n"
            f"Relative difference: {_over(gap, expected)} (up to {rtol} allowed){_at(where)}"
        )

    def tensors(self, actual: Tensor, expected: Tensor, where: str) -> None:
        """Compares two tensors."""
        if actual.shape != expected.shape:
            raise _Difference(
                f"The values for attribute 'shape' do not match: {actual.shape} != "
                f"{expected.shape}.{_at(where)}"
            )
        if self.dtype and actual.dtype is not expected.dtype:
            raise _Difference(
                f"The values for attribute 'dtype' do not match: {actual.dtype} != "
                f"{expected.dtype}.{_at(where)}"
            )
        if self.stride and actual.stride() != expected.stride():
            raise _Difference(
                f"The values for attribute 'stride()' do not match: {actual.stride()} != "
                f"{expected.stride()}.{_at(where)}"
            )
        rtol, atol = self.rtol, self.atol
        if rtol is None or atol is None:
            rtol, atol = default_tolerances(actual, expected)
        if actual.dtype is not expected.dtype:
            common = taper.promote_types(actual.dtype, expected.dtype)
            actual, expected = actual.to(common), expected.to(common)
        if actual.dim() == 0:
            self._scalars(actual.item(), expected.item(), rtol, atol, where)
            return
        matches = _close(_wide(actual), _wide(expected), rtol, atol, self.equal_nan)
        if not matches.all():
            raise _Difference(_tensor_text(actual, expected, matches, rtol, atol) + _at(where))


def _is_array(x: Any) -> bool:
    return isinstance(x, (Tensor, np.ndarray, np.generic, numbers.Number))


def _as_tensor(x: Any) -> Tensor:
    return x.detach() if isinstance(x, Tensor) else taper.as_tensor(x)


def _wide(x: Tensor) -> np.ndarray:
    array = x._array
    if array.dtype.kind in "fV" and array.dtype.itemsize < 8:
        return array.astype(np.float64)
    return array.astype(np.complex128) if array.dtype == np.complex64 else array


def _close(
    actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float, equal_nan: bool
) -> np.ndarray:
    equal = actual == expected
    if actual.dtype.kind == "b":
        return np.asarray(equal)
    with np.errstate(all="ignore"):
        if actual.dtype.kind == "u":
            actual, expected = actual.astype(np.int64), expected.astype(np.int64)
        gap = np.abs(actual - expected)
        near = np.isfinite(gap) & (gap <= atol + rtol * np.abs(expected))
        found = equal | near
        if equal_nan:
            found |= (actual != actual) & (expected != expected)
    return np.asarray(found)


def _tensor_text(
    actual: Tensor, expected: Tensor, matches: np.ndarray, rtol: float, atol: float
) -> str:
    """The message for tensors that differ: how many elements, and the worst ones."""
    exact = rtol == atol == 0
    one, other = actual._array, expected._array
    if one.dtype.kind in "ub":
        one, other = one.astype(np.int64), other.astype(np.int64)
    with np.errstate(all="ignore"):
        gap = np.asarray(np.abs(one - other))
        share = np.asarray(gap / np.abs(other))
    gap = np.where(matches, 0, gap)
    share = np.where(matches, 0, share)
    count = int((~matches).sum())
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n",
        f"Mismatched elements: {count} / {matches.size} ({count / matches.size:.1%})",
    ]
    for name, values, allowed in (("absolute", gap, atol), ("relative", share, rtol)):
        place = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
        index = np.unravel_index(place, values.shape)
        at = "" if not index else f" at index {tuple(map(int, index))}"
        if len(index) == 1:
            at = f" at index ({int(index[0])},)"
        limit = "" if exact else f" (up to {allowed} allowed)"
        lines.append(f"Greatest {name} difference: {values.reshape(-1)[place].item()}{at}{limit}")
    return "\n".join(lines)


def _over(gap: Any, expected: Any) -> Any:
    return gap / abs(expected) if expected else math.inf


def _at(where: str) -> str:
    return f"\n\nThe failure occurred for item {where}" if where else ""


# ---------------------------------------------------------------- tensors to test with


def make_tensor(
    *shape: Any,
    dtype: dtypes.dtype,
    device: Any,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Random numbers from [low, high), by default [-9, 9) (uint8: [0, 9), bool: [0, 2)).

    With `noncontiguous` every second element of a larger tensor; with `exclude_zero` zeros are
    replaced by the smallest positive number (1 for integers).
    Raises: ValueError for limits that no number of the dtype fits, RuntimeError for a gradient of
    integers.
    """
    require_cpu(device)
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    if requires_grad and dtype.category < dtypes.FLOAT:
        raise RuntimeError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got {dtype}"
        )
    wide = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes and _many(sizes) else sizes
    made = _drawn(wide, dtype, low, high)
    if wide != sizes:
        made = made[..., ::2]
    elif memory_format is not None:
        made = made.clone(memory_format=memory_format)
    if exclude_zero:
        least = 1 if dtype.category < dtypes.FLOAT else taper.finfo(dtype).tiny
        made[made.eq(0)] = least
    return made.requires_grad_() if requires_grad else made


def _many(sizes: Sequence[int]) -> bool:
    return math.prod(sizes) > 1


def _range_of(dtype: dtypes.dtype) -> tuple[float, float]:
    """The smallest number of a dtype, and what ends its range: for integers the first outside."""
    if dtype is dtypes.bool_:
        return 0, 2
    if dtype.category >= dtypes.FLOAT:
        info = taper.finfo(dtype)
        return info.min, info.max
    whole = taper.iinfo(dtype)
    return whole.min, whole.max + (dtype is not dtypes.int64)


def _drawn(
    sizes: Sequence[int], dtype: dtypes.dtype, low: float | None, high: float | None
) -> Tensor:
    if dtype is dtypes.bool_:
        least, most = 0.0, 2.0
    elif dtype is dtypes.uint8:
        least, most = 0.0, 9.0
    else:
        least, most = -9.0, 9.0
    low = least if low is None else low
    high = most if high is None else high
    if low != low or high != high:
        raise ValueError(f"`low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low > high or (low == high and dtype.category < dtypes.FLOAT):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    first, end = _range_of(dtype)
    if high < first or low >= end:
        raise ValueError(
            f"The value interval specified by `low` and `high` is [{low}, {high}), but {dtype} only "
            f"supports [{first}, {end})"
        )
    low, high = max(low, first), min(high, end)
    if dtype.category < dtypes.FLOAT:
        return taper.randint(math.ceil(low), math.ceil(high), tuple(sizes), dtype=dtype)
    if dtype.is_complex:
        part = taper.float32 if dtype is dtypes.complex64 else taper.float64
        pair = taper.empty(*sizes, 2, dtype=part).uniform_(low, high)
        return wrap(np.ascontiguousarray(pair._array).view(dtype.numpy)[..., 0])
    return taper.empty(tuple(sizes), dtype=dtype).uniform_(low, high)
