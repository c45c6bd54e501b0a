"""Small elementwise calls as one built-in: values, what it leaves alone, references."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm import direct, objects
from taper.backends.llvm.direct import MOST, Direct, Variant
from taper.backends.llvm.pointwise import trace
from taper.op import REGISTRY

pytestmark = pytest.mark.skipif(not direct.readable(), reason="objects of another layout")

FORMULAS = {
    "sum": (lambda m, x, y: x + y, 2),
    "quotient": (lambda m, x, y: x / y, 2),
    "maximum": (lambda m, x: m.maximum(0, x), 1),
    "comparison": (lambda m, x, y: x < y, 2),
    "two results": (lambda m, x, y: (x * y, x - y), 2),
}


def specification(name: str) -> Direct:
    formula, inputs = FORMULAS[name]
    kinds = direct.kinds_of(inputs, 0, name == "quotient")
    return Direct(tuple(Variant(trace(formula, k), k) for k in kinds))


def built(name: str):
    formula, inputs = FORMULAS[name]
    made = direct.built_in(formula, inputs, 0, name == "quotient")
    assert made is not None
    return made


def operands(inputs: int, shape: tuple[int, ...], code: str) -> list[np.ndarray]:
    draw = np.random.default_rng(len(shape))
    made = []
    for i in range(inputs):
        x = np.asarray(draw.normal(size=shape) * 9).astype(code)
        if x.size > 4 and code != "l":
            x.reshape(-1)[i : i + 4] = [np.nan, np.inf, -0.0, 1e-42]
        made.append(x)
    return made


def same(one: object, other: object) -> bool:
    if isinstance(one, tuple):
        return all(map(same, one, other))
    assert isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.mark.parametrize("code", ["f", "d", "l"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (7,), (3, 5), (2, 3, 4, 5), (1023,)])
@pytest.mark.parametrize("name", FORMULAS)
def test_gives_the_interpreters_bits(name: str, shape: tuple[int, ...], code: str) -> None:
    if name == "quotient" and code == "l":
        code = "f"  # integers are promoted before they are divided
    given = operands(FORMULAS[name][1], shape, code)
    assert same(built(name)(*given), specification(name).interpret(*given))


LAYOUTS = {
    "row": lambda x: (x, x[0]),
    "column": lambda x: (x, x[:, :1]),
    "column first": lambda x: (x[:, :1], x),
    "row and column": lambda x: (x[:1], x[:, :1]),
    "one element": lambda x: (x, np.array(x[0, 0])),
    "both one element": lambda x: (x[:1, :1], np.array(x[0, 0])),
    "other dimensions": lambda x: (x[:, None], x[0, :, None]),
    "middle": lambda x: (x[:, None, :], np.ascontiguousarray(x.T[:3])[None, :, :1]),
    "gaps": lambda x: (x[:, ::2], x[:, 1::2][:, : x[:, ::2].shape[1]]),
    "gaps between rows": lambda x: (x[::2, 1:], x[::2, :-1]),
    "expanded": lambda x: (np.broadcast_to(x[0], (3, *x.shape)), x),
    "empty": lambda x: (x[:0], x[0]),
}


@pytest.mark.parametrize("code", ["f", "d", "l"])
@pytest.mark.parametrize("shape", [(2, 2), (8, 8), (5, 34), (3, 1030), (70, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_walks_operands_that_broadcast(layout: str, shape: tuple[int, ...], code: str) -> None:
    (x,) = operands(1, shape, code)
    for name in ("sum", "comparison", "two results"):
        try:
            given = LAYOUTS[layout](x)
            np.broadcast_shapes(*[g.shape for g in given])
        except ValueError:
            continue
        made, wanted = built(name)(*given), specification(name).interpret(*given)
        assert made is wanted is None or same(made, wanted)


def test_a_strided_operand_gives_an_array_in_one_piece() -> None:
    x = np.arange(60, dtype=np.float32).reshape(6, 10) - 20
    assert same(built("maximum")(x[:, 2:5]), np.maximum(0, x[:, 2:5]))
    assert same(built("maximum")(x[::2, ::3]), np.maximum(0, x[::2, ::3]))
    assert built("maximum")(x.T) is None  # its result is laid out as x.T is


@pytest.mark.parametrize("code", ["e", "E"])
@pytest.mark.parametrize("shape", [(1,), (3,), (7, 9), (40, 50)])
def test_half_types_are_rounded_once(shape: tuple[int, ...], code: str) -> None:
    pytest.importorskip("ml_dtypes")
    dtype = objects.dtype_of(code)
    draws = [np.random.default_rng(i) for i in range(2)]
    x, y = (np.asarray(d.normal(size=shape) * 3).astype(dtype) for d in draws)
    x.reshape(-1)[:1] = np.nan
    chain = direct.built_in(lambda m, x, y: x * y + x, 2, 0, False, True)
    add = direct.built_in(lambda m, x, y: x + y, 2, 0, False, True)
    scale = direct.built_in(lambda m, x, y: x * y, 2, 0, False, True)
    assert chain is not None and add is not None and scale is not None
    a, b = x.astype("f"), y.astype("f")
    assert same(chain(x, y), (a * b + a).astype(dtype))
    assert same(add(x, y), (a + b).astype(dtype))
    assert same(add(x, y.reshape(-1)[:1]), (a + b.reshape(-1)[:1]).astype(dtype))
    # A number is rounded to the half type before it is added, and not before it multiplies.
    assert same(add(x, 1.1), (a + np.array(1.1, dtype).astype("f")).astype(dtype))
    assert same(scale(x, 1.1), (a * np.float32(1.1)).astype(dtype))


@pytest.mark.parametrize("number", [2, 2.5, -3, 0.1, 1e300, float("nan"), 1 << 53])
def test_takes_python_numbers_on_either_side(number: float) -> None:
    x = np.linspace(-2, 2, 37, dtype=np.float32)
    with np.errstate(all="ignore"):
        assert same(built("sum")(x, number), x + number)
        assert same(built("quotient")(number, x), number / x)


def test_a_derivative_has_one_that_arranges_its_results() -> None:
    x = taper.linspace(-2, 2, 40).requires_grad_()
    y = taper.linspace(1, 3, 40).requires_grad_()
    for _ in range(2):  # at the second time by the built-in
        product, ratio, same = x * y, x / 3.0, (x + y).relu() * x.detach()
        (product + ratio + same).sum().backward()
    double = [t.detach().double().requires_grad_() for t in (x, y)]
    a, b = double
    ((a * b + a / 3.0 + (a + b).relu() * a.detach()) * 2).sum().backward()
    for got, wanted in zip((x, y), double, strict=True):
        np.testing.assert_allclose(got.grad.numpy(), wanted.grad.numpy(), rtol=1e-5)


def test_an_operand_may_be_absent() -> None:
    made = direct.of_variants((Variant(trace(lambda m, x, y: -x, "fn"), "fn"),))
    x = np.ones(4, np.float32)
    assert made is not None and same(made(x, None), -x)
    assert made(x, x) is None and made(x, 1) is None and made(None, None) is None


def test_leaves_to_others_what_it_does_not_take() -> None:
    add = built("sum")
    x = np.ones((8, 8), np.float32)
    big = np.ones(MOST + 1, np.float32)
    swapped = x.astype(">f4")
    unaligned = np.zeros(65, np.uint8)[1:].view(np.float32).reshape(4, 4)
    for given in [
        (x, x.T), (x[::-1], x), (x, x[:3]), (x, x[:0]), (x, x.astype("d")), (big, big), (big, x[0, 0:1]),
        (big.reshape(1, -1), x[:, :1]), (np.ones((1,) * 9, "f"), x), (x, x.astype("?")),
        (x, None), (x, True), (x, 1 << 60), (x, 10**30), (x, "1"), (x, np.float32(1)), (x, [1]),
        (swapped, swapped), (unaligned, unaligned), (x,), (x, x, x), (1, 2),
        (x.astype("e"), x.astype("e")), (np.ma.array(x), x),
    ]:  # fmt: skip
        assert add(*given) is None
    assert same(add(big[:MOST], big[:MOST]), big[:MOST] * 2)


def test_counts_references_right() -> None:
    add, both = built("sum"), built("two results")
    x = np.ones(8, np.float32)
    held = [x, x.dtype, None]

    def counts() -> list[int]:
        return [sys.getrefcount(each) for each in held]

    before = counts()
    for _ in range(1000):
        add(x, x), add(x, None), both(x, x), add(x, 3), add(x, 2.0)
    assert all(abs(now - then) < 20 for now, then in zip(counts(), before, strict=True))


def test_ops_find_their_own_at_the_first_call() -> None:
    x = taper.linspace(-1, 1, 12)
    assert taper.equal(taper.relu(x), x.clamp(min=0))
    assert REGISTRY["Relu"].direct(x.numpy()) is not None
    assert REGISTRY["Add"].direct is None or (x + x).tolist() == [2 * v for v in x.tolist()]


def test_a_tensor_operand_of_another_kind_goes_the_general_way() -> None:
    whole = taper.arange(3)
    assert (whole + 1).dtype is taper.int64
    assert (whole + 1.5).tolist() == [1.5, 2.5, 3.5]
    assert (whole / 2).dtype is taper.float32
    assert (taper.ones(3) + whole).tolist() == [1, 2, 3]
