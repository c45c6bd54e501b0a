"""What pools demand of shapes and settings, and the size of their results.

A training loop calls with the same few shapes again and again, so what was found right is
remembered; mistakes are looked at anew. The words are PyTorch's, which differ from pool to pool.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from taper.errors import ShapeError
from taper.ops.window import Sizes, integers

_COUNTS = {1: "one int", 2: "two ints", 3: "three ints"}


def _wrong_count(name: str, rank: int, argument: str, got: int) -> ShapeError:
    if name == "avg_pool1d":
        text = f"{name}() argument '{argument}' should contain one int (got {got})"
    elif name == "max_pool1d":
        what = "None, an int" if argument == "stride" else "an int"
        comma = "," if argument in ("stride", "padding") else ""
        text = (
            f"{name}() {argument} must be {what}, list of ints{comma} or tuple of ints of size 1 "
            f"but got size {got}"
        )
    else:
        verb = "must be" if name == "avg_pool3d" else "must either be"
        if argument == "dilation":
            verb = "must be either"
        omitted = " omitted," if argument == "stride" else ""
        text = (
            f"{name}: {argument} {verb}{omitted} a single int, or a tuple of {_COUNTS[rank]} "
            f"(got {got})"
        )
    return ShapeError(name, text)


def sizes(value: Any, rank: int, name: str, argument: str) -> Sizes:
    """One int per spatial dimension."""
    if type(value) is int:
        return (value,) * rank
    if isinstance(value, (tuple, list)) and len(value) not in (1, rank):
        raise _wrong_count(name, rank, argument, len(value))
    return integers(value, rank, name, argument)


def check_dims(name: str, shape: Sizes, rank: int) -> None:
    """An error unless the shape is (channels, *size) or (batch, channels, *size), where only the
    batch may be empty.
    """
    ndim = len(shape)
    if name == "avg_pool1d" and ndim not in (2, 3):
        raise ShapeError(
            name,
            f"Expected 2 to 3 dimensions, but got {ndim}-dimensional tensor for argument #1 "
            "'self' (while checking arguments for avg_pool1d)",
        )
    wrong = ndim not in (rank + 1, rank + 2)
    empty = 0 in shape[-rank - 1 :]
    if not wrong and not empty:
        return
    if empty and not wrong and rank == 3:
        who = "max_pool3d_with_indices_out_cpu_template" if name == "max_pool3d" else name
        raise ShapeError(
            name,
            f"{who}(): Expected input's non-batch dimensions to have positive length, but input "
            f"has a shape of {list(shape)} and non-batch dimension 0 has length zero!",
        )
    # PyTorch sees a signal as an image of height 1.
    seen, dims = ([*shape[:-1], 1, shape[-1]], 2) if name == "avg_pool1d" else ([*shape], rank)
    raise ShapeError(
        name,
        f"{name}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim "
        f"batch size for input, but got:{seen}"
        + (
            f"; non-empty {rank + 1}D or {rank + 2}D (batch mode) tensor expected for input"
            if wrong
            else ""
        ),
    )


def _check_positive(name: str, argument: str, values: Sizes) -> None:
    if all(v > 0 for v in values):
        return
    if name == "max_pool1d":
        raise ShapeError(
            name, f"{name}() {argument} must be greater than zero, but got {values[0]}"
        )
    if argument == "stride":
        raise ShapeError(name, f"stride should not be zero, but got {list(values)}")
    if argument == "kernel_size":
        raise ShapeError(name, f"kernel size should be greater than zero, but got {list(values)}")
    named = " ".join(
        f"dilation{letter}: {v}" for letter, v in zip("THW"[-len(values) :], values, strict=True)
    )
    raise ShapeError(name, f"dilation should be greater than zero, but got {named}")


def _check_padding(name: str, kernel: Sizes, padding: Sizes, dilation: Sizes) -> None:
    own = name == "max_pool1d"
    for k, p, d in zip(kernel, padding, dilation, strict=True):
        if p < 0:
            more = f" ({name}() padding must be non-negative, but got {p})" if own else ""
            raise ShapeError(name, f"pad must be non-negative, but got pad: {p}{more}")
        if p > (d * (k - 1) + 1) // 2:
            more = (
                f" ({name}() padding should be at most half of kernel size, but got padding={p} "
                f"and kernel_size={k})"
                if own
                else ""
            )
            raise ShapeError(
                name,
                "pad should be at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={d}{more}",
            )


def _x(values: Any) -> str:
    return "x".join(map(str, values))


def _named(prefix: str, values: Sizes) -> str:
    return " ".join(f"{prefix}{n}: {v}" for n, v in zip("THW", values, strict=True))


@lru_cache(maxsize=1024)
def pooled_size(
    name: str,
    shape: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
) -> Sizes:
    """The size of the result, with an error unless all fits."""
    rank = len(kernel)
    if name == "max_pool1d":
        check_dims(name, shape, rank)
        _check_positive(name, "kernel_size", kernel)
    _check_positive(name, "stride", stride)
    _check_positive(name, "kernel_size", kernel)
    _check_positive(name, "dilation", dilation)
    _check_padding(name, kernel, padding, dilation)
    check_dims(name, shape, rank)
    size = shape[-rank:]
    out = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        length = (-(-room // s) if ceil_mode else room // s) + 1
        # The last window must begin inside the input or the padding before it.
        if ceil_mode and (length - 1) * s >= n + p:
            length -= 1
        out.append(length)
    if name == "avg_pool3d" and any(n < k for n, k in zip(size, kernel, strict=True)):
        raise ShapeError(
            name,
            f"input image ({_named('', size)}) smaller than kernel size ({_named('k', kernel)})",
        )
    if any(n <= 0 for n in out):
        lead = (shape[-rank - 1], 1) if name == "avg_pool1d" else (shape[-rank - 1],)
        more = f" ({name}() Invalid computed output size: {out[-1]})" if rank == 1 else ""
        raise ShapeError(
            name,
            f"Given input size: ({_x((*lead, *size))}). Calculated output size: "
            f"({_x((*lead, *out))}). Output size is too small{more}",
        )
    return tuple(out)
