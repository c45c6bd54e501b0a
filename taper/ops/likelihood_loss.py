"""Losses that are a negative log likelihood, or a divergence, element by element.

Binary cross entropy is one op each for probabilities and for logits, because training loops call
it every step. Differences of two tensors are in loss.py, classes in cross_entropy.py.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode, no_grad
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Opaque, op, public
from taper.ops.arguments import refuse, widened
from taper.ops.choose import where
from taper.ops.create import ones_like
from taper.ops.reduction import folded, reduced, reduction_of, scaled, wide
from taper.ops.view import broadcast_tensors
from taper.tensor import Tensor

_NOT_REAL = "ciub"

# ---------------------------------------------------------------- of one element


def _cross_entropy(m: Any, x: Any, y: Any) -> Any:
    # Logarithms are kept above -100, so that a sure but wrong answer costs a finite amount.
    return m.maximum(m.log1p(-x), -100) * (y - 1) - m.maximum(m.log(x), -100) * y


def _cross_entropy_with_logits(m: Any, x: Any, y: Any, weight: Any, pos_weight: Any) -> Any:
    # log(1 + exp(-x)) = log1p(exp(-|x|)) + max(-x, 0)
    softplus = m.log1p(m.exp(-m.absolute(x))) - m.minimum(x, 0)
    if pos_weight is not None:
        softplus = softplus * ((pos_weight - 1) * y + 1)
    loss = (1 - y) * x + softplus
    return loss if weight is None else loss * weight


# ---------------------------------------------------------------- the ops


@op
class BinaryCrossEntropy(Opaque):
    """-(target * log(input) + (1 - target) * log(1 - input)), times weight."""

    name = "binary_cross_entropy"
    saves = ("input", "target", "weight")

    def forward(self, m: Any, input: Any, target: Any, weight: Any, *, reduction: Any) -> Any:
        x, y = widened(input), widened(target)
        if y.size and not (np.minimum.reduce(y, None) >= 0 and np.maximum.reduce(y, None) <= 1):
            raise RuntimeError("all elements of target should be between 0 and 1")
        loss = m.evaluate(_cross_entropy, x, y)
        # Outside [0, 1] one of the logarithms is nan.
        if loss.size and np.isnan(np.minimum.reduce(loss, None)):
            raise RuntimeError("all elements of input should be between 0 and 1")
        if weight is not None:
            loss = loss * widened(weight)
        return folded(m, loss, reduction, input.dtype)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        target: Any,
        weight: Any,
        *,
        needs: Any,
        reduction: Any,
    ) -> Any:
        x, y = wide(m, input), wide(m, target)
        share = scaled(wide(m, grad), reduction, math.prod(x.shape))
        if weight is not None:
            share = share * wide(m, weight)
        to_input = to_target = None
        if needs[0]:
            # 0 times infinity at the ends would be nan.
            to_input = (x - y) / m.clip((1 - x) * x, 1e-12, None) * share
        if needs[1]:
            to_target = (m.log1p(-x) - m.log(x)) * share
        if input.dtype.itemsize == 2:
            to_input = None if to_input is None else m.astype(to_input, input.dtype)
            to_target = None if to_target is None else m.astype(to_target, input.dtype)
        return to_input, to_target, None


@op
class BinaryCrossEntropyWithLogits(Opaque):
    """The same of sigmoid(input), without leaving the logarithm; pos_weight times its first half."""

    name = "binary_cross_entropy_with_logits"
    saves = ("input", "target", "weight", "pos_weight")

    def forward(
        self, m: Any, input: Any, target: Any, weight: Any, pos_weight: Any, *, reduction: Any
    ) -> Any:
        given = [None if t is None else widened(t) for t in (input, target, weight, pos_weight)]
        loss = np.asarray(m.evaluate(_cross_entropy_with_logits, *given))
        return folded(m, loss, reduction, input.dtype)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        target: Any,
        weight: Any,
        pos_weight: Any,
        *,
        needs: Any,
        reduction: Any,
    ) -> Any:
        x, y = wide(m, input), wide(m, target)
        share = scaled(wide(m, grad), reduction, math.prod(x.shape))
        if weight is not None:
            share = share * wide(m, weight)
        to_input = to_target = None
        if needs[0]:
            if pos_weight is None:
                to_input = (m.sigmoid(x) - y) * share
            else:
                positive = wide(m, pos_weight) * y
                to_input = ((positive + 1 - y) * m.sigmoid(x) - positive) * share
        if needs[1]:
            to_target = -x * share
            if pos_weight is not None:
                softplus = m.log1p(m.exp(-m.absolute(x))) + m.clip(-x, 0, None)
                to_target = to_target + softplus * (wide(m, pos_weight) - 1) * share
        if input.dtype.itemsize == 2:
            to_input = None if to_input is None else m.astype(to_input, input.dtype)
            to_target = None if to_target is None else m.astype(to_target, input.dtype)
        return to_input, to_target, None, None


# ---------------------------------------------------------------- binary cross entropy


def _refuse_tracked(name: str, **weights: Tensor | None) -> None:
    """Raises: RuntimeError for a weight that requires grad, to which no derivative leads."""
    for argument, weight in weights.items():
        if weight is not None and weight.requires_grad and mode.grad:
            raise RuntimeError(
                f"The function '{name}' is not differentiable with respect to argument "
                f"'{argument}'. This input cannot have requires_grad True."
            )


def _require_dtype(name: str, input: Tensor, other: Tensor | None) -> None:
    if other is not None and other._array.dtype != input._array.dtype:
        raise DtypeError(
            name,
            f"Found dtype {dtypes.cpp_name(other.dtype)} but expected "
            f"{dtypes.cpp_name(input.dtype)}",
        )


@public(namespaces=("nn.functional",))
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(target * log(input) + (1 - target) * log(1 - input)), times weight.

    Logarithms below -100 count as -100.

    Shape: input and target alike; weight broadcasts to them.
    Dtype: floating, the same for all.
    Raises: ValueError for different shapes, RuntimeError for an input or target outside [0, 1].
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise ValueError(
            f"Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size."
        )
    name = "binary_cross_entropy"
    if weight is not None:
        weight = _spread(weight, input)
    refuse(input, _NOT_REAL, name)
    _require_dtype(name, input, target)
    _require_dtype(name, input, weight)
    _refuse_tracked(name, weight=weight)
    return apply(BinaryCrossEntropy, input, target, weight, reduction=reduction)


def _spread(weight: Tensor, input: Tensor) -> Tensor:
    """The weight, expanded to the input's shape."""
    shape, wanted = weight._array.shape, input._array.shape
    for back, n in enumerate(reversed(shape), 1):
        if back > len(wanted) or n not in (1, wanted[-back]):
            raise RuntimeError(
                f"Attempting to broadcast a dimension of length {n} at {-back}! Mismatching "
                f"argument at index 1 had {weight.size()}; but expected shape should be "
                f"broadcastable to {list(wanted)}"
            )
    return weight if shape == wanted else weight.expand(wanted)


@public(namespaces=("nn.functional",))
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross entropy of sigmoid(input), exact for inputs of any size.

    `pos_weight` multiplies the part of the loss that target = 1 has.

    Shape: input and target alike; weight and pos_weight broadcast to them.
    Dtype: floating. Raises: ValueError for different shapes.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape != target._array.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        )
    refuse(input, _NOT_REAL, "log_sigmoid_cpu")
    if target._array.dtype.kind in "iub":
        raise DtypeError(
            f"result type {dtypes.cpp_name(input.dtype)} can't be cast to the desired output type "
            f"{dtypes.cpp_name(target.dtype)}"
        )
    _refuse_tracked("binary_cross_entropy_with_logits", weight=weight, pos_weight=pos_weight)
    shape = input._array.shape
    if weight is not None and weight._array.shape != shape:
        weight = broadcast_tensors(input, weight)[1]
    if pos_weight is not None and pos_weight._array.shape != shape:
        pos_weight = broadcast_tensors(pos_weight, input)[0]
    given = tuple(x._array for x in (input, target, weight, pos_weight) if x is not None)
    dtype = dtypes.of_operands(given)
    if input.dtype is not dtype:
        input = input.to(dtype)
    if target.dtype is not dtype:
        target = target.to(dtype)
    return apply(
        BinaryCrossEntropyWithLogits, input, target, weight, pos_weight, reduction=reduction
    )


# ---------------------------------------------------------------- distributions


@public(namespaces=("nn.functional",))
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (log(target) - input): the input holds log-probabilities, the target
    probabilities, or log-probabilities too with `log_target`.

    reduction="batchmean" divides the sum by the input's first size, which is the mathematical
    divergence; "mean" divides by the number of elements, and warns.

    Shape: input and target broadcast. Raises: RuntimeError for integers and complex numbers.
    """
    if size_average is not None or reduce is not None:
        reduction = reduction_of(size_average, reduce, reduction)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release.",
            stacklevel=2,
        )
    if reduction != "batchmean":
        reduction_of(None, None, reduction)
    loss = kl_divergences(input, target, log_target)
    if reduction == "batchmean":
        return loss.sum() / input.size(0) if input.dim() else loss.sum()
    return reduced(loss, reduction)


def kl_divergences(input: Tensor, target: Tensor, log_target: bool) -> Tensor:
    """The terms of the Kullback-Leibler divergence, target * (log(target) - input)."""
    for kinds, what in (("c", "Complex"), ("iub", "Integral")):
        if input._array.dtype.kind in kinds or target._array.dtype.kind in kinds:
            raise DtypeError("kl_div", f"{what} inputs not supported.")
    if log_target:
        return target.exp() * (target - input)
    # 0 * log(0) is 0 here, as the limit is.
    return where(target.eq(0), 0, target * target.log()) - target * input


@public(namespaces=("nn.functional",))
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of the counts `target` under Poisson distributions.

    The input is the logarithm of the rate, or the rate itself without `log_input`; `full` adds
    Stirling's approximation of log(target!) for counts above 1.

    Shape: input and target broadcast.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    loss: Any
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        loss = loss + stirling.masked_fill(target.le(1), 0)
    return reduced(loss, reduction)


@public(namespaces=("nn.functional",))
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log likelihood of `target` under normal distributions of mean `input`.

    `full` adds the constant log(2 * pi) / 2. Variances below `eps` count as eps, which no
    derivative sees.

    Shape: var like the input, or without its last dimension, or with 1 there.
    Raises: ValueError for a negative variance or another shape.
    """
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * ones_like(input)
    elif (var < 0).any():
        raise ValueError("var has negative entry/entries")
    if var.size() != input.size():
        if input.size()[:-1] == var.size():
            var = var.unsqueeze(-1)
        elif not _one_for_many(input.size(), var.size()):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target).square() / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


def _one_for_many(input: Any, var: Any) -> bool:
    """Whether the two sizes differ in one place, where `var` has 1."""
    if len(input) != len(var):
        return False
    return [v for n, v in zip(input, var, strict=True) if v != n] == [1]
