"""torch.compile runs eagerly; the wrapper and its names are PyTorch's."""

from __future__ import annotations

import pytest

import taper as torch
from taper import nn


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.scale = 5

    def forward(self, x):
        return self.linear(x) * self.scale

    def twice(self):
        return 2 * self.scale


def test_a_compiled_module_computes_what_the_module_computes():
    module = Scaled()
    x = torch.ones(4, 2)

    assert torch.equal(torch.compile(module)(x), module(x))


def test_a_compiled_modules_state_has_the_prefix_that_checkpoints_have():
    compiled = torch.compile(Scaled())

    assert list(compiled.state_dict()) == ["_orig_mod.linear.weight", "_orig_mod.linear.bias"]
    torch.compile(Scaled()).load_state_dict(compiled.state_dict())


def test_attributes_of_a_compiled_module_are_the_modules():
    module = Scaled()
    compiled = torch.compile(module)

    compiled.scale = 7
    compiled.eval()

    assert (module.scale, compiled.twice()) == (7, 14)
    assert not module.training and not compiled.training


def test_compile_is_a_decorator_with_and_without_arguments():
    @torch.compile
    def plain(x):
        return x + 1

    @torch.compile(fullgraph=True, mode="max-autotune")
    def with_options(x):
        return x + 2

    assert plain(torch.ones(1)).item() == 2 and with_options(torch.ones(1)).item() == 3
    assert plain.__name__ == "plain"


def test_a_module_compiles_in_place():
    module = Scaled()
    module.compile(dynamic=True)

    assert list(module.state_dict()) == ["linear.weight", "linear.bias"]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"mode": "fastest"}, "Unrecognized mode=fastest, should be one of"),
        ({"mode": "default", "options": {}}, "Either mode or options can be specified"),
        ({"backend": "nothing"}, "Invalid backend: 'nothing'"),
    ],
)
def test_options_that_pytorch_refuses_are_refused(options, text):
    with pytest.raises(RuntimeError, match=text):
        torch.compile(Scaled(), **options)


def test_dynamos_switches_can_be_set():
    torch._dynamo.config.verbose = True
    torch._dynamo.reset()

    assert torch._dynamo.allow_in_graph(len) is len
    torch._dynamo.config.verbose = False


def test_a_traced_module_decides_anew_at_each_call():
    def halves(x):
        return x / 2 if x.sum() > 0 else x

    traced = torch.jit.trace(halves, torch.ones(2))

    assert traced(-torch.ones(2)).tolist() == [-1.0, -1.0]


def test_what_fails_on_the_example_cannot_be_traced():
    with pytest.raises(RuntimeError, match="must match"):
        torch.jit.trace(lambda a, b: a + b, (torch.ones(2), torch.ones(3)))
