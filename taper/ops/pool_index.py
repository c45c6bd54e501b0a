"""Pools over uneven windows (adaptive, fractional), and the inverse of maximum pooling.

The maximum pools here find the position of each window's maximum first, in an op without
derivative, and then pick the elements: `Pick` and its adjoint `Place` carry all the gradients.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends.pooling_uneven import fractional_index, rows_of
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.pool import AVG, MAX_INDICES, Pick, PickFrom
from taper.ops.window import Sizes, integers
from taper.tensor import Tensor

# ---------------------------------------------------------------- the ops


@op
class AdaptiveMaxPool1d(PickFrom):
    """Of a signal, which PyTorch pools as an image of height 1."""

    node_name = "SqueezeBackward1"


@op
class AdaptiveMaxPool2d(PickFrom):
    """Of an image."""

    node_name = "AdaptiveMaxPool2DBackward0"


@op
class AdaptiveMaxPool3d(PickFrom):
    """Of a volume."""

    node_name = "AdaptiveMaxPool3DBackward0"


@op
class FractionalMaxPool2d(PickFrom):
    """Of an image."""

    node_name = "FractionalMaxPool2DBackward0"


@op
class FractionalMaxPool3d(PickFrom):
    """Of a volume."""

    node_name = "FractionalMaxPool3DBackward0"


class _Unpool(Opaque):
    """As `Place`, but the last of several values for one position stays."""

    name = "max_unpool"
    saves = ("index",)

    def forward(self, m: Any, input: Any, index: Any, *, size: Any) -> Any:
        rank = len(size)
        if index.size:
            for bad in (index.min(), index.max()):
                if not 0 <= bad < math.prod(size):
                    raise ShapeError(
                        "max_unpool",
                        f"Found an invalid max index: {bad} (output "
                        f"volumes are of size {'x'.join(map(str, size))})",
                    )
        made = np.zeros((*input.shape[: input.ndim - rank], *size), input.dtype)
        made.reshape(-1)[rows_of(index, rank, math.prod(size))] = input.reshape(-1)
        return made

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any, *, size: Any) -> Any:
        return m.call(Pick, grad, index, rank=len(size)), None


@op
class MaxUnpool1d(_Unpool):
    """Of a signal."""

    node_name = "SqueezeBackward1"


@op
class MaxUnpool2d(_Unpool):
    """Of an image."""

    node_name = "MaxUnpool2DBackward0"


@op
class MaxUnpool3d(_Unpool):
    """Of a volume."""

    node_name = "MaxUnpool3DBackward0"


@op
class AdaptiveMaxIndex(Opaque):
    """Positions of the maxima; not differentiable."""

    def forward(self, m: Any, input: Any, *, out: Any) -> Any:
        return m.uneven_max_index(input, out)


@op
class FractionalIndex(Opaque):
    """Positions of the maxima; not differentiable."""

    def forward(self, m: Any, input: Any, samples: Any, *, kernel: Any, out: Any) -> Any:
        if input.ndim == len(kernel) + 1:
            return fractional_index(input[None], samples, kernel, out)[0]
        return fractional_index(input, samples, kernel, out)


class _AdaptiveAvgPool(Opaque):
    name = "adaptive_avg_pool"
    saves = ("input",)

    def forward(self, m: Any, input: Any, *, out: Any) -> Any:
        return m.uneven_mean(input, out)

    def vjp(self, m: Any, grad: Any, result: Any, input: Any, *, out: Any) -> Any:
        return m.call(AdaptiveAvgPoolGrad, grad, input, rank=len(out))


@op
class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Of a signal."""

    node_name = "SqueezeBackward1"


@op
class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Of an image."""

    node_name = "AdaptiveAvgPool2DBackward0"


@op
class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Of a volume."""

    node_name = "AdaptiveAvgPool3DBackward0"


@op
class AdaptiveAvgPoolGrad(Opaque):
    node_name = "AdaptiveAvgPool2DBackwardBackward0"
    saves = ("grad.shape", "input.shape")

    def forward(self, m: Any, grad: Any, input: Any, *, rank: Any) -> Any:
        return m.uneven_mean_grad(grad, input.shape[input.ndim - rank :])

    def vjp(
        self, m: Any, grad: Any, result: Any, given: Any, shape: Any, *, needs: Any, rank: Any
    ) -> Any:
        out = tuple(given)[len(given) - rank :]
        mean = m.call(AdaptiveAvgPool2d, grad, out=out) if needs[0] else None
        return mean, m.zeros(tuple(shape), grad.dtype) if needs[1] else None


_ADAPTIVE_AVG = {1: AdaptiveAvgPool1d, 2: AdaptiveAvgPool2d, 3: AdaptiveAvgPool3d}
_ADAPTIVE_MAX = {1: AdaptiveMaxPool1d, 2: AdaptiveMaxPool2d, 3: AdaptiveMaxPool3d}
_UNPOOLS = {1: MaxUnpool1d, 2: MaxUnpool2d, 3: MaxUnpool3d}


# ---------------------------------------------------------------- adaptive pools


def _adaptive_size(name: str, input: Tensor, rank: int, output_size: Any) -> Sizes:
    """The output size, with None replaced by the input's, checked."""
    if rank > 1 and isinstance(output_size, (tuple, list)) and input.dim() <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
    if input.dim() not in (rank + 1, rank + 2):
        colon = ":" if "max" in name else ""
        more = (
            f"; Expected 2 to 3 dimensions, but got {input.dim()}-dimensional tensor for argument "
            f"#1 'self' (while checking arguments for {name})"
        )
        raise ShapeError(
            name,
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got{colon} "
            f"{list(input.shape)}{more if rank == 1 else ''}",
        )
    if input.dtype.name in ("int64", "int32", "int16", "int8", "uint8", "bool"):
        kind = {
            "int64": "Long",
            "int32": "Int",
            "int16": "Short",
            "int8": "Char",
            "uint8": "Byte",
            "bool": "Bool",
        }[input.dtype.name]
        raise NotImplementedError(f"{name}: \"{name}\" not implemented for '{kind}'")
    size = tuple(input.shape)[-rank:]
    if isinstance(output_size, (tuple, list)):
        if len(output_size) not in (1, rank) or (len(output_size) == 1 and rank > 1):
            raise ShapeError(
                name,
                f"{name}: output_size must be {rank} (internal error: "
                f"output_size.size() must be {rank}; should contain one int (got "
                f"{len(output_size)}))",
            )
        wanted = tuple(n if w is None else w for w, n in zip(output_size, size, strict=True))
    elif output_size is None:
        wanted = size
    else:
        wanted = integers(output_size, rank, name, "output_size")
    wanted = integers(wanted, rank, name, "output_size")
    if any(w < 0 for w in wanted):
        raise ShapeError(
            name,
            f"{name}: elements of output_size must be greater than or equal to "
            f"0 but received {{{', '.join(map(str, wanted))}}}: Trying to create "
            f"tensor with negative dimension {min(wanted)}: "
            f"{[*input.shape[:-rank], *wanted]}",
        )
    shape = tuple(input.shape)
    lead = len(shape) - rank
    # An empty channel dimension is refused by some of PyTorch's pools only.
    first = lead if "avg" in name and rank < 3 else lead - 1
    for i in range(max(first, len(shape) - rank - 1), len(shape)):
        if shape[i] == 0:
            raise ShapeError(
                name,
                f"{name}(): Expected input to have non-zero size for non-batch "
                f"dimensions, but input has sizes {list(shape)} with dimension {i} "
                "being empty",
            )
    return wanted


def _check_one(name: str, output_size: Any) -> None:
    if isinstance(output_size, (tuple, list)) and len(output_size) != 1:
        raise ShapeError(
            name, f"{name}() argument 'output_size' should contain one int (got {len(output_size)})"
        )
    integers(output_size, 1, name, "output_size")


def _adaptive_avg(name: str, rank: int, input: Tensor, output_size: Any) -> Tensor:
    out = _adaptive_size(name, input, rank, output_size)
    size = tuple(input.shape)[-rank:]
    if all(o == 1 for o in out):
        return input.mean(tuple(range(-rank, 0)), keepdim=True)
    if all(o and n % o == 0 for n, o in zip(size, out, strict=True)):
        kernel = tuple(n // o for n, o in zip(size, out, strict=True))
        return apply(
            AVG[rank],
            input,
            kernel=kernel,
            stride=kernel,
            padding=(0,) * rank,
            out=out,
            whole=True,
            override=None,
        )
    return apply(_ADAPTIVE_AVG[rank], input, out=out)


@public(namespaces=("torch", "nn.functional"))
def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Means of `output_size` windows that cover the signal as evenly as can be.

    Shape: ([batch,] channels, length) to ([batch,] channels, output_size).
    Raises: RuntimeError for other dimensions, negative sizes or an empty signal.
    """
    _check_one("adaptive_avg_pool1d", output_size)
    return _adaptive_avg("adaptive_avg_pool1d", 1, input, output_size)


@public(namespaces=("nn.functional",))
def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Means of windows that cover the image evenly; None in output_size keeps that dimension."""
    return _adaptive_avg("adaptive_avg_pool2d", 2, input, output_size)


@public(namespaces=("nn.functional",))
def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of windows that cover the volume evenly; None in output_size keeps that dimension."""
    return _adaptive_avg("adaptive_avg_pool3d", 3, input, output_size)


def _adaptive_max(
    name: str, rank: int, input: Tensor, output_size: Any, return_indices: bool
) -> Any:
    out = _adaptive_size(name, input, rank, output_size)
    size = tuple(input.shape)[-rank:]
    if all(o and n % o == 0 for n, o in zip(size, out, strict=True)):
        kernel = tuple(n // o for n, o in zip(size, out, strict=True))
        values, index = apply(
            MAX_INDICES[rank],
            input,
            kernel=kernel,
            stride=kernel,
            padding=(0,) * rank,
            dilation=(1,) * rank,
            out=out,
        )
    else:
        index = apply(AdaptiveMaxIndex, input, out=out)
        values = apply(_ADAPTIVE_MAX[rank], input, index, rank=rank)
    return (values, index) if return_indices else values


@public(namespaces=("nn.functional",))
def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of `output_size` windows that cover the signal as evenly as can be."""
    _check_one("adaptive_max_pool1d", output_size)
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


@public(namespaces=("nn.functional",))
def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows that cover the image evenly; None in output_size keeps that dimension."""
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


@public(namespaces=("nn.functional",))
def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Maxima of windows that cover the volume evenly; None in output_size keeps that dimension."""
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


@public(namespaces=("nn.functional",))
def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """`adaptive_max_pool1d` of a signal with return_indices, whatever that argument says."""
    return adaptive_max_pool1d(input, output_size, True)


@public(namespaces=("nn.functional",))
def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """`adaptive_max_pool2d` of an image with return_indices, whatever that argument says."""
    return adaptive_max_pool2d(input, output_size, True)


@public(namespaces=("nn.functional",))
def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """`adaptive_max_pool3d` of a volume with return_indices, whatever that argument says."""
    return adaptive_max_pool3d(input, output_size, True)


@public(name="adaptive_max_pool1d")
def adaptive_max_pool1d_and_indices(input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """Maxima of `output_size` windows of a signal, and where they are."""
    return adaptive_max_pool1d(input, output_size, True)


# ---------------------------------------------------------------- fractional pools


def _fractional(
    rank: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Tensor | None,
) -> Any:
    name = f"fractional_max_pool{rank}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    kernel = integers(kernel_size, rank, name, "kernel_size")
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(
            name,
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(input.shape)}",
        )
    size = tuple(input.shape)[-rank:]
    if output_size is None:
        ratios = (
            output_ratio if isinstance(output_ratio, (tuple, list)) else ((output_ratio,) * rank)
        )
        if len(ratios) != rank:
            raise ValueError(
                f"{name} requires output_ratio to either be a single Int or tuple of Ints."
            )
        out = tuple(int(n * r) for n, r in zip(size, ratios, strict=True))
    else:
        out = integers(output_size, rank, name, "output_size")
    words = ("time", "height", "width")[-rank:]
    for n, k, o, word in zip(size, kernel, out, words, strict=True):
        if o + k - 1 > n:
            raise ShapeError(
                name, f"{name}(): pool {word} {k} too large relative to input {word} {n}"
            )
    if 0 in tuple(input.shape)[-rank - 1 :]:
        raise ShapeError(
            name,
            f"{name}(): Expected input to have non-zero size for non-batch "
            f"dimensions, but input has sizes {list(input.shape)}",
        )
    batch = 1 if input.dim() == rank + 1 else input.shape[0]
    wanted = (batch, input.shape[-rank - 1], rank)
    if samples is None:
        from taper.ops.sampling import rand

        samples = rand(*wanted, dtype=input.dtype)
    else:
        samples = _checked_samples(name, samples, input, wanted)
    index = apply(FractionalIndex, input, samples, kernel=kernel, out=out)
    chosen = FractionalMaxPool3d if rank == 3 else FractionalMaxPool2d
    values = apply(chosen, input, index, rank=rank)
    return (values, index) if return_indices else values


def _checked_samples(
    name: str, samples: Tensor, input: Tensor, wanted: tuple[int, int, int]
) -> Tensor:
    """The samples that are needed. Raises: RuntimeError for too few, or of another dtype."""
    batch, channels, rank = wanted
    wrong = ""
    if samples.dtype is not input.dtype:
        wrong = "Expect _random_samples to have the same dtype as input"
    elif samples.dim() != 3:
        wrong = f"Expect _random_samples to have 3 dimensions, got {samples.dim()}"
    elif samples.shape[0] < batch:
        wrong = "Expect _random_samples.size(0) no less then input batch size."
    elif samples.shape[1] != channels:
        wrong = "Expect _random_samples.size(1) equals to input channel size."
    elif samples.shape[2] != rank:
        wrong = f"Expect _random_samples.size(2) equals to {rank}; got {samples.shape[2]}."
    if wrong:
        raise ShapeError(name, wrong)
    return samples[:batch]


@public(namespaces=("nn.functional",))
def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of windows of an image at pseudo-random distances that give the wanted size.

    Raises: ValueError without output_size and output_ratio, RuntimeError for kernels that do not
        fit.
    Source: Graham, Fractional Max-Pooling, arXiv 1412.6071.
    """
    return _fractional(
        2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )


@public(namespaces=("nn.functional",))
def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of windows of a volume at pseudo-random distances that give the wanted size."""
    return _fractional(
        3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )


@public(namespaces=("nn.functional",))
def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool2d` with return_indices, whatever that argument says."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


@public(namespaces=("nn.functional",))
def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`fractional_max_pool3d` with return_indices, whatever that argument says."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, True, _random_samples)


# ---------------------------------------------------------------- unpooling


def _unpool_size(
    input: Tensor, rank: int, kernel: Sizes, stride: Sizes, padding: Sizes, output_size: Any
) -> Sizes:
    """The size that pooling came from: the smallest possible, or the given one, checked."""
    size = tuple(input.shape)[-rank:]
    usual = tuple(
        (n - 1) * s + k - 2 * p for n, s, k, p in zip(size, stride, kernel, padding, strict=True)
    )
    if output_size is None:
        return usual
    wanted = tuple(int(n) for n in output_size)
    if len(wanted) == rank + 2:
        wanted = wanted[2:]
    if len(wanted) != rank:
        raise ValueError(
            f"output_size should be a sequence containing {rank} or {rank + 2} "
            f"elements, but it has a length of '{len(wanted)}'"
        )
    for i, (n, u, s) in enumerate(zip(wanted, usual, stride, strict=True)):
        if not u - s < n < u + s:
            raise ValueError(
                f'invalid output_size "{tuple(output_size)}" (dim {i} must be between '
                f"{u - s} and {u + s})"
            )
    return wanted


def _unpool(
    rank: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    name = f"max_unpool{rank}d"
    kernel = integers(kernel_size, rank, name, "kernel_size")
    steps = kernel if stride is None else integers(stride, rank, name, "stride")
    around = integers(padding, rank, name, "padding")
    out = _unpool_size(input, rank, kernel, steps, around, output_size)
    if indices.dtype.name != "int64":
        raise ShapeError(
            name, f"elements in indices should be type int64 but got: {indices.dtype!r}"
        )
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(
            name,
            f"Input to max_unpooling{max(rank, 2)}d should be a {rank + 1}d or "
            f"{rank + 2}d Tensor, but got a tensor with {input.dim()} dimensions.",
        )
    if tuple(input.shape) != tuple(indices.shape):
        raise ShapeError(
            name,
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(input.shape)}) but got indices tensor with shape: "
            f"{list(indices.shape)}",
        )
    if any(s <= 0 for s in steps):
        raise ShapeError(name, f"strides should be greater than zero, but got stride: {steps}")
    return apply(_UNPOOLS[rank], input, indices, size=out)


@public(namespaces=("nn.functional",))
def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with the values of `input` where `max_pool1d` found them.

    Raises: ValueError for an output_size that cannot be, RuntimeError for indices outside of it.
    """
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


@public(namespaces=("nn.functional",))
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with the values of `input` where `max_pool2d` found them."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


@public(namespaces=("nn.functional",))
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Zeros with the values of `input` where `max_pool3d` found them."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)
