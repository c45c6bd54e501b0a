"""Dropout in all its forms, and gumbel_softmax.

Each form draws its noise first, one number per element or per channel, and is then a product with
it. The noise is kept for the derivative; the input is not.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.node import next_number
from taper.dispatch import apply, assign, check_writable
from taper.errors import DtypeError, UnsupportedDtype
from taper.generator import default_generator, fills
from taper.generator.order import shaped_like
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, widened
from taper.storage import empty_in_order
from taper.tensor import Tensor, wrap


@op
class Dropout(Opaque):
    """input * noise; `noise` broadcasts to the input."""

    node_name = "MulBackward0"

    def forward(self, m: Any, input: Any, *, noise: np.ndarray) -> Any:
        # The result has the input's memory order, whatever that of the noise.
        wide = widened(input)
        out = np.multiply(wide, widened(noise), out=empty_in_order(input, wide.dtype))
        return narrowed(out, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, noise: np.ndarray) -> Any:
        return grad * m.asarray(noise)


@op
class AlphaDropout(Opaque):
    """input * noise + shift; both broadcast to the input."""

    node_name = "AddBackward0"

    def forward(self, m: Any, input: Any, *, noise: np.ndarray, shift: np.ndarray) -> Any:
        out = np.multiply(input, noise, out=empty_in_order(input, input.dtype))
        return np.add(out, shift, out=out)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, noise: np.ndarray, shift: np.ndarray
    ) -> Any:
        return grad * m.asarray(noise)


@op
class NativeDropout(Opaque):
    """input * mask * scale, and the mask."""

    outputs = 2
    differentiable = (True, False)

    def forward(self, m: Any, input: Any, *, mask: np.ndarray, scale: float) -> Any:
        return input * mask * input.dtype.type(scale), mask

    def vjp(
        self, m: Any, grads: Any, out: Any, input: Any, *, mask: np.ndarray, scale: float
    ) -> Any:
        return grads[0] * m.asarray(mask) * scale


# ---------------------------------------------------------------- noise


def _kept(like: np.ndarray, p: float, per_channel: bool) -> np.ndarray:
    """Which elements (or channels) stay, each with probability 1 - p, as a bool array."""
    _check_dtype(like.dtype)
    shape = like.shape[:2] + (1,) * (like.ndim - 2) if per_channel else like.shape
    kept = fills.below(default_generator, math.prod(shape), 1.0 - p)
    return kept.reshape(shape) if per_channel else shaped_like(like, kept)


def _noise(like: np.ndarray, p: float, per_channel: bool) -> np.ndarray:
    """Zeros for what is dropped, 1 / (1 - p) in the dtype elsewhere."""
    dtype = like.dtype
    _check_dtype(dtype)
    # The quotient of half types is rounded from float32.
    wide = np.float64 if dtype.itemsize == 8 else np.float32
    scale = fills.cast(np.asarray(wide(1) / wide(1.0 - p)), dtype)
    shape = like.shape[:2] + (1,) * (like.ndim - 2) if per_channel else like.shape
    noise = fills.below_scaled(default_generator, math.prod(shape), 1.0 - p, scale, dtype)
    return noise.reshape(shape) if per_channel else shaped_like(like, noise)


def _check_dtype(dtype: np.dtype) -> None:
    """Raises: RuntimeError unless it is floating."""
    if dtype.kind == "c" or (dtype.kind == "u" and dtype.itemsize > 1):
        name = dtypes.cpp_name(dtypes.of(dtype))
        raise UnsupportedDtype(f"\"bernoulli_scalar_cpu_\" not implemented for '{name}'")
    if dtype.kind in "iub":
        given = dtypes.of(dtype)
        wanted = dtypes.cpp_name(dtypes.get_default_dtype())
        raise DtypeError(
            "dropout",
            f"result type {wanted} can't be cast to the desired output type "
            f"{dtypes.cpp_name(given)}",
        )


def _multiplied(input: Tensor, p: float, train: bool, alpha: bool, per_channel: bool) -> Tensor:
    """The input with noise; the input itself where there is nothing to drop."""
    array = input._array
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
    if p == 0 or not train or array.size == 0:
        return input
    if p == 1:
        return apply(Dropout, input, noise=np.zeros((), array.dtype))
    if per_channel and array.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    if not alpha:
        return apply(Dropout, input, noise=_noise(array, p, per_channel))
    noise, shift = _alpha_noise(_kept(array, p, per_channel), p, array.dtype)
    return apply(AlphaDropout, input, noise=noise, shift=shift)


# scale * alpha of selu, whose output for very negative inputs tends to minus this.
_ALPHA = 1.7580993408473766


def _alpha_noise(kept: np.ndarray, p: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """What to multiply by and what to add: the dropped become -alpha, mean and variance stay."""
    a = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    wide: Any = np.float64 if dtype.itemsize == 8 else np.float32

    def rounded(values: Any) -> Any:
        return fills.cast(np.asarray(values), dtype).astype(wide, copy=False)

    # A number added to a half-type tensor is rounded to the half type first; a factor is not.
    noise: Any = kept.astype(wide)
    shift = rounded((noise - wide(1)) * wide(_ALPHA * a)) + rounded(wide(_ALPHA * a * p))
    return fills.cast(noise * wide(a), dtype), fills.cast(shift, dtype)


def _in_place(input: Tensor, p: float, train: bool, alpha: bool, per_channel: bool) -> Tensor:
    name = "dropout_"
    since = next_number()
    check_writable(input, name, input.requires_grad)
    return assign(input, _multiplied(input, p, train, alpha, per_channel), name, since)


# ---------------------------------------------------------------- torch.*


@public()
def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """The input with elements set to zero with probability p and the others divided by 1 - p.

    Unless `train`, the input itself. Raises: RuntimeError unless 0 <= p <= 1.
    """
    return _multiplied(input, float(p), train, False, False)


@public()
def dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """dropout in place."""
    return _in_place(input, float(p), train, False, False)


@public()
def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """dropout of whole channels: every (sample, channel) is kept or dropped as one."""
    return _multiplied(input, float(p), train, False, True)


@public()
def feature_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """feature_dropout in place."""
    return _in_place(input, float(p), train, False, True)


@public(namespaces=("torch",), name="alpha_dropout")
def alpha_dropout_of(input: Tensor, p: float, train: bool) -> Tensor:
    """The input with elements set to selu's lowest value with probability p, then scaled and
    shifted so that mean 0 and variance 1 stay.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return _multiplied(input, float(p), train, True, False)


@public()
def alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """alpha_dropout in place."""
    return _in_place(input, float(p), train, True, False)


@public(namespaces=("torch",), name="feature_alpha_dropout")
def feature_alpha_dropout_of(input: Tensor, p: float, train: bool) -> Tensor:
    """alpha_dropout of whole channels."""
    return _multiplied(input, float(p), train, True, True)


@public()
def feature_alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """feature_alpha_dropout in place."""
    return _in_place(input, float(p), train, True, True)


@public()
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """dropout's result and the mask of the elements that were kept."""
    array = input._array
    if array.size == 0:
        return input, wrap(np.empty_like(array))
    if train is not None and not train:
        return input.clone(), wrap(np.ones_like(array, np.bool_))
    mask = _kept(array, p, False)
    scale = 0.0 if p == 1 else 1.0 / (1.0 - p)
    return apply(NativeDropout, input, mask=mask, scale=scale)


# ---------------------------------------------------------------- torch.nn.functional.*


def _checked(p: Any) -> float:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    return float(p)


@public(namespaces=("nn.functional",), name="dropout")
def functional_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """The input with elements set to zero with probability p and the others divided by 1 - p.

    Unless `training`, the input itself. Raises: ValueError unless 0 <= p <= 1.
    """
    p = _checked(p)
    if inplace:
        return _in_place(input, p, training, False, False)
    return _multiplied(input, p, training, False, False)


@public(namespaces=("nn.functional",))
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """The input with elements set to selu's lowest value with probability p, then scaled and
    shifted so that mean 0 and variance 1 stay.

    Raises: ValueError unless 0 <= p <= 1.
    """
    p = _checked(p)
    if inplace:
        return _in_place(input, p, training, True, False)
    return _multiplied(input, p, training, True, False)


@public(namespaces=("nn.functional",))
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels. Raises: ValueError unless 0 <= p <= 1."""
    p = _checked(p)
    if inplace:
        return _in_place(input, p, training, True, True)
    return _multiplied(input, p, training, True, True)


def _of_channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if inplace:
        return _in_place(input, p, training, False, True)
    return _multiplied(input, p, training, False, True)


def _of_one_sample(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """For an input without the dimension of samples."""
    if inplace:
        return _of_channels(input.unsqueeze_(0), p, training, True).squeeze_(0)
    return _of_channels(input.unsqueeze(0), p, training, False).squeeze(0)


@public(namespaces=("nn.functional",))
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """dropout of whole channels of sequences.

    Shape: (batch, channels, length) or (channels, length). Raises: ValueError unless 0 <= p <= 1.
    """
    p = _checked(p)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input. Note that "
            "dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, "
            "a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    if input.dim() == 2:
        return _of_one_sample(input, p, training, inplace)
    return _of_channels(input, p, training, inplace)


def _warn_of_dimensions(name: str, dims: int, spatial: int) -> None:
    warnings.warn(
        f"{name}: Received a {dims}-D input to {name}, which is deprecated and will result in an "
        "error in a future release. To retain the behavior and silence this warning, please use "
        f"dropout instead. Note that {name} exists to provide channel-wise dropout on inputs with "
        f"{spatial} spatial dimensions, a channel dimension, and an optional batch dimension (i.e. "
        f"{spatial + 1}D or {spatial + 2}D inputs).",
        stacklevel=3,
    )


@public(namespaces=("nn.functional",))
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """dropout of whole channels of images.

    Shape: (batch, channels, height, width); three dimensions are read as (batch, channels,
        length), with a warning.
    Raises: ValueError unless 0 <= p <= 1.
    """
    p = _checked(p)
    dims = input.dim()
    if dims not in (3, 4):
        _warn_of_dimensions("dropout2d", dims, 2)
    if dims == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout "
            "behavior is desired - input is interpreted as shape (N, C, L), where C is the channel "
            "dim. This behavior will change in a future release to interpret the input as one "
            "without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise "
            "dropout behavior, please switch to using dropout1d instead.",
            stacklevel=2,
        )
    return _of_channels(input, p, training, inplace)


@public(namespaces=("nn.functional",))
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """dropout of whole channels of volumes.

    Shape: (batch, channels, depth, height, width), or without the batch.
    Raises: ValueError unless 0 <= p <= 1.
    """
    p = _checked(p)
    dims = input.dim()
    if dims not in (4, 5):
        _warn_of_dimensions("dropout3d", dims, 3)
    if dims != 5:
        return _of_one_sample(input, p, training, inplace)
    return _of_channels(input, p, training, inplace)


@public(namespaces=("nn.functional",))
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A draw from the Gumbel-softmax distribution along `dim`.

    With `hard`, a one-hot vector whose gradient is that of the soft draw. A lower temperature `tau`
    brings soft draws nearer to one-hot.
    Source: Jang et al., Categorical reparameterization with Gumbel-softmax, 2017.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    drawn = wrap(np.empty(logits._array.shape, logits._array.dtype)).exponential_()
    soft = ((logits - drawn.log()) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one_hot = (soft.detach() * 0).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft
