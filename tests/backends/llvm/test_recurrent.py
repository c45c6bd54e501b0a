"""Kernels of recurrent layers against the numpy reference, at sizes that fit no vector."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import recurrent as reference
from taper.backends.llvm import build, call, machine, pool, recurrent
from taper.backends.llvm.functions import recurrent_arrays, recurrent_large, recurrent_small
from taper.backends.llvm.functions import rnn as kernels
from taper.backends.llvm.recurrent_lanes import LanesBackward, LanesForward, tape_vectors
from taper.backends.llvm.recurrent_units import UnitsBackward, UnitsForward

# (kind, arguments of its own, gates, states)
KINDS = {
    "gru": ("gru", {}, 3, 1),
    "lstm": ("lstm", {}, 4, 2),
    "tanh": ("rnn", {"relu": False}, 1, 1),
    "relu": ("rnn", {"relu": True}, 1, 1),
}
UNITS_SIZES = [(5, 3, 7, 20), (17, 4, 33, 50), (3, 4, 5, 64), (1, 9, 70, 33), (64, 2, 20, 130)]
LANES_SIZES = [(1, 1, 1, 1), (19, 7, 3, 5)]
TOLERANCE = {"f4": 2e-5, "f8": 1e-13}


class Layer:
    """Random arrays for a layer, and both backends' functions on them."""

    def __init__(self, name, sizes, dtype="f4", batch_first=True, reverse=False, whole=True,
                 biases=True, states=True, seed=0, packed=None):  # fmt: skip
        self.kind, own, gates, count = KINDS[name]
        batch, steps, inputs, hidden = sizes
        draw = np.random.default_rng(seed)

        def normal(*shape: int) -> np.ndarray:
            return draw.standard_normal(shape).astype(dtype)

        shape = (batch, steps, inputs) if batch_first else (steps, batch, inputs)
        self.input = normal(*shape) if whole else normal(batch, inputs)
        if packed is not None:
            self.input = normal(sum(packed), inputs)
        state = (1, batch, hidden) if whole else (batch, hidden)
        self.states = [normal(*state) if states else None for _ in range(count)]
        scale = 1 / np.sqrt(hidden).astype(dtype)
        rows = gates * hidden
        self.weights = [normal(rows, inputs) * scale, normal(rows, hidden) * scale]
        self.weights += [normal(rows), normal(rows)] if biases else [None, None]
        self.extra = [None] if count == 2 else []
        self.geometry = {
            "batch_first": batch_first and whole and packed is None, "reverse": reverse,
            "sizes": packed, **own
        }  # fmt: skip
        present = [x is not None for x in self.arrays]
        self.needs = tuple(present)
        self.draw, self.dtype = draw, dtype

    @property
    def arrays(self) -> list[Any]:
        """The op's inputs."""
        return [self.input, *self.states, *self.weights, *self.extra]

    def forward(self, backend: Any) -> tuple[np.ndarray, ...]:
        """Outputs, last states, reserve."""
        return getattr(backend, f"{self.kind}_forward")(*self.arrays, **self.geometry)

    def backward(self, backend: Any, grad: Any, reserve: np.ndarray) -> tuple[Any, ...]:
        """A gradient for each array."""
        return getattr(backend, f"{self.kind}_backward")(
            grad, reserve, *self.arrays, needs=self.needs, **self.geometry
        )

    def grads_like(self, results: Any) -> list[np.ndarray]:
        """Random gradients of the outputs and last states."""
        return [self.draw.standard_normal(r.shape).astype(self.dtype) for r in results]


def check(layer: Layer, without: tuple[int, ...] = ()) -> None:
    """Both backends agree in values, shapes, dtypes and strides; `without` some of the gradients."""
    expected, found = layer.forward(reference), layer.forward(kernels)
    assert found[-1].ndim < 3, "the reference has computed this"
    for a, b in zip(expected[:-1], found[:-1], strict=True):
        assert (a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides)
        np.testing.assert_allclose(b, a, rtol=0, atol=TOLERANCE[layer.dtype])

    grad = layer.grads_like(expected[:-1])
    grad = [None if i in without else g for i, g in enumerate(grad)]
    expected_grads = layer.backward(reference, grad, expected[-1])
    for i, (a, b) in enumerate(
        zip(expected_grads, layer.backward(kernels, grad, found[-1]), strict=True)
    ):
        assert (a is None) == (b is None)
        if a is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            most = TOLERANCE[layer.dtype] * max(1, np.abs(a).max())
            np.testing.assert_allclose(b, a, rtol=0, atol=most, err_msg=f"gradient {i}")


def without_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgets what is known of shapes, now and after the test."""
    monkeypatch.setattr(kernels, "_forward_plans", kernels.Plans(kernels._forward_plan))
    monkeypatch.setattr(kernels, "_backward_plans", kernels.Plans(kernels._backward_plan))


@dataclass(frozen=True)
class Activation:
    """y[i] = function(x[i]) for a multiple of a vector's elements."""

    name: str
    element: str
    exports = ("kernel",)

    def write(self, module):
        """The loop."""
        f = module.function("kernel", x="ptr", y="ptr", n="i64")
        lanes, function = module.lanes(self.element), getattr(recurrent, self.name)
        x, y = f.pointer("x", self.element), f.pointer("y", self.element)
        f.loop(0, f.arg("n"), lambda i: y.store(function(x.load(i, lanes)), i), lanes)
        f.ret()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "most"), [("sigmoid", 2.5), ("tanh", 3.0)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gates_are_as_accurate_as_they_say(name, most, dtype):
    info = np.finfo(dtype)
    x = np.concatenate(
        [
            np.linspace(-25, 25, 200_000),
            np.linspace(-110, -80, 10_000),
            np.linspace(-750, -700, 10_000),
            np.geomspace(info.smallest_subnormal, 1, 20_000),
            -np.geomspace(info.smallest_subnormal, 1, 19_992),
            [np.inf, -np.inf, np.nan, 0.0, -0.0, info.max, info.min, 1.0],
        ]
    ).astype(dtype)
    spec = Activation(name, "float" if dtype == "f4" else "double")
    y = np.empty_like(x)
    kernel = build.library(spec).addresses["kernel"]
    call.through_ctypes(kernel, ("array", "array", "int"))(x, y, len(x))

    wide = x.astype(np.longdouble)
    small = np.exp(-np.abs(wide))
    exact = np.tanh(wide) if name == "tanh" else np.where(wide < 0, small, 1) / (1 + small)
    error = np.abs(y - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert np.nanmax(error) < most
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(y), np.signbit(x))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", LANES_SIZES)
@pytest.mark.parametrize("name", KINDS)
def test_a_small_layer_agrees_with_the_reference(name, sizes, batch_first):
    check(Layer(name, sizes, batch_first=batch_first))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("sizes", UNITS_SIZES)
@pytest.mark.parametrize("name", KINDS)
def test_a_larger_layer_agrees_with_the_reference(name, sizes, batch_first):
    check(Layer(name, sizes, batch_first=batch_first))
    check(Layer(name, sizes, "f8", batch_first=batch_first))


def test_a_layer_of_more_units_than_a_block_agrees_with_the_reference():
    check(Layer("gru", (6, 3, 10, 450)))


@pytest.mark.parametrize("name", KINDS)
def test_a_small_layer_in_float64_agrees_with_the_reference(name):
    check(Layer(name, (11, 5, 2, 9), "f8"))


@pytest.mark.parametrize("name", KINDS)
def test_a_reversed_layer_runs_from_the_last_step_to_the_first(name):
    for sizes in [(19, 7, 3, 5), (7, 4, 9, 37)]:
        check(Layer(name, sizes, reverse=True))
        check(Layer(name, sizes, reverse=True, batch_first=False))


@pytest.mark.parametrize("name", KINDS)
def test_a_cell_is_a_sequence_of_one_step(name):
    check(Layer(name, (5, 1, 3, 5), whole=False))
    check(Layer(name, (9, 1, 30, 40), whole=False))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_packed_sequences_agree_with_the_reference(name, reverse):
    for hidden in (3, 40):
        for packed in [(9, 7, 7, 2, 1), (4, 4, 4), (30,), (1,) * 9]:
            sizes = (packed[0], len(packed), 6, hidden)
            check(Layer(name, sizes, reverse=reverse, packed=packed))
            check(Layer(name, sizes, "f8", reverse=reverse, packed=packed), without=(0,))
            check(Layer(name, sizes, reverse=reverse, packed=packed, states=False), without=(1, 2))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_gives_the_same_bits_packed_and_alone(name, reverse):
    packed = (6, 6, 5, 3)  # sequence 0 has four steps, sequence 4 has three
    layer = Layer(name, (6, 4, 6, 40), reverse=reverse, packed=packed)
    starts = np.cumsum((0, *packed))
    found = layer.forward(kernels)

    for number, steps in ((0, 4), (4, 3)):
        rows = starts[:steps] + number
        alone = Layer(name, (3, steps, 6, 40), reverse=reverse, batch_first=False)
        alone.weights = layer.weights
        alone.input = np.repeat(layer.input[rows][:, None], 3, 1)
        alone.states = [np.repeat(s[:, number : number + 1], 3, 1) for s in layer.states]
        one = alone.forward(kernels)
        np.testing.assert_array_equal(one[0][:, 0], found[0][rows])
        for a, b in zip(one[1:-1], found[1:-1], strict=True):
            np.testing.assert_array_equal(a[0, 0], b[0, number])


@pytest.mark.parametrize("name", KINDS)
def test_biases_states_and_gradients_may_be_absent(name):
    for sizes in [(16, 3, 3, 5), (5, 3, 5, 40)]:
        check(Layer(name, sizes, biases=False, states=False), without=(1, 2))
        check(Layer(name, sizes), without=(0,))
        check(Layer(name, sizes), without=(0, 1, 2))


@pytest.mark.parametrize("sizes", [(6, 4, 3, 5), (6, 4, 3, 50)])
def test_inputs_and_gradients_may_have_any_strides(sizes):
    layer = Layer("gru", sizes)
    plain = layer.forward(kernels)
    grad = layer.grads_like(plain[:-1])
    expected = layer.backward(kernels, grad, plain[-1])
    for view in (
        np.repeat(layer.input, 2, 2)[:, :, ::2],
        np.repeat(layer.input, 2, 1)[:, ::2],
        layer.input.transpose(1, 0, 2).copy().transpose(1, 0, 2),
        layer.input[:, ::-1].copy()[:, ::-1],
    ):
        layer.input = view
        found = layer.forward(kernels)
        turned = [np.asfortranarray(g) for g in grad]

        np.testing.assert_array_equal(found[0], plain[0])
        for a, b in zip(expected, layer.backward(kernels, turned, found[-1]), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [(5, 3, 3, 5), (5, 3, 2, 30)])
def test_what_nobody_needs_is_not_given(sizes):
    layer = Layer("lstm", sizes)
    made = layer.forward(kernels)
    grad = layer.grads_like(made[:-1])
    everything = layer.backward(kernels, grad, made[-1])
    for needs in [(True, *(False,) * 7), (False,) * 3 + (True,) * 4 + (False,)]:
        layer.needs = needs
        for needed, a, b in zip(
            needs, everything, layer.backward(kernels, grad, made[-1]), strict=True
        ):
            assert (b is not None) == needed
            if needed:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [(37, 5, 3, 5), (37, 5, 3, 40)])
@pytest.mark.parametrize("name", KINDS)
def test_a_sequence_gives_the_same_bits_in_any_batch(name, sizes):
    layer = Layer(name, sizes)
    whole = layer.forward(kernels)

    layer.input = layer.input[20:23]
    layer.states = [s[:, 20:23] for s in layer.states]
    part = layer.forward(kernels)

    for a, b in zip(whole[:-1], part[:-1], strict=True):
        np.testing.assert_array_equal(a[20:23] if len(a) > 1 else a[:, 20:23], b)


@pytest.mark.parametrize(
    ("sizes", "packed"),
    [((9, 4, 20, 300), None), ((1200, 5, 3, 5), None), ((9, 4, 20, 300), (9, 7, 7, 2))],
)
@pytest.mark.parametrize("name", KINDS)
def test_threads_change_no_bit(name, sizes, packed, monkeypatch):
    layer = Layer(name, sizes, packed=packed)
    for module in (recurrent_large, recurrent_small):
        monkeypatch.setattr(module, "PARALLEL", 1)
    without_plans(monkeypatch)
    results = []
    for address in [lambda: 0, pool.address]:
        monkeypatch.setattr(pool, "address", address)
        made = layer.forward(kernels)
        grad = [np.ones_like(m) for m in made[:-1]]
        results.append([*made[:-1], *layer.backward(kernels, grad, made[-1])])

    for a, b in zip(*results, strict=True):
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, which ops switch off
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("hidden", [5, 40])
@pytest.mark.parametrize("name", KINDS)
def test_a_bad_number_spoils_its_own_sequence_only(name, hidden, value):
    layer = Layer(name, (5, 4, 3, hidden))
    layer.input[4, 1, 1] = value
    expected, found = layer.forward(reference), layer.forward(kernels)

    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(expected[0]))
    assert np.isfinite(found[0][:4]).all()

    # Lanes past the last sequence repeat it, but they are no part of the weights' gradients.
    grad = [g * 0 for g in layer.grads_like(found[:-1])]
    grad[0][:4] = 1
    expected_grads = layer.backward(reference, grad, expected[-1])
    for a, b in zip(expected_grads, layer.backward(kernels, grad, found[-1]), strict=True):
        if a is not None and np.isfinite(a).all():
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * np.abs(a).max())


def test_no_kernel_is_compiled_for_another_batch_or_length():
    for sizes in [(1, 1), (40, 3), (3, 40)]:
        layer = Layer("gru", (*sizes, 3, 5))
        made = layer.forward(kernels)
        layer.backward(kernels, layer.grads_like(made[:-1]), made[-1])
    before = dict(build.counts)

    for batch, steps in [(17, 2), (2, 17), (33, 9)]:
        layer = Layer("gru", (batch, steps, 3, 5))
        made = layer.forward(kernels)
        layer.backward(kernels, layer.grads_like(made[:-1]), made[-1])

    assert build.counts == before


@pytest.mark.parametrize("batch_first", [True, False])
def test_nothing_is_written_past_the_end_of_a_result(batch_first):
    batch, steps, inputs, hidden = 19, 3, 3, 5
    lanes = machine.host().lanes(4)
    guarded = []

    def room(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        whole = np.full(count + 64, 7, np.float32)
        guarded.append(whole[count:])
        return whole[:count].reshape(shape)

    layer = Layer("gru", (batch, steps, inputs, hidden), batch_first=batch_first)
    rows = (steps * inputs, inputs) if batch_first else (inputs, batch * inputs)
    groups = -(-batch // lanes)
    fixed, each = tape_vectors("gru", inputs, hidden, lanes)
    tape = room(groups * (fixed + steps * each) * lanes)
    forward = recurrent_arrays.function(
        LanesForward("gru", "float", inputs, hidden, batch_first), "kernel"
    )
    forward(
        0, layer.input, *layer.states, *layer.weights, room(steps, batch, hidden), room(batch, hidden),
        tape, batch, steps, *rows, 0, 1, 1,
    )  # fmt: skip
    spec = LanesBackward("gru", "float", inputs, hidden, batch_first, "none", True, True)
    backward = recurrent_arrays.function(spec, "kernel")
    fixed, each = spec.scratch_vectors(lanes)
    backward(
        0, tape, *layer.states, *layer.weights[:2], tape, room(*layer.input.shape), room(batch, hidden),
        room((groups * spec.sums + fixed + steps * each) * lanes), room(3 * hidden, inputs), room(3 * hidden, hidden),
        room(3 * hidden), room(3 * hidden), batch, steps, 0, 1, 0, 0, *rows, 1, groups, 0,
    )  # fmt: skip

    assert all((guard == 7).all() for guard in guarded)


@pytest.mark.parametrize("sizes", [(9, 4, 3, 5), (9, 4, 3, 40)])
def test_calls_on_the_pool_give_the_same(sizes, monkeypatch):
    for module in (recurrent_large, recurrent_small):
        monkeypatch.setattr(module, "PARALLEL", 1)
    without_plans(monkeypatch)

    check(Layer("lstm", sizes))


def test_other_arrays_go_to_the_reference():
    assert Layer("gru", (3, 2, 2, 3), packed=(3, 2)).forward(kernels)[-1].ndim == 3  # too few rows
    assert Layer("gru", (9, 4, 2, 3), "f2").forward(kernels)[-1].ndim == 3


@pytest.mark.parametrize(
    ("target", "triple"),
    [("avx2", "x86_64-unknown-linux-gnu"), ("neon", "aarch64-unknown-linux-gnu")],
)
def test_code_for_other_processors_compiles(target, triple):
    other = machine.cross(target, triple)

    assert build.assembly(LanesForward("lstm", "float", 2, 2, True), other)
    assert build.assembly(LanesBackward("gru", "double", 2, 2, False, "steps", True, True), other)
    assert build.assembly(UnitsForward("lstm", "double"), other)
    assert build.assembly(UnitsBackward("gru", "float"), other)


@pytest.mark.skipif(machine.host().target != "avx512", reason="the tests themselves run on it")
def test_kernels_for_avx2_agree_with_the_reference_too():
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from backends.llvm import test_recurrent as t\n"
        "assert t.machine.host().target == 'avx2'\n"
        "for name in t.KINDS:\n"
        "    t.check(t.Layer(name, (11, 4, 2, 9)))\n"
        "    t.check(t.Layer(name, (9, 4, 3, 3), 'f8', batch_first=False))\n"
        "    t.check(t.Layer(name, (9, 4, 3, 45)))\n"
        "    t.check(t.Layer(name, (9, 4, 3, 45), 'f8', batch_first=False))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TAPER_TARGET": "avx2"},
        check=True,
        timeout=120,
    )
