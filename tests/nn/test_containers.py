"""Containers: Sequential, lists and dictionaries of modules and parameters."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import taper as torch
from taper import nn


def names(container) -> list[str]:
    return [type(layer).__name__ for layer in container]


# ---------------------------------------------------------------- Sequential


def test_layers_are_called_one_after_the_other():
    net = nn.Sequential(nn.ReLU(), nn.Hardtanh(), nn.Threshold(0.5, 7))

    assert net(torch.tensor([-1.0, 0.7, 5.0])).tolist() == pytest.approx([7, 0.7, 1])
    assert nn.Sequential()(3) == 3


def test_a_sequence_is_indexed_and_sliced():
    net = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh(), c=nn.ELU()))

    assert net[0] is net.a and net[-1] is net.c
    assert [n for n, _ in net[1:].named_children()] == ["b", "c"]
    assert len(net) == 3
    with pytest.raises(IndexError, match="index 3 is out of range"):
        net[3]
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        net["a"]


def test_layers_are_set_deleted_inserted_and_added():
    net = nn.Sequential(nn.ReLU(), nn.Tanh())
    net[1] = nn.ELU()
    net.append(nn.SELU()).insert(0, nn.GLU()).extend([nn.CELU()])

    assert names(net) == ["GLU", "ReLU", "ELU", "SELU", "CELU"]
    assert type(net.pop(0)) is nn.GLU
    del net[0]
    assert [n for n, _ in net.named_children()] == ["0", "1", "2"]
    del net[:2]
    assert names(net) == ["CELU"] and list(net._modules) == ["0"]


def test_sequences_are_added_and_multiplied():
    net = nn.Sequential(nn.ReLU()) + nn.Sequential(nn.Tanh())

    assert names(net * 2) == names(2 * net) == ["ReLU", "Tanh"] * 2
    net += nn.Sequential(nn.ELU())
    net *= 2
    assert names(net) == ["ReLU", "Tanh", "ELU"] * 2


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda s: s + 3, ValueError, "supports only objects of Sequential class"),
        (lambda s: s * 0, ValueError, "Non-positive multiplication factor 0"),
        (lambda s: s * "a", TypeError, "unsupported operand type(s) for *"),
        (lambda s: s.insert(1, 3), AssertionError, "module should be of type"),
        (lambda s: s.insert(9, nn.ReLU()), IndexError, "Index out of range: 9"),
        (lambda s: nn.Sequential(3), TypeError, "int is not a Module subclass"),
        (lambda s: nn.Sequential([nn.ReLU()]), TypeError, "list is not a Module subclass"),
    ],
)
def test_errors_of_sequences(act, error, message):
    with pytest.raises(error) as raised:
        act(nn.Sequential(nn.ReLU()))

    assert message in str(raised.value)


# ---------------------------------------------------------------- ModuleList, ModuleDict


def test_a_list_of_modules_is_a_list():
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    layers += [nn.ELU()]
    layers.append(nn.SELU())
    layers.insert(1, nn.GLU())

    assert names(layers) == ["ReLU", "GLU", "Tanh", "ELU", "SELU"]
    assert names(layers[1:3]) == ["GLU", "Tanh"] and type(layers[1:3]) is nn.ModuleList
    assert type(layers.pop(-1)) is nn.SELU
    del layers[0]
    assert list(layers._modules) == ["0", "1", "2"]
    longer = layers + nn.ModuleList([nn.CELU()])
    assert names(longer)[-1] == "CELU" and len(layers) == 3


def test_equal_modules_share_a_line_of_the_text():
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh(), nn.ReLU()])

    assert repr(layers) == ("ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n  (3): ReLU()\n)")
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_a_list_of_modules_is_not_called():
    with pytest.raises(NotImplementedError, match="ModuleList"):
        nn.ModuleList()(1)
    with pytest.raises(TypeError, match="should be called with an iterable, but got int"):
        nn.ModuleList().extend(3)


def test_a_dictionary_of_modules_keeps_its_order():
    layers = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    layers["c"] = nn.ELU()
    layers.update([("a", nn.GLU())])

    assert list(layers) == list(layers.keys()) == ["b", "a", "c"]
    assert names(layers.values()) == ["ReLU", "GLU", "ELU"]
    assert "a" in layers and len(layers) == 3
    assert type(layers.pop("b")) is nn.ReLU
    layers.clear()
    assert len(layers) == 0


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda d: d.update(3), TypeError, "iterable of key/value pairs, but got int"),
        (lambda d: d.update([1]), TypeError, "element #0 should be Iterable; isint"),
        (lambda d: d.update([(1, 2, 3)]), ValueError, "#0 has length 3; 2 is required"),
        (lambda d: d["q"], KeyError, "q"),
        (lambda d: d.__setitem__("pop", nn.ReLU()), KeyError, "attribute 'pop' already exists"),
    ],
)
def test_errors_of_dictionaries_of_modules(act, error, message):
    with pytest.raises(error) as raised:
        act(nn.ModuleDict())

    assert message in str(raised.value)


# ---------------------------------------------------------------- ParameterList, ParameterDict


def test_a_list_makes_parameters_of_tensors_and_keeps_the_rest():
    held = nn.ParameterList([torch.ones(2, 3), "text"])
    held.append(nn.Parameter(torch.zeros(1)))
    held += [torch.tensor(2.0)]

    assert [isinstance(v, nn.Parameter) for v in held] == [True, False, True, True]
    assert list(held.state_dict()) == ["0", "2", "3"]
    assert len(held[1:3]) == 2 and held[-1].item() == 2
    held[0] = torch.zeros(5)
    assert held[0].shape == (5,)


def test_the_texts_of_parameter_containers():
    assert repr(nn.ParameterList([torch.ones(2, 3), 3])) == (
        "ParameterList(\n"
        "    (0): Parameter containing: [torch.float32 of size 2x3]\n"
        "    (1): Object of type: int\n"
        ")"
    )
    assert repr(nn.ParameterDict({"a": torch.ones(2)})) == (
        "ParameterDict(  (a): Parameter containing: [torch.FloatTensor of size 2])"
    )


def test_a_dictionary_of_parameters_is_a_dictionary():
    held = nn.ParameterDict({"b": torch.ones(1), "a": torch.ones(2)})

    assert list(held) == ["a", "b"]  # a plain mapping is sorted
    assert [k for k, _ in held.items()] == ["a", "b"] and list(reversed(held)) == ["b", "a"]
    assert held.get("q", 7) == 7 and held.setdefault("c", torch.ones(3)).shape == (3,)
    assert held.popitem()[0] == "c" and held.pop("a").shape == (2,)
    merged = held | nn.ParameterDict({"z": torch.zeros(1)})
    assert list(merged) == ["b", "z"] and merged["b"] is held["b"]
    assert list(held.copy().fromkeys(["k"], torch.ones(1))) == ["k"]
    held.clear()
    assert len(held) == 0 and not list(held.parameters())


def test_parameter_containers_are_not_called():
    with pytest.raises(RuntimeError, match="ParameterList should not be called"):
        nn.ParameterList()()
    with pytest.raises(RuntimeError, match="ParameterDict should not be called"):
        nn.ParameterDict()(1)


def test_keys_of_parameters_are_strings():
    with pytest.raises(TypeError, match="cannot be used as a key as it is not a string"):
        nn.ParameterDict()[3]


def test_container_is_deprecated():
    with pytest.warns(FutureWarning, match=r"`nn.Container` is deprecated"):
        made = nn.Container(a=nn.ReLU())

    assert names(made.children()) == ["ReLU"]


def test_data_parallel_calls_its_module():
    net = nn.DataParallel(nn.Linear(2, 3))

    assert list(net.state_dict()) == ["module.weight", "module.bias"]
    assert net(torch.ones(1, 2)).shape == (1, 3)
