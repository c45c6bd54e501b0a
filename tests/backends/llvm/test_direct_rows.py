"""Small folds and softmaxes as one built-in: the kernels' bits, shapes, what it leaves alone."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm import direct_rows, objects
from taper.backends.llvm.functions import fold, rows

pytestmark = pytest.mark.skipif(not objects.readable(), reason="objects of another layout")

QUICK = {
    "sum": (fold._quick_sum, "sum"),
    "mean": (fold._quick_mean, "sum"),
    "prod": (fold._quick_prod, "product"),
}
SHAPES = [(5,), (300,), (2000,), (8, 8), (3, 300), (300, 3), (2, 3, 4), (5, 300, 3), (4, 1, 6),
          (1, 7, 1), (128, 40), (300, 40), (70, 700), (2048, 2), (2, 2, 2, 2, 2)]  # fmt: skip


def elements(shape: tuple[int, ...], code: str) -> np.ndarray:
    x = np.random.default_rng(len(shape)).normal(size=shape).astype(code)
    x.reshape(-1)[3:4] = np.nan
    return x


@pytest.mark.parametrize("code", ["f", "d"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", QUICK)
def test_folds_have_the_bits_of_the_general_way(
    name: str, shape: tuple[int, ...], code: str
) -> None:
    quick, kind = QUICK[name]
    x = elements(shape, code)
    for axis in [None, *range(-len(shape), len(shape)), (len(shape) - 1,)]:
        for keepdims in (False, True):
            plan = fold._plan(kind, x, axis, keepdims)
            made = None if plan is None else quick(x, axis, keepdims)
            if made is None:
                continue
            wanted = plan(x)
            if name == "mean":
                wanted /= x.size // wanted.size
            assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
            assert made.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_are_numpys(name: str) -> None:
    for shape in SHAPES:
        x = elements(shape, "f")
        for axis in (None, 0, -1):
            for _ in range(2):  # at the second time by the built-in
                made = getattr(fold, name)(x, axis=axis)
                np.testing.assert_array_equal(made, getattr(np, name)(x, axis=axis))


def test_the_usual_shapes_are_taken() -> None:
    x = np.ones((64, 96), np.float32)
    for axis in (None, 0, 1, -1, (0,), (1,)):
        fold.sum(x, axis)
        assert fold._quick_sum(x, axis, False) is not None
        assert fold._quick_mean(x, axis, True) is not None
    assert fold.directly("sum")(x).shape == ()


def test_leaves_to_others_what_it_does_not_take() -> None:
    x = np.ones((40, 40), np.float32)
    fold.sum(x, 1)
    quick = fold._quick_sum
    for given in [
        (x.T, 1, False), (x[:, ::2], 1, False), (x.astype("e"), 1, False), (x.astype("l"), 1, False),
        (x, 2, False), (x, -3, False), (x, (0, 1), False), (x, (), False), (x, 1.0, False),
        (x, True, False), (x, 1, 0), (x, 1, None), (x, 1), (x,), (np.ones(()), 0, False),
        (x[:0], 0, False), (x[:1], 0, False), (x.tolist(), 1, False),
        (np.ones((1 << 17,), "f"), None, False), (np.ones((2,) * 9, "f"), 0, False),
    ]:  # fmt: skip
        assert quick(*given) is None
    assert quick(np.ones((3, 171), "d"), 1, False) is None  # no kernel of this width yet


@pytest.mark.parametrize("code", ["f", "d"])
@pytest.mark.parametrize("shape", [(7,), (33,), (8, 8), (3, 5, 40), (2, 300), (1, 1000)])
@pytest.mark.parametrize("logarithm", [False, True])
def test_softmaxes_have_the_bits_of_the_general_way(
    shape: tuple[int, ...], code: str, logarithm: bool
) -> None:
    x = elements(shape, code)
    x[np.isnan(x)] = 0
    name = "log_softmax" if logarithm else "softmax"
    quick, quick_grad = getattr(rows, f"_quick_{name}"), getattr(rows, f"_quick_{name}_grad")
    wanted = rows._softmax(x, -1, logarithm)
    made = quick(x, -1)
    assert (wanted is None) == (made is None)
    if made is None:
        return
    assert made.tobytes() == wanted.tobytes() and made.shape == shape
    right = rows._softmax_grad(x, made, -1, logarithm)
    assert quick_grad(x, made, len(shape) - 1).tobytes() == right.tobytes()
    assert quick_grad(x[:0], made, -1) is None
    assert quick(x, 0 if len(shape) > 1 else 1) is None


def test_counts_references_right() -> None:
    x = np.ones((8, 8), np.float32)
    fold.sum(x, 1), rows.softmax(x, 1)
    held = [x, x.dtype, None, True, False]
    before = [sys.getrefcount(each) for each in held]
    for _ in range(1000):
        fold._quick_sum(x, 1, False), fold._quick_sum(x, None, True), fold._quick_sum(x, 5, False)
        rows._quick_softmax(x, 1)
    after = [sys.getrefcount(each) for each in held]
    assert all(abs(now - then) < 20 for now, then in zip(after, before, strict=True))


def test_a_tensor_is_folded_by_it() -> None:
    x = taper.arange(12, dtype=taper.float32).reshape(3, 4).requires_grad_()
    for _ in range(2):
        assert x.sum().item() == 66 and x.mean().item() == 5.5 and x.max().item() == 11
        assert x.sum(1).tolist() == [6, 22, 38] and x.mean(0).tolist() == [4, 5, 6, 7]
    x.mean().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [np.float32(1 / 12)] * 12
    assert direct_rows.built_in("add_all", "sum")(x.detach().numpy()).item() == 66
