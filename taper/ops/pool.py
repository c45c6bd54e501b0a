"""Pooling over windows: maximum, mean and p-norm. The arithmetic is in backends/pooling.py; the
pools that pick one element of an uneven window, or place one back, are in pool_index.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.pool_shapes import pooled_size, sizes
from taper.ops.window import Sizes, widened
from taper.tensor import Tensor

# ---------------------------------------------------------------- the ops


class _MaxPool(Opaque):
    """Maximum of every window. Only the input is saved, so that the result may be overwritten, as
    by ReLU(inplace=True); who won is found again when the gradient is wanted.
    """

    name = "max_pool"
    saves = ("input",)

    def forward(
        self, m: Any, input: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, out: Any
    ) -> Any:
        return m.max_pool(input, kernel, stride, padding, dilation, out)

    def vjp(self, m: Any, grad: Any, result: Any, input: Any, **geometry: Any) -> Any:
        return m.call(MaxPoolGrad, grad, input, **geometry)


@op
class MaxPool1d(_MaxPool):
    """Of a signal, which PyTorch pools as an image of height 1 and squeezes afterwards."""

    node_name = "SqueezeBackward1"


@op
class MaxPool2d(_MaxPool):
    """Of an image."""

    node_name = "MaxPool2DWithIndicesBackward0"


@op
class MaxPool3d(_MaxPool):
    """Of a volume."""

    node_name = "MaxPool3DWithIndicesBackward0"


class PickFrom(Opaque):
    """The elements of input at positions `index` of its last `rank` dimensions, flattened."""

    name = "pick"
    saves = ("input", "index")

    def forward(self, m: Any, input: Any, index: Any, *, rank: Any) -> Any:
        return m.pick(input, index, rank)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any, *, rank: Any) -> Any:
        size = tuple(input.shape)[len(input.shape) - rank :]
        return m.call(Place, grad, index, input, size=size), None


@op
class Pick(PickFrom):
    """Without a pool's name."""

    node_name = "TakeBackward0"


@op
class Place(Opaque):
    """Zeros with input added at positions `index` of the flattened last dimensions `size`.

    `like` is what was pooled. The result does not depend on it, but in PyTorch has a gradient of
    zeros for it; it may be None.
    """

    saves = ("index", "like.shape")

    def forward(self, m: Any, input: Any, index: Any, like: Any, *, size: Any) -> Any:
        rank = len(size)
        lead = input.shape[: input.ndim - rank]
        given = widened(input)
        if not index.size:
            return np.zeros((*lead, *size), input.dtype)
        planes = math.prod(lead)
        zeros = np.zeros((planes, math.prod(size)), given.dtype)
        made = m.scatter_add(zeros, index.reshape(planes, -1), given.reshape(planes, -1), 1)
        return made.reshape(*lead, *size).astype(input.dtype, copy=False)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        index: Any,
        like: Any,
        *,
        needs: Any,
        size: Any,
    ) -> Any:
        picked = m.call(Pick, grad, index, rank=len(size)) if needs[0] else None
        return picked, None, m.zeros(tuple(like), grad.dtype) if needs[2] else None


class _MaxPoolIndices(Opaque):
    """Maximum of every window, and where it is in the flattened input."""

    name = "max_pool"
    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input", "out")

    def forward(
        self, m: Any, input: Any, *, kernel: Any, stride: Any, padding: Any, dilation: Any, out: Any
    ) -> Any:
        index = m.max_index(input, kernel, stride, padding, dilation, out)
        return m.pick(input, index, len(kernel)), index

    def vjp(self, m: Any, grad: Any, result: Any, input: Any, *, out: Any, **geometry: Any) -> Any:
        size = tuple(input.shape)[len(input.shape) - len(out) :]
        return m.call(Place, grad[0], result[0], input, size=size)


@op
class MaxPoolIndices1d(_MaxPoolIndices):
    """Of a signal."""

    node_name = "SqueezeBackward1"


@op
class MaxPoolIndices2d(_MaxPoolIndices):
    """Of an image."""

    node_name = "MaxPool2DWithIndicesBackward0"


@op
class MaxPoolIndices3d(_MaxPoolIndices):
    """Of a volume."""

    node_name = "MaxPool3DWithIndicesBackward0"


@op
class MaxPoolGrad(Opaque):
    """Each window's gradient where `input` has its maximum."""

    node_name = "MaxPool2DWithIndicesBackwardBackward0"
    saves = ("input",)

    def forward(
        self,
        m: Any,
        grad: Any,
        input: Any,
        *,
        kernel: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        out: Any,
    ) -> Any:
        return m.max_pool_grad(grad, input, kernel, stride, padding, dilation, out)

    def vjp(
        self,
        m: Any,
        grad: Any,
        result: Any,
        grad_out: Any,
        input: Any,
        *,
        needs: Any,
        **geometry: Any,
    ) -> Any:
        picked = m.call(MaxPoolPick, grad, input, **geometry) if needs[0] else None
        return picked, m.zeros(input.shape, grad.dtype) if needs[1] else None


@op
class MaxPoolPick(Opaque):
    """The elements of `other` where `input` has the maxima of its windows."""

    saves = ("input",)

    def forward(
        self,
        m: Any,
        other: Any,
        input: Any,
        *,
        kernel: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        out: Any,
    ) -> Any:
        return m.pick(
            other, m.max_index(input, kernel, stride, padding, dilation, out), len(kernel)
        )

    def vjp(self, m: Any, grad: Any, result: Any, other: Any, input: Any, **geometry: Any) -> Any:
        return m.call(MaxPoolGrad, grad, input, **geometry), None


class _AvgPool(Opaque):
    """Mean of every window."""

    name = "avg_pool"
    saves = ("input",)

    def forward(
        self,
        m: Any,
        input: Any,
        *,
        kernel: Any,
        stride: Any,
        padding: Any,
        out: Any,
        whole: Any,
        override: Any,
    ) -> Any:
        return m.avg_pool(input, kernel, stride, padding, out, whole, override)

    def vjp(self, m: Any, grad: Any, result: Any, input: Any, **geometry: Any) -> Any:
        return m.call(AvgPoolGrad, grad, input, **geometry)


@op
class AvgPool1d(_AvgPool):
    """Of a signal."""

    node_name = "SqueezeBackward1"


@op
class AvgPool2d(_AvgPool):
    """Of an image."""

    node_name = "AvgPool2DBackward0"


@op
class AvgPool3d(_AvgPool):
    """Of a volume."""

    node_name = "AvgPool3DBackward0"


@op
class AvgPoolGrad(Opaque):
    """Each window's gradient, divided, all over the window."""

    node_name = "AvgPool2DBackwardBackward0"
    saves = ("input.shape",)

    def forward(
        self,
        m: Any,
        grad: Any,
        input: Any,
        *,
        kernel: Any,
        stride: Any,
        padding: Any,
        out: Any,
        whole: Any,
        override: Any,
    ) -> Any:
        size = input.shape[-len(kernel) :]
        return m.avg_pool_grad(grad, size, kernel, stride, padding, out, whole, override)

    def vjp(
        self,
        m: Any,
        grad: Any,
        result: Any,
        grad_out: Any,
        shape: Any,
        *,
        needs: Any,
        **geometry: Any,
    ) -> Any:
        mean = m.call(AvgPool2d, grad, **geometry) if needs[0] else None
        return mean, m.zeros(tuple(shape), grad.dtype) if needs[1] else None


MAX = {1: MaxPool1d, 2: MaxPool2d, 3: MaxPool3d}
MAX_INDICES = {1: MaxPoolIndices1d, 2: MaxPoolIndices2d, 3: MaxPoolIndices3d}
AVG = {1: AvgPool1d, 2: AvgPool2d, 3: AvgPool3d}


# ---------------------------------------------------------------- the public functions


def _geometry(
    name: str,
    input: Tensor,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sizes]:
    """Kernel, stride, padding, dilation and output size, checked."""
    if input.dtype.name == "bool":
        raise NotImplementedError(f"{name}: \"{name}\" not implemented for 'Bool'")
    kernel = sizes(kernel_size, rank, name, "kernel_size")
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        stride = kernel
    steps = sizes(stride, rank, name, "stride")
    around = sizes(padding, rank, name, "padding")
    spread = sizes(dilation, rank, name, "dilation")
    out = pooled_size(name, input.shape, kernel, steps, around, spread, bool(ceil_mode))
    return kernel, steps, around, spread, out


def _max_pool(
    name: str,
    rank: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    kernel, steps, around, spread, out = _geometry(
        name, input, rank, kernel_size, stride, padding, dilation, ceil_mode
    )
    chosen = MAX_INDICES[rank] if return_indices else MAX[rank]
    return apply(
        chosen, input, kernel=kernel, stride=steps, padding=around, dilation=spread, out=out
    )


@public(namespaces=("torch", "nn.functional"))
def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of every window of `kernel_size` elements, `stride` (kernel_size) apart.

    Shape: ([batch,] channels, length) to ([batch,] channels, out), out = (length + 2 padding -
        dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up with ceil_mode. With
        return_indices a second tensor says where in the input each maximum is.
    Edges: the first of equal elements wins; nan beats all. Padding never wins.
    Raises: RuntimeError where the settings do not fit each other or the input.
    """
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@public(namespaces=("torch", "nn.functional"))
def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of every window of an image: `max_pool1d` with two spatial dimensions."""
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@public(namespaces=("torch", "nn.functional"))
def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of every window of a volume: `max_pool1d` with three spatial dimensions."""
    return _max_pool(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@public(namespaces=("nn.functional", "torch"))
def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """`max_pool1d` of a signal with return_indices, whatever that argument says."""
    return _max_pool(
        "max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, True
    )


@public(namespaces=("nn.functional",))
def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """`max_pool2d` of an image with return_indices, whatever that argument says."""
    return _max_pool(
        "max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, True
    )


@public(namespaces=("nn.functional",))
def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """`max_pool3d` of a volume with return_indices, whatever that argument says."""
    return _max_pool(
        "max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode, True
    )


def _avg_pool(
    name: str,
    rank: int,
    input: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    kernel, steps, around, _, out = _geometry(
        name, input, rank, kernel_size, stride, padding, 1, ceil_mode
    )
    if divisor_override == 0:
        raise ShapeError(name, "divisor must be not zero")
    return apply(
        AVG[rank],
        input,
        kernel=kernel,
        stride=steps,
        padding=around,
        out=out,
        whole=bool(count_include_pad),
        override=divisor_override,
    )


@public(namespaces=("torch", "nn.functional"))
def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of every window of `kernel_size` elements, `stride` (kernel_size) apart.

    Shape: as in `max_pool1d`, with dilation 1. Padding counts as zeros, or not at all with
        count_include_pad=False.
    Raises: RuntimeError where the settings do not fit each other or the input.
    """
    return _avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


@public(out=True, namespaces=("nn.functional",))
def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of every window of an image; the sum divided by divisor_override, if that is given."""
    return _avg_pool(
        "avg_pool2d",
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@public(out=True, namespaces=("nn.functional",))
def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of every window of a volume; the sum divided by divisor_override, if that is given."""
    return _avg_pool(
        "avg_pool3d",
        3,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def _lp_pool(
    rank: int, input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    name = f"lp_pool{rank}d"
    elements = math.prod(sizes(kernel_size, rank, name, "kernel_size"))
    powers = input.pow(norm_type)
    mean = _avg_pool(name, rank, powers, kernel_size, stride, 0, ceil_mode, True, None)
    return (mean.sign() * mean.abs().relu()).mul(elements).pow(1.0 / norm_type)


@public(namespaces=("nn.functional",))
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of every window of a signal."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@public(namespaces=("nn.functional",))
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of every window of an image."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@public(namespaces=("nn.functional",))
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x ** norm_type) ** (1 / norm_type) of every window of a volume."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
