"""Convolution of any rank, transposed or not, and its derivatives.

A convolution is a matrix product of the weight with the columns of the input, one column per
output position. The three trilinear maps here (`Convolution`, `ConvTransposed`, `ConvWeightGrad`)
are each other's derivatives, so second and higher derivatives need nothing else. Columns are made
for a few images at a time, so that they stay in the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.window import Sizes, integers, padded, tap, widened, windows
from taper.tensor import Tensor

# Bytes of columns made at a time. Smaller blocks pay for more calls, larger ones leave the cache
# (LeNet's second layer, batch 256, 1 MiB of L2: 3.3 ms here, 3.8 ms at four times the size).
_BLOCK = 400_000
# The scattering of a transposed convolution makes one call per kernel position and block, and
# gains more from fewer calls than from the cache.
_SCATTER_BLOCK = 2_500_000


def _out_size(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def _columns(
    xp: np.ndarray, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes
) -> np.ndarray:
    """View (channels, *kernel, batch, *out) of a padded input."""
    seen = windows(xp, kernel, stride, dilation, out)
    rank = len(kernel)
    return seen.transpose(*range(1, rank + 2), 0, *range(rank + 2, 2 * rank + 2))


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Convolution of (batch, channels, *size) with (outputs, channels / groups, *kernel)."""
    dtype = x.dtype
    x, w = widened(x), widened(w)
    batch, kernel = x.shape[0], w.shape[2:]
    outputs = w.shape[0]
    size = _out_size(x.shape[2:], kernel, stride, padding, dilation)
    positions = math.prod(size)
    y = np.empty((batch, outputs, *size), np.result_type(x, w))
    if y.size == 0:
        return y.astype(dtype, copy=False)
    xp = padded(x, padding, padding)
    matrix = w.reshape(groups, outputs // groups, -1)
    depth = matrix.shape[2]
    target = y.reshape(batch, groups, outputs // groups, positions)
    offset = None if bias is None else widened(bias).reshape(groups, outputs // groups, 1)
    if all(k == 1 for k in kernel) and all(s == 1 for s in stride):
        # A 1x1 kernel: the input is its own columns.
        np.matmul(matrix, xp.reshape(batch, groups, depth, positions), out=target)
        if offset is not None:
            target += offset
        return y.astype(dtype, copy=False)
    columns = _columns(xp, kernel, stride, dilation, size)
    target = target.transpose(1, 2, 0, 3)
    if offset is not None:
        offset = offset[..., None]
    before = (slice(None),) * (len(kernel) + 1)
    block = max(1, _BLOCK // max(1, groups * depth * positions * x.itemsize))
    for i in range(0, batch, block):
        part = columns if block >= batch else columns[(*before, slice(i, i + block))]
        images = min(block, batch - i)
        product = np.matmul(matrix, part.reshape(groups, depth, images * positions))
        product = product.reshape(groups, outputs // groups, images, positions)
        if offset is None:
            target[:, :, i : i + block] = product
        else:
            np.add(product, offset, out=target[:, :, i : i + block])
    return y.astype(dtype, copy=False)


def weight_grad(
    x: np.ndarray,
    grad: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Sum over images and positions of output gradient times column: shaped as the weight."""
    dtype = x.dtype
    x, grad = widened(x), widened(grad)
    batch, channels = x.shape[:2]
    outputs, size = grad.shape[1], grad.shape[2:]
    positions = math.prod(size)
    each = outputs // groups
    shape = (outputs, channels // groups, *kernel)
    if grad.size == 0 or x.size == 0:
        return np.zeros(shape, dtype)
    columns = _columns(padded(x, padding, padding), kernel, stride, dilation, size)
    depth = math.prod(shape[1:])
    source = grad.reshape(batch, groups, each, positions).transpose(1, 2, 0, 3)
    before = (slice(None),) * (len(kernel) + 1)
    block = max(1, _BLOCK // max(1, groups * depth * positions * x.itemsize))
    total: Any = None
    for i in range(0, batch, block):
        part = columns if block >= batch else columns[(*before, slice(i, i + block))]
        spread = min(block, batch - i) * positions
        share = np.matmul(
            part.reshape(groups, depth, spread),
            source[:, :, i : i + block].reshape(groups, each, spread).transpose(0, 2, 1),
        )
        total = share if total is None else np.add(total, share, out=total)
    return np.ascontiguousarray(total.transpose(0, 2, 1)).reshape(shape).astype(dtype, copy=False)


def scatter(
    g: np.ndarray,
    w: np.ndarray,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Adjoint of `convolve` in its input: (batch, channels, *size) from (batch, outputs, *out)."""
    dtype = g.dtype
    g, w = widened(g), widened(w)
    batch, outputs = g.shape[:2]
    kernel = w.shape[2:]
    channels = w.shape[1] * groups
    y = np.zeros((batch, channels, *size), np.result_type(g, w))
    if y.size == 0 or g.size == 0:
        return y.astype(dtype, copy=False)
    each = outputs // groups
    matrix = w.reshape(groups, each, -1).transpose(0, 2, 1)
    if all(k == 1 for k in kernel) and all(s == 1 for s in stride) and not any(padding):
        np.matmul(
            matrix,
            g.reshape(batch, groups, each, -1),
            out=y.reshape(batch, groups, channels // groups, -1),
        )
        return y.astype(dtype, copy=False)
    around = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    flat = all(s == 1 for s in stride)
    if flat:
        # With stride 1 and the gradient's rows padded to the length of the input's, a kernel
        # position is a mere shift in the flattened image, and one long addition.
        tail = tuple(a - n for a, n in zip(around[1:], g.shape[3:], strict=True))
        g = padded(g, (0,) * len(tail), tail)
    spread = math.prod(g.shape[2:])
    source = g.reshape(batch, groups, each, spread).transpose(1, 2, 0, 3)
    depth = matrix.shape[1]
    block = min(batch, max(1, _SCATTER_BLOCK // max(1, groups * depth * spread * g.itemsize)))
    taps = (
        _flat_taps(kernel, dilation, around, spread)
        if flat
        else _taps(kernel, dilation, stride, g.shape[2:])
    )
    room = (max(math.prod(around), taps[-1][-1].stop),) if flat else around
    inner = tuple(slice(p, p + n) for p, n in zip(padding, size, strict=True))
    target = y.transpose(1, 0, *range(2, y.ndim))
    for i in range(0, batch, block):
        images = min(block, batch - i)
        product = np.matmul(
            matrix, source[:, :, i : i + block].reshape(groups, each, images * spread)
        ).reshape(channels, len(taps), images, *((spread,) if flat else g.shape[2:]))
        total = np.zeros((channels, images, *room), y.dtype)
        for number, place in enumerate(taps):
            part = total[(..., *place)]
            np.add(part, product[:, number], out=part)
        if flat:
            total = total[:, :, : math.prod(around)].reshape(channels, images, *around)
        target[:, i : i + block] = total[(..., *inner)]
    return y.astype(dtype, copy=False)


def _taps(kernel: Sizes, dilation: Sizes, stride: Sizes, out: Sizes) -> list[tuple[slice, ...]]:
    """For each kernel position, in order, the input positions it meets."""
    return [tuple(map(tap, position, dilation, stride, out)) for position in np.ndindex(*kernel)]


def _flat_taps(
    kernel: Sizes, dilation: Sizes, around: Sizes, spread: int
) -> list[tuple[slice, ...]]:
    """`_taps` in the flattened image."""
    steps = [math.prod(around[i + 1 :]) for i in range(len(around))]
    starts = [
        sum(p * d * s for p, d, s in zip(position, dilation, steps, strict=True))
        for position in np.ndindex(*kernel)
    ]
    return [(slice(start, start + spread),) for start in starts]


# ---------------------------------------------------------------- the ops


def _cropped(x: Any, size: Sizes) -> Any:
    """The leading part of the spatial dimensions, where an output padding made them longer."""
    if tuple(x.shape[2:]) == size:
        return x
    return x[(..., *(slice(0, n) for n in size))]


@op
class Convolution(Contraction):
    name = "convolution"
    node_name = "ConvolutionBackward0"
    saves = ("input", "weight")

    def forward(
        self,
        m: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
    ) -> Any:
        return convolve(input, weight, bias, stride, padding, dilation, groups)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        needs: Any,
        **geometry: Any,
    ) -> Any:
        return (
            m.call(
                ConvTransposed,
                grad,
                conj_of(m, weight),
                None,
                size=tuple(input.shape[2:]),
                **geometry,
            )
            if needs[0]
            else None,
            m.call(
                ConvWeightGrad, conj_of(m, input), grad, kernel=tuple(weight.shape[2:]), **geometry
            )
            if needs[1]
            else None,
            m.call(ChannelSum, grad) if needs[2] else None,
        )


@op
class ConvTransposed(Contraction):
    """Adjoint of `Convolution` in its input; as a public function, the transposed convolution."""

    name = "conv_transpose"
    node_name = "ConvolutionBackward0"
    saves = ("input", "weight")

    def forward(
        self,
        m: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
    ) -> Any:
        y = scatter(input, weight, size, stride, padding, dilation, groups)
        if bias is not None:
            y += bias.reshape((-1,) + (1,) * len(size))
        return y

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        needs: Any,
        size: Any,
        **geometry: Any,
    ) -> Any:
        return (
            _cropped(
                m.call(Convolution, grad, conj_of(m, weight), None, **geometry),
                tuple(input.shape[2:]),
            )
            if needs[0]
            else None,
            m.call(
                ConvWeightGrad, grad, conj_of(m, input), kernel=tuple(weight.shape[2:]), **geometry
            )
            if needs[1]
            else None,
            m.call(ChannelSum, grad) if needs[2] else None,
        )


@op
class ConvWeightGrad(Contraction):
    name = "convolution_weight_grad"
    node_name = "ConvolutionBackwardBackward0"
    saves = ("input", "other")

    def forward(
        self,
        m: Any,
        input: Any,
        other: Any,
        *,
        kernel: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
    ) -> Any:
        return weight_grad(input, other, kernel, stride, padding, dilation, groups)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        other: Any,
        *,
        needs: Any,
        kernel: Any,
        **geometry: Any,
    ) -> Any:
        return (
            m.call(
                ConvTransposed,
                conj_of(m, other),
                grad,
                None,
                size=tuple(input.shape[2:]),
                **geometry,
            )
            if needs[0]
            else None,
            _cropped(
                m.call(Convolution, conj_of(m, input), grad, None, **geometry),
                tuple(other.shape[2:]),
            )
            if needs[1]
            else None,
        )


@op
class ChannelSum(Contraction):
    """Sum over all dimensions but the second: the gradient of a bias."""

    name = "channel_sum"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any) -> Any:
        batch, channels = input.shape[:2]
        wide = widened(input)
        # Long rows add fastest along themselves; short ones once the batch is beside them.
        if input.size > 500_000 or batch == 1:
            total = wide.reshape(batch, channels, -1).sum(2).sum(0)
        else:
            total = wide.swapaxes(0, 1).reshape(channels, -1).sum(1)
        return total.astype(input.dtype, copy=False)

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any) -> Any:
        ones = (1,) * (len(shape) - 2)
        return m.broadcast_to(m.reshape(grad, (1, shape[1], *ones)), shape)


# ---------------------------------------------------------------- checks

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


def _check_positive(name: str, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> None:
    if any(p < 0 for p in padding):
        raise ShapeError(name, "negative padding is not supported")
    if any(s <= 0 for s in stride):
        raise ShapeError(name, "non-positive stride is not supported")
    if any(d <= 0 for d in dilation):
        raise ShapeError(name, f"dilation should be greater than zero, but got {list(dilation)}")
    if groups <= 0:
        raise ShapeError(name, "non-positive groups is not supported")


def _check(
    name: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rank: int,
    groups: int,
    transposed: bool,
) -> None:
    """The demands of shape and dtype that both directions share."""
    x, w = tuple(input.shape), tuple(weight.shape)
    if len(w) != rank + 2:
        raise ShapeError(
            name,
            f"expected a weight with {rank + 2} dimensions, got {list(w)}: "
            f"expected stride to be a single integer value or a list of "
            f"{len(w) - 2} values to match the convolution dimensions",
        )
    if input.dtype is not weight.dtype:
        given, held = _CPP_NAMES[input.dtype.name], _CPP_NAMES[weight.dtype.name]
        raise DtypeError(name, f"Input type ({given}) and weight type ({held}) should be the same")
    if input.dtype.name == "bool":
        raise NotImplementedError(f"{name}: \"slow_conv{rank}d_cpu\" not implemented for 'Bool'")
    if bias is not None and bias.dtype is not input.dtype:
        given, held = _CPP_NAMES[input.dtype.name], _CPP_NAMES[bias.dtype.name]
        raise DtypeError(name, f"Input type ({given}) and bias type ({held}) should be the same")
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
    if bias is not None and tuple(bias.shape) != (outputs,):
        given_as = "transposed=1, weight" if transposed else "weight"
        raise ShapeError(
            name,
            f"Given {given_as} of size {list(w)}, expected bias to be "
            f"1-dimensional with {outputs} elements, but got bias of size "
            f"{list(bias.shape)} instead",
        )


def _check_dims(name: str, input: Tensor, rank: int) -> None:
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(
            name,
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input "
            f"to {name}, but got input of size: {list(input.shape)}",
        )


def _by(sizes: Sizes) -> str:
    return " x ".join(map(str, sizes))


def _same_padding(
    name: str, input: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[Tensor, Sizes]:
    """The padding that keeps the size; an odd surplus goes to the end, by padding the input."""
    if any(s != 1 for s in stride):
        raise ShapeError(name, "padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if any(t % 2 for t in totals):
        import warnings

        from taper.ops.padding import pad

        warnings.warn(
            "Using padding='same' with even kernel lengths and odd dilation may require "
            "a zero-padded copy of the input be created",
            UserWarning,
            stacklevel=4,
        )
        ends = [n for t in reversed(totals) for n in (0, t % 2)]
        input = pad(input, ends)
    return input, tuple(t // 2 for t in totals)


# ---------------------------------------------------------------- the public functions


def _convolution(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    if input.dim() != rank + 2:
        _check_dims(name, input, rank)
        batched = _convolution(
            name, rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups
        )
        return batched.squeeze(0)
    steps = integers(stride, rank, name, "stride")
    spread = integers(dilation, rank, name, "dilation")
    kernel = tuple(weight.shape[2:])
    if isinstance(padding, str):
        if padding == "valid":
            around = (0,) * rank
        elif padding == "same":
            _check(name, input, weight, bias, rank, groups, False)
            input, around = _same_padding(name, input, kernel, steps, spread)
        else:
            raise RuntimeError(f"{name}: Invalid padding string: '{padding}'")
    else:
        around = integers(padding, rank, name, "padding")
    _check_positive(name, steps, around, spread, groups)
    _check(name, input, weight, bias, rank, groups, False)
    size = tuple(input.shape[2:])
    if any(
        n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip(size, around, spread, kernel, strict=True)
    ):
        full = tuple(n + 2 * p for n, p in zip(size, around, strict=True))
        reach = tuple(d * (k - 1) + 1 for d, k in zip(spread, kernel, strict=True))
        raise ShapeError(
            name,
            f"Calculated padded input size per channel: ({_by(full)}). Kernel "
            f"size: ({_by(reach)}). Kernel size can't be greater than actual input "
            "size",
        )
    return apply(
        Convolution,
        input,
        weight,
        bias,
        stride=steps,
        padding=around,
        dilation=spread,
        groups=groups,
    )


def _transposed(
    name: str,
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    if input.dim() != rank + 2:
        _check_dims(name, input, rank)
        batched = _transposed(
            name,
            rank,
            input.unsqueeze(0),
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
        )
        return batched.squeeze(0)
    steps = integers(stride, rank, name, "stride")
    spread = integers(dilation, rank, name, "dilation")
    around = integers(padding, rank, name, "padding")
    extra = integers(output_padding, rank, name, "output_padding")
    _check_positive(name, steps, around, spread, groups)
    if any(e < 0 for e in extra):
        raise ShapeError(name, "negative output_padding is not supported")
    _check(name, input, weight, bias, rank, groups, True)
    if any(e >= s and e >= d for e, s, d in zip(extra, steps, spread, strict=True)):
        raise ShapeError(
            name,
            "output padding must be smaller than either stride or dilation, but "
            f"got output_padding: {list(extra)} stride: {list(steps)} dilation: "
            f"{list(spread)}",
        )
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(
            input.shape[2:], steps, around, spread, weight.shape[2:], extra, strict=True
        )
    )
    if any(n <= 0 for n in size):
        raise ShapeError(
            name,
            f"Given input size per channel: ({_by(tuple(input.shape[2:]))}). "
            f"Calculated output size per channel: ({_by(size)}). Output size is too "
            "small",
        )
    return apply(
        ConvTransposed,
        input,
        weight,
        bias,
        size=size,
        stride=steps,
        padding=around,
        dilation=spread,
        groups=groups,
    )


@public(namespaces=("torch", "nn.functional"))
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of signals with kernels.

    Shape: input ([batch,] channels, length), weight (outputs, channels / groups, kernel), bias
        (outputs,); result ([batch,] outputs, out), out = (length + 2 padding - dilation (kernel -
        1) - 1) // stride + 1. padding also takes "valid" (none) and "same" (out = length).
    Dtype: all of one; float16 and bfloat16 are summed in float32.
    Raises: RuntimeError where sizes, dtypes or settings do not fit.
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@public(namespaces=("torch", "nn.functional"))
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with kernels: `conv1d` with two spatial dimensions."""
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@public(namespaces=("torch", "nn.functional"))
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of volumes with kernels: `conv1d` with three spatial dimensions."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@public(namespaces=("torch", "nn.functional"))
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Adjoint of `conv1d` in its input, as a layer: every input position paints a kernel.

    Shape: input ([batch,] channels, length), weight (channels, outputs / groups, kernel); the
        result's length is (length - 1) stride - 2 padding + dilation (kernel - 1) +
        output_padding + 1.
    Raises: RuntimeError where sizes, dtypes or settings do not fit.
    """
    return _transposed(
        "conv_transpose1d",
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


@public(namespaces=("torch", "nn.functional"))
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution of images: `conv_transpose1d` with two spatial dimensions."""
    return _transposed(
        "conv_transpose2d",
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


@public(namespaces=("torch", "nn.functional"))
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution of volumes: `conv_transpose1d` with three spatial dimensions."""
    return _transposed(
        "conv_transpose3d",
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
    )


@public()
def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Tensor:
    """Convolution of any rank, or transposed convolution, as the weight's dimensions say."""
    rank = weight.dim() - 2
    if transposed:
        return _transposed(
            "convolution",
            rank,
            input,
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
        )
    return _convolution("convolution", rank, input, weight, bias, stride, padding, dilation, groups)


@public(namespaces=("torch", "nn.functional"))
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """`conv1d` on (time, batch, channels) with a weight of (kernel, channels, outputs)."""
    made = _convolution(
        "conv_tbc", 1, input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad, 1, 1
    )
    return made.permute(2, 0, 1)
