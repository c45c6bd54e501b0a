"""Module's rules: what registers itself, hooks, state_dict, walks, texts and messages."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict

import pytest

import taper as torch
from taper import nn
from taper.nn.modules import module as module_file


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.act = nn.ReLU()
        self.last = nn.Linear(3, 1, bias=False)
        self.register_buffer("scale", torch.tensor([2.0]))
        self.register_buffer("hidden", torch.tensor([1.0]), persistent=False)

    def forward(self, x):
        return self.last(self.act(self.first(x))) * self.scale


# ---------------------------------------------------------------- attributes


def test_parameters_modules_and_buffers_register_themselves():
    net = Net()

    assert [n for n, _ in net.named_parameters()] == [
        "first.weight",
        "first.bias",
        "last.weight",
    ]
    assert [n for n, _ in net.named_buffers()] == ["scale", "hidden"]
    assert [n for n, _ in net.named_children()] == ["first", "act", "last"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "act", "last"]


def test_a_name_means_one_thing():
    net = Net()
    net.scale = nn.Parameter(torch.ones(1))

    assert "scale" in dict(net.named_parameters()) and not dict(net.named_buffers()).get("scale")
    net.first = None
    assert net.first is None and "first" in net._modules
    del net.act
    assert not hasattr(net, "act")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("first", 3, "cannot assign 'int' as child module 'first' (torch.nn.Module or None"),
        ("scale", 3, "cannot assign 'int' as buffer 'scale' (torch.nn.Buffer, torch.Tensor or"),
    ],
)
def test_assigning_the_wrong_kind_is_an_error(name, value, message):
    with pytest.raises(TypeError) as error:
        setattr(Net(), name, value)

    assert message in str(error.value)


def test_a_plain_tensor_cannot_replace_a_parameter():
    layer = nn.Linear(1, 1)

    with pytest.raises(TypeError, match="as parameter 'weight'"):
        layer.weight = torch.ones(1, 1)


def test_assigning_before_init_is_an_error():
    class Late(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(
        AttributeError, match=r"cannot assign module before Module.__init__\(\) call"
    ):
        Late()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.b", KeyError, 'parameter name can\'t contain "."'),
        ("", KeyError, 'parameter name can\'t be empty string ""'),
        ("forward", KeyError, "attribute 'forward' already exists"),
        (3, TypeError, "parameter name should be a string. Got int"),
    ],
)
def test_names_of_parameters_are_checked(name, error, message):
    with pytest.raises(error) as raised:
        nn.Module().register_parameter(name, nn.Parameter(torch.ones(1)))

    assert message in raised.value.args[0]


def test_a_parameter_must_be_a_leaf():
    weight = nn.Parameter(torch.ones(1))

    with pytest.raises(
        TypeError, match=r"cannot assign 'torch.FloatTensor' object to parameter 'w'"
    ):
        nn.Module().register_parameter("w", weight * 2)


def test_a_missing_attribute_is_named():
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'nothing'"):
        _ = Net().nothing


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match='missing the required "forward" function'):
        nn.Module()(1)


# ---------------------------------------------------------------- walks and modes


def test_shared_modules_are_visited_once():
    layer = nn.Linear(1, 1)
    net = nn.Sequential(layer, layer)

    assert len(list(net.parameters())) == 2
    assert [n for n, _ in net.named_modules()] == ["", "0"]
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]


def test_train_and_eval_reach_everything_inside():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))

    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and all(m.training for m in net.modules())
    with pytest.raises(ValueError, match="training mode is expected to be boolean"):
        net.train(1)


def test_submodules_and_parameters_are_found_by_path():
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 2)))

    assert net.get_submodule("0.0") is net[0][0]
    assert net.get_parameter("0.0.weight") is net[0][0].weight
    with pytest.raises(AttributeError, match="Sequential has no attribute `7`"):
        net.get_submodule("0.7")


def test_casts_change_floating_parameters_and_buffers_in_place():
    net = Net()
    net.register_buffer("count", torch.tensor(3))
    weight = net.first.weight

    assert net.double() is net
    assert weight.dtype is torch.float64 and net.first.weight is weight
    assert net.scale.dtype is torch.float64 and net.count.dtype is torch.int64
    assert net.to(torch.float16).scale.dtype is torch.float16
    with pytest.raises(TypeError, match="only accepts floating point or complex dtypes"):
        net.to(torch.int64)


def test_apply_visits_children_before_the_module():
    seen = []
    nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh())).apply(
        lambda m: seen.append(type(m).__name__)
    )

    assert seen == ["ReLU", "Tanh", "Sequential", "Sequential"]


def test_zero_grad_forgets_or_clears():
    layer = nn.Linear(1, 1)
    layer(torch.ones(1, 1)).backward()

    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_requires_grad_is_set_for_all_parameters():
    assert not any(p.requires_grad for p in Net().requires_grad_(False).parameters())


# ---------------------------------------------------------------- state


def test_the_state_holds_parameters_and_persistent_buffers():
    state = Net().state_dict()

    assert list(state) == ["scale", "first.weight", "first.bias", "last.weight"]
    assert not state["first.weight"].requires_grad
    assert state._metadata[""] == {"version": 1}


def test_a_state_is_copied_into_the_parameters():
    one, two = Net(), Net()
    weight = two.first.weight

    result = two.load_state_dict(one.state_dict())

    assert str(result) == "<All keys matched successfully>"
    assert two.first.weight is weight and torch.equal(weight, one.first.weight)


def test_missing_and_unexpected_keys_are_all_named():
    state = Net().state_dict()
    del state["scale"]
    state["other"] = torch.ones(1)

    with pytest.raises(RuntimeError) as error:
        Net().load_state_dict(state)

    text = str(error.value)
    assert "Error(s) in loading state_dict for Net:" in text
    assert 'Missing key(s) in state_dict: "scale".' in text
    assert 'Unexpected key(s) in state_dict: "other".' in text
    result = Net().load_state_dict(state, strict=False)
    assert result.missing_keys == ["scale"] and result.unexpected_keys == ["other"]


def test_a_wrong_size_is_an_error_even_if_not_strict():
    with pytest.raises(RuntimeError) as error:
        nn.Linear(2, 3).load_state_dict(nn.Linear(2, 4).state_dict(), strict=False)

    assert (
        "size mismatch for weight: copying a param with shape torch.Size([4, 2]) from checkpoint, "
        "the shape in current model is torch.Size([3, 2])." in str(error.value)
    )


def test_assign_takes_the_tensors_themselves():
    state = nn.Linear(1, 1).double().state_dict()
    layer = nn.Linear(1, 1)
    layer.load_state_dict(state, assign=True)

    assert layer.weight.dtype is torch.float64 and isinstance(layer.weight, nn.Parameter)


def test_hooks_on_the_state_may_change_it():
    layer = nn.Linear(1, 1)

    def without_bias(module, state, prefix, metadata):
        del state[prefix + "bias"]

    layer.register_state_dict_post_hook(without_bias)
    seen = []
    layer.register_load_state_dict_post_hook(lambda m, keys: seen.append(keys.missing_keys[:]))

    assert list(layer.state_dict()) == ["weight"]
    layer.load_state_dict({"weight": torch.ones(1, 1)}, strict=False)
    assert seen == [["bias"]]


def test_extra_state_is_saved_and_loaded():
    class Counter(nn.Module):
        count = 0

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    one, two = Counter(), Counter()
    one.count = 5
    state = one.state_dict()

    assert list(state) == ["_extra_state"]
    two.load_state_dict(state)
    assert two.count == 5


def test_modules_are_copied_and_pickled_whole():
    net = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.TransformerEncoderLayer(2, 1, 2))
    net[0].bias = None

    for made in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert made[0].weight is not net[0].weight
        assert torch.equal(made[0].weight, net[0].weight)
        assert repr(made) == repr(net)


# ---------------------------------------------------------------- hooks


def test_forward_hooks_see_and_replace_inputs_and_outputs():
    layer = nn.Identity()
    pre = layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    post = layer.register_forward_hook(lambda m, args, out: out * 10)

    assert layer(torch.ones(1)).item() == 20
    pre.remove()
    assert layer(torch.ones(1)).item() == 10
    post.remove()
    assert layer(torch.ones(1)).item() == 1


def test_hooks_with_kwargs_get_them():
    class Scale(nn.Module):
        def forward(self, x, by=1):
            return x * by

    layer = Scale()
    layer.register_forward_pre_hook(lambda m, a, k: (a, {"by": k["by"] + 1}), with_kwargs=True)
    seen = []
    layer.register_forward_hook(lambda m, a, k, out: seen.append(k), with_kwargs=True)

    assert layer(torch.ones(1), by=2).item() == 3
    assert seen == [{"by": 3}]


def test_prepended_hooks_run_first():
    layer, seen = nn.Identity(), []
    layer.register_forward_hook(lambda *a: seen.append("second"))
    layer.register_forward_hook(lambda *a: seen.append("first"), prepend=True)
    layer(torch.ones(1))

    assert seen == ["first", "second"]


def test_hooks_that_are_always_called_run_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise ValueError("broken")

    layer, seen = Broken(), []
    layer.register_forward_hook(lambda *a: seen.append(a[2]), always_call=True)
    with pytest.raises(ValueError, match="broken"):
        layer(torch.ones(1))

    assert seen == [None]


def test_full_backward_hooks_see_both_gradients_and_may_replace_one():
    layer, seen = nn.Linear(2, 1, bias=False), []
    with torch.no_grad():
        layer.weight.fill_(3.0)

    def hook(module, grad_input, grad_output):
        seen.append((grad_input[0].tolist(), grad_output[0].tolist()))
        return (grad_input[0] * 2,)

    layer.register_full_backward_hook(hook)
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).backward()

    assert seen == [([[3.0, 3.0]], [[1.0]])]
    assert x.grad.tolist() == [[6.0, 6.0]]


def test_full_backward_pre_hooks_replace_the_gradient_of_the_output():
    layer = nn.Identity()
    layer.register_full_backward_pre_hook(lambda m, grad_output: (grad_output[0] * 5,))
    x = torch.ones(1, requires_grad=True)
    layer(x * 1).backward()

    assert x.grad.item() == 5


def test_global_hooks_run_for_every_module():
    seen = []
    handle = module_file.register_module_forward_hook(lambda m, a, o: seen.append(type(m).__name__))
    try:
        nn.Sequential(nn.ReLU())(torch.ones(1))
    finally:
        handle.remove()

    assert seen == ["ReLU", "Sequential"]


# ---------------------------------------------------------------- texts


def test_the_text_shows_what_is_inside():
    assert repr(Net()) == (
        "Net(\n"
        "  (first): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (act): ReLU()\n"
        "  (last): Linear(in_features=3, out_features=1, bias=False)\n"
        ")"
    )


def test_extra_repr_of_several_lines_is_indented():
    class Told(nn.Module):
        def extra_repr(self):
            return "one\ntwo"

    assert repr(Told()) == "Told(\n  one\n  two\n)"
    assert repr(nn.Sequential(Told())) == "Sequential(\n  (0): Told(\n    one\n    two\n  )\n)"


def test_attributes_are_listed_without_numbers():
    names = dir(nn.Sequential(nn.ReLU()))

    assert "forward" in names and "0" not in names


# ---------------------------------------------------------------- lazy modules


def test_a_lazy_module_becomes_the_ordinary_one_at_its_first_call():
    layer = nn.LazyLinear(3)
    assert isinstance(layer.weight, nn.UninitializedParameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = layer(torch.ones(2, 5))

    assert type(layer) is nn.Linear and layer.weight.shape == (3, 5) and out.shape == (2, 3)


def test_a_lazy_module_keeps_its_casts():
    layer = nn.LazyBatchNorm1d().double()
    layer(torch.ones(4, 2, dtype=torch.float64))

    assert type(layer) is nn.BatchNorm1d
    assert layer.running_mean.dtype is layer.weight.dtype is torch.float64


def test_using_a_parameter_without_a_shape_is_an_error():
    with pytest.raises(ValueError, match="uninitialized parameter"):
        nn.LazyLinear(3).weight + 1


# ---------------------------------------------------------------- the namespaces


def test_every_class_is_where_pytorch_has_it():
    import importlib

    from taper.nn import modules

    for file, names in modules._CLASSES.items():
        home = importlib.import_module(f"taper.nn.modules.{file}")
        for name in names.split():
            assert getattr(nn, name) is getattr(modules, name) is getattr(home, name)


def test_star_imports_give_the_layers():
    space: dict = {}
    exec("from taper.nn import *\nfrom taper.nn.modules.linear import Linear as Line", space)

    assert space["Linear"] is space["Line"] is nn.Linear
    assert space["functional"].relu and space["Parameter"] is nn.Parameter


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="Linaer"):
        _ = nn.Linaer
    with pytest.raises(AttributeError, match="rleu"):
        _ = nn.functional.rleu


def test_an_ordered_dict_names_the_layers():
    net = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))

    assert [n for n, _ in net.named_children()] == ["a", "b"]
