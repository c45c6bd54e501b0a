"""Cross entropy and the negative log likelihood of classes.

With class indices, `cross_entropy` is one op: it keeps the softmax, and its derivative is the
softmax minus one at the target. Class probabilities and label smoothing are written with other
ops. The remaining losses are in loss.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError, UnsupportedDtype
from taper.op import Opaque, op, public
from taper.ops.arguments import widened
from taper.ops.reduction import reduction_of
from taper.tensor import Tensor

# ---------------------------------------------------------------- on arrays


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(batch, classes, places behind): every input of these losses is such a box."""
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 1:
        return 1, shape[0], 1
    behind = 1
    for n in shape[2:]:
        behind *= n
    return shape[0], shape[1], behind


_INDEX = np.dtype(np.int64)


def _counted(
    target: np.ndarray, classes: int, ignore_index: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """The class of each target, and which targets count (None if all do).

    One that is ignored has class 0. Raises: IndexError for a target that is no class.
    """
    chosen = target if target.ndim == 1 else target.reshape(-1)
    if chosen.dtype is not _INDEX:
        chosen = chosen.astype(_INDEX)
    # Seen as unsigned, a negative target is a huge one: one pass finds both kinds of misfits.
    if not 0 <= ignore_index < classes and (
        not chosen.size or np.maximum.reduce(chosen.view(np.uint64)) < classes
    ):
        return chosen, None
    kept = chosen != ignore_index
    chosen = np.where(kept, chosen, 0)
    misfits = kept & ((chosen < 0) | (chosen >= classes))
    if misfits.any():
        raise IndexError(f"Target {chosen[misfits][0]} is out of bounds.")
    return chosen, None if kept.all() else kept


def _positions(chosen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Flat position of each target's class in an array of `shape`."""
    batch, classes, behind = _layout(shape)
    if classes == 0:
        return chosen[:0]
    start = np.arange(0, batch * classes, classes)
    if behind == 1:
        return start + chosen
    flat = (start[:, None] + chosen.reshape(batch, behind)) * behind
    flat += np.arange(behind)
    return flat.reshape(-1)


def _importance(
    target: np.ndarray, weight: np.ndarray | None, kept: np.ndarray | None, dtype: Any
) -> np.ndarray | None:
    """The weight of every target; None if each weighs 1."""
    if weight is None:
        return None if kept is None else kept.astype(dtype)
    chosen = target.reshape(-1)
    found = widened(weight)[chosen if kept is None else np.where(kept, chosen, 0)]
    return found if kept is None else np.where(kept, found, 0)


def _loss(
    picked: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    kept: np.ndarray | None,
    reduction: str,
    dtype: Any,
) -> Any:
    """The loss from minus the log-probability of each target."""
    importance = _importance(target, weight, kept, picked.dtype)
    if importance is not None:
        # Where nothing counts an infinite value would make nan of the zero.
        picked = picked * importance if kept is None else np.where(kept, picked * importance, 0)
    if reduction == "none":
        made: Any = picked.reshape(target.shape)
    elif reduction == "sum":
        made = np.add.reduce(picked)
    else:
        total: Any = picked.size if importance is None else np.add.reduce(importance)
        made = np.add.reduce(picked) / (total or picked.dtype.type(0))
    return made if made.dtype is dtype else made.astype(dtype)


def _shares(
    grad: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    kept: np.ndarray | None,
    reduction: str,
) -> np.ndarray:
    """The gradient of minus the log-probability of each target (0-d if it is the same for all)."""
    importance = _importance(target, weight, kept, grad.dtype)
    if reduction == "none":
        grad = grad.reshape(-1)
    elif reduction == "mean":
        total: Any = target.size if importance is None else np.add.reduce(importance)
        grad = np.asarray(grad / (total or grad.dtype.type(0)))
    if importance is None:
        return grad
    return grad * importance if kept is None else np.where(kept, grad * importance, 0)


def _along_classes(share: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One number per target, shaped to broadcast over the classes."""
    if share.ndim == 0:
        return share
    if len(shape) == 1:
        return share.reshape(1)
    return share.reshape(shape[0], 1, *shape[2:])


# ---------------------------------------------------------------- the ops


class _CrossEntropy(Opaque):
    """Minus the log of the softmax at the target class, and the softmax itself.

    `smoothing` is the part of the target that is spread evenly over all classes.
    """

    name = "cross_entropy"
    saves = ("target", "weight", "out")
    outputs = 2

    def forward(
        self,
        m: Any,
        input: Any,
        target: Any,
        weight: Any,
        *,
        ignore_index: Any,
        reduction: Any,
        smoothing: float,
    ) -> Any:
        chosen, kept = _counted(target, _layout(input.shape)[1], ignore_index)
        x = widened(input)
        if x.ndim == 2 and not smoothing:
            softmax, loss = m.softmax_loss(x, chosen)
        elif x.ndim == 1 and not smoothing:
            softmax, loss = m.softmax_loss(x[None], chosen)
            softmax = softmax.reshape(x.shape)
        else:
            axis = 0 if x.ndim == 1 else 1
            top = np.maximum.reduce(x, axis, keepdims=True) if x.shape[axis] else x.dtype.type(0)
            shifted = np.subtract(x, top, order="C")
            picked = shifted.reshape(-1)[_positions(chosen, x.shape)]
            if smoothing:
                every = np.add.reduce(shifted, axis).reshape(-1)
                picked = picked * (1 - smoothing) + every * (smoothing / x.shape[axis])
            softmax = np.exp(shifted, out=shifted)
            if x.ndim == 2:
                total = m.row_sums(softmax)[:, None]
            else:
                total = np.add.reduce(softmax, axis, keepdims=True)
            softmax /= total
            loss = np.log(total).reshape(-1) - picked
        if softmax.dtype is not input.dtype:
            softmax = softmax.astype(input.dtype)
        return _loss(loss, target, weight, kept, reduction, input.dtype), softmax

    def vjp(
        self,
        m: Any,
        grads: Any,
        out: Any,
        input: Any,
        target: Any,
        weight: Any,
        **attrs: Any,
    ) -> Any:
        grad, to_softmax = grads
        softmax = out[1]
        made = None
        if grad is not None:
            made = m.call(CrossEntropyGrad, grad, softmax, target, weight, **attrs)
        if to_softmax is not None:
            axis = 0 if len(softmax.shape) == 1 else 1
            inner = m.sum(to_softmax * softmax, axis=axis, keepdims=True)
            also = softmax * (to_softmax - inner)
            made = also if made is None else made + also
        return made, None, None


@op
class CrossEntropy(_CrossEntropy):
    """Of vectors."""

    node_name = "NllLossBackward0"


@op
class CrossEntropy2d(_CrossEntropy):
    """Of images and more dimensions, which PyTorch's grad_fn tells apart."""

    node_name = "NllLoss2DBackward0"


@op
class SmoothedCrossEntropy(_CrossEntropy):
    """With smoothing, which PyTorch puts together of two losses."""

    node_name = "AddBackward0"


@op
class CrossEntropyGrad(Opaque):
    """The derivative by the input: (softmax - target) * the target's share of grad."""

    name = "cross_entropy"
    saves = ("grad", "softmax", "target", "weight")

    def forward(
        self,
        m: Any,
        grad: Any,
        softmax: Any,
        target: Any,
        weight: Any,
        *,
        ignore_index: Any,
        reduction: Any,
        smoothing: float,
    ) -> Any:
        chosen, kept = _counted(target, _layout(softmax.shape)[1], ignore_index)
        share = _shares(widened(grad), target, weight, kept, reduction)
        if softmax.ndim == 2 and not smoothing and softmax.dtype.itemsize > 2:
            made = m.softmax_loss_grad(softmax, chosen, share)
            return made if made.dtype is softmax.dtype else made.astype(softmax.dtype)
        spread = _along_classes(share, softmax.shape)
        made = np.multiply(widened(softmax), spread, order="C")
        if smoothing:
            made -= spread * (smoothing / softmax.shape[0 if softmax.ndim == 1 else 1])
            share = share * (1 - smoothing)
        made.reshape(-1)[_positions(chosen, softmax.shape)] -= share
        return made if made.dtype is softmax.dtype else made.astype(softmax.dtype)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        first: Any,
        softmax: Any,
        target: Any,
        weight: Any,
        *,
        smoothing: float,
        **attrs: Any,
    ) -> Any:
        # The shares are linear in the first gradient, so those of ones are what it is scaled by.
        share = m.call(ClassShares, target, weight, shape=tuple(softmax.shape), **attrs)
        share = m.astype(share, softmax.dtype)
        axis = 0 if len(softmax.shape) == 1 else 1
        even = smoothing / softmax.shape[axis]
        inner = m.sum(grad * (softmax - even) * share, axis=axis, keepdims=True)
        if attrs["reduction"] == "none":
            to_first = m.reshape(inner, first.shape)
            spread = m.reshape(first, inner.shape)
        else:
            to_first, spread = m.sum(inner), first
        picked = m.call(NllLoss, grad, target, weight, **attrs)
        return to_first + picked * (1 - smoothing), grad * share * spread, None, None


@op
class ClassShares(Opaque):
    """What each target's log-probability counts for in the loss, shaped (N, 1, ...)."""

    name = "cross_entropy"

    def forward(
        self, m: Any, target: Any, weight: Any, *, shape: Any, ignore_index: Any, reduction: Any
    ) -> Any:
        _, kept = _counted(target, _layout(shape)[1], ignore_index)
        dtype = np.dtype(np.float64) if weight is None else widened(weight).dtype
        one = np.ones(target.shape if reduction == "none" else (), dtype)
        share = np.broadcast_to(_shares(one, target, weight, kept, reduction), target.size)
        return _along_classes(share, shape)


class _NllLoss(Opaque):
    """Minus the input at the target class."""

    name = "nll_loss"
    saves = ("input", "target", "weight")

    def forward(
        self, m: Any, input: Any, target: Any, weight: Any, *, ignore_index: Any, reduction: Any
    ) -> Any:
        chosen, kept = _counted(target, _layout(input.shape)[1], ignore_index)
        flat = _positions(chosen, input.shape)
        picked = -widened(input.reshape(-1)[flat])
        return _loss(picked, target, weight, kept, reduction, input.dtype)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, target: Any, weight: Any, **attrs: Any
    ) -> Any:
        return m.call(NllLossGrad, grad, input, target, weight, **attrs), None, None


@op
class NllLoss(_NllLoss):
    """Of vectors."""

    node_name = "NllLossBackward0"


@op
class NllLoss2d(_NllLoss):
    """Of images and more dimensions, which PyTorch's grad_fn tells apart."""

    node_name = "NllLoss2DBackward0"


@op
class NllLossGrad(Opaque):
    """Minus the target's share of grad at the target class, else 0: adjoint of NllLoss.

    The input has no say in it; it is there because PyTorch gives it a gradient of zeros, not none.
    """

    name = "nll_loss"
    saves = ("input", "target", "weight")

    def forward(
        self,
        m: Any,
        grad: Any,
        input: Any,
        target: Any,
        weight: Any,
        *,
        ignore_index: Any,
        reduction: Any,
    ) -> Any:
        chosen, kept = _counted(target, _layout(input.shape)[1], ignore_index)
        flat = _positions(chosen, input.shape)
        made = np.zeros(input.shape, grad.dtype)
        made.reshape(-1)[flat] = -_shares(widened(grad), target, weight, kept, reduction)
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        first: Any,
        input: Any,
        target: Any,
        weight: Any,
        **attrs: Any,
    ) -> Any:
        return m.call(NllLoss, grad, target, weight, **attrs), m.zeros_like(input), None, None


# ---------------------------------------------------------------- checks


def _check(input: Tensor, target: Tensor, weight: Tensor | None, kernel: str) -> None:
    """The errors of class indices, in PyTorch's order."""
    shape, wanted = input._array.shape, target._array.shape
    ndim = len(shape)
    if ndim == 0:
        raise ValueError(f"Expected 1 or more dimensions (got {ndim})")
    if ndim == 1:
        if len(wanted) == 1 and wanted[0] != 1:
            raise ValueError(
                f"For 1D input, 1D target must have size 1, but got target size: {wanted[0]}"
            )
        if len(wanted) > 1:
            raise ShapeError("nll_loss", _multiple(shape, wanted))
    else:
        if wanted and shape[0] != wanted[0]:
            raise ValueError(
                f"Expected input batch_size ({shape[0]}) to match target batch_size ({wanted[0]})."
            )
        if ndim == 2 and len(wanted) != 1:
            raise ShapeError("nll_loss", _multiple(shape, wanted))
        if ndim == 4 and len(wanted) != 3:
            raise ShapeError(
                "nll_loss",
                "only batches of spatial targets supported (3D tensors) but got targets of "
                f"dimension: {len(wanted)}",
            )
        expected = (shape[0], *shape[2:])
        if wanted != expected:
            clash = f"Expected target size {list(expected)}, got {list(wanted)}"
            if ndim == 4:
                clash = f"size mismatch (got input: {list(shape)} , target: {list(wanted)}"
            raise ShapeError("nll_loss", clash)
    classes = shape[0 if ndim == 1 else 1]
    if target._array.dtype is not _INDEX and target._array.dtype not in (_INDEX, np.uint8):
        raise DtypeError(
            "nll_loss",
            f"expected target dtype to be Long or Byte, but got {dtypes.cpp_name(target.dtype)}",
        )
    if weight is not None:
        if weight._array.shape != (classes,):
            raise ShapeError(
                "nll_loss",
                f"weight tensor should be defined either for all {classes} classes or no classes "
                f"but got weight tensor of shape: {list(weight._array.shape)}",
            )
        if weight._array.dtype != input._array.dtype:
            raise DtypeError(
                "nll_loss",
                f"expected scalar type {dtypes.cpp_name(input.dtype)} but found "
                f"{dtypes.cpp_name(weight.dtype)}",
            )
        if weight.requires_grad and _recording():
            raise RuntimeError(
                "The function 'nll_loss_forward' is not differentiable with respect to argument "
                "'weight'. This input cannot have requires_grad True."
            )
    if input._array.dtype.kind not in "fV":
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(input.dtype)}'")


def _recording() -> bool:
    from taper.autograd.grad_mode import mode

    return bool(mode.grad)


def _multiple(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return (
        "0D or 1D target tensor expected, multi-target not supported "
        f"(input {list(shape)}, target {list(wanted)})"
    )


# ---------------------------------------------------------------- public


@public(namespaces=("nn.functional",))
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the input (log-probabilities) at the target class, times the class's weight.

    Shape: input (C), (N, C) or (N, C, d1, ...), target the same without C; the result is 0-d, or
        shaped as the target with reduction="none". The mean is weighted.
    Dtype: input floating, target int64 or uint8.
    Raises: IndexError for a target that is no class and not `ignore_index`.
    """
    reduction = reduction_of(size_average, reduce, reduction)
    _check(input, target, weight, "nll_loss_out_frame")
    return apply(
        NllLoss if input.dim() < 3 else NllLoss2d,
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )


@public(namespaces=("nn.functional",))
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Minus the log of the softmax of `input` at the target class.

    The target holds class indices (shaped as the input without the class dimension) or class
    probabilities (shaped as the input). With `label_smoothing` e the target is (1 - e) times what
    is given plus e / C for every class.

    Shape: input (C), (N, C) or (N, C, d1, ...); the result is 0-d, or shaped as the input without
        C with reduction="none".
    Dtype: input floating; indices int64 or uint8.
    Error: the softmax is shifted by its maximum; float16 and bfloat16 are computed in float32.
    Raises: IndexError for a target that is no class and not `ignore_index`.
    """
    if size_average is not None or reduce is not None or reduction not in ("mean", "sum", "none"):
        reduction = reduction_of(size_average, reduce, reduction)
    if input._array.shape == target._array.shape:
        return _of_probabilities(input, target, weight, reduction, ignore_index, label_smoothing)
    _check(input, target, weight, "log_softmax_lastdim_kernel_impl")
    kind: Any = CrossEntropy if input._array.ndim < 3 else CrossEntropy2d
    if label_smoothing:
        _check_smoothing(label_smoothing)
        if weight is not None:
            return _smoothed(input, target, weight, reduction, ignore_index, label_smoothing)
        kind = SmoothedCrossEntropy
    return apply(
        kind,
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        smoothing=label_smoothing,
    )[0]


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")


def _of_probabilities(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Cross entropy with a distribution over the classes as the target."""
    if target._array.dtype.kind not in "fV":
        raise DtypeError(
            "cross_entropy",
            "Expected floating point type for target with class probabilities, got "
            f"{dtypes.cpp_name(target.dtype)}",
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    axis = 0 if input.dim() == 1 else 1
    classes = input.shape[axis]
    if weight is not None and weight._array.shape != (classes,):
        raise ShapeError(
            "cross_entropy",
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight._array.shape)}",
        )
    if label_smoothing:
        _check_smoothing(label_smoothing)
        target = target * (1 - label_smoothing) + label_smoothing / classes
    product = input.log_softmax(axis) * target
    if weight is not None:
        product = product * _over_classes(weight, input)
    if reduction == "none":
        return -product.sum(axis)
    if reduction == "sum":
        return -product.sum()
    # The mean is over the targets, however the classes are weighted.
    return -product.sum() / (input.numel() // classes if classes else 0)


def _over_classes(weight: Tensor, input: Tensor) -> Tensor:
    """The weights, shaped to broadcast against the input."""
    if input.dim() < 2:
        return weight
    return weight.view(1, -1, *(1,) * (input.dim() - 2))


def _smoothed(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    reduction: str,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Label smoothing with weights, where what is spread weighs as the class it falls on does."""
    axis = 0 if input.dim() == 1 else 1
    logs = input.log_softmax(axis)
    at_target = nll_loss(logs, target, weight, None, ignore_index, None, reduction)
    spread = -(logs * _over_classes(weight, input)).sum(axis)
    ignored = target.eq(ignore_index)
    spread = spread.masked_fill(ignored.view(spread.shape), 0)
    if reduction != "none":
        spread = spread.sum()
    if reduction == "mean":
        spread = spread / weight[target[~ignored].long()].sum()
    share = label_smoothing / input.shape[axis]
    return at_target * (1 - label_smoothing) + spread * share
