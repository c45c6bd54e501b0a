"""Convolution of any rank, transposed or not, and its derivatives.

The three trilinear maps here (`Convolution`, `ConvTransposed`, `ConvWeightGrad`) are each other's
derivatives, so second and higher derivatives need nothing else. Their arithmetic is in convolve.py.
"""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.convolve import adjoints, convolve, scatter, weight_grad
from taper.ops.window import Sizes, integers, widened
from taper.tensor import Tensor

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
        to_bias = m.call(ChannelSum, grad) if needs[2] else None
        if m.on_arrays and needs[0] and needs[1] and input.dtype.kind != "c":
            both = adjoints(input, weight, grad, **geometry)
            if both is not None:
                return *both, to_bias
        size, kernel = tuple(input.shape[2:]), tuple(weight.shape[2:])
        return (
            m.call(ConvTransposed, grad, conj_of(m, weight), None, size=size, **geometry)
            if needs[0]
            else None,
            m.call(ConvWeightGrad, conj_of(m, input), grad, kernel=kernel, **geometry)
            if needs[1]
            else None,
            to_bias,
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
