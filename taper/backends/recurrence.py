"""The arithmetic of recurrent layers on arrays: one layer in one direction, forward and backward.

A step of a small layer is a dozen tiny numpy calls, so what counts is their number. Hence:
* Features come before the batch. A step works on (features, batch), where the gates of one kind
  are contiguous rows, and lies in one slot of `reserve`, (steps + 1, rows, batch), together with
  the state it began from. The state after the last step is alone in the last slot.
* The rows of sigmoid gates come negated, by negating the weights once: 1 / (1 + exp(-a)) then
  needs no negation in the loop, and the result is the same to the bit.
* Backward, all factors that do not depend on the arriving gradient are computed for all steps at
  once; what remains of a step is linear in the gradient and takes four or five calls.
* The products with the input and the gradients of the weights are one matrix product for all
  steps.

Sequences of different lengths are padded; `sizes` says how many (the longest ones, which come
first) are alive in each step. The states of the others are carried along unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def project(x: Array, weight: Array, out: Any = None) -> Array:
    """weight @ x[t] for every step: (steps, features, batch) from (steps, batch, size)."""
    if x.strides[2] != x.itemsize or x.strides[1] < x.shape[2] * x.itemsize:
        x = np.ascontiguousarray(x)  # BLAS takes nothing else
    return np.matmul(weight, x.transpose(0, 2, 1), out=out)


def _with_bias(weight: Array, bias: Array | None) -> Array:
    """The weight with the bias as one more column, for a state with a row of ones behind it."""
    column = np.zeros((len(weight), 1), weight.dtype) if bias is None else bias[:, None]
    return np.concatenate([weight, column], 1)


def _columns(x: Array) -> Array:
    """(features, steps * batch) from (steps, features, batch)."""
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


# Elements of the gradients that are brought into columns at a time: one product for all steps is
# fastest if what it reads is in the cache.
_CHUNK = 262_144


def sums(
    moved: Array,
    states: Array | None,
    x: Array,
    w_ih: Array | None,
    of_state: slice,
    of_input: slice,
    wanted: tuple[bool, bool],
) -> tuple[Any, Any, Any, Any]:
    """What the gradients `moved`, (steps, rows, batch), are multiplied with, over all steps.

    The rows `of_state` times the states (steps, features, batch); the rows `of_input` times the
    input x and summed alone, where `wanted` says so; and the input's gradient, (steps, batch,
    size). None for what is not asked for: states or w_ih are None, wanted is False.
    """
    steps, rows, batch = moved.shape
    to_x = None if w_ih is None else np.empty(x.shape, moved.dtype)
    by_state = by_input = alone = None
    chunk = max(1, max(256, _CHUNK // rows) // max(1, batch))
    for t in range(0, steps, chunk):
        part = slice(t, t + chunk)
        flat = _columns(moved[part])
        projected = flat[of_input]
        if states is not None:
            by_state = _added(by_state, flat[of_state].dot(_columns(states[part]).T))
        if wanted[0]:
            by_input = _added(by_input, projected.dot(x[part].reshape(-1, x.shape[2])))
        if wanted[1]:
            alone = _added(alone, projected.sum(1))
        if to_x is not None and w_ih is not None:
            to_x[part] = projected.T.dot(w_ih).reshape(-1, batch, x.shape[2])
    return by_state, by_input, alone, to_x


def _added(total: Array | None, share: Array) -> Array:
    return share if total is None else np.add(total, share, total)


def _carry(state: Array, later: Array, alive: int) -> None:
    later[:, alive:] = state[:, alive:]


def _feature_rows(state: Array | None, shape: tuple[int, int], like: Array) -> Array:
    """The state (batch, features), or zeros, as (features, batch)."""
    return np.zeros(shape, like.dtype) if state is None else state.T


# ---------------------------------------------------------------- Elman's layer


def rnn(
    x: Array,
    h: Array | None,
    w_ih: Array,
    w_hh: Array,
    bias: Array | None,
    relu: bool,
    sizes: Any,
) -> Array:
    """h' = tanh or relu of w_ih x + w_hh h + bias. reserve: h, a row of ones."""
    steps, batch, _ = x.shape
    size = w_hh.shape[1]
    reserve = np.empty((steps + 1, size + 1, batch), w_hh.dtype)
    reserve[0, :size] = _feature_rows(h, (size, batch), reserve)
    reserve[:, size] = 1
    states = reserve[:, :size]
    project(x, w_ih, states[1:])
    product = np.empty((size, batch), reserve.dtype)
    multiply = _with_bias(w_hh, bias).dot
    zero = np.zeros((), reserve.dtype)
    for t, (seen, state, following) in enumerate(zip(reserve, states, states[1:], strict=False)):
        multiply(seen, product)
        np.add(following, product, following)
        if relu:
            np.maximum(following, zero, out=following)
        else:
            np.tanh(following, following)
        if sizes is not None and sizes[t] < batch:
            _carry(state, following, sizes[t])
    return reserve


def rnn_backward(
    grads: Array, last: Array | None, reserve: Array, w_hh: Array, relu: bool, sizes: Any
) -> tuple[Array, Array]:
    """Gradients of what is activated, (steps, hidden, batch), and of the first state.

    `grads` (overwritten) holds those of the states after each step, `last` adds to the last one.
    """
    after = reserve[1:, : grads.shape[1]]
    slopes = (after > 0).astype(after.dtype) if relu else 1 - after * after
    silence_dead(slopes, sizes)
    multiply = np.ascontiguousarray(w_hh.T).dot
    back = last
    for t in range(len(grads) - 1, -1, -1):
        here = grads[t]
        if back is not None:
            np.add(here, back, here)
        slope = slopes[t]
        np.multiply(slope, here, slope)
        back = multiply(slope)
        if sizes is not None and sizes[t] < here.shape[1]:
            back[:, sizes[t] :] += here[:, sizes[t] :]
    assert back is not None
    return slopes, back


def silence_dead(factors: Array, sizes: Any) -> None:
    """Sets what belongs to sequences that are over to zero."""
    if sizes is not None:
        for t, alive in enumerate(sizes):
            factors[t, :, alive:] = 0


# ---------------------------------------------------------------- GRU


def gru(
    x: Array,
    h: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    sizes: Any,
) -> Array:
    """Gates r, z, n; h' = n + z (h - n). reserve: h, a row of ones, r, z, w_hn h + b_hn, n.

    The ones carry the hidden bias through the product with the state.
    """
    steps, batch, _ = x.shape
    size = w_hh.shape[1]
    both = 2 * size
    w_ih, w_hh = w_ih.copy(), _with_bias(w_hh, b_hh)
    np.negative(w_ih[:both], w_ih[:both])
    np.negative(w_hh[:both], w_hh[:both])
    inputs = project(x, w_ih)
    if b_ih is not None:
        b_ih = b_ih.copy()
        np.negative(b_ih[:both], b_ih[:both])
        np.add(inputs, b_ih[:, None], inputs)
    reserve = np.empty((steps + 1, 5 * size + 1, batch), inputs.dtype)
    reserve[0, :size] = _feature_rows(h, (size, batch), inputs)
    reserve[:, size] = 1
    reserve[steps, size + 1 :] = 0
    low = size + 1
    running = reserve[:steps]
    multiply = w_hh.dot
    one = np.ones((), inputs.dtype)
    change = np.empty((size, batch), inputs.dtype)
    t = 0
    for seen, products, gates, r, z, hidden, n, in_gates, in_n, state, following in zip(
        running[:, : size + 1],
        running[:, low : low + 3 * size],
        running[:, low : low + both],
        running[:, low : low + size],
        running[:, low + size : low + both],
        running[:, low + both : low + 3 * size],
        running[:, low + 3 * size :],
        inputs[:, :both],
        inputs[:, both:],
        running[:, :size],
        reserve[1:, :size],
        strict=True,
    ):
        multiply(seen, products)
        np.add(gates, in_gates, gates)
        np.exp(gates, gates)
        np.add(gates, one, gates)
        np.divide(one, gates, gates)
        np.multiply(r, hidden, n)
        np.add(n, in_n, n)
        np.tanh(n, n)
        np.subtract(state, n, change)
        np.multiply(change, z, change)
        np.add(change, n, following)
        if sizes is not None:
            if sizes[t] < batch:
                _carry(state, following, sizes[t])
            t += 1
    return reserve


def gru_backward(
    grads: Array, last: Array | None, reserve: Array, w_hh: Array, sizes: Any
) -> tuple[Array, Array]:
    """Gradients (steps, 4 hidden, batch) of w_hn h + b_hn and of what r, z, n activate, and that
    of the first state; `grads` and `last` as in `rnn_backward`.
    """
    steps, size, batch = grads.shape
    running = reserve[:steps]
    low = size + 1
    h = running[:, :size]
    r, z, hidden, n = (running[:, low + i * size : low + (i + 1) * size] for i in range(4))
    factors = np.empty((steps, 5, size, batch), reserve.dtype)
    of_hidden, of_r, of_z, of_n, kept = (factors[:, i] for i in range(5))
    # of_n = (1 - z) (1 - n n); of_hidden = r of_n; of_r = hidden r (1 - r) of_n = hidden (1 - r)
    # of_hidden; of_z = (h - n) z (1 - z)
    one = np.ones((), reserve.dtype)
    not_z = one - z
    np.multiply(n, n, of_n)
    np.subtract(one, of_n, of_n)
    np.multiply(of_n, not_z, of_n)
    np.multiply(of_n, r, of_hidden)
    np.subtract(one, r, of_r)
    np.multiply(of_r, hidden, of_r)
    np.multiply(of_r, of_hidden, of_r)
    np.subtract(h, n, of_z)
    np.multiply(of_z, z, of_z)
    np.multiply(of_z, not_z, of_z)
    kept[...] = z
    if sizes is not None:
        for t, alive in enumerate(sizes):
            factors[t, :4, :, alive:] = 0
            factors[t, 4, :, alive:] = 1
    rows = factors.reshape(steps, 5 * size, batch)
    multiply = np.concatenate([w_hh[2 * size :], w_hh[: 2 * size]]).T.copy().dot
    back = np.empty((size, batch), reserve.dtype)
    first = True
    for here, factor, active, through in zip(
        grads[::-1], factors[::-1], rows[::-1, : 3 * size], kept[::-1], strict=True
    ):
        if not first:
            np.add(here, back, here)
        elif last is not None:
            np.add(here, last, here)
        first = False
        np.multiply(factor, here, factor)
        multiply(active, back)
        np.add(back, through, back)
    return rows[:, : 4 * size], back


# ---------------------------------------------------------------- LSTM


def lstm(
    x: Array,
    h: Array | None,
    c: Array | None,
    w_ih: Array,
    w_hh: Array,
    bias: Array | None,
    w_hr: Array | None,
    sizes: Any,
) -> Array:
    """c' = f c + i g, h' = o tanh(c'), projected by w_hr. reserve: h, ones, i, f, o, g, c,
    tanh(c')."""
    steps, batch, _ = x.shape
    size, out = w_hh.shape[0] // 4, w_hh.shape[1]
    low = out + 1
    top = low + 4 * size
    reserve = np.empty((steps + 1, low + 6 * size, batch), w_hh.dtype)
    reserve[0, :out] = _feature_rows(h, (out, batch), reserve)
    reserve[:, out] = 1
    cells = reserve[:, top : top + size]
    cells[0] = _feature_rows(c, (size, batch), reserve)
    reserve[steps, low:top] = 0
    reserve[steps, top + size :] = 0
    running = reserve[:steps]
    # What comes from the input is where the gates will be.
    project(x, _ifog(w_ih, size), running[:, low:top])
    multiply = _ifog(_with_bias(w_hh, bias), size).dot
    narrow = None if w_hr is None else np.ascontiguousarray(w_hr).dot
    one = np.ones((), reserve.dtype)
    product = np.empty((4 * size, batch), reserve.dtype)
    terms = np.empty((2 * size, batch), reserve.dtype)
    kept, added = terms[size:], terms[:size]
    wide = np.empty((size, batch), reserve.dtype)
    t = 0
    for seen, gates, sigmoids, i_f, o, g, g_c, bent, following, cell in zip(
        running[:, :low],
        running[:, low:top],
        running[:, low : top - size],
        running[:, low : low + 2 * size],
        running[:, low + 2 * size : top - size],
        running[:, top - size : top],
        running[:, top - size : top + size],
        running[:, top + size :],
        reserve[1:, :out],
        cells[1:],
        strict=True,
    ):
        multiply(seen, product)
        np.add(gates, product, gates)
        np.exp(sigmoids, sigmoids)
        np.add(sigmoids, one, sigmoids)
        np.divide(one, sigmoids, sigmoids)
        np.tanh(g, g)
        np.multiply(i_f, g_c, terms)
        np.add(kept, added, cell)
        np.tanh(cell, bent)
        if narrow is None:
            np.multiply(o, bent, following)
        else:
            np.multiply(o, bent, wide)
            narrow(wide, following)
        if sizes is not None:
            if sizes[t] < batch:
                _carry(seen[:out], following, sizes[t])
                _carry(g_c[size:], cell, sizes[t])
            t += 1
    return reserve


def _ifog(weight: Array, size: int) -> Array:
    """Rows i, f, g, o as -i, -f, -o, g."""
    made = np.concatenate([weight[: 2 * size], weight[3 * size :], weight[2 * size : 3 * size]])
    np.negative(made[: 3 * size], made[: 3 * size])
    return made


def lstm_rows(reserve: Array, size: int, out: int) -> list[Array]:
    """i, f, o, g, c and tanh(c') of every step."""
    return [reserve[:, out + 1 + k * size : out + 1 + (k + 1) * size] for k in range(6)]


def lstm_backward(
    grads: Array,
    last: Array | None,
    last_cell: Array | None,
    reserve: Array,
    w_hh: Array,
    w_hr: Array | None,
    sizes: Any,
) -> tuple[Array, Array, Array]:
    """Gradients of what i, f, g, o activate, (steps, 4 hidden, batch), of the first h and c.

    `grads` and `last` as in `rnn_backward`; `grads` is left with the whole gradient of each h.
    """
    steps, out, batch = grads.shape
    size = w_hh.shape[0] // 4
    running = reserve[:steps]
    i, f, o, g, c, bent = lstm_rows(running, size, out)
    factors = np.empty((steps, 6, size, batch), reserve.dtype)
    kept, of_i, of_f, of_g, of_o, of_c = (factors[:, k] for k in range(6))
    one = np.ones((), reserve.dtype)
    kept[...] = f
    for factor, gate, other in ((of_i, i, g), (of_f, f, c), (of_o, o, bent)):
        np.subtract(one, gate, factor)
        np.multiply(factor, gate, factor)
        np.multiply(factor, other, factor)
    for factor, value, gate in ((of_g, g, i), (of_c, bent, o)):
        np.multiply(value, value, factor)
        np.subtract(one, factor, factor)
        np.multiply(factor, gate, factor)
    if sizes is not None:
        for t, alive in enumerate(sizes):
            factors[t, 1:, :, alive:] = 0
            factors[t, 0, :, alive:] = 1
    rows = factors.reshape(steps, 6 * size, batch)
    multiply = np.ascontiguousarray(w_hh.T).dot
    widen = None if w_hr is None else np.ascontiguousarray(w_hr.T).dot
    back = np.zeros((out, batch), reserve.dtype)
    if last is not None:
        back += last
    cell = np.zeros((size, batch), reserve.dtype)
    if last_cell is not None:
        cell += last_cell
    t = steps
    for here, from_h, to_cell, from_c, through, active in zip(
        grads[::-1],
        factors[::-1, 4:],
        of_c[::-1],
        factors[::-1, :4],
        kept[::-1],
        rows[::-1, size : 5 * size],
        strict=True,
    ):
        np.add(here, back, here)
        np.multiply(from_h, here if widen is None else widen(here), from_h)
        np.add(to_cell, cell, to_cell)
        np.multiply(from_c, to_cell, from_c)
        cell = through
        multiply(active, back)
        if sizes is not None:
            t -= 1
            if sizes[t] < batch:
                back[:, sizes[t] :] += here[:, sizes[t] :]
    return rows[:, size : 5 * size], back, cell
