"""Every op that computes element by element: as one kernel it gives what numpy gives step by step."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from op_samples import ATTRS, DOMAIN, INTEGER
from taper.backends import reference
from taper.backends.llvm import build
from taper.backends.llvm.functions import fusing
from taper.backends.llvm.functions import pointwise as functions
from taper.op import REGISTRY, VALUE
from taper.ops import load_all

load_all()
SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 200.0, -200.0)
ELEMENTS = sorted(name for name, op in REGISTRY.items() if op.elements)
OPTIONS = {
    "LeakyReluGrad": {"slope": 0.1},
    "ZeroInside": {"low": -1.0, "high": 0.5},
    "ZeroOutside": {"low": -1.0, "high": 0.5},
}


def plain_of(op, name: str):
    """A method of the op as it was written, without what @op did to it."""
    return getattr(type(op), name).__get__(op)


def operands(name: str, count: int, dtype=np.float32, special: bool = False) -> list[np.ndarray]:
    """Arrays within the op's domain, or with every pair of special numbers."""
    if name in INTEGER:
        return [np.random.default_rng(i).integers(1, 9, (8, 40)) for i in range(count)]
    low, high = DOMAIN.get(name, (-3.0, 3.0))
    made = [
        np.random.default_rng(i).uniform(low, high, (8, 40)).astype(dtype) for i in range(count)
    ]
    if special:
        grid = np.meshgrid(*[SPECIAL] * min(count, 2))
        for x, values in zip(made, grid, strict=False):
            x.reshape(-1)[: values.size] = values.reshape(-1)
    return made


def near(found, wanted, dtype) -> None:
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.dtype == wanted.dtype
    wanted = np.broadcast_to(wanted, found.shape)
    bound = 64 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("name", ELEMENTS)
def test_a_formula_as_one_kernel_agrees_with_numpy(name, special):
    op = REGISTRY[name]
    formula = plain_of(op, "formula" if op.elementwise else "forward")
    attrs = ATTRS.get(name, OPTIONS.get(name, {}))
    for dtype in (np.float32, np.float64):
        arrays = operands(name, len(op.inputs), dtype, special)
        kinds = "".join(x.dtype.char for x in arrays)
        found = functions._formula(formula, kinds, attrs)
        if found is None:
            pytest.skip("this formula is left to numpy")
        made = found.run(arrays, [])
        token = reference.silence()
        try:
            wanted = formula(reference.math, *arrays, **attrs)
        finally:
            reference.restore(token)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for got, right in zip(made, wanted, strict=True):
            near(got, right, dtype)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    "name", [n for n in ELEMENTS if REGISTRY[n].vjp is not None and not REGISTRY[n].wants_needs]
)
def test_a_derivative_as_one_kernel_agrees_with_numpy(name, special):
    op = REGISTRY[name]
    attrs = ATTRS.get(name, OPTIONS.get(name, {}))
    for dtype in (np.float32, np.float64):
        arrays = operands(name, len(op.inputs), dtype, special)
        token = reference.silence()
        try:
            out = plain_of(op, "formula")(reference.math, *arrays, **attrs)
            if isinstance(out, tuple) or out.dtype.kind != "f":
                pytest.skip("its result has no derivative, or it has several")
            grad = np.random.default_rng(9).normal(size=out.shape).astype(dtype)
            saved = [x if kind == VALUE else None for x, kind in zip(arrays, op.plan, strict=True)]
            given = (grad, out if op.saves_out else None, *saved)
            vjp = plain_of(op, "vjp")
            kinds = functions._kinds(given)
            found = functions._Derivative(vjp, kinds, attrs)
            if found.formula is None or found.formula.light:
                pytest.skip("this derivative is left to numpy")
            made = found.gradients(grad, found.formula.run(*functions._split(given)))
            wanted = vjp(reference.math, *given, **attrs)
        finally:
            reference.restore(token)
        assert isinstance(made, tuple) == isinstance(wanted, tuple)
        if not isinstance(made, tuple):
            made, wanted = (made,), (wanted,)
        for got, right in zip(made, wanted, strict=True):
            assert (got is None) == (right is None)
            if got is not None:
                near(got, right, dtype)


class Plain:
    """An op with what @op would have filled in."""

    def __init__(self, run, vjp=None) -> None:
        self.run, self.vjp, self.wants_needs, self.takes_attrs = run, vjp, False, True


def test_an_attribute_that_changes_at_each_call_stops_making_kernels():
    op = Plain(lambda m, x, *, by: (x * by + 1) * by)
    fusing.fuse(op)
    x = np.ones(1000, np.float32)
    before = build.counts["compiled"] + build.counts["disk"]
    for i in range(100):
        np.testing.assert_array_equal(
            op.run(reference.math, x, by=i + 0.5), (x * (i + 0.5) + 1) * (i + 0.5)
        )

    made = build.counts["compiled"] + build.counts["disk"] - before
    assert made == fusing.MOST_WAYS


def test_an_op_that_no_kernel_can_do_is_given_back_as_it_was():
    def plain(m, x):
        return m.cumsum(x) * 0 + 2

    op = Plain(plain)
    fusing.fuse(op)
    assert op.run is not plain

    np.testing.assert_array_equal(op.run(reference.math, np.ones(1000)), np.full(1000, 2.0))
    assert op.run is plain


SLOW = {
    "maximum": lambda m, x: m.maximum(0, x),
    "minimum": lambda m, x: m.minimum(x, 0.5),
    "sign": lambda m, x: m.sign(x),
    "sqrt": lambda m, x: m.sqrt(x),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_single_step_that_numpy_is_slow_at_runs_as_a_kernel(name):
    """Of many elements; a few are numpy's. The bits are the same."""
    seen = []
    op = Plain(lambda m, x: seen.append(m) or SLOW[name](m, x))
    fusing.fuse(op)
    many = np.random.default_rng(0).normal(size=3000).astype(np.float32)
    many[:5] = np.nan, np.inf, -np.inf, -0.0, 1e-45

    with np.errstate(invalid="ignore"):
        few = op.run(reference.math, many[:1000])
        assert seen[-1] is reference.math
        seen.clear()
        found = op.run(reference.math, many)
        expected = SLOW[name](np, many)

    assert seen == []
    np.testing.assert_array_equal(found.view(np.int32)[5:], expected.view(np.int32)[5:])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(few, expected[:1000])


def test_few_elements_stay_with_numpy():
    seen = []
    op = Plain(lambda m, x: seen.append(m) or x * x + 1)
    fusing.fuse(op)

    op.run(reference.math, np.ones(4, np.float32))

    assert seen == [reference.math]


def test_numbers_among_the_operands_are_given_at_run_time():
    op = Plain(lambda m, x, y, scale: x * scale + y * scale)
    fusing.fuse(op)
    x, y = np.random.default_rng(0).normal(size=(2, 500)).astype(np.float32)
    before = dict(build.counts)
    for scale in (2.0, 3, 0.25):
        found = op.run(reference.math, x, y, scale)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x * scale + y * scale)

    assert sum(build.counts.values()) - sum(before.values()) == 2  # one for ints, one for floats


def test_a_gradient_that_passes_through_is_not_copied():
    op = Plain(lambda m, *x: x[0], lambda m, grad, out, x, y: (grad, grad * y * y, None))
    fusing.fuse(op)
    grad, x, y = np.random.default_rng(0).normal(size=(3, 500))

    to_x, to_y, none = op.vjp(reference.math, grad, None, x, y)

    assert to_x is grad and none is None
    np.testing.assert_array_equal(to_y, grad * y * y)
