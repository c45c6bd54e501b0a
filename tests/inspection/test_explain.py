"""`taper.explain`: which ops and kernels a call used, and what is told of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import taper
from taper import backends
from taper.inspection import SECTIONS
from taper.nn import functional
from taper.op import REGISTRY

kernels_only = pytest.mark.skipif(
    "Llvm" not in type(backends.math()).__name__, reason="the backend is the reference"
)


def in_backend(name: str, code: str) -> str:
    """What a program prints that runs with a backend."""
    environment = {**os.environ, "TAPER_BACKEND": name}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return shown.stdout


@kernels_only
def test_a_product_names_its_kernel_and_counts_its_operations():
    x, w, bias = taper.rand(64, 150), taper.rand(32, 150), taper.rand(32)

    found = taper.explain(functional.linear, x, w, bias)

    (step,) = found.steps
    assert step.name == "linear" and not step.backward
    assert type(step.kernels[0].spec).__name__ in ("Gemm", "DirectProduct")
    assert found.operations == 2 * 64 * 32 * 150 + 64 * 32
    assert step.work.bytes == 4 * (64 * 150 + 32 * 150 + 32 + 64 * 32)
    assert (
        found.title == "linear(float32[64, 150], float32[32, 150], float32[32]) -> float32[64, 32]"
    )


@kernels_only
def test_every_section_of_a_kernel_says_what_it_is():
    found = taper.explain(taper.softmax, taper.rand(64, 100), dim=-1)

    assert "exp(input), divided by its sum" in found.formula
    assert "m.softmax" in found.formula and "def vjp" in found.formula
    assert "kernel Softmax" in found.figures and "FLOP/s" in found.figures
    assert "Softmax(element='float', columns=100, logarithm=False)" in found.ir
    assert "define void @kernel" in found.llvm
    assert "kernel:" in found.assembly and "ret" in found.assembly
    assert found.backward_seconds is None


@kernels_only
def test_an_elementwise_kernel_is_shown_as_its_program():
    found = taper.explain(lambda x, y: taper.sigmoid(x) * y, taper.rand(9000), taper.rand(9000))

    assert "sigmoid(%0)" in found.ir and ": float32" in found.ir


@kernels_only
def test_gradients_come_with_what_requires_grad():
    x = taper.rand(64, 100, requires_grad=True)

    found = taper.explain(taper.softmax, x, dim=-1)

    assert [step.name for step in found.steps if step.backward] == ["softmax_grad"]
    assert "SoftmaxGrad: out * (grad - sum(grad * out))" in found.formula
    assert found.backward_seconds is not None
    assert x.grad is None


def test_the_page_is_short_and_whole_sections_are_asked_for():
    found = taper.explain(taper.softmax, taper.rand(64, 100), dim=-1)

    page = str(found)
    assert len(page.splitlines()) < 120
    for name in SECTIONS:
        assert found.section(name)
    with pytest.raises(ValueError, match="no section 'heart'; choose from formula"):
        found.section("heart")


def test_the_ops_are_as_they_were_afterwards():
    x = taper.rand(100)
    (taper.exp(x) + x).sum()  # the first calls of an op may change it for good
    before = {name: dict(vars(op)) for name, op in REGISTRY.items()}

    taper.explain(lambda x: (taper.exp(x) + x).sum(), x)

    assert {name: dict(vars(op)) for name, op in REGISTRY.items()} == before
    with pytest.raises(RuntimeError):
        taper.explain(taper.matmul, taper.rand(2, 3), taper.rand(2, 3))
    assert {name: dict(vars(op)) for name, op in REGISTRY.items()}.keys() == before.keys()
    assert taper.exp(x).shape == x.shape


def test_arguments_and_random_numbers_are_left_alone():
    x, rows = taper.zeros(70), taper.rand(8, 10)
    taper.manual_seed(5)
    expected = taper.rand(3)
    taper.manual_seed(5)

    taper.explain(lambda t: t.add_(1), x)
    taper.explain(taper.dropout, rows, 0.5, True)
    taper.explain(lambda t: t.sum(), rows.t()[1:, ::2])

    assert x.sum().item() == 0
    assert taper.equal(taper.rand(3), expected)


def test_a_module_keeps_its_state():
    layer = taper.nn.BatchNorm1d(6)

    found = taper.explain(layer, taper.rand(32, 6))

    assert layer.num_batches_tracked.item() == 0
    assert found.title.startswith("BatchNorm1d(float32[32, 6])")
    assert found.backward_seconds is not None  # its parameters require grad


def test_views_and_nothing_at_all_are_no_work():
    x = taper.rand(4, 5)

    assert taper.explain(lambda x: x.t(), x).operations == 0
    assert "no op of taper ran" in str(taper.explain(lambda x: x, x))


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (1, 1)])
def test_small_and_empty_tensors_are_explained(shape):
    x = taper.rand(shape, requires_grad=True)

    assert "Exp" in str(taper.explain(taper.exp, x))


def test_an_unknown_count_is_called_so():
    found = taper.explain(taper.linalg.inv, taper.eye(40))

    assert found.operations is None
    assert "not known" in found.figures


def test_the_reference_names_the_functions_of_numpy():
    code = (
        "import taper; from taper.inspection import peaks; "
        "peaks._known[1] = peaks.Peaks(1, 1e11, 5e10, (peaks.Level('all', 1 << 62, 1e10),)); "
        "taper.set_num_threads(1); "
        "print(taper.explain(taper.relu, taper.ones(100))); "
        "print(taper.explain(taper.softmax, taper.ones(9, 100), 1).ir)"
    )

    shown = in_backend("reference", code)

    assert "None: the backend is the reference (TAPER_BACKEND). numpy computes it." in shown
    assert "Relu: m.maximum: numpy.maximum" in shown
    assert "taper.backends.rows.softmax (numpy.maximum.reduce, numpy.exp" in shown
