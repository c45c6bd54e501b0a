"""What convolutions demand of shapes, dtypes and settings.

A training loop calls with the same few shapes again and again, so what was found right is
remembered; mistakes are looked at anew.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from taper.dtypes import dtype
from taper.errors import DtypeError, ShapeError
from taper.ops.window import Sizes

_CPP_NAMES = {
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "int64": "long long",
    "int32": "int",
    "int16": "short",
    "int8": "signed char",
    "uint8": "unsigned char",
    "bool": "bool",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}


def check_positive(name: str, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> None:
    if any(p < 0 for p in padding):
        raise ShapeError(name, "negative padding is not supported")
    if any(s <= 0 for s in stride):
        raise ShapeError(name, "non-positive stride is not supported")
    if any(d <= 0 for d in dilation):
        raise ShapeError(name, f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise ShapeError(name, "non-positive groups is not supported")


def check_dims(name: str, x: Sizes, rank: int) -> None:
    """An error unless x is (channels, *size) or (batch, channels, *size)."""
    if len(x) not in (rank + 1, rank + 2):
        raise ShapeError(
            name,
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input "
            f"to {name}, but got input of size: {list(x)}",
        )


def check_weight_dims(name: str, x: Sizes, w: Sizes, stride: Sizes | None) -> None:
    """An error unless x and w have as many dimensions; `stride` None is for padding="same"."""
    if len(w) < 3:
        raise ShapeError(name, f"weight should have at least three dimensions, but got {list(w)}")
    if len(w) == len(x):
        return
    if stride is None or len(stride) == 1:
        gap = "" if stride is None else " "
        raise ShapeError(
            name,
            f"Expected {len(w)}-dimensional input for {len(w)}-dimensional weight{gap}{list(w)}, "
            f"but got {len(x)}-dimensional input of size {list(x)} instead",
        )
    raise ShapeError(
        name,
        f"expected stride to be a single integer value or a list of {len(w) - 2} values to match "
        f"the convolution dimensions, but got stride={list(stride)} (weight {list(w)})",
    )


def check(
    name: str,
    x: Sizes,
    w: Sizes,
    bias: Sizes | None,
    kinds: tuple[dtype | None, ...],
    groups: int,
    transposed: bool,
) -> None:
    """The demands of shape and dtype that both directions share; kinds of input, weight, bias."""
    given, held, added = kinds
    assert given is not None
    for what, other in (("weight", held), ("bias", added)):
        if other is not None and other is not given:
            raise DtypeError(
                name,
                f"Input type ({_CPP_NAMES[given.name]}) and {what} type "
                f"({_CPP_NAMES[other.name]}) should be the same",
            )
    if given.name == "bool":
        raise NotImplementedError(
            f"{name}: \"slow_conv{len(x) - 2}d_cpu\" not implemented for 'Bool'"
        )
    if any(k <= 0 for k in w[2:]):
        raise ShapeError(name, f"kernel size should be greater than zero, but got {list(w[2:])}")
    given_as = "transposed=1" if transposed else f"groups={groups}"
    if w[0] < groups:
        raise ShapeError(
            name,
            f"Given groups={groups}, expected weight to be at least {groups} at "
            f"dimension 0, but got weight of size {list(w)} instead",
        )
    if w[0] % groups:
        raise ShapeError(
            name,
            f"Given groups={groups}, expected weight to be divisible by "
            f"{groups} at dimension 0, but got weight of size [{list(w)}] instead",
        )
    channels = w[0] if transposed else w[1] * groups
    if x[1] != channels:
        raise ShapeError(
            name,
            f"Given {given_as}, weight of size {list(w)}, expected "
            f"input{list(x)} to have {channels} channels, but got {x[1]} channels "
            "instead",
        )
    outputs = w[1] * groups if transposed else w[0]
    if bias is not None and bias != (outputs,):
        given_as = "transposed=1, weight" if transposed else "weight"
        raise ShapeError(
            name,
            f"Given {given_as} of size {list(w)}, expected bias to be "
            f"1-dimensional with {outputs} elements, but got bias of size "
            f"{list(bias)} instead",
        )


def _by(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


@lru_cache(maxsize=1024)
def settled(
    name: str,
    x: Sizes,
    w: Sizes,
    bias: Sizes | None,
    kinds: tuple[dtype | None, ...],
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> None:
    """An error unless all fits for a convolution."""
    check_weight_dims(name, x, w, stride)
    check_positive(name, stride, padding, dilation, groups)
    check(name, x, w, bias, kinds, groups, False)
    full = [n + 2 * p for n, p in zip(x[2:], padding, strict=True)]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w[2:], strict=True)]
    if any(n < r for n, r in zip(full, reach, strict=True)):
        raise ShapeError(
            name,
            f"Calculated padded input size per channel: ({_by(full)}). Kernel size: "
            f"({_by(reach)}). Kernel size can't be greater than actual input size",
        )


@lru_cache(maxsize=1024)
def transposed_size(
    name: str,
    x: Sizes,
    w: Sizes,
    bias: Sizes | None,
    kinds: tuple[dtype | None, ...],
    stride: Sizes,
    padding: Sizes,
    extra: Sizes,
    dilation: Sizes,
    groups: int,
) -> Sizes:
    """The size of a transposed convolution's result, with an error unless all fits."""
    check_weight_dims(name, x, w, stride)
    check_positive(name, stride, padding, dilation, groups)
    if any(e < 0 for e in extra):
        raise ShapeError(name, "negative output_padding is not supported")
    check(name, x, w, bias, kinds, groups, True)
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            name,
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding: {list(extra)} stride: {list(stride)} dilation: {list(dilation)}",
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(x[2:], stride, padding, dilation, w[2:], extra, strict=True)
    )
    if any(n <= 0 for n in size):
        raise ShapeError(
            name,
            f"Given input size per channel: ({_by(x[2:])}). Calculated output size per channel: "
            f"({_by(size)}). Output size is too small",
        )
    return size
