"""Small arrays put together by one built-in: values, what it leaves alone, references."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends.llvm import direct_join, objects
from taper.backends.llvm.functions import join

pytestmark = pytest.mark.skipif(not objects.readable(), reason="objects of another layout")


def arrays(shapes: list[tuple[int, ...]], code: str) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [(draw.normal(size=s) * 9).astype(objects.dtype_of(code)) for s in shapes]


def same(one: object, other: object) -> bool:
    assert isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.mark.parametrize("code", objects.CODES)
def test_arrays_come_one_after_the_other(code: str) -> None:
    if code == "E":
        pytest.importorskip("ml_dtypes")
    join_them = direct_join.built_in("concatenate")
    for axis, extents in ((0, (2, 5, 1)), (1, (3, 0, 4)), (2, (7, 1)), (-1, (1, 1)), (-3, (4,))):
        shapes = []
        for n in extents:
            shape = [3, 4, 5]
            shape[axis] = n
            shapes.append(tuple(shape))
        given = arrays(shapes, code)
        assert same(join_them(*given, axis), np.concatenate(given, axis))


@pytest.mark.parametrize("shape", [(1,), (6,), (3, 1), (2, 3, 4), (2, 0)])
@pytest.mark.parametrize("code", ["f", "l", "?"])
def test_arrays_are_stacked(shape: tuple[int, ...], code: str) -> None:
    given = arrays([shape] * 3, code)
    for axis in range(-len(shape) - 1, len(shape) + 1):
        made = direct_join.built_in("stack")(*given, axis)
        assert same(made, np.stack(given, axis))
        assert same(made, direct_join.DirectJoin().interpret(*given, axis, stack=True))


def test_leaves_to_numpy_what_it_does_not_take() -> None:
    x = np.ones((4, 6), np.float32)
    big = np.ones((1 << 18) + 1, np.float32)
    for name in direct_join.DirectJoin.exports:
        made = direct_join.built_in(name)
        for given in [
            (x, x.T, 0), (x, x[:, :3], 0), (x, x[0], 0), (x, x.astype("d"), 0), (x, x, 3), (x, x, -4),
            (x, x), (0,), (x[:, ::2], x[:, ::2], 0), (big, 0), (x, x, None), (x, x, 1.0),
            (x.astype("F"), 0), (np.ones((), "f"), 0), (x, [1], 0), (np.ma.array(x), x, 0),
        ]:  # fmt: skip
            assert made(*given) is None
    assert same(join.concatenate([x, x[:2]]), np.concatenate([x, x[:2]]))
    with pytest.raises(ValueError):
        join.stack([x, x[0]])


def test_counts_references_right() -> None:
    x = np.ones((4, 6), np.float32)
    held = [x, x.dtype, None]
    before = [sys.getrefcount(each) for each in held]
    for _ in range(1000):
        join.concatenate((x, x), 1), join.stack((x, x)), direct_join.built_in("stack")(x, 1, 0)
    after = [sys.getrefcount(each) for each in held]
    assert all(abs(now - then) < 20 for now, then in zip(after, before, strict=True))
