"""Averaged models and the statistics that go with them."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.optim import swa_utils


def make_model(value):
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(value)
        model.bias.fill_(-value)
    return model


def test_the_average_is_the_mean_of_all_updates():
    averaged = swa_utils.AveragedModel(make_model(0.0))

    for value in (1.0, 2.0, 6.0):
        averaged.update_parameters(make_model(value))

    np.testing.assert_allclose(averaged.module.weight.detach().numpy(), 3.0, rtol=1e-6)
    assert averaged.n_averaged.item() == 3
    assert averaged(torch.ones(1, 2)).item() == pytest.approx(3.0)


@pytest.mark.parametrize("how", ["avg_fn", "multi_avg_fn"])
def test_an_exponential_average_forgets(how):
    functions = {
        "avg_fn": swa_utils.get_ema_avg_fn(0.75),
        "multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.75),
    }
    averaged = swa_utils.AveragedModel(make_model(0.0), **{how: functions[how]})

    averaged.update_parameters(make_model(4.0))
    averaged.update_parameters(make_model(8.0))

    assert averaged.module.bias.item() == pytest.approx(-5.0)


def test_buffers_are_copied_unless_they_are_to_be_averaged():
    results = []
    for use_buffers in (False, True):
        model = nn.BatchNorm1d(1)
        averaged = swa_utils.AveragedModel(model, use_buffers=use_buffers)
        for value in (1.0, 3.0):
            model.running_mean.fill_(value)
            averaged.update_parameters(model)
        results.append(averaged.module.running_mean.item())

    assert results == [3.0, 2.0]


def test_batch_statistics_become_the_mean_over_the_loader():
    model = nn.Sequential(nn.BatchNorm1d(1, momentum=0.3), nn.Dropout(0.0))
    model.eval()
    batches = [(torch.full((4, 1), value), None) for value in (1.0, 2.0, 6.0)]

    swa_utils.update_bn(batches, model)

    assert model[0].running_mean.item() == pytest.approx(3.0)
    assert model[0].momentum == 0.3
    assert not model[0].training


def test_only_one_way_to_average_is_allowed():
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(
            make_model(1.0),
            avg_fn=swa_utils.get_swa_avg_fn(),
            multi_avg_fn=swa_utils.get_swa_multi_avg_fn(),
        )


def test_a_decay_outside_of_its_range_is_refused():
    with pytest.raises(ValueError, match=r"Invalid decay value 2\.0 provided"):
        swa_utils.get_ema_avg_fn(2.0)
