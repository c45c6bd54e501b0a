"""The convolution kernels against their meaning in numpy, and `m.convolution` against the reference."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import convolution as reference
from taper.backends.llvm import build, call, machine, pool
from taper.backends.llvm.conv import Forward
from taper.backends.llvm.conv_adjoints import InputGrad, WeightGrad
from taper.backends.llvm.conv_shape import Shape
from taper.backends.llvm.functions import conv, conv_plans

DTYPES = {"float": np.float32, "double": np.float64}
# Relative to the largest result; the sums of a check are of some hundred products.
TOLERANCE = {"float": 1e-5, "double": 1e-13}
GUARD = 7.5


def shape(channels, size, outputs, kernel, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
          groups=1):  # fmt: skip
    out = reference.out_size(size, kernel, stride, padding, dilation)
    return Shape(channels, outputs, size, out, kernel, stride, padding, dilation, groups)


SHAPES = {
    "odd sizes": shape(3, (9, 11), 5, (3, 3)),
    "two strides": shape(4, (12, 21), 20, (3, 2), (2, 3), (2, 1)),
    "dilated": shape(6, (17, 19), 40, (3, 3), (1, 1), (2, 2), (2, 2)),
    "groups": shape(6, (10, 33), 9, (3, 3), (2, 1), (1, 1), (1, 2), 3),
    "wide groups": shape(32, (8, 8), 48, (3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise": shape(8, (7, 7), 8, (3, 3), (1, 1), (1, 1), (1, 1), 8),
    "depthwise, stride 2": shape(8, (15, 15), 16, (3, 3), (2, 2), (1, 1), (1, 1), 8),
    "one position": shape(18, (8, 8), 70, (1, 1)),
    "one position, stride 2": shape(18, (9, 8), 33, (1, 1), (2, 2)),
    "one position, aliased planes": shape(16, (16, 16), 33, (1, 1)),
    "large kernel": shape(3, (23, 40), 64, (7, 7), (2, 2), (3, 3)),
    "signal": shape(5, (1, 30), 8, (1, 3)),
    "short signal": shape(8, (1, 14), 4, (1, 3)),
    "long kernel": shape(2, (1, 90), 3, (1, 40), (1, 3), (0, 9)),
    "more padding than kernel": shape(2, (6, 5), 3, (2, 2), (1, 1), (3, 4)),
    "stride beyond the kernel": shape(2, (6, 6), 3, (2, 2), (3, 3)),
    "many phases": shape(3, (17, 22), 5, (7, 6), (3, 4), (2, 1)),
    "patches": shape(3, (12, 20), 33, (4, 4), (4, 4)),
    "long steps": shape(2, (1, 150), 3, (1, 45), (1, 20)),
    "wide kernel": shape(2, (18, 19), 2, (9, 9), (1, 1), (4, 4)),
    "tiny images": shape(20, (4, 4), 40, (3, 3), (1, 1), (1, 1)),
    "two tiles a row": shape(33, (5, 18), 16, (3, 3), (1, 1), (1, 2), (1, 2)),
    "tiny images, stride 2": shape(33, (7, 8), 32, (3, 5), (2, 2), (1, 3)),
    "one element": shape(1, (1, 1), 1, (1, 1)),
    "LeNet's first": shape(1, (28, 28), 6, (5, 5), (1, 1), (2, 2)),
    "LeNet's second": shape(6, (14, 14), 16, (5, 5)),
}
LARGE = {
    "larger than the cache": shape(2, (57, 61), 65, (3, 2), (1, 1), (1, 0)),
    "one position, larger than the cache": shape(3, (61, 43), 80, (1, 1)),
}
CASES = [
    *((name, "float", "") for name in SHAPES),
    *(("two strides", "double", strategy) for strategy in ("", "channels", "pixels")),
    ("many phases", "float", "channels"),
    *((name, "float", "channels") for name in ("groups", "odd sizes", "long kernel")),
    *((name, "float", "pixels") for name in ("dilated", "wide groups", "large kernel")),
    ("LeNet's second", "double", ""),
    ("signal", "double", ""),
]


def guarded(dims, dtype):
    """An array of these dimensions and the whole memory it lies in, with numbers behind it."""
    count = int(np.prod(dims))
    memory = np.full(count + 64, GUARD, dtype)
    return memory[:count].reshape(dims), memory


def run(spec, name, kinds, *arguments):
    call.through_ctypes(build.library(spec).addresses[name], kinds)(*arguments)


def over(spec, images, *arrays):
    """Runs the kernel on a batch in two ranges, the second before the first."""
    piece = -(-images // 2)
    for first in (1, 0):
        kinds = (*spec.KINDS, "int", "int")
        run(spec, "kernel", kinds, *arrays, piece, images, first, first + 1)
    assert np.isnan(arrays[-1].base[arrays[-1].size :]).all()


def scratch_of(spec, dtype):
    """Scratch for two ranges, all nan, in memory that goes on behind it."""
    count = spec.scratch(machine.host(), 2)
    return np.full(count + 64, np.nan, dtype)[:count]


def packed(spec, w):
    """Scratch that is nan but for the packed weight."""
    scratch = scratch_of(spec, w.dtype)
    run(spec, "pack", ("array", "array"), w, scratch)
    return scratch


def check(made, memory, expected, tolerance):
    assert (memory[made.size :] == GUARD).all()
    np.testing.assert_allclose(made, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def drawn(*dims, seed=0, dtype=np.float32):
    return (np.random.default_rng([seed, *dims]).random(dims) - 0.5).astype(dtype)


@pytest.mark.parametrize("size", [4, 18])
def test_the_rounding_of_long_sums_does_not_grow_with_their_length(size):
    """One sum of 2,304 products after the other would be off by 8e-7 of the typical result."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, 256, size, size)).astype(np.float32)
    w = draw.standard_normal((32, 256, 3, 3)).astype(np.float32)
    geometry = (1, 1), (1, 1), (1, 1), 1

    for made, exact in (
        (
            conv.convolution(x, w, None, *geometry),
            reference.convolution(x.astype("d"), w.astype("d"), None, *geometry),
        ),
        (
            conv.convolution_transposed(x, np.swapaxes(w, 0, 1), (size, size), *geometry),
            reference.convolution_transposed(
                x.astype("d"), np.swapaxes(w, 0, 1).astype("d"), (size, size), *geometry
            ),
        ),
    ):
        assert np.sqrt(np.square(made - exact).mean() / np.square(exact).mean()) < 2.5e-7


@pytest.mark.parametrize(("name", "element", "strategy"), CASES)
@pytest.mark.parametrize("relu", [False, True])
def test_the_forward_kernel_gives_its_meaning(name, element, strategy, relu):
    s, dtype = SHAPES[name], DTYPES[element]
    x, bias = drawn(3, s.channels, *s.size, dtype=dtype), drawn(s.outputs, dtype=dtype)
    w = drawn(s.outputs, s.channels_each, *s.kernel, dtype=dtype)
    spec = Forward(s, element, strategy, bias=not relu, relu=relu)
    y, memory = guarded((3, s.outputs, *s.out), dtype)

    over(spec, 3, x, w if relu else bias, y, packed(spec, w))

    expected = spec.interpret(x.astype("d"), w.astype("d"), None if relu else bias.astype("d"))
    check(y, memory, expected, TOLERANCE[element])


@pytest.mark.parametrize(
    ("name", "element", "strategy"),
    [
        *CASES,
        ("odd sizes", "float", "images"),
        ("dilated", "double", "images"),
        ("LeNet's first", "float", "images"),
    ],
)
def test_the_kernel_of_the_inputs_gradient_gives_its_meaning(name, element, strategy):
    s, dtype = SHAPES[name], DTYPES[element]
    grad = drawn(3, s.outputs, *s.out, dtype=dtype)
    w = drawn(s.outputs, s.channels_each, *s.kernel, dtype=dtype)
    spec = InputGrad(s, element, strategy)
    dx, memory = guarded((3, s.channels, *s.size), dtype)

    over(spec, 3, grad, dx, packed(spec, w))

    check(dx, memory, spec.interpret(grad.astype("d"), w.astype("d")), TOLERANCE[element])


@pytest.mark.parametrize(("name", "element", "strategy"), CASES)
def test_the_kernel_of_the_weights_gradient_gives_its_meaning(name, element, strategy):
    s, dtype = SHAPES[name], DTYPES[element]
    x, grad = drawn(3, s.channels, *s.size, dtype=dtype), drawn(3, s.outputs, *s.out, dtype=dtype)
    spec = WeightGrad(s, element, strategy)
    dw, behind_dw = guarded((s.outputs, s.channels_each, *s.kernel), dtype)
    db, behind_db = guarded((s.outputs,), dtype)
    sums = np.full(2 * spec.sums(machine.host()), np.nan, dtype)
    scratch = scratch_of(spec, dtype)

    over(spec, 3, x, grad, sums, scratch)
    run(spec, "finish", spec.FINISH, sums, dw, db, 2)

    to_w, to_b = spec.interpret(x.astype("d"), grad.astype("d"))
    check(dw, behind_dw, to_w, TOLERANCE[element])
    check(db, behind_db, to_b, TOLERANCE[element])


WINOGRAD = {
    "many channels": shape(33, (14, 37), 45, (3, 3), (1, 1), (2, 0)),
    "one tile": shape(32, (4, 4), 32, (3, 3), (1, 1), (1, 1)),
    "rows of tiles": shape(32, (9, 11), 64, (3, 3)),
}


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", WINOGRAD)
def test_winograds_method_gives_the_same_within_its_error(name, element):
    s, dtype = WINOGRAD[name], DTYPES[element]
    x, bias = drawn(3, s.channels, *s.size, dtype=dtype), drawn(s.outputs, dtype=dtype)
    w = drawn(s.outputs, s.channels, 3, 3, dtype=dtype)
    grad = drawn(3, s.outputs, *s.out, dtype=dtype)
    forward = Forward(s, element, "winograd", relu=name == "one tile")
    backward = InputGrad(s, element, "winograd")
    y, behind_y = guarded(grad.shape, dtype)
    dx, behind_dx = guarded(x.shape, dtype)

    over(forward, 3, x, bias, y, packed(forward, w))
    over(backward, 3, grad, dx, packed(backward, w))

    exact = [a.astype("d") for a in (x, w, bias)]
    check(y, behind_y, forward.interpret(*exact), 5 * TOLERANCE[element])
    expected = backward.interpret(grad.astype("d"), w.astype("d"))
    check(dx, behind_dx, expected, 5 * TOLERANCE[element])


def test_winograds_method_waits_until_it_is_asked_for(monkeypatch):
    s = WINOGRAD["many channels"]

    monkeypatch.delenv("TAPER_WINOGRAD", raising=False)
    assert conv_plans.strategy(s, np.dtype("f")) == ""
    monkeypatch.setenv("TAPER_WINOGRAD", "1")
    assert conv_plans.strategy(s, np.dtype("f")) == "winograd"
    assert conv_plans.strategy(SHAPES["odd sizes"], np.dtype("f")) == ""


@pytest.mark.parametrize("name", LARGE)
def test_a_gradient_larger_than_the_cache_is_taken_by_rows(name):
    s = LARGE[name]
    x, grad = drawn(1, s.channels, *s.size), drawn(1, s.outputs, *s.out)
    small = WeightGrad(s)._rows(s, machine.host()) < s.out[0]
    dw, behind = guarded((s.outputs, s.channels_each, *s.kernel), np.float32)
    spec = WeightGrad(s, bias=False)
    sums = np.full(spec.sums(machine.host()), np.nan, np.float32)

    kinds = (*spec.KINDS, "int", "int")
    run(spec, "kernel", kinds, x, grad, sums, scratch_of(spec, np.float32), 1, 1, 0, 1)
    run(spec, "finish", spec.FINISH, sums, dw, dw, 1)

    assert small
    check(dw, behind, spec.interpret(x.astype("d"), grad.astype("d"))[0], 1e-5)


GEOMETRY = ((2, 1), (1, 2), (1, 1), 2)


def arrays(images, dtype=np.float32):
    x, w = drawn(images, 4, 9, 7, dtype=dtype), drawn(6, 2, 3, 3, dtype=dtype)
    grad = drawn(images, 6, *reference.out_size((9, 7), (3, 3), *GEOMETRY[:3]), dtype=dtype)
    return x, w, drawn(6, dtype=dtype), grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.complex64])
@pytest.mark.parametrize("images", [0, 1, 37])
def test_the_functions_agree_with_the_reference(images, dtype):
    x, w, bias, grad = arrays(images, dtype)
    close = {"rtol": 1e-3 if dtype == np.float16 else 1e-5, "atol": 1e-2 if images else 0}
    if dtype in (np.float32, np.float64):
        close["atol"] = 1e-5

    for ours, expected in (
        (conv.convolution(x, w, bias, *GEOMETRY), reference.convolution(x, w, bias, *GEOMETRY)),
        (
            conv.convolution_transposed(grad, w, (9, 7), *GEOMETRY),
            reference.convolution_transposed(grad, w, (9, 7), *GEOMETRY),
        ),
        *zip(
            conv.convolution_gradients(x, w, grad, (True, True, True), *GEOMETRY),
            reference.convolution_gradients(x, w, grad, (True, True, True), *GEOMETRY),
            strict=True,
        ),
    ):
        assert ours.dtype == expected.dtype == dtype
        np.testing.assert_allclose(ours, expected, **close)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1, 1), (0, 0, 0), (1, 1, 1), 1),
        ((2, 1, 2), (1, 2, 0), (1, 1, 1), 2),
        ((1, 2, 1), (3, 0, 1), (2, 1, 1), 1),
        ((3, 1, 1), (0, 0, 0), (1, 1, 2), 2),
    ],
)
def test_volumes_are_stacks_of_images(stride, padding, dilation, groups):
    geometry = stride, padding, dilation, groups
    x, w = drawn(3, 4, 7, 9, 8, dtype="d"), drawn(6, 4 // groups, 3, 2, 3, dtype="d")
    bias = drawn(6, dtype="d")

    y = conv.convolution(x, w, bias, *geometry)
    made = conv.convolution_gradients(x, w, y, (True, True, True), *geometry)

    np.testing.assert_allclose(y, reference.convolution(x, w, bias, *geometry), atol=1e-12)
    expected = reference.convolution_gradients(x, w, y, (True, True, True), *geometry)
    for ours, meant in zip(made, expected, strict=True):
        np.testing.assert_allclose(ours, meant, atol=1e-11)


def test_gradients_that_nobody_needs_are_none():
    x, w, _, grad = arrays(2)

    made = conv.convolution_gradients(x, w, grad, (True, False, False), *GEOMETRY)
    assert made[0] is not None and made[1] is made[2] is None
    made = conv.convolution_gradients(x, w, grad, (False, True, False), *GEOMETRY)
    assert made[1] is not None and made[0] is made[2] is None
    made = conv.convolution_gradients(x, w, grad, (False, False, True), *GEOMETRY)
    assert made[2] is not None and made[0] is made[1] is None


def test_other_strides_of_memory_give_the_same():
    x, w, bias, _ = arrays(3)
    expected = conv.convolution(x, w, bias, *GEOMETRY)
    turned = np.asfortranarray(x), np.ascontiguousarray(w[..., ::-1])[..., ::-1]

    assert (conv.convolution(*turned, bias, *GEOMETRY) == expected).all()


@pytest.mark.parametrize("name", ["odd sizes", "LeNet's first", "wide groups", "signal"])
def test_an_image_gives_the_same_bits_in_every_batch(name):
    s = SHAPES[name]
    geometry = s.stride, s.padding, s.dilation, s.groups
    x, w = drawn(35, s.channels, *s.size), drawn(s.outputs, s.channels_each, *s.kernel)

    y = conv.convolution(x, w, None, *geometry)
    dx = conv.convolution_transposed(y, w, s.size, *geometry)

    for i in (0, 20, 34):
        own = conv.convolution(x[i : i + 1], w, None, *geometry)
        assert (own == y[i]).all()
        assert (conv.convolution_transposed(own, w, s.size, *geometry) == dx[i]).all()


def test_threads_change_no_bit(monkeypatch):
    s = SHAPES["LeNet's second"]
    geometry = s.stride, s.padding, s.dilation, s.groups
    x, w = drawn(90, s.channels, *s.size), drawn(s.outputs, s.channels_each, *s.kernel)
    grad = drawn(90, s.outputs, *s.out)

    def all_of_it():
        return (
            conv.convolution(x, w, None, *geometry),
            *conv.convolution_gradients(x, w, grad, (True, True, True), *geometry),
        )

    monkeypatch.setattr(pool, "address", lambda: 0)
    alone = all_of_it()
    with_two = pool.Pool(2)
    try:
        monkeypatch.setattr(pool, "address", lambda: with_two.address)
        for ours, expected in zip(all_of_it(), alone, strict=True):
            assert (ours == expected).all()
    finally:
        with_two.close()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["odd sizes", "LeNet's first", "groups", "depthwise"])
def test_nan_and_inf_reach_what_they_belong_to_and_nothing_else(bad, name):
    s = SHAPES[name]
    geometry = s.stride, s.padding, s.dilation, s.groups
    x, w = drawn(3, s.channels, *s.size), drawn(s.outputs, s.channels_each, *s.kernel)
    grad = drawn(3, s.outputs, *s.out)
    x[1, 0, 0, 0] = x[2, -1, -1, -1] = grad[0, 0, 0, -1] = bad

    made = (
        conv.convolution(x, w, None, *geometry),
        *conv.convolution_gradients(x, w, grad, (True, True, True), *geometry),
    )

    with np.errstate(invalid="ignore"):
        expected = (
            Forward(s).interpret(x, w),
            InputGrad(s).interpret(grad, w),
            *WeightGrad(s).interpret(x, grad),
        )
    for ours, meant in zip(made, expected, strict=True):
        assert (np.isfinite(ours) == np.isfinite(meant)).all()


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="this is the restricted run")
def test_the_kernels_of_a_smaller_processor_pass_these_tests():
    if machine.host().target != "avx512":
        pytest.skip("the tests themselves run on a smaller one")
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__,
         "-k", "(meaning or winograds or bits) and not True"],
        env={**os.environ, "TAPER_TARGET": "avx2"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout[-3000:]


@pytest.mark.parametrize("kind", [Forward, InputGrad, WeightGrad])
def test_the_kernels_compile_for_arm(kind):
    arm = machine.cross("neon", "aarch64-unknown-linux-gnu")

    assert "fmla" in build.assembly(kind(SHAPES["two strides"]), arm)
