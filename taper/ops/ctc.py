"""Connectionist temporal classification: the loss of a labelling without alignment.

A target of length L is read as 2 L + 1 states: its labels with blanks around and between them. An
alignment stays in a state or moves to the next with each step of time; it may skip the blank
between two different labels. The forward pass sums over all alignments that lead to a state, the
backward pass over those that lead on from it, for the whole batch at once and in logarithms.

Source: Graves et al., Connectionist temporal classification, 2006, equations 6 to 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError, UnsupportedDtype
from taper.op import Opaque, op, public
from taper.ops.reduction import from_number, reduced, reduction_of
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- on arrays


def _states(targets: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """The label of every state (batch, states), and whether the blank before it may be skipped."""
    batch, longest = targets.shape
    labels = np.full((batch, 2 * longest + 1), blank)
    labels[:, 1::2] = targets
    skips = np.zeros(labels.shape, bool)
    skips[:, 2:] = labels[:, 2:] != labels[:, :-2]
    skips[:, ::2] = False
    return labels, skips


def _emitted(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log-probability of each state's label at each time (time, batch, states)."""
    index = np.broadcast_to(labels, (len(log_probs), *labels.shape))
    return np.take_along_axis(log_probs, index, 2)


def _log_sum(*terms: np.ndarray) -> np.ndarray:
    """log(sum(exp(term))), also where every term is minus infinity."""
    top = terms[0]
    for term in terms[1:]:
        top = np.maximum(top, term)
    top = np.where(np.isneginf(top), 0, top)
    total = np.exp(terms[0] - top)
    for term in terms[1:]:
        total += np.exp(term - top)
    return np.log(total) + top


def _shifted(x: np.ndarray, by: int) -> np.ndarray:
    """x moved by so many states to the right (or left), filled with minus infinity."""
    made = np.full_like(x, -np.inf)
    if abs(by) < x.shape[1]:
        if by > 0:
            made[:, by:] = x[:, :-by]
        else:
            made[:, :by] = x[:, -by:]
    return made


def _forward(emitted: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """Log of the summed probability of all paths to each state at each time."""
    made = np.full_like(emitted, -np.inf)
    made[0, :, :2] = emitted[0, :, :2]
    for t in range(1, len(emitted)):
        before = made[t - 1]
        skipped = np.where(skips, _shifted(before, 2), -np.inf)
        made[t] = _log_sum(before, _shifted(before, 1), skipped) + emitted[t]
    return made


def _backward(
    emitted: np.ndarray, skips: np.ndarray, times: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Log of the summed probability of all paths from each state at each time to the end."""
    made = np.full_like(emitted, -np.inf)
    state = np.arange(emitted.shape[2])
    final = (state == 2 * lengths[:, None]) | (state == 2 * lengths[:, None] - 1)
    after = np.full(emitted.shape[1:], -np.inf, emitted.dtype)
    skips_from = np.zeros_like(skips)
    skips_from[:, :-2] = skips[:, 2:]
    for t in range(len(emitted) - 1, -1, -1):
        skipped = np.where(skips_from, _shifted(after, -2), -np.inf)
        on = _log_sum(after, _shifted(after, -1), skipped)
        on = np.where((times == t + 1)[:, None], np.where(final, 0, -np.inf), on)
        after = made[t] = on + emitted[t]
    return made


def _negative_log_likelihood(
    alpha: np.ndarray, times: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """From the paths that end in the last label or in the blank behind it."""
    batch = np.arange(len(times))
    last = alpha[np.maximum(times - 1, 0), batch]
    ends = last[batch, 2 * lengths]
    label = np.where(lengths > 0, last[batch, np.maximum(2 * lengths - 1, 0)], -np.inf)
    made = -_log_sum(ends, label)
    # Without time only the empty target is possible, and that is certain.
    return np.where(times > 0, made, np.where(lengths > 0, np.inf, -0.0)).astype(alpha.dtype)


def _gradient(
    grad: np.ndarray,
    log_probs: np.ndarray,
    targets: np.ndarray,
    times: np.ndarray,
    lengths: np.ndarray,
    *,
    blank: int,
    zero_infinity: bool,
    through_softmax: bool,
) -> np.ndarray:
    """The gradient of log_probs. The forward pass is repeated rather than its states kept."""
    labels, skips = _states(targets, blank)
    emitted = _emitted(log_probs, labels)
    alpha = _forward(emitted, skips)
    beta = _backward(emitted, skips, times, lengths)
    loss = _negative_log_likelihood(alpha, times, lengths)
    # Probability of being in a state at a time; both passes have counted what it emits.
    paths = alpha + beta
    share = np.where(np.isneginf(paths), -np.inf, paths - emitted) + loss[:, None]
    made = np.exp(log_probs, order="C") if through_softmax else np.zeros(log_probs.shape)
    made = made.astype(log_probs.dtype, copy=False)
    time, batch, classes = log_probs.shape
    rows = np.arange(time * batch).reshape(time, batch, 1) * classes
    np.subtract.at(made.reshape(-1), (rows + labels).reshape(-1), np.exp(share).reshape(-1))
    made *= grad[:, None]
    impossible = np.isinf(loss)
    if impossible.any():
        made[:, impossible] = 0 if zero_infinity else np.nan
    made[np.arange(time)[:, None] >= times] = 0
    return made


# ---------------------------------------------------------------- the op


@op
class CtcLoss(Opaque):
    """The loss of every sequence.

    `through_softmax` says which gradient log_probs get: their own, or PyTorch's, which is that of
    the scores whose log_softmax they are. log_softmax passes both on alike, because the first,
    minus its sum times the softmax, is the second.
    """

    name = "ctc_loss"
    saves = ("log_probs", "targets", "times", "lengths")

    def forward(
        self,
        m: Any,
        log_probs: Any,
        targets: Any,
        times: Any,
        lengths: Any,
        *,
        blank: int,
        zero_infinity: bool,
        through_softmax: bool,
    ) -> Any:
        labels, skips = _states(targets, blank)
        alpha = _forward(_emitted(log_probs, labels), skips)
        loss = _negative_log_likelihood(alpha, times, lengths)
        return np.where(np.isinf(loss), 0, loss) if zero_infinity else loss

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        log_probs: Any,
        targets: Any,
        times: Any,
        lengths: Any,
        **attrs: Any,
    ) -> Any:
        if not m.on_arrays:
            raise NotImplementedError(
                "derivative for aten::_ctc_loss_backward is not implemented: ctc_loss can be "
                "differentiated once only; call backward without create_graph=True"
            )
        return _gradient(grad, log_probs, targets, times, lengths, **attrs), None, None, None


# ---------------------------------------------------------------- public

_WHERE = "(while checking arguments for ctc_loss_allocate_outputs)"


def _lengths(given: Any, name: str, batch: int, whole: bool) -> np.ndarray:
    """The lengths as int64, one per sequence."""
    if isinstance(given, Tensor):
        array = given._array
        if array.dtype.kind not in "iu":
            raise DtypeError(f"{name} must be integral")
    else:
        array = np.asarray(given, np.int64)
    array = np.atleast_1d(array).astype(np.int64)
    if array.shape != (batch,) and not (whole and array.size == 1):
        raise ShapeError(f"{name} must be of size batch_size")
    if (array < 0).any():
        raise RuntimeError(
            f"Expected {name} to have value at least 0, but got value {array.min()} {_WHERE}"
        )
    return array


def _padded(targets: np.ndarray, lengths: np.ndarray, blank: int) -> np.ndarray:
    """The targets as (batch, longest), whether they come so or joined in one dimension."""
    batch, longest = len(lengths), int(lengths.max(initial=0))
    inside = np.arange(longest) < lengths[:, None]
    made = np.full((batch, longest), blank)
    if targets.ndim == 1:
        total = int(lengths.sum())
        if len(targets) != total:
            raise ShapeError(
                f"Expected tensor to have size {total} at dimension 0, but got size "
                f"{len(targets)} for argument #2 'targets' {_WHERE}"
            )
        made[inside] = targets
        return made
    if targets.ndim != 2:
        raise ShapeError(
            f"Expected 1 to 2 dimensions, but got {targets.ndim}-dimensional tensor for argument "
            f"#2 'targets' {_WHERE}"
        )
    if len(targets) != batch:
        raise ShapeError(
            f"Expected tensor to have size {batch} at dimension 0, but got size {len(targets)} "
            f"for argument #2 'targets' {_WHERE}"
        )
    if targets.shape[1] < longest:
        raise ShapeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size "
            f"{targets.shape[1]} for argument #2 'targets' {_WHERE}"
        )
    made[inside] = targets[:, :longest][inside]
    return made


@public(namespaces=("nn.functional",))
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of the targets, summed over all alignments.

    The mean divides each sequence's loss by its target's length first. Targets longer than the
    input allows cost infinity, or nothing with `zero_infinity`.

    The gradient is, as in PyTorch, that of the scores whose log_softmax `log_probs` is.

    Shape: log_probs (T, N, C) or (T, C); targets (N, S), or the targets joined (sum of lengths);
        lengths (N), as tensors or tuples; the result is 0-d, or (N) with reduction="none".
    Dtype: log_probs float32 or float64.
    Raises: RuntimeError for lengths that do not fit, NotImplementedError for a second derivative.
    """
    reduction_of(None, None, reduction)
    whole = log_probs.dim() != 3
    if whole:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
    array = log_probs._array
    if array.ndim != 3:
        raise ShapeError(
            f"Expected 3-dimensional tensor, but got {array.ndim}-dimensional tensor for argument "
            f"#1 'log_probs' {_WHERE}"
        )
    if not array.size:
        raise RuntimeError("log_probs tensor must not be empty")
    if array.dtype.kind != "f" or array.dtype.itemsize == 2:
        raise UnsupportedDtype(
            f"\"ctc_loss_cpu\" not implemented for '{dtypes.cpp_name(log_probs.dtype)}'"
        )
    time, batch, classes = array.shape
    times = _lengths(input_lengths, "input_lengths", batch, whole)
    lengths = _lengths(target_lengths, "target_lengths", batch, whole)
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if (times > time).any():
        raise RuntimeError(
            f"Expected input_lengths to have value at most {time}, but got value {times.max()} "
            f"{_WHERE}"
        )
    padded = _padded(targets._array.astype(np.int64, copy=False), lengths, blank)
    if padded.size and not (padded.min() >= 0 and padded.max() < classes):
        raise IndexError(
            f"ctc_loss: a target is no class: they must be in [0, {classes - 1}], got "
            f"{padded.min()} to {padded.max()}"
        )
    loss = apply(
        CtcLoss,
        log_probs,
        wrap(padded),
        wrap(times),
        wrap(lengths),
        blank=blank,
        zero_infinity=zero_infinity,
        through_softmax=True,
    )
    if reduction == "mean":
        return (loss / wrap(np.maximum(lengths, 1).astype(array.dtype))).mean()
    loss = reduced(loss, reduction)
    return loss.squeeze(0) if whole and reduction == "none" else loss


@public(name="ctc_loss")
def numbered_ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """nn.functional.ctc_loss, with 0, 1, 2 for none, mean, sum."""
    return ctc_loss(
        log_probs,
        targets,
        input_lengths,
        target_lengths,
        blank,
        from_number(reduction),
        zero_infinity,
    )
