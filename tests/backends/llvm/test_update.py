"""Every optimizer's rule as a kernel: the bits of the rule read with numpy, and its ways."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm import build, machine, update
from taper.backends.llvm.functions import update as functions
from taper.backends.llvm.pointwise import Unsupported
from taper.optim import flat
from taper.optim.arithmetic import ArrayMath
from taper.tensor import quick

RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {}),
    ("Adam", {"weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"betas": (0.3, 0.4)}),
    ("Adam", {"betas": (0.0, 0.0)}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adamax", {}),
    ("ASGD", {}),
    ("NAdam", {"weight_decay": 0.1}),
    ("RAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Rprop", {}),
]


def optimizer(name: str, options: dict):
    return getattr(taper.optim, name)([taper.nn.Parameter(taper.zeros(3))], **options)


def coefficients(made, step: int):
    scalars = {"step": np.float32(step), "fresh": step == 1, "eta": np.float32(0.01),
               "mu": np.float32(1 / step), "mu_product": np.float32(0.9)}  # fmt: skip
    return made.coefficients(made.param_groups[0], scalars)


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("maximize", [False, True])
def test_a_rules_kernel_has_the_bits_of_the_rule(name, options, dtype, maximize):
    made = optimizer(name, options)
    states = len(made.arrays(made.param_groups[0]))
    generator = np.random.default_rng(0)
    for size in (0, 1, 17, 1003):
        plain = [generator.normal(size=size).astype(dtype)]
        plain += [np.zeros(size, dtype) for _ in range(states)]
        # A zone behind each array that must stay as it is.
        guarded = [np.concatenate([a, np.full(40, 7, dtype)]) for a in plain]
        m = ArrayMath(np.dtype(dtype))
        with np.errstate(all="ignore"):
            for step in range(1, 9):
                grad = generator.normal(size=size).astype(dtype)
                c = coefficients(made, step)
                m.begin(size)
                made.update(m, plain[0], m.neg(grad) if maximize else grad, plain[1:], c)

                param, *state = (a[:size] for a in guarded)
                assert functions.update_rule(made.update, param, grad, state, c, maximize)

                for one, two in zip(plain, guarded, strict=True):
                    np.testing.assert_array_equal(one, two[:size])
                    assert (two[size:] == 7).all()


def test_other_numbers_use_the_same_kernel_until_the_rule_takes_another_way():
    made = optimizer("Adam", {})
    rule = update.read(made.update, "f", 2, coefficients(made, 1), False)
    beta1, beta2, step_size, eps, decay, _ = coefficients(made, 1)

    assert rule.holds([beta1, beta2, step_size * 3, eps * 2, decay])
    assert rule.holds([0.8, 0.5, step_size, eps, decay])
    assert not rule.holds([0.4, beta2, step_size, eps, decay])  # lerp goes from the other end
    assert not rule.holds([beta1, beta2, step_size, eps, 0.1])  # there is a decay


def test_a_kernel_is_not_made_again_in_later_steps():
    made = optimizer("Adam", {})
    arrays = [np.ones(100, np.float32) for _ in range(4)]
    functions.update_rule(made.update, *arrays[:2], arrays[2:], coefficients(made, 1), False)
    before = dict(build.counts)
    for step in range(2, 20):
        functions.update_rule(made.update, *arrays[:2], arrays[2:], coefficients(made, step), False)
    assert build.counts == before


def test_what_a_kernel_cannot_do_is_left_to_numpy():
    made = optimizer("SGD", {})
    c = coefficients(made, 1)
    half = [np.ones(100, np.float16), np.ones(100, np.float16)]
    assert not functions.update_rule(made.update, *half, [], c, False)
    assert not functions.update_rule(
        made.update, np.ones((50, 2), np.float32)[:, 0], np.ones(50, np.float32), [], c, False
    )
    assert not functions.update_rule(
        made.update, np.ones(9, np.float32), np.ones(9), [], (np.float64(0.1), *c[1:]), False
    )

    def odd(m, param, grad, state, c):
        m.mul_(grad, 2)

    with pytest.raises(Unsupported, match="changes the gradient"):
        update.read(odd, "f", 0, (), False)


@pytest.mark.parametrize("target", ["avx2", "neon"])
def test_rules_compile_for_other_processors(target):
    triple = "aarch64-unknown-linux-gnu" if target == "neon" else "x86_64-unknown-linux-gnu"
    made = optimizer("Adam", {})
    rule = update.read(made.update, "f", 2, coefficients(made, 1), False)

    text = build.assembly(rule.kernel, machine.cross(target, triple))

    assert ("fsqrt" in text) if target == "neon" else ("vsqrtps" in text)
    assert "fmadd" not in text and "fmla" not in text  # each word rounds


def test_an_optimizers_steps_agree_between_the_backends(monkeypatch):
    def trained(run):
        monkeypatch.setattr(flat, "_update_together", lambda *rule: False)
        monkeypatch.setattr(flat, "_update_rule", run)
        taper.manual_seed(0)
        model = taper.nn.Sequential(taper.nn.Linear(20, 30), taper.nn.Linear(30, 600))
        made = taper.optim.AdamW(model.parameters())
        for _ in range(4):
            made.zero_grad()
            model(taper.ones(2, 20)).square().sum().backward()
            made.step()
        return [p.tolist() for p in model.parameters()]

    assert trained(functions.update_rule) == trained(lambda *rule: False)


def parameters(shapes, dtype=taper.float32):
    taper.manual_seed(3)
    made = [taper.nn.Parameter(taper.randn(shape, dtype=dtype)) for shape in shapes]
    sum((p * p.detach()).sum() for p in made).backward()  # puts the tape's layout in place, too
    return made


SHAPES = [(3, 5), (), (0,), (1,), (17,), (2, 3, 4), (64, 33)]


@pytest.mark.parametrize("dtype", [taper.float32, taper.float64])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam"])
def test_together_as_one_behind_the_other(kind, dtype, monkeypatch):
    results = []
    for together in (True, False):
        if not together:
            monkeypatch.setattr(flat, "_update_together", lambda *rule: False)
        made = parameters(SHAPES, dtype)
        own = {"momentum": 0.9} if kind == "SGD" else {}
        optimizer = getattr(taper.optim, kind)(made, lr=0.1, **own)
        before = [p._version for p in made]
        for _ in range(3):
            optimizer.step()
        assert [p._version - b for p, b in zip(made, before, strict=True)] == [3] * len(made)
        results.append([p.detach().numpy().tobytes() for p in made])
    assert results[0] == results[1]


def test_together_leaves_alone_what_is_unusual():
    made = parameters([(4, 3), (5,)])
    rule = taper.optim.SGD(made, lr=0.5)
    arrays = tuple(p._array for p in made)
    values = [a.copy() for a in arrays]
    c = (0.5,)

    def update(m, param, grad, state, c):
        m.add_(param, grad, -c[0])

    def run(params=made, known=arrays):
        return functions.update_together(update, tuple(params), known, [], c, False)

    assert run()
    for a, v in zip(arrays, values, strict=True):
        a[...] = v
    assert not run(known=(arrays[0], arrays[1].copy()))  # another array than it had
    assert not run(params=[made[0], "no tensor"])
    held = made[1].grad
    made[1].grad = None
    assert not run()
    made[1]._grad = held.double()
    assert not run()
    made[1]._grad = taper.ones(1)
    assert not run()
    made[1]._grad = taper.ones(10)[::2]
    assert not run()
    for a, v in zip(arrays, values, strict=True):
        np.testing.assert_array_equal(a, v)  # nothing was done by halves
    made[1]._grad = held
    assert run()
    rule.zero_grad()


def test_together_counts_references_right():
    made = parameters([(4,), (5,)])
    optimizer = taper.optim.SGD(made, lr=0.1)
    optimizer.step()
    watched = [made[0], made[0]._array, made[0].grad, made[0].grad._array, np.dtype("f")]
    before = [sys.getrefcount(x) for x in watched]
    for _ in range(500):
        optimizer.step()
    assert all(abs(sys.getrefcount(x) - b) < 10 for x, b in zip(watched, before, strict=True))


def test_a_plan_holds_until_anything_it_rests_on_changes():
    made = parameters([(4, 3), (5,)])
    idle = taper.nn.Parameter(taper.ones(2))
    optimizer = taper.optim.Adam([*made, idle], lr=0.1)
    optimizer.step()
    group, plan = optimizer.param_groups[0], optimizer._plans[0]

    def holds():
        return quick.holds(group["params"], *plan.columns)

    assert holds() is True
    entry = optimizer.state[made[0]]
    changes = {
        "a state tensor": (entry, "exp_avg", entry["exp_avg"].clone()),
        "no tensor": (entry, "step", 3.0),
        "another order": (group, "params", [made[1], made[0], idle]),
        "fewer parameters": (group, "params", made),
        "a tuple": (group, "params", (*made, idle)),
    }
    for what, (owner, name, value) in changes.items():
        before, owner[name] = owner[name], value
        assert holds() is None, what
        owner[name] = before
        assert holds() is True
    missing = entry.pop("exp_avg_sq")
    assert holds() is None
    entry["exp_avg_sq"] = missing
    idle.grad = taper.ones(2)
    assert holds() is None
    idle.grad = None
    made[1]._array, array = made[1]._array.copy(), made[1]._array
    assert holds() is None
    made[1]._array = array
    assert holds() is True
