"""With the same seed, the loss curves of the learning path's networks follow PyTorch's."""

from __future__ import annotations

import json
import pathlib

import pytest

from golden import loss_curves

# Float32 sums in another order differ by 1e-7; five epochs of training enlarge that.
TOLERANCE = 1e-4

STORED = json.loads(pathlib.Path(loss_curves.PATH).read_text(encoding="utf-8"))
CASES = [
    (network, optimizer) for network in loss_curves.STOCK for optimizer in loss_curves.OPTIMIZERS
]


@pytest.mark.parametrize("optimizer", loss_curves.OPTIMIZERS)
def test_the_digits_network_follows_the_stored_curve(optimizer: str):
    pytest.importorskip("sklearn")

    ours = loss_curves.digits_curve("taper", optimizer)

    assert ours == pytest.approx(STORED["curves"][f"digits {optimizer}"], rel=TOLERANCE)


@pytest.mark.parametrize(("network", "optimizer"), CASES)
def test_a_stock_network_follows_the_stored_curve(network: str, optimizer: str):
    ours = loss_curves.stock_curve("taper", network, optimizer)

    assert ours == pytest.approx(STORED["curves"][f"{network} {optimizer}"], rel=TOLERANCE)


def test_the_stored_curves_are_of_five_epochs_and_fall():
    assert len(STORED["curves"]) == 8
    for curve in STORED["curves"].values():
        assert len(curve) == loss_curves.EPOCHS
        assert curve[-1] < curve[0]


@pytest.mark.parametrize(("network", "optimizer"), CASES)
def test_the_stored_curve_is_what_pytorch_gives_here(network: str, optimizer: str):
    pytest.importorskip("torch")

    theirs = loss_curves.stock_curve("torch", network, optimizer)

    assert theirs == pytest.approx(STORED["curves"][f"{network} {optimizer}"], rel=TOLERANCE)


@pytest.mark.parametrize("optimizer", loss_curves.OPTIMIZERS)
def test_the_stored_digits_curve_is_what_pytorch_gives_here(optimizer: str):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")

    theirs = loss_curves.digits_curve("torch", optimizer)

    assert theirs == pytest.approx(STORED["curves"][f"digits {optimizer}"], rel=TOLERANCE)
