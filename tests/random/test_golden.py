"""The same seed gives PyTorch's numbers, bit for bit, and leaves the generator in the same state."""

from __future__ import annotations

import pytest

from random_golden import CALLS, CASES, check, name_of

LOADING = {"dataloader", "random_sampler", "random_split", "weighted_sampler"}
MINE = [case for case in CASES if case["fn"] not in LOADING]


def test_every_recorded_call_is_known():
    assert {case["fn"] for case in CASES} - LOADING == set(CALLS)


# PyTorch warns of half-type integers that are not exact, and of a Transformer's batch order.
@pytest.mark.filterwarnings("ignore:to - 1 is out of bounds", "ignore:enable_nested_tensor")
@pytest.mark.parametrize("case", MINE, ids=name_of)
def test_numbers_and_state_are_those_of_pytorch(case):
    check(case, CALLS[case["fn"]])
