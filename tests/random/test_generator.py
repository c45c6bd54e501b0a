"""The generator: seeds, states, copies; and torch.random's functions."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import taper as torch
from taper.generator import Generator, choice, selection


def test_a_new_generator_has_the_seed_that_pytorch_gives_it():
    made = torch.Generator()

    assert made.initial_seed() == 67280421310721
    assert made.device == torch.device("cpu")


def test_only_the_low_32_bits_of_a_seed_make_a_difference():
    one = torch.rand(3, generator=torch.Generator().manual_seed(5))
    other = torch.rand(3, generator=torch.Generator().manual_seed(5 + (7 << 32)))

    assert torch.equal(one, other)
    assert torch.Generator().manual_seed(5 + (7 << 32)).initial_seed() == 5 + (7 << 32)


def test_negative_seeds_are_twos_complement():
    assert torch.Generator().manual_seed(-1).initial_seed() == 2**64 - 1


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
def test_a_seed_beyond_64_bits_is_refused(seed):
    with pytest.raises(ValueError, match="Overflow when unpacking long long"):
        torch.Generator().manual_seed(seed)
    with pytest.raises(ValueError, match="Overflow when unpacking long long"):
        torch.manual_seed(seed)


def test_the_default_generator_takes_the_integer_part_of_a_float_but_a_generator_does_not():
    assert torch.manual_seed(3.7).initial_seed() == torch.initial_seed() == 3
    with pytest.raises(RuntimeError, match="manual_seed expected a long, but got float"):
        torch.Generator().manual_seed(3.7)


def test_seed_takes_a_new_seed_each_time():
    made = torch.Generator()

    assert made.seed() != made.seed()


@pytest.mark.parametrize("before", [0, 1, 5, 623, 624, 625, 1248, 5000])
@pytest.mark.parametrize("normals", [0, 1, 2])
def test_a_state_continues_the_stream(before, normals):
    """At every kind of position, with and without a normal number that waits."""
    made = torch.Generator().manual_seed(11)
    torch.rand(before, generator=made)
    torch.randn(normals, generator=made)
    state = made.get_state()
    wanted = (torch.randn(3, generator=made).tolist(), torch.rand(700, generator=made).tolist())

    other = torch.Generator().set_state(state)

    assert torch.equal(other.get_state(), state)
    assert torch.randn(3, generator=other).tolist() == wanted[0]
    assert torch.rand(700, generator=other).tolist() == wanted[1]


def test_a_clone_and_a_copy_and_a_pickle_go_on_alone():
    made = torch.Generator().manual_seed(2)
    torch.rand(10, generator=made)
    copies = [made.clone_state(), copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    wanted = torch.rand(4, generator=made).tolist()

    for each in copies:
        assert torch.rand(4, generator=each).tolist() == wanted
        assert each.initial_seed() == 2


def test_a_state_that_is_none_is_refused():
    made = torch.Generator()

    with pytest.raises(TypeError, match=r"expected a torch\.ByteTensor, but got list"):
        made.set_state([1])
    with pytest.raises(TypeError, match=r"RNG state must be a torch\.ByteTensor"):
        made.set_state(torch.zeros(5056))
    with pytest.raises(RuntimeError, match=r"of size 5056 but found .* size to be 5"):
        made.set_state(torch.zeros(5, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        made.set_state(torch.zeros(5056, dtype=torch.uint8))


def test_there_are_no_offsets_and_no_gpu():
    with pytest.raises(RuntimeError, match="CPU Generator does not use offset"):
        torch.Generator().get_offset()
    with pytest.raises(RuntimeError, match="CPU Generator does not use offset"):
        torch.Generator().set_offset(3)
    with pytest.raises(RuntimeError, match="Cannot get CUDA generator"):
        torch.Generator("cuda")


def test_words_are_those_of_mt19937_however_they_are_asked_for():
    together = Generator().manual_seed(9).words(3000)
    one_by_one = Generator().manual_seed(9)
    parts = np.concatenate([one_by_one.words(n) for n in (0, 1, 622, 1, 0, 1, 2375)])

    assert np.array_equal(together, parts)
    assert Generator().manual_seed(5489).words(1).tolist() == [3499211612]  # the published first


def test_a_given_generator_leaves_the_default_one_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()

    torch.rand(5, generator=torch.Generator())

    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_drawn_in_fork_rng_is_forgotten():
    torch.manual_seed(1)
    with torch.random.fork_rng():
        first = torch.rand(3)
    second = torch.rand(3)
    torch.set_rng_state(torch.Generator().manual_seed(1).get_state())
    with torch.random.fork_rng(enabled=False):
        torch.rand(3)

    assert torch.equal(first, second)
    assert not torch.equal(torch.rand(3), first)


def test_numpys_and_pythons_own_random_numbers_are_left_alone():
    import random

    np.random.seed(0)
    random.seed(0)
    wanted = (np.random.RandomState(0).rand(), random.Random(0).random())

    torch.manual_seed(5)
    torch.rand(1000)

    assert (np.random.rand(), random.random()) == wanted


def test_importing_taper_does_not_load_numpys_random_package():
    """It takes 10 ms; the engine is made when the first number is drawn."""
    code = "import sys, taper; print('numpy.random' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 3197])
def test_a_permutation_has_every_number_once(n):
    assert sorted(choice.permutation(Generator(), n)) == list(range(n))


def test_the_wide_permutation_has_every_number_once():
    """Used from 214748364 elements on, too many to test whole."""
    assert sorted(choice._wide_permutation(Generator(), 1000)) == list(range(1000))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 2, 5, 40, 100])
def test_the_largest_are_the_largest_though_many_are_equal(seed, k):
    values = np.random.default_rng(seed).integers(0, 12, 700).astype(np.float32)

    chosen = selection.largest(values, k)

    assert len(set(chosen.tolist())) == k
    assert values[chosen].tolist() == sorted(values.tolist(), reverse=True)[:k]


@pytest.mark.parametrize("values", [list(range(3000)), list(range(3000))[::-1], [1] * 2999 + [2]])
def test_selection_survives_unlucky_orders(values):
    pairs = [(float(v), i) for i, v in enumerate(values)]
    selection._select(pairs, 1500)
    selection._sort(pairs, 1500)

    assert [p[0] for p in pairs[:1501]] == sorted(map(float, values), reverse=True)[:1501]
