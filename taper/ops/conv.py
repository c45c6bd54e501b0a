"""Convolution of any rank, transposed or not, and its derivatives.

The three trilinear maps here (`Convolution`, `ConvTransposed`, `ConvWeightGrad`) are each other's
derivatives, so second and higher derivatives need nothing else. Their arithmetic is in
backends/convolution.py.
"""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.conv_shapes import (
    check,
    check_dims,
    check_positive,
    check_weight_dims,
    settled,
    transposed_size,
)
from taper.ops.window import Sizes, integers
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
    needed_for = {"input": "weight", "weight": "input"}

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
        return m.convolution(input, weight, bias, stride, padding, dilation, groups)

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
        if m.on_arrays:
            own, factors = conj_of(m, input), conj_of(m, weight)
            return m.convolution_gradients(own, factors, grad, needs, **geometry)
        size, kernel = tuple(input.shape[2:]), tuple(weight.shape[2:])
        return (
            m.call(ConvTransposed, grad, conj_of(m, weight), None, size=size, **geometry)
            if needs[0]
            else None,
            m.call(ConvWeightGrad, conj_of(m, input), grad, kernel=kernel, **geometry)
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
    needed_for = {"input": "weight", "weight": "input"}

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
        y = m.convolution_transposed(input, weight, size, stride, padding, dilation, groups)
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
        return m.convolution_weight_grad(input, other, kernel, stride, padding, dilation, groups)

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
        return m.channel_sum(input)

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any) -> Any:
        ones = (1,) * (len(shape) - 2)
        return m.broadcast_to(m.reshape(grad, (1, shape[1], *ones)), shape)


# ---------------------------------------------------------------- the public functions


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
        check_dims(name, input.shape, rank)
        batched = _convolution(
            name, rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups
        )
        return batched.squeeze(0)
    steps = integers(stride, rank, name, "stride")
    spread = integers(dilation, rank, name, "dilation")
    kinds = (input.dtype, weight.dtype, None if bias is None else bias.dtype)
    w, b = weight.shape, None if bias is None else bias.shape
    if not isinstance(padding, str):
        around = integers(padding, rank, name, "padding")
    elif padding == "valid":
        around = (0,) * rank
    elif padding == "same":
        check_weight_dims(name, input.shape, w, None)
        check_positive(name, steps, (), spread, groups)
        check(name, input.shape, w, b, kinds, groups, False)
        input, around = _same_padding(name, input, tuple(w[2:]), steps, spread)
    else:
        raise RuntimeError(f"{name}: Invalid padding string: '{padding}'")
    settled(name, input.shape, w, b, kinds, steps, around, spread, groups)
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
        check_dims(name, input.shape, rank)
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
    size = transposed_size(
        name,
        input.shape,
        weight.shape,
        None if bias is None else bias.shape,
        (input.dtype, weight.dtype, None if bias is None else bias.dtype),
        steps,
        around,
        extra,
        spread,
        groups,
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
