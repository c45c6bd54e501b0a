"""Errors say what, with which shapes, in which module, at which line of the user's."""

from __future__ import annotations

import inspect

import pytest

import taper as torch
from taper import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x):
        return self.layers(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Block()

    def forward(self, x):
        return self.encoder(x)


def line_of(function, text: str) -> int:
    """Number of the line of a function that holds `text`."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def test_a_shape_error_names_op_shapes_module_and_line():
    with pytest.raises(RuntimeError) as caught:
        Net()(torch.zeros(32, 784))

    text = str(caught.value)
    assert text.startswith("linear: mat1 and mat2 shapes cannot be multiplied (32x784 and 512x10)")
    assert "the input's last size must be 512 (in_features), got input [32, 784]" in text
    assert (
        "in module Net.encoder.layers.1, Linear(in_features=512, out_features=10, bias=True)"
        in text
    )
    assert f"called at {__file__}:{line_of(Block.forward, 'self.layers(x)')}" in text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: torch.zeros(2, 3) + torch.zeros(4, 5), ["add", "[2, 3]", "[4, 5]", "dimension 1"]),
        (lambda: torch.zeros(2, 3) @ torch.zeros(4, 5), ["matmul", "2x3", "4x5"]),
        (
            lambda: nn.functional.conv2d(torch.zeros(2, 1, 8, 8), torch.zeros(8, 3, 3, 3)),
            ["conv2d", "[8, 3, 3, 3]", "[2, 1, 8, 8]", "3 channels", "got 1 channels"],
        ),
        (
            lambda: torch.cat([torch.zeros(2, 3), torch.zeros(3, 4)]),
            ["size 3", "size 4", "dimension 0"],
        ),
        (lambda: torch.zeros(6).view(4, 2), ["[4, 2]", "6"]),
        (lambda: torch.zeros(2, 3).sum(dim=4), ["range", "-2", "1", "4"]),
    ],
)
def test_the_message_has_the_op_and_the_numbers_at_hand(call, words):
    with pytest.raises((RuntimeError, ValueError, IndexError)) as caught:
        call()

    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


def test_an_error_in_pytorchs_words_gets_op_arguments_module_and_line_as_a_note():
    """The text stays PyTorch's, for programs that look at it."""

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.criterion = nn.CrossEntropyLoss()

        def forward(self, x, y):
            return self.criterion(x, y)

    with pytest.raises(ValueError, match=r"^Expected input batch_size \(4\) to match") as caught:
        Loss()(torch.zeros(4, 3), torch.zeros(5).long())

    (note,) = caught.value.__notes__
    assert "in cross_entropy(input=float32[4, 3], target=int64[5]" in note
    assert "in module Loss.criterion, CrossEntropyLoss()" in note
    assert f"called at {__file__}:" in note


def test_the_note_comes_with_hooks_too():
    model = nn.CrossEntropyLoss()
    model.register_forward_hook(lambda *given: None)

    with pytest.raises(ValueError, match="Expected input batch_size") as caught:
        model(torch.zeros(4, 3), torch.zeros(5).long())

    assert "in module CrossEntropyLoss" in caught.value.__notes__[0]


def test_an_error_of_the_users_own_gets_no_note():
    class Mine(nn.Module):
        def forward(self, x):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        Mine()(1)

    assert not hasattr(caught.value, "__notes__")


def test_an_error_costs_nothing_until_it_is_raised():
    """Where the program is, is found by looking at the stack then; nothing is recorded before."""
    model = Net()
    x = torch.zeros(1, 512)
    before = dict(model.__dict__)

    model(x)

    assert model.__dict__ == before


def test_a_missing_feature_says_what_works_instead():
    with pytest.raises(NotImplementedError, match="use a dense tensor"):
        torch.eye(3).to_sparse()
    with pytest.raises(NotImplementedError, match="leave backend out"):
        torch.compile(Net(), backend=lambda graph, inputs: graph)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        torch.nothing  # noqa: B018
