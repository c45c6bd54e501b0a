"""`taper inspect`: what a user writes, and what he is told when it is wrong."""

from __future__ import annotations

import pytest

from taper.cli import main


def shown(capsys, *arguments):
    assert main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_a_function_takes_shapes_and_values(capsys):
    page = shown(capsys, "softmax", "64x100", "dim=-1")

    assert page.startswith("softmax(float32[64, 100], dim=-1) -> float32[64, 100]\n")
    for title in ("Formula", "Figures", "Kernels"):
        assert f"\n{title}\n" in page


def test_integers_are_values_where_no_tensor_is_taken(capsys):
    assert "max_pool2d(float32[2, 3, 8, 8], 2)" in shown(capsys, "max_pool2d", "2x3x8x8", "2")
    assert "cumsum(float32[8, 9], -1)" in shown(capsys, "cumsum", "8x9", "-1")
    assert "add(float32[8, 9], float32[9])" in shown(capsys, "add", "8x9", "9")


def test_an_expression_takes_the_values_of_its_names(capsys):
    page = shown(capsys, "relu(linear(x, w, b))", "x=64x15", "w=32x15", "b=32", "--backward")

    assert "-> float32[64, 32]" in page
    assert "Relu: max(input, 0)." in page and "\n  backward " in page


def test_a_module_in_an_expression_is_made_once(capsys):
    page = shown(capsys, "nn.Linear(15, 32)(x)", "x=64x15", "--section", "figures")

    assert "LinearBias" in page and "outside" not in page


def test_dtypes_and_bounds_of_integers_are_part_of_a_shape(capsys):
    page = shown(capsys, "cross_entropy", "8x10", "8:int64:10", "--dtype", "float64")

    assert "cross_entropy(float64[8, 10], int64[8]) -> float64[]" in page


def test_sections_are_shown_alone_and_in_full(capsys):
    page = shown(capsys, "F.gelu", "6x10", "--section", "formula")

    assert page.startswith("Gelu: ") and "Figures" not in page
    assert "def vjp" in shown(capsys, "torch.exp", "70", "--section", "all")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["sofmax", "3x4"], "there is no function 'sofmax'; did you mean softmax"),
        (["softmax", "3x-4"], "'3x-4' is neither a shape"),
        (["linear", "3x4", "5x6"], "mat1 and mat2 shapes cannot be multiplied"),
        (["relu(y)"], "y is neither given"),
        (["relu(x)", "x=3", "z=4"], "z does not occur in 'relu(x)'"),
        (["relu(x)", "3"], "'3' has no name"),
        (["relu(x", "x=3"], "'relu(x' is no expression"),
        (["nn.Linear", "3"], "nn.Linear is a class"),
        (["relu", "3:float99"], "there is no dtype 'float99'"),
        (["nn.Linear(3)(x)", "x=3"], "out_features"),
    ],
)
def test_a_mistake_is_said_on_stderr_with_status_2(arguments, words, capsys):
    assert main(["inspect", *arguments]) == 2

    told = capsys.readouterr()
    assert told.err.startswith("taper: inspect: ") and words in told.err
    assert not told.out


def test_an_unknown_section_is_status_2(capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", "relu", "3", "--section", "heart"])

    assert end.value.code == 2
    assert "formula" in capsys.readouterr().err
