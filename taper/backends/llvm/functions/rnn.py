"""Recurrent layers on kernels: `gru_forward`, `gru_backward` and so on, as in backends/recurrent.py.

Sequences of float32 or float64 go to recurrent_small.py or recurrent_large.py, by the sizes of the
layer; packed ones to the latter. Projected outputs and other dtypes stay with the reference, whose
reserve has three dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends import recurrent as reference
from taper.backends.llvm.functions import recurrent_large as large
from taper.backends.llvm.functions import recurrent_small as small
from taper.backends.llvm.functions.gemm import Plans
from taper.backends.llvm.functions.recurrent_arrays import ELEMENTS, Sizes

Array = np.ndarray


def _forward_plan(
    cell: str,
    dtype: Any,
    inputs: int,
    hidden: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    batch_first: bool,
    reverse: bool,
    packed: tuple[int, ...] | None,
) -> small.Forward | large.Forward | None:
    sizes = Sizes(cell, dtype, inputs, hidden, shape, batch_first, reverse, packed)
    if dtype not in ELEMENTS or not hidden or 0 in shape:
        return None
    if packed is None and small.in_lanes(cell, inputs, hidden):
        return small.Forward(sizes, strides)
    if sizes.steps * sizes.batch < large.FEWEST_ROWS:
        return None
    return large.Forward(sizes, strides)


def _backward_plan(
    cell: str,
    dtype: Any,
    inputs: int,
    hidden: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    batch_first: bool,
    reverse: bool,
    packed: tuple[int, ...] | None,
    needs: tuple[bool, ...],
) -> small.Backward | large.Backward:
    sizes = Sizes(cell, dtype, inputs, hidden, shape, batch_first, reverse, packed)
    lanes = packed is None and small.in_lanes(cell, inputs, hidden)
    return (small if lanes else large).Backward(sizes, strides, needs)


_forward_plans, _backward_plans = Plans(_forward_plan), Plans(_backward_plan)


def _forward(
    cell: str,
    input: Array,
    states: tuple[Array | None, ...],
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...] | None:
    """The results by a kernel; None where there is none for such arrays."""
    plan = _forward_plans[
        cell, input.dtype, w_ih.shape[1], w_hh.shape[1], input.shape, input.strides,
        batch_first and input.ndim == 3, reverse, sizes,
    ]  # fmt: skip
    return None if plan is None else plan.run(input, states, w_ih, w_hh, b_ih, b_hh)


def _backward(
    cell: str,
    grad: Any,
    reserve: Array,
    input: Array,
    w_ih: Array,
    w_hh: Array,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    plan = _backward_plans[
        cell, input.dtype, w_ih.shape[1], w_hh.shape[1], input.shape,
        None if grad[0] is None else grad[0].strides, batch_first and input.ndim == 3, reverse,
        sizes, needs,
    ]  # fmt: skip
    made: tuple[Any, ...] = plan.run(grad, reserve, input, w_ih, w_hh)
    return made


# ---------------------------------------------------------------- the functions


def gru_forward(
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last state, and the tape."""
    made = _forward("gru", input, (hidden,), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes)
    if made is not None:
        return made
    return reference.gru_forward(
        input, hidden, w_ih, w_hh, b_ih, b_hh,
        batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def gru_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays."""
    if reserve.ndim < 3:
        return _backward(
            "gru", grad, reserve, input, w_ih, w_hh, needs, batch_first,
            reverse, sizes,
        )  # fmt: skip
    return reference.gru_backward(
        grad, reserve, input, hidden, w_ih, w_hh, b_ih, b_hh,
        needs=needs, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def rnn_forward(
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    relu: bool,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last state, and the tape."""
    cell = "relu" if relu else "tanh"
    made = _forward(cell, input, (hidden,), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes)
    if made is not None:
        return made
    return reference.rnn_forward(
        input, hidden, w_ih, w_hh, b_ih, b_hh,
        relu=relu, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def rnn_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    needs: tuple[bool, ...],
    relu: bool,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays."""
    if reserve.ndim < 3:
        return _backward(
            "relu" if relu else "tanh", grad, reserve, input, w_ih, w_hh,
            needs, batch_first, reverse, sizes,
        )  # fmt: skip
    return reference.rnn_backward(
        grad, reserve, input, hidden, w_ih, w_hh, b_ih, b_hh,
        needs=needs, relu=relu, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def lstm_forward(
    input: Array,
    hidden: Array | None,
    cell: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last h and c, and the tape."""
    if w_hr is None:
        made = _forward(
            "lstm", input, (hidden, cell), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes
        )
        if made is not None:
            return made
    return reference.lstm_forward(
        input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
        batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def lstm_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    cell: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    *,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the eight arrays."""
    if reserve.ndim < 3:
        return *_backward(
            "lstm", grad, reserve, input, w_ih, w_hh, needs,
            batch_first, reverse, sizes,
        ), None  # fmt: skip
    return reference.lstm_backward(
        grad, reserve, input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
        needs=needs, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip
