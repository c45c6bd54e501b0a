"""Tensors print as PyTorch prints them: the texts in golden/printing.json are PyTorch's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import taper

CASES = json.loads((Path(__file__).parent / "golden" / "printing.json").read_text())


@pytest.fixture(autouse=True)
def default_options():
    taper.set_printoptions(profile="default")
    yield
    taper.set_printoptions(profile="default")


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['make']} {c['options'] or ''}")
def test_the_text_is_that_of_pytorch(case):
    if "bfloat16" in case["make"]:
        pytest.importorskip("ml_dtypes")
    taper.set_printoptions(**case["options"])

    assert repr(eval(case["make"], {"torch": taper})) == case["text"]


def test_print_options_hold_inside_a_with_block_only():
    from taper.printing import printoptions

    with printoptions(precision=1):
        inside = repr(taper.tensor([0.123]))

    assert inside == "tensor([0.1])"
    assert repr(taper.tensor([0.123])) == "tensor([0.1230])"


def test_a_0_d_tensor_formats_as_its_number_and_others_take_no_format():
    assert f"{taper.tensor(3.14159):.2f}" == "3.14"
    assert f"{taper.tensor(3)}" == "3"
    assert f"{taper.tensor([1.0])}" == "tensor([1.])"
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{taper.tensor([1.0]):.2f}"


def test_a_subclass_prints_its_own_name():
    class Marked(taper.Tensor):
        pass

    assert repr(taper.ones(2).as_subclass(Marked)) == "Marked([1., 1.])"


def test_printing_leaves_the_tensor_and_its_version_alone():
    x = taper.tensor(np.arange(3.0))

    repr(x), str(x)

    assert x._version == 0
    assert x.tolist() == [0.0, 1.0, 2.0]
