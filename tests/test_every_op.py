"""What every op in the registry must do, asked of each one.

Values against numpy, first and second derivatives against differences in float64, empty, 0-d and
non-contiguous inputs, broadcasting, dtypes, and errors.
"""

from __future__ import annotations

import numpy as np
import pytest

import taper
from op_samples import (
    ATTRS,
    CHECKED,
    COMPLEX_RESULT,
    DOMAIN,
    INTEGER,
    NO_DERIVATIVE,
    SAMPLES,
    number,
)
from taper.autograd.gradcheck import gradcheck, gradgradcheck
from taper.dispatch import apply
from taper.errors import GradError
from taper.op import REGISTRY
from taper.ops import load_all
from taper.tensor import Tensor, wrap

load_all()
OPS = sorted(REGISTRY)
ELEMENTWISE = [n for n in OPS if REGISTRY[n].elementwise]
DIFFERENTIABLE = [n for n in OPS if REGISTRY[n].vjp is not None and n not in NO_DERIVATIVE]

# numpy's own function for an elementwise op, an independent statement of its values.
NUMPY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.true_divide,
    "Neg": np.negative,
    "Pow": np.power,
    "FloorDivide": np.floor_divide,
    "Remainder": np.remainder,
    "Fmod": np.fmod,
    "Exp": np.exp,
    "Exp2": np.exp2,
    "Expm1": np.expm1,
    "Log": np.log,
    "Log2": np.log2,
    "Log10": np.log10,
    "Log1p": np.log1p,
    "Sqrt": np.sqrt,
    "Abs": np.abs,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Tanh": np.tanh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Trunc": np.trunc,
    "Sign": np.sign,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Atan2": np.arctan2,
    "Hypot": np.hypot,
    "Eq": np.equal,
    "Ne": np.not_equal,
    "Lt": np.less,
    "Le": np.less_equal,
    "Gt": np.greater,
    "Ge": np.greater_equal,
    "Square": np.square,
    "Reciprocal": np.reciprocal,
}


def draw(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    low, high = DOMAIN.get(name, (-9, 9) if name in INTEGER else (-2.0, 2.0))
    drawn = number(*shape, low=low, high=high, seed=seed)
    return drawn.astype(np.int64) if name in INTEGER else drawn


def samples(name: str) -> list:
    op = REGISTRY[name]
    if name in SAMPLES:
        return SAMPLES[name]()
    assert op.elementwise, f"{name} has no sample: add one to tests/op_samples.py"
    inputs = []
    for i in range(len(op.inputs)):
        drawn = draw(name, 3, 4, seed=i)
        inputs.append(drawn > 0 if i < op.unpromoted else drawn)
    return [(inputs, ATTRS.get(name, {}))]


def tensors(inputs: list, grad: bool = False) -> list:
    made = []
    for x in inputs:
        if isinstance(x, np.ndarray):
            x = wrap(x.copy(order="K"))
            if grad and x._array.dtype.kind in "fc":
                x.requires_grad_()
        made.append(x)
    return made


def run(name: str, inputs: list, attrs: dict):
    made = apply(REGISTRY[name], *inputs, **attrs)
    return made if isinstance(made, tuple) else (made,)


def with_clones(name: str, attrs: dict):
    """The op as a function whose results are plain tensors, as gradcheck wants them."""

    def function(*inputs):
        made = tuple(
            r.clone() for r in run(name, list(inputs), attrs) if r._array.dtype.kind in "fc"
        )
        return made[0] if len(made) == 1 else made

    return CHECKED[name](function) if name in CHECKED else function


@pytest.mark.parametrize("name", sorted(set(NUMPY) & set(ELEMENTWISE)))
def test_values_are_those_of_numpy(name):
    for inputs, attrs in samples(name):
        (out,) = run(name, tensors(inputs), attrs)

        np.testing.assert_allclose(out._array, NUMPY[name](*inputs), rtol=1e-14)


@pytest.mark.parametrize("name", OPS)
def test_the_op_has_a_sample_and_runs_on_it(name):
    for inputs, attrs in samples(name):
        for out in run(name, tensors(inputs), attrs):
            assert isinstance(out, Tensor)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_derivative_agrees_with_differences(name):
    for inputs, attrs in samples(name):
        given = tensors(inputs, grad=True)
        if any(isinstance(x, Tensor) and x.requires_grad for x in given):
            assert gradcheck(with_clones(name, attrs), given)


@pytest.mark.parametrize("name", sorted(NO_DERIVATIVE & set(OPS)))
def test_a_derivative_that_does_not_exist_says_so(name):
    for inputs, attrs in samples(name):
        (out,) = run(name, tensors(inputs, grad=True), attrs)

        with pytest.raises(GradError, match=r"derivative for aten::\w+ is not implemented"):
            out.sum().backward()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_second_derivative_agrees_with_differences(name):
    for inputs, attrs in samples(name):
        given = tensors(inputs, grad=True)
        outs = run(name, given, attrs)
        if not any(o.requires_grad for o in outs):
            continue
        try:
            assert gradgradcheck(with_clones(name, attrs), given)
        except NotImplementedError as error:
            assert len(str(error)) > 20  # says what is missing
            continue


@pytest.mark.parametrize("name", OPS)
def test_strides_do_not_change_the_result(name):
    for inputs, attrs in samples(name):
        plain = run(name, tensors(inputs), attrs)
        strided = []
        for x in inputs:
            if isinstance(x, np.ndarray) and x.ndim:
                wide = np.zeros((*x.shape, 2), x.dtype)
                wide[..., 0] = x
                x = wide[..., 0]
                strided.append(wrap(x))
            else:
                strided.append(wrap(x.copy()) if isinstance(x, np.ndarray) else x)
        try:
            found = run(name, strided, attrs)
        except RuntimeError:
            assert REGISTRY[name].view  # a view may be impossible; nothing else may refuse
            continue

        for one, other in zip(plain, found, strict=True):
            np.testing.assert_allclose(one._array, other._array, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_ops_take_empty_and_0_d_tensors(name):
    op = REGISTRY[name]
    attrs = ATTRS.get(name, {})
    for shape in ((0, 3), ()):
        inputs = [draw(name, *shape, seed=i) for i in range(len(op.inputs))]
        inputs = [x > 0 if i < op.unpromoted else x for i, x in enumerate(inputs)]

        (out,) = run(name, tensors(inputs), attrs)

        assert out._array.shape == shape


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if len(REGISTRY[n].inputs) > 1])
def test_elementwise_ops_broadcast_and_sum_the_gradient_back(name):
    op = REGISTRY[name]
    attrs = ATTRS.get(name, {})
    shapes = [(3, 1), (1, 4), (4,)][: len(op.inputs)]
    inputs = [draw(name, *s, seed=i) for i, s in enumerate(shapes)]
    inputs = [x > 0 if i < op.unpromoted else x for i, x in enumerate(inputs)]
    given = tensors(inputs, grad=True)

    (out,) = run(name, given, attrs)

    assert out._array.shape == (3, 4)
    if out.requires_grad and name not in NO_DERIVATIVE:
        total = out.sum()
        try:
            (total.real if out.is_complex() else total).backward()
        except NotImplementedError as error:  # there is none in one of the operands
            assert "derivative" in str(error)
            return
        for x in given:
            if isinstance(x, Tensor) and x.requires_grad and x.grad is not None:
                assert x.grad._array.shape == x._array.shape


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if len(REGISTRY[n].inputs) > 1])
def test_shapes_that_do_not_broadcast_are_named_in_the_error(name):
    op = REGISTRY[name]
    inputs = [draw(name, *(2, 3) if i % 2 == 0 else (4, 3), seed=i) for i in range(len(op.inputs))]
    inputs = [x > 0 if i < op.unpromoted else x for i, x in enumerate(inputs)]

    with pytest.raises(RuntimeError, match=rf"{op.name}.*must match") as caught:
        run(name, tensors(inputs), ATTRS.get(name, {}))

    assert "2" in str(caught.value) and "4" in str(caught.value)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if REGISTRY[n].floating])
def test_floating_ops_turn_integers_into_the_default_dtype(name):
    op = REGISTRY[name]
    inputs = [np.ones((2, 3), np.int64) for _ in op.inputs]

    (out,) = run(name, tensors(inputs), ATTRS.get(name, {}))

    assert out.dtype in (taper.float32, taper.bool)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n not in COMPLEX_RESULT])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_elementwise_ops_keep_the_floating_dtype(name, dtype):
    for inputs, attrs in samples(name):
        given = [wrap(x.astype(dtype)) if x.dtype.kind == "f" else wrap(x) for x in inputs]

        (out,) = run(name, given, attrs)

        assert out._array.dtype in ([np.int64] if name in INTEGER else [dtype, np.bool_])
