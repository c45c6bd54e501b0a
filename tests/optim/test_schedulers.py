"""Learning-rate schedulers: PyTorch's rates to the last bit, and its warnings and errors."""

from __future__ import annotations

import json
import pathlib
import pickle
import warnings

import pytest

import taper as torch
from golden import schedules
from taper.optim import SGD, Adam, lr_scheduler
from taper.optim.swa_utils import SWALR

STORED = json.loads(pathlib.Path(schedules.PATH).read_text(encoding="utf-8"))["curves"]


def make_sgd(lr=0.1):
    return SGD([torch.zeros(2, requires_grad=True)], lr=lr, momentum=0.9)


@pytest.mark.parametrize("name", schedules.CASES)
def test_the_rates_are_those_of_pytorch(name):
    assert schedules.run(torch, name) == STORED[name]


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
def test_beta1_is_cycled_where_there_is_no_momentum(name):
    pytorch = pytest.importorskip("torch")

    assert schedules.run(torch, name, "Adam") == schedules.run(pytorch, name, "Adam")


@pytest.mark.parametrize("name", schedules.CASES)
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_loaded_scheduler_goes_on_where_the_saved_one_was(name):
    def begin():
        optimizer = schedules.groups(torch)
        return optimizer, schedules.CASES[name](schedules.Names(torch), optimizer)

    optimizer, scheduler = begin()
    for step in range(6):
        schedules.advance(scheduler, optimizer, step)
    saved = optimizer.state_dict(), scheduler.state_dict()
    if "function" not in name:
        saved = pickle.loads(pickle.dumps(saved))
    other_optimizer, other = begin()
    other_optimizer.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    for step in range(6, 15):
        schedules.advance(scheduler, optimizer, step)
        schedules.advance(other, other_optimizer, step)

        assert schedules.read(other_optimizer) == schedules.read(optimizer)
        assert other.get_last_lr() == scheduler.get_last_lr()


def test_a_tensor_rate_is_changed_in_place():
    lr = torch.tensor(0.5)
    optimizer = Adam([torch.zeros(2, requires_grad=True)], lr=lr)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()

    scheduler.step()

    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.25
    assert scheduler.get_last_lr()[0].item() == 0.25
    assert scheduler.base_lrs[0].item() == 0.5


def test_a_step_before_the_optimizers_is_warned_of():
    scheduler = lr_scheduler.StepLR(make_sgd(), 1)

    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step\\(\\)` before"):
        scheduler.step()


def test_the_usual_order_gives_no_warning():
    optimizer = make_sgd()
    scheduler = lr_scheduler.StepLR(optimizer, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()


def test_an_overridden_step_is_warned_of():
    optimizer = make_sgd()
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    optimizer.step = lambda: None

    with pytest.warns(UserWarning, match="has been overridden"):
        scheduler.step()


def test_an_epoch_given_to_step_uses_the_closed_form():
    optimizer = make_sgd(0.8)
    scheduler = lr_scheduler.StepLR(optimizer, 2, 0.5)
    optimizer.step()

    with pytest.warns(UserWarning, match="The epoch parameter in"):
        scheduler.step(7)

    assert scheduler.get_last_lr() == [0.1]


def test_get_lr_outside_of_step_is_warned_of():
    scheduler = lr_scheduler.LambdaLR(make_sgd(), lambda epoch: 1.0)

    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()


def test_resuming_needs_the_initial_rate():
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified"):
        lr_scheduler.StepLR(make_sgd(), 3, last_epoch=4)


def test_the_state_of_a_callable_object_is_kept():
    class Factor:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, epoch):
            return self.factor**epoch

    saved = lr_scheduler.LambdaLR(make_sgd(), Factor(0.25)).state_dict()
    other = lr_scheduler.LambdaLR(make_sgd(), Factor(0.5))

    other.load_state_dict(saved)

    assert other.lr_lambdas[0].factor == 0.25
    assert saved["lr_lambdas"] == [{"factor": 0.25}]


def test_restarts_take_fractions_of_an_epoch():
    optimizer = make_sgd(1.0)
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 2)

    scheduler.step(1.0)
    middle = scheduler.get_last_lr()[0]
    scheduler.step(2.5)

    assert middle == pytest.approx(0.5)
    assert (scheduler.T_cur, scheduler.T_i) == (0.5, 4)


def test_one_cycle_refuses_a_step_beyond_the_last():
    optimizer = make_sgd()
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    for _ in range(2):
        optimizer.step()
        scheduler.step()

    with pytest.raises(ValueError, match="Tried to step 3 times"):
        scheduler.step()


def test_a_plateau_counts_equal_values_as_bad():
    optimizer = make_sgd(1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)

    for _ in range(3):
        scheduler.step(torch.tensor(2.0))

    assert scheduler.get_last_lr() == [0.1]


def test_the_hooked_step_does_not_keep_the_optimizer_alive():
    import gc
    import weakref

    optimizer = make_sgd()
    lr_scheduler.StepLR(optimizer, 1)
    alive = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer

        assert alive() is None
    finally:
        gc.enable()


WRONG = [
    (lambda o: lr_scheduler.StepLR("no", 1), TypeError, "str is not an Optimizer"),
    (lambda o: lr_scheduler.LambdaLR(o, [len, len]), ValueError, "Expected 1 lr_lambdas, but got"),
    (lambda o: lr_scheduler.MultiplicativeLR(o, 3), TypeError, "lr_lambda should be a function"),
    (lambda o: lr_scheduler.ConstantLR(o, 2.0), ValueError, "expected to be between 0 and 1"),
    (lambda o: lr_scheduler.LinearLR(o, 0.0), ValueError, "greater than 0 and less or equal to 1"),
    (lambda o: lr_scheduler.LinearLR(o, 1.0, 2.0), ValueError, "Ending multiplicative factor"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), ValueError, "Factor should be < 1.0"),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "mid"), ValueError, "mode mid is unknown"),
    (lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "mode is invalid"),
    (lambda o: lr_scheduler.CyclicLR(o, [1, 2], 1.0), ValueError, "base_lr must have the same"),
    (lambda o: lr_scheduler.OneCycleLR(o, 1.0), ValueError, "You must define either total_steps"),
    (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, pct_start=2.0), ValueError, "pct_start"),
    (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 0), ValueError, "positive integer T_0"),
    (lambda o: lr_scheduler.SequentialLR(o, [], []), ValueError, "expects at least one scheduler"),
    (
        lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1)], [3]),
        ValueError,
        "one more than the number of milestone points",
    ),
    (
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ReduceLROnPlateau(o)]),
        ValueError,
        "does not support `ReduceLROnPlateau`",
    ),
    (
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(make_sgd(), 1)], o),
        ValueError,
        "belong to the same optimizer",
    ),
    (lambda o: SWALR(o, 0.1, anneal_strategy="x"), ValueError, "must be one of 'cos' or 'linear'"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_options_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make(make_sgd())
