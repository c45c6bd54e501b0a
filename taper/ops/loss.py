"""Losses that compare two tensors element by element.

Those that training loops call every step are one op each: the value, and its slope times the
gradient. Likelihoods are in likelihood_loss.py, the losses of classes in cross_entropy.py, those
with a margin in margin_loss.py.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Opaque, op, public
from taper.ops.arguments import is_complex, refuse, widened
from taper.ops.reduction import REDUCTIONS, folded, legacy, reduced, reduction_of, scaled, wide
from taper.ops.view import broadcast_tensors
from taper.tensor import Tensor

_NOT_REAL = "ciub"


# ---------------------------------------------------------------- the ops


class _Difference(Opaque):
    """A loss that is a function of input - target, of the same shape and dtype."""

    saves = ("input", "target")

    def value(self, m: Any, gap: Any, *attrs: Any) -> Any:
        """The loss of each element."""
        raise NotImplementedError

    def slope(self, m: Any, gap: Any, **attrs: Any) -> Any:
        """The derivative of the loss by `gap`."""
        raise NotImplementedError

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any, **attrs: Any) -> Any:
        values = m.evaluate(self.formula, widened(input), widened(target), *attrs.values())
        return folded(m, np.asarray(values), reduction, input.dtype)

    def formula(self, m: Any, input: Any, target: Any, *attrs: Any) -> Any:
        """The loss of each element by both."""
        return self.value(m, input - target, *attrs)

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
        gap = wide(m, input) - wide(m, target)
        share = scaled(wide(m, grad), reduction, math.prod(gap.shape))
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
        gap = wide(m, input) - wide(m, target)
        made = gap * scaled(wide(m, grad) * 2, reduction, math.prod(gap.shape))
        if input.dtype.itemsize == 2:
            made = m.astype(made, input.dtype)
        return made if needs[0] else None, -made if needs[1] else None


@op
class L1Loss(_Difference):
    """Mean of the size of the difference."""

    name = "l1_loss"
    node_name = "MeanBackward0"

    def value(self, m: Any, gap: Any, *attrs: Any) -> Any:
        return m.absolute(gap)

    def slope(self, m: Any, gap: Any, **attrs: Any) -> Any:
        return m.sign(gap)


@op
class SmoothL1Loss(_Difference):
    """gap ** 2 / (2 * beta) near zero, abs(gap) - beta / 2 beyond beta."""

    name = "smooth_l1_loss"

    def value(self, m: Any, gap: Any, *attrs: Any) -> Any:
        (beta,) = attrs
        return _quadratic_then_linear(m, gap, beta) / beta

    def slope(self, m: Any, gap: Any, *, beta: float) -> Any:  # type: ignore[override]
        return m.clip(gap / beta, -1, 1)


@op
class HuberLoss(_Difference):
    """gap ** 2 / 2 near zero, delta * (abs(gap) - delta / 2) beyond delta."""

    name = "huber_loss"

    def value(self, m: Any, gap: Any, *attrs: Any) -> Any:
        return _quadratic_then_linear(m, gap, *attrs)

    def slope(self, m: Any, gap: Any, *, delta: float) -> Any:  # type: ignore[override]
        return m.clip(gap, -delta, delta)


def _quadratic_then_linear(m: Any, gap: Any, bend: Any) -> Any:
    size = m.absolute(gap)
    near = m.minimum(size, bend)
    # near = size gives size ** 2 / 2, near = bend the straight line: no choice is needed.
    return near * (size - 0.5 * near)


@op
class SoftMarginLoss(Opaque):
    """log(1 + exp(-target * input))."""

    name = "soft_margin_loss"
    saves = ("input", "target")

    def forward(self, m: Any, input: Any, target: Any, *, reduction: Any) -> Any:
        x = widened(input)
        values = np.logaddexp(-widened(target) * x, x.dtype.type(0))
        return folded(m, values, reduction, input.dtype)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, target: Any, *, needs: Any, reduction: Any
    ) -> Any:
        x, y = wide(m, input), wide(m, target)
        share = scaled(wide(m, grad), reduction, math.prod(x.shape))
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
