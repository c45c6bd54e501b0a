"""Normalization of rows: layer norm, RMS norm and division by a p-norm; and over neighbouring
channels. That of channels is in norm.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import backends
from taper.backends.rows import column_sums
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.ops.norm import (
    Kept,
    check_parameters,
    quiet,
    recorded_vjp,
    rounded,
    unit_weight,
)
from taper.ops.padding import pad
from taper.ops.pool import avg_pool2d
from taper.ops.statistics import vector_norm
from taper.tensor import Tensor, wrap

Sizes = tuple[int, ...]


@quiet
def _normalized(m: Any, x: Any, weight: Any, bias: Any, size: int, eps: float) -> Kept:
    """The rows of `size` elements normalized, scaled and shifted."""
    w, b = (None if p is None else p.reshape(size) for p in (weight, bias))
    return Kept(*m.normalize_rows(x.reshape(-1, size), w, b, eps))


@op
class LayerNorm(Opaque):
    """Normalizes the last `rank` dimensions; `kept` is what was computed of the input already."""

    name = "layer_norm"
    node_name = "NativeLayerNormBackward0"
    saves = ("input", "weight", "bias.shape")

    def forward(
        self,
        m: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        rank: int,
        eps: float,
        kept: Kept | None,
    ) -> Any:
        if kept is None or kept.out is None:
            size = math.prod(input.shape[input.ndim - rank :])
            kept = _normalized(m, widened(input), weight, bias, size, eps)
        return narrowed(kept.taken().reshape(input.shape), input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        bias: Any,
        *,
        rank: int,
        eps: float,
        kept: Kept | None,
        needs: Any,
    ) -> Any:
        shape = tuple(input.shape)
        lead = len(shape) - rank
        if not m.on_arrays or kept is None:
            return recorded_vjp(
                m,
                grad,
                input,
                weight,
                bias,
                view=shape,
                beside=shape[lead:],
                axes=tuple(range(lead, len(shape))),
                eps=eps,
            )
        size = math.prod(shape[lead:])
        w = None if weight is None else widened(weight).reshape(size)
        x, g = (widened(a).reshape(-1, size) for a in (input, grad))
        made = m.normalize_rows_grad(
            g, x, w, kept.mean, kept.scale, kept.normal, (needs[0], needs[1], needs[2])
        )
        like = input if weight is None else weight
        return (
            None if made[0] is None else narrowed(made[0].reshape(shape), input),
            None if made[1] is None else rounded(made[1], like).reshape(weight.shape),
            None if made[2] is None else rounded(made[2], like).reshape(bias),
        )


def _check_rows(
    name: str, input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None
) -> Sizes:
    """The normalized shape as a tuple. Raises: RuntimeError unless everything fits it."""
    if isinstance(normalized_shape, int) or not hasattr(normalized_shape, "__iter__"):
        raise TypeError(
            f"{name}(): argument 'normalized_shape' (position 2) must be tuple of ints, "
            f"not {type(normalized_shape).__name__}"
        )
    wanted = tuple(normalized_shape)
    if not wanted:
        raise ShapeError(
            name,
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one "
            "element, but got normalized_shape = []",
        )
    for called, held in (("weight", weight), ("bias", bias)):
        if held is not None and held._array.shape != wanted:
            raise ShapeError(
                name,
                f"Expected {called} to be of same shape as normalized_shape, but got {called} of "
                f"shape {list(held._array.shape)} and normalized_shape = {list(wanted)}",
            )
    shape = input._array.shape
    if len(shape) < len(wanted) or shape[len(shape) - len(wanted) :] != wanted:
        comma = "" if name == "rms_norm" else ", "
        raise ShapeError(
            name,
            f"Given normalized_shape={list(wanted)}, expected input with shape "
            f"[*{comma}{', '.join(map(str, wanted))}], but got input of size{list(shape)}",
        )
    return wanted


def _layer_normalized(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """The result, and the mean and 1 / deviation of the samples as columns."""
    wanted = _check_rows("layer_norm", input, normalized_shape, weight, bias)
    refuse(input, "iubc", "LayerNormKernelImpl")
    if weight is not None or bias is not None:
        check_parameters("layer_norm", input, weight, bias)
        weight = unit_weight(input, weight, bias)
    x = widened(input._array)
    if not x.size:
        rows = math.prod(x.shape[: x.ndim - len(wanted)])
        result = input.clone()
        if weight is not None:
            result = result * weight.to(input.dtype)
        if bias is not None:
            result = result + bias.to(input.dtype)
        return result, np.zeros((rows, 1), x.dtype), np.ones((rows, 1), x.dtype)
    own = [None if p is None else p._array for p in (weight, bias)]
    kept = _normalized(backends.math(), x, *own, math.prod(wanted), eps)
    result = apply(LayerNorm, input, weight, bias, rank=len(wanted), eps=eps, kept=kept)
    return result, kept.mean[:, None], kept.scale[:, None]


@public(namespaces=("nn.functional",))
def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Every sample with mean 0 and variance 1 over its last dimensions, then scaled and shifted.

    Shape: input (*, normalized_shape); weight and bias normalized_shape.
    Dtype: floating; float16 and bfloat16 are computed in float32 and may have float32 parameters.
    Raises: RuntimeError where sizes or dtypes do not fit, TypeError for an int as shape.
    Source: Ba, Kiros and Hinton, Layer normalization, 2016.
    """
    return _layer_normalized(input, normalized_shape, weight, bias, eps)[0]


@public(name="layer_norm")
def torch_layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """nn.functional.layer_norm."""
    return _layer_normalized(input, normalized_shape, weight, bias, eps)[0]


@public(out=True)
def native_layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm, and the mean and 1 / deviation of every sample."""
    result, *moments = _layer_normalized(input, normalized_shape, weight, bias, eps)
    rank = len(tuple(normalized_shape))
    shape = input._array.shape
    columns = (*shape[: len(shape) - rank], *(1,) * rank)
    dtype = input._array.dtype if weight is None or weight.dtype is input.dtype else None
    mean, scale = (each.reshape(columns).astype(dtype or each.dtype) for each in moments)
    return result, wrap(mean), wrap(scale)


# ---------------------------------------------------------------- RMS norm


def _root_scale(rows: np.ndarray, eps: float) -> np.ndarray:
    """1 / sqrt(mean square + eps) of every row, as a column."""
    square = np.vecdot(rows, rows)[:, None]
    square /= rows.shape[1]
    square += eps
    return 1 / np.sqrt(square)


@op
class RMSNorm(Opaque):
    """Divides by the root of the mean square over the last `rank` dimensions."""

    name = "rms_norm"
    node_name = "MulBackward0"
    saves = ("input", "weight")

    def forward(self, m: Any, input: Any, weight: Any, *, rank: int, eps: float) -> Any:
        x = widened(input)
        size = math.prod(x.shape[x.ndim - rank :])
        rows = x.reshape(-1, size)
        out = rows * _root_scale(rows, eps)
        if weight is not None:
            out *= weight.reshape(size)
        return narrowed(out.reshape(x.shape), input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weight: Any,
        *,
        rank: int,
        eps: float,
        needs: Any,
    ) -> Any:
        shape = tuple(input.shape)
        lead = len(shape) - rank
        if not m.on_arrays:
            return recorded_vjp(
                m,
                grad,
                input,
                weight,
                (),
                view=shape,
                beside=shape[lead:],
                axes=tuple(range(lead, len(shape))),
                eps=eps,
                centred=False,
            )[:2]
        size = math.prod(shape[lead:])
        g, rows = widened(grad).reshape(-1, size), widened(input).reshape(-1, size)
        scale = _root_scale(rows, eps)
        normal = rows * scale
        products = g * normal
        to_weight = None
        if needs[1]:
            to_weight = rounded(column_sums(products), weight).reshape(weight.shape)
        if not needs[0]:
            return None, to_weight
        share = np.ones(size, g.dtype) if weight is None else widened(weight).reshape(size)
        to_input = g * share
        normal *= products.dot(share / size)[:, None]
        to_input -= normal
        to_input *= scale
        return narrowed(to_input.reshape(shape), input), to_weight


@public(namespaces=("torch", "nn.functional"))
def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Every sample divided by the root of its mean square over the last dimensions, then scaled.

    Without `eps` it is the machine epsilon of the dtype that is computed in: of float32 for the
    half types.

    Shape: input (*, normalized_shape); weight normalized_shape.
    Dtype: floating or complex (squares, not absolute squares, are averaged then).
    Raises: RuntimeError where sizes do not fit, NotImplementedError for integers.
    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """
    wanted = _check_rows("rms_norm", input, normalized_shape, weight, None)
    refuse(input, "iub", "rms_norm")
    array = input._array
    if eps is None:
        kind = array.dtype.kind
        eps = float(
            np.finfo(np.float32 if array.dtype.itemsize == 2 or kind == "V" else array.dtype).eps
        )
    if array.dtype.kind == "c" or not array.size:
        dims = tuple(range(-len(wanted), 0))
        result = input * ((input * input).mean(dims, True) + eps).rsqrt()
        return (result if weight is None else result * weight).to(input.dtype)
    return apply(RMSNorm, input, weight, rank=len(wanted), eps=eps)


# ---------------------------------------------------------------- p-norms and neighbours


@public(namespaces=("nn.functional",), out=True)
def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """The input divided by its p-norm over `dim`, or by eps where the norm is smaller.

    Raises: RuntimeError for integers, IndexError for a dimension that is not there.
    """
    return input / vector_norm(input, p, dim, keepdim=True).clamp_min(eps)


@public(namespaces=("nn.functional",))
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Every channel divided by (k + alpha * mean of squares of `size` neighbouring channels)^beta.

    Shape: input (batch, channels, *), at least one more dimension.
    Raises: ValueError for fewer dimensions.
    Source: Krizhevsky et al., ImageNet classification with deep convolutional networks, 2012.
    """
    ndim = input._array.ndim
    if ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {ndim} "
            "dimensions)"
        )
    if not input._array.size:
        return input
    # The squares as images whose height is the channels; the zeros around count in the mean.
    squares = (input * input).reshape(input.shape[0], 1, input.shape[1], -1)
    mean = avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), 1)
    return input / (mean.reshape(input.shape) * alpha + k).pow(beta)


# ---------------------------------------------------------------- weight norm


@public()
def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The p-norm over every dimension but `dim`, kept with size 1; of everything for dim -1."""
    if dim == -1:
        return vector_norm(v, pow)
    return vector_norm(v, pow, tuple(d for d in range(v.dim()) if d != dim), keepdim=True)


@public()
def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """g * v / |v|, the norm being that of the slices along `dim`."""
    return v * (g / norm_except_dim(v, 2, dim))
