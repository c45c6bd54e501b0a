"""Losses that compare two tensors element by element.

Those that training loops call every step are one op each: the value, and its slope times the
gradient. The losses of classes are in cross_entropy.py, those with a margin in margin_loss.py.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Opaque, op, public
from taper.ops.arguments import is_complex, refuse, widened
from taper.ops.choose import where
from taper.ops.create import ones_like
from taper.ops.reduction import REDUCTIONS, folded, legacy, reduced, reduction_of
from taper.ops.view import broadcast_tensors
from taper.tensor import Tensor

_NOT_REAL = "ciub"


def _wide(m: Any, x: Any) -> Any:
    """float32 for the half types, in either kind of arithmetic."""
    return m.astype(x, np.float32) if x.dtype.itemsize == 2 else x


def _scaled(grad: Any, reduction: str, count: int) -> Any:
    """The gradient of one element's loss (0-d unless nothing is reduced)."""
    return grad * (1 / count if count else math.nan) if reduction == "mean" else grad


# ---------------------------------------------------------------- the ops


class _Difference(Opaque):
    """A loss that is a function of input - target, of the same shape and dtype."""

    saves = ("input", "target")

    def value(self, gap: np.ndarray, **attrs: Any) -> np.ndarray:
        """The loss of each element; `gap` may be overwritten."""
        raise NotImplementedError

    def slope(self, m: Any, gap: Any, **attrs: Any) -> Any:
        """The derivative of the loss by `gap`."""
        raise NotImplementedError

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any, **attrs: Any) -> Any:
        gap = np.asarray(widened(input) - widened(target))
        return folded(self.value(gap, **attrs), reduction, input.dtype)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        target: Any,
        *,
        needs: Any,
        reduction: Any,
        **attrs: Any,
    ) -> Any:
        gap = _wide(m, input) - _wide(m, target)
        share = _scaled(_wide(m, grad), reduction, math.prod(gap.shape))
        made = self.slope(m, gap, **attrs) * share
        if input.dtype.itemsize == 2:
            made = m.astype(made, input.dtype)
        return made if needs[0] else None, -made if needs[1] else None


@op
class MseLoss(Opaque):
    """Squared difference."""

    name = "mse_loss"
    saves = ("input", "target")

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any) -> Any:
        gap = np.subtract(widened(input), widened(target))
        if reduction == "none":
            gap *= gap
        else:
            flat = gap.reshape(-1)
            gap = np.dot(flat, flat)
            if reduction == "mean":
                gap = gap / flat.size
        return gap if gap.dtype is input.dtype else gap.astype(input.dtype)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, target: Any, *, needs: Any, reduction: Any
    ) -> Any:
        gap = _wide(m, input) - _wide(m, target)
        made = gap * _scaled(_wide(m, grad) * 2, reduction, math.prod(gap.shape))
        if input.dtype.itemsize == 2:
            made = m.astype(made, input.dtype)
        return made if needs[0] else None, -made if needs[1] else None


@op
class L1Loss(_Difference):
    """Mean of the size of the difference."""

    name = "l1_loss"
    node_name = "MeanBackward0"

    def value(self, gap: np.ndarray, **attrs: Any) -> np.ndarray:
        return np.abs(gap, out=gap)

    def slope(self, m: Any, gap: Any, **attrs: Any) -> Any:
        return m.sign(gap)


@op
class SmoothL1Loss(_Difference):
    """gap ** 2 / (2 * beta) near zero, abs(gap) - beta / 2 beyond beta."""

    name = "smooth_l1_loss"

    def value(self, gap: np.ndarray, *, beta: float) -> np.ndarray:  # type: ignore[override]
        return _quadratic_then_linear(gap, beta) / beta

    def slope(self, m: Any, gap: Any, *, beta: float) -> Any:  # type: ignore[override]
        return m.clip(gap / beta, -1, 1)


@op
class HuberLoss(_Difference):
    """gap ** 2 / 2 near zero, delta * (abs(gap) - delta / 2) beyond delta."""

    name = "huber_loss"

    def value(self, gap: np.ndarray, *, delta: float) -> np.ndarray:  # type: ignore[override]
        return _quadratic_then_linear(gap, delta)

    def slope(self, m: Any, gap: Any, *, delta: float) -> Any:  # type: ignore[override]
        return m.clip(gap, -delta, delta)


def _quadratic_then_linear(gap: np.ndarray, bend: float) -> np.ndarray:
    size = np.abs(gap, out=gap)
    near = np.minimum(size, bend)
    # near = size gives size ** 2 / 2, near = bend the straight line: no choice is needed.
    return near * (size - 0.5 * near)


@op
class BinaryCrossEntropy(Opaque):
    """-(target * log(input) + (1 - target) * log(1 - input)), times weight."""

    name = "binary_cross_entropy"
    saves = ("input", "target", "weight")

    def forward(self, m: Any, input: Any, target: Any, weight: Any, *, reduction: Any) -> Any:
        x, y = widened(input), widened(target)
        if y.size and not (np.minimum.reduce(y, None) >= 0 and np.maximum.reduce(y, None) <= 1):
            raise RuntimeError("all elements of target should be between 0 and 1")
        # Logarithms are kept above -100, so that a sure but wrong answer costs a finite amount.
        loss = np.maximum(np.log1p(-x), -100) * (y - 1)
        loss -= np.maximum(np.log(x), -100) * y
        # Outside [0, 1] one of the logarithms is nan.
        if loss.size and np.isnan(np.minimum.reduce(loss, None)):
            raise RuntimeError("all elements of input should be between 0 and 1")
        if weight is not None:
            loss = loss * widened(weight)
        return folded(loss, reduction, input.dtype)

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
        x, y = _wide(m, input), _wide(m, target)
        share = _scaled(_wide(m, grad), reduction, math.prod(x.shape))
        if weight is not None:
            share = share * _wide(m, weight)
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
        x, y = widened(input), widened(target)
        # log(1 + exp(-x)) = log1p(exp(-|x|)) + max(-x, 0)
        softplus = np.asarray(np.abs(x))
        np.negative(softplus, out=softplus)
        np.log1p(np.exp(softplus, out=softplus), out=softplus)
        softplus -= np.minimum(x, 0)
        if pos_weight is not None:
            softplus *= (widened(pos_weight) - 1) * y + 1
        loss = (1 - y) * x
        loss += softplus
        if weight is not None:
            loss *= widened(weight)
        return folded(loss, reduction, input.dtype)

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
        x, y = _wide(m, input), _wide(m, target)
        share = _scaled(_wide(m, grad), reduction, math.prod(x.shape))
        if weight is not None:
            share = share * _wide(m, weight)
        to_input = to_target = None
        if needs[0]:
            if pos_weight is None:
                to_input = (m.sigmoid(x) - y) * share
            else:
                positive = _wide(m, pos_weight) * y
                to_input = ((positive + 1 - y) * m.sigmoid(x) - positive) * share
        if needs[1]:
            to_target = -x * share
            if pos_weight is not None:
                softplus = m.log1p(m.exp(-m.absolute(x))) + m.clip(-x, 0, None)
                to_target = to_target + softplus * (_wide(m, pos_weight) - 1) * share
        if input.dtype.itemsize == 2:
            to_input = None if to_input is None else m.astype(to_input, input.dtype)
            to_target = None if to_target is None else m.astype(to_target, input.dtype)
        return to_input, to_target, None, None


@op
class SoftMarginLoss(Opaque):
    """log(1 + exp(-target * input))."""

    name = "soft_margin_loss"
    saves = ("input", "target")

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any) -> Any:
        x = widened(input)
        return folded(np.logaddexp(-widened(target) * x, x.dtype.type(0)), reduction, input.dtype)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, target: Any, *, needs: Any, reduction: Any
    ) -> Any:
        x, y = _wide(m, input), _wide(m, target)
        share = _scaled(_wide(m, grad), reduction, math.prod(x.shape))
        share = m.sigmoid(-y * x) * share
        to_input = -y * share if needs[0] else None
        to_target = -x * share if needs[1] else None
        if input.dtype.itemsize == 2:
            to_input = None if to_input is None else m.astype(to_input, input.dtype)
            to_target = None if to_target is None else m.astype(to_target, input.dtype)
        return to_input, to_target


# ---------------------------------------------------------------- differences


def _paired(input: Tensor, target: Tensor, warn: bool = True) -> tuple[Tensor, Tensor]:
    """Both with the broadcast shape and the promoted dtype; other shapes are worth a warning."""
    if input._array.shape != target._array.shape:
        if warn:
            warnings.warn(
                f"Using a target size ({target.size()}) that is different to the input size "
                f"({input.size()}). This will likely lead to incorrect results due to "
                "broadcasting. Please ensure they have the same size.",
                stacklevel=3,
            )
        input, target = broadcast_tensors(input, target)
    if input._array.dtype != target._array.dtype:
        common = dtypes.of_operands([input._array, target._array])
        input, target = input.to(common), target.to(common)
    return input, target


def _weighted(loss: Tensor, weight: Tensor, input: Tensor, reduction: str) -> Tensor:
    """Each element's loss times its weight; the mean is the weighted one."""
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")
    loss = loss * weight
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return loss.sum() / weight.sum()
    raise _unknown(reduction)


def _unknown(reduction: str) -> ValueError:
    return ValueError(
        f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'."
    )


@public(namespaces=("nn.functional",))
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Squared difference of input and target: its mean, its sum, or all of it.

    Shape: input and target alike (others broadcast, with a warning).
    Dtype: floating, promoted to a common one. Raises: NotImplementedError for integers.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    first, other = input._array, target._array
    if first.shape != other.shape or first.dtype is not other.dtype:
        input, target = _paired(input, target)
    if input._array.dtype.kind in _NOT_REAL:
        refuse(input, _NOT_REAL, "mse_cpu")
    if weight is not None:
        loss = apply(MseLoss, input, target, reduction="none")
        return _weighted(loss, weight, input, reduction)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return apply(MseLoss, input, target, reduction=reduction)


@public(namespaces=("nn.functional",))
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Size of the difference of input and target: its mean, its sum, or all of it.

    Shape: input and target alike (others broadcast, with a warning).
    Dtype: promoted to a common one; the mean needs a floating or complex dtype.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if input._array.shape != target._array.shape:
        input, target = _paired(input, target)
    if weight is not None:
        return _weighted((input - target).abs(), weight, input, reduction)
    reduction_of(None, None, reduction)
    plain = input._array.dtype is target._array.dtype and input._array.dtype.kind in "fV"
    if plain and reduction == "mean":
        return apply(L1Loss, input, target, reduction=reduction)
    return reduced((input - target).abs(), reduction)


@public(namespaces=("nn.functional",))
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """Half the squared difference over beta where it is below beta, else its size minus beta / 2.

    Shape: input and target alike (others broadcast, with a warning).
    Raises: RuntimeError if beta is negative; beta = 0 is `l1_loss`.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    input, target = _paired(input, target)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    refuse(input, _NOT_REAL, "smooth_l1_cpu")
    return apply(SmoothL1Loss, input, target, reduction=reduction, beta=beta)


@public(namespaces=("nn.functional",))
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Half the squared difference up to delta, beyond it delta * (its size - delta / 2).

    Shape: input and target alike (others broadcast, with a warning).
    Dtype: that of the input. Raises: RuntimeError unless delta is positive.
    """
    if weight is None:
        reduction_of(None, None, reduction)
    wanted = input.dtype
    input, target = _paired(input, target)
    refuse(input, _NOT_REAL, "huber_cpu")
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    kind = reduction if weight is None else "none"
    loss = apply(HuberLoss, input, target, reduction=kind, delta=delta)
    if loss.dtype is not wanted and wanted.is_floating_point:
        loss = loss.to(wanted)
    if weight is None:
        return loss
    if weight.size() != input.size():
        raise ValueError("Weights and input must have the same size.")
    if reduction not in REDUCTIONS:
        raise _unknown(reduction)
    return reduced(loss * weight, reduction)


# ---------------------------------------------------------------- probabilities


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


@public(namespaces=("nn.functional",))
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-target * input)), for targets 1 and -1. Shape: the two broadcast."""
    reduction = reduction_of(size_average, reduce, reduction)
    if is_complex(input) or is_complex(target):
        return reduced((-target * input).exp().log1p(), reduction)
    if input._array.dtype.kind in "iu":
        raise DtypeError(
            "result type Float can't be cast to the desired output type "
            f"{dtypes.cpp_name(input.dtype)}"
        )
    wanted = input.dtype
    if target._array.dtype.kind == "b":
        target = -target  # raises, as the negation of a mask does
    input, target = _paired(input, target, warn=False)
    loss = apply(SoftMarginLoss, input, target, reduction=reduction)
    return loss if loss.dtype is wanted else loss.to(wanted)


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
    from taper.autograd.grad_mode import no_grad

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
