"""The names of recorded functions, which people read in printed tensors and in graphs."""

from __future__ import annotations

import pytest

import taper

NAMES = {
    "x + 1": "AddBackward0",
    "1 - x": "RsubBackward1",
    "2 * x": "MulBackward0",
    "1 / x": "MulBackward0",
    "x / 2": "DivBackward0",
    "x ** 2": "PowBackward0",
    "x ** x": "PowBackward1",
    "2 ** x": "PowBackward2",
    "x // 2": "NotImplemented",
    "x[0]": "SelectBackward0",
    "x[:, 1]": "SelectBackward0",
    "x[0:2]": "SliceBackward0",
    "x[None]": "UnsqueezeBackward0",
    "x[...]": "AliasBackward0",
    "x[[0, 1]]": "IndexBackward0",
    "x[x > 0]": "IndexBackward0",
    "x.T": "PermuteBackward0",
    "x.t()": "TBackward0",
    "x.view(9)": "ViewBackward0",
    "x.squeeze()": "SqueezeBackward0",
    "x.squeeze(0)": "SqueezeBackward1",
    "x.squeeze((0, 1))": "SqueezeBackward2",
    "x.split(1)[0]": "SplitBackward0",
    "x.split([1, 2])[0]": "SplitWithSizesBackward0",
    "x.clamp(0, 1)": "ClampBackward1",
    "x.clamp_min(0)": "ClampMinBackward0",
    "x.sum()": "SumBackward0",
    "x.sum(0)": "SumBackward1",
    "x.max()": "MaxBackward1",
    "x.max(0).values": "MaxBackward0",
    "x.clone().zero_()": "ZeroBackward0",
    "x.clone().fill_(1)": "FillBackward2",
    "x.double()": "ToCopyBackward0",
}


@pytest.mark.parametrize("text", NAMES)
def test_the_function_has_pytorchs_name(text):
    x = taper.tensor([[0.5, 1.5, 0.25], [2.0, 0.75, 1.25], [3.0, 0.1, 0.9]], requires_grad=True)

    assert eval(text, {"x": x}).grad_fn.name().rpartition(":")[2] == NAMES[text]
