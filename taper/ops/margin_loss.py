"""Losses with a margin: an answer that is right by more than the margin costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DimError, DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import refuse
from taper.ops.choose import clamp_min, minimum, where
from taper.ops.distance import pairwise_distance
from taper.ops.likelihood_loss import BinaryCrossEntropyWithLogits
from taper.ops.reduction import REDUCTIONS, folded, legacy, reduced, reduction_of
from taper.ops.view import broadcast_tensors
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- the ops


def _share(m: Any, grad: Any, reduction: str, rows: int) -> Any:
    """The gradient of each row's loss, as a column (or 0-d)."""
    if reduction == "none":
        return m.reshape(grad, (rows, 1))
    return grad * (1 / rows if rows else math.nan) if reduction == "mean" else grad


@op
class MultiMarginLoss(Opaque):
    """Of every row: the mean of max(0, margin - x[target] + x[j]) ** p over the other classes."""

    name = "multi_margin_loss"
    saves = ("input", "target", "weight")

    def forward(
        self, m: Any, input: Any, target: Any, weight: Any, *, p: Any, margin: Any, reduction: Any
    ) -> Any:
        x = input.reshape(-1, input.shape[-1] if input.ndim else 1)
        rows = np.arange(len(x))
        place = target.reshape(-1)
        gap = margin - x[rows, place][:, None] + x
        gap[rows, place] = 0
        gap = np.maximum(gap, 0, out=gap)
        if p == 2:
            gap *= gap
        loss = gap.sum(1) / gap.dtype.type(x.shape[1])
        if weight is not None:
            loss *= weight[place]
        return folded(m, loss.reshape(target.shape), reduction, input.dtype)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        target: Any,
        weight: Any,
        *,
        p: Any,
        margin: Any,
        reduction: Any,
    ) -> Any:
        classes = input.shape[-1] if len(input.shape) else 1
        x = m.reshape(input, (-1, classes))
        place = m.reshape(target, (-1, 1))
        hot = m.equal(place, m.arange(classes))
        gap = margin - m.sum(m.where(hot, x, 0), axis=1, keepdims=True) + x
        slope = m.where(m.greater(gap, 0) & ~hot, gap * 2 if p == 2 else 1, 0)
        share = _share(m, grad, reduction, x.shape[0]) / classes
        if weight is not None:
            share = share * weight[place[:, 0]][:, None]
        slope = slope * share
        made = m.where(hot, -m.sum(slope, axis=1, keepdims=True), slope)
        return m.reshape(m.astype(made, input.dtype), input.shape), None, None


@op
class MultilabelMarginLoss(Opaque):
    """Of every row: the sum of max(0, 1 - x[j] + x[i]) / classes over its classes j and others i.

    `target` has a row's classes, filled up with -1.
    """

    name = "multilabel_margin_loss"
    saves = ("input", "target")

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any) -> Any:
        x = input.reshape(-1, input.shape[-1] if input.ndim else 1)
        gap, _, counts = _pairs(m, x, target)
        loss = np.where(counts, np.maximum(gap, 0), 0).sum((1, 2)) / x.dtype.type(x.shape[1])
        return folded(m, loss.reshape(input.shape[:-1]), reduction, input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, target: Any, *, reduction: Any) -> Any:
        classes = input.shape[-1] if len(input.shape) else 1
        x = m.reshape(input, (-1, classes))
        gap, hot, counts = _pairs(m, x, target)
        share = _share(m, grad, reduction, x.shape[0]) / classes
        slope = m.astype(counts & m.greater(gap, 0), input.dtype)
        own = m.astype(hot, input.dtype) * m.sum(slope, axis=2, keepdims=True)
        made = m.sum(slope - own, axis=1) * share
        return m.reshape(made, input.shape), None


def _pairs(m: Any, x: Any, target: Any) -> tuple[Any, Any, Any]:
    """1 - x[j] + x[i], where j is the row's class, and which count: all (rows, slots, classes)."""
    listed = target[:, :, None]
    hot = m.equal(listed, m.arange(x.shape[1]))
    others = ~m.any(hot, axis=1)[:, None, :]
    chosen = m.sum(m.where(hot, x[:, None, :], 0), axis=2, keepdims=True)
    return 1 - chosen + x[:, None, :], hot, others & m.greater_equal(listed, 0)


# ---------------------------------------------------------------- classes


def _require_rows(input: Tensor) -> None:
    shape = input._array.shape
    if len(shape) > 2 or 0 in shape[-1:]:
        raise ShapeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(shape)}"
        )


def _require_long(target: Tensor) -> None:
    if target._array.dtype != np.int64:
        raise DtypeError(f"expected scalar type Long but found {dtypes.cpp_name(target.dtype)}")


def _refuse_halves(input: Tensor, kernel: str) -> None:
    refuse(input, "iubcV" if input._array.dtype.itemsize > 2 else "iubcVf", kernel)


@public(namespaces=("nn.functional",))
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the classes of max(0, margin - input[target] + input[j]) ** p, times the weight
    of the target.

    Shape: input (N, C) or (C), target (N) or (); reduced to 0-d unless reduction="none".
    Dtype: float32 or float64. Raises: ValueError unless p is 1 or 2.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    _require_rows(input)
    shape, given = input._array.shape, target._array.shape
    rows = shape[0] if len(shape) == 2 else 1
    if len(given) > 1 or target._array.size != rows:
        raise ShapeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of "
            f"input samples (batch size). Expected target size [{rows}], but got {list(given)}. "
            f"Input has shape {list(shape)}."
        )
    classes = shape[-1] if shape else 1
    if weight is not None and weight._array.shape[0] != classes:
        raise ShapeError(
            f"inconsistent weight size, expected {classes} but got {list(weight._array.shape)}"
        )
    _refuse_halves(input, "multi_margin_loss_cpu_kernel")
    _require_long(target)
    if weight is not None and weight._array.dtype != input._array.dtype:
        raise DtypeError(
            f"expected scalar type {dtypes.cpp_name(input.dtype)} but found "
            f"{dtypes.cpp_name(weight.dtype)}"
        )
    place = target._array
    if place.size and not (place.min() >= 0 and place.max() < classes):
        raise RuntimeError("target out of range")
    return apply(MultiMarginLoss, input, target, weight, p=p, margin=margin, reduction=reduction)


@public(namespaces=("nn.functional",))
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum of max(0, 1 - input[j] + input[i]) / C over the target's classes j and all others i.

    Shape: input and target (N, C) or (C); a row of the target lists classes up to the first -1.
    Dtype: float32 or float64, target int64.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    _require_rows(input)
    shape = input._array.shape
    if target._array.shape != shape:
        raise ShapeError(
            f"inconsistent target size: {list(target._array.shape)} for input of size: "
            f"{list(shape)}"
        )
    _require_long(target)
    classes = shape[-1] if shape else 1
    listed = target._array.reshape(-1, classes)
    if listed.size and not (listed.min() >= -1 and listed.max() < classes):
        raise RuntimeError("argument #2 'target' is out of range")
    _refuse_halves(input, "multilabel_margin_loss_forward_out_frame")
    valid = np.logical_and.accumulate(listed >= 0, axis=1)
    slots = int(valid.sum(1).max(initial=0))
    prepared = np.where(valid, listed, -1)[:, :slots]
    return apply(MultilabelMarginLoss, input, wrap(prepared), reduction=reduction)


@public(namespaces=("nn.functional",))
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the last dimension of the binary cross entropy of sigmoid(input).

    Shape: input and target (*, C), weight (C) or anything that broadcasts; reduced to 0-d, or (*).
    """
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if input._array.shape != target._array.shape:
        target, input = broadcast_tensors(target, input)
    refuse(input, "iubc", "log_sigmoid_cpu")
    common = dtypes.of_operands([input._array, target._array])
    input, target = input.to(common), target.to(common)
    loss = apply(BinaryCrossEntropyWithLogits, input, target, None, None, reduction="none")
    if weight is not None:
        loss = loss * weight
    if input.dim() == 0:
        raise DimError("Dimension specified as -1 but tensor has no dimensions")
    loss = loss.sum(-1) / input.shape[-1]
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not valid")
    return reduced(loss, reduction)


# ---------------------------------------------------------------- pairs


@public(namespaces=("nn.functional",))
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)): target 1 wants input1 the larger, -1 input2.

    Shape: all with the same number of dimensions; they broadcast.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if input1.dim() != input2.dim() or input1.dim() != target.dim():
        raise ShapeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()} "
        )
    return reduced(clamp_min(-target * (input1 - input2) + margin, 0), reduction)


@public(namespaces=("nn.functional",))
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where the target is 1, max(0, margin - input) where it is -1.

    Shape: input and target broadcast.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    near = where(target.ne(1), clamp_min(-input + margin, 0), 0)
    return reduced(near + where(target.ne(-1), input, 0), reduction)


# What PyTorch adds to squared lengths before it divides by them.
_COSINE_EPSILON = 1e-12


@public(namespaces=("nn.functional",))
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1.

    Shape: inputs (N, D) with target (N), or (D) with ().
    """
    reduction = reduction_of(size_average, reduce, reduction)
    dims = target.dim()
    if dims > 1:
        raise ShapeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.dim() != dims + 1 or input2.dim() != dims + 1:
        raise ShapeError(
            f"{dims}D target tensor expects {dims + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    product = (input1 * input2).sum(dims)
    lengths = ((input1 * input1).sum(dims) + _COSINE_EPSILON) * (
        (input2 * input2).sum(dims) + _COSINE_EPSILON
    )
    cosine = product / lengths.sqrt()
    loss = where(target.eq(1), 1 - cosine, 0) + where(
        target.eq(-1), clamp_min(cosine - margin, 0), 0
    )
    return reduced(loss, reduction)


# ---------------------------------------------------------------- triplets


def _require_same_dims(anchor: Tensor, positive: Tensor, negative: Tensor) -> None:
    dims = anchor.dim(), positive.dim(), negative.dim()
    if len(set(dims)) > 1:
        raise ShapeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {dims[0]}D, positive {dims[1]}D, and negative {dims[2]}D "
            "inputs"
        )


@public(namespaces=("nn.functional",))
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin + distance(anchor, positive) - distance(anchor, negative)), in the p-norm.

    With `swap`, the negative's distance is the lesser of those to anchor and positive.

    Shape: all (N, D) or (D); reduced to 0-d unless reduction="none". Raises: ValueError unless the
        margin is positive.
    """
    reduction = reduction_of(size_average, reduce, reduction)

    def distance(one: Tensor, other: Tensor) -> Tensor:
        return pairwise_distance(one, other, p, eps)

    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


@public(namespaces=("nn.functional",))
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """The same with any distance; by default the 2-norm of the difference."""
    reduction_of(None, None, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    _require_same_dims(anchor, positive, negative)
    distance: Any = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp_min(near - far + margin, 0), reduction)
