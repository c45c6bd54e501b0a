"""DataLoader with worker processes: the same batches, errors from afar, and nothing left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import taper as torch
from taper.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="these tests start workers by fork"),
    # pytest itself may run threads; the workers do not touch them.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    gc.collect()  # an exception that a test looked at keeps its frames, and in them the iterator
    assert multiprocessing.active_children() == []


class Samples(Dataset):
    """Numbers, made by a function in the worker."""

    def __init__(self, count, make):
        self.count = count
        self.make = make

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.make(index)


class Ranges(IterableDataset):
    """3 numbers by the first worker, 5 by the second, and so on."""

    def __iter__(self):
        info = get_worker_info()
        number = info.id if info else 0
        return iter(range(10 * number, 10 * number + 3 + 2 * number))


def as_lists(loader):
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_batches_are_those_of_one_process(workers, shuffle):
    x = torch.arange(60.0).reshape(20, 3)
    results = []
    for count in (0, workers):
        torch.manual_seed(3)
        loader = DataLoader(TensorDataset(x, x[:, 0]), 3, shuffle, num_workers=count)
        results.append([[t.tolist() for t in batch] for _ in range(2) for batch in loader])

    assert results[0] == results[1]


def test_iterable_sets_are_read_by_each_worker_in_turn():
    """As PyTorch 2.13 gives, with workers that end at different times."""
    loader = DataLoader(Ranges(), batch_size=2, num_workers=2)

    assert as_lists(loader) == [[0, 1], [10, 11], [2], [12, 13], [14]]


def test_workers_have_seeds_of_their_own():
    """Generators of taper, Python and numpy, as in PyTorch 2.13."""

    def draw(index):
        numbers = torch.randint(0, 1000, (1,)).item(), random.randrange(1000)
        return torch.tensor([*numbers, np.random.randint(1000), get_worker_info().seed % 1000])

    torch.manual_seed(7)
    loader = DataLoader(Samples(4, draw), batch_size=2, num_workers=2)

    assert [batch.tolist() for batch in loader] == [
        [[293, 951, 828, 932], [235, 952, 156, 932]],
        [[610, 570, 739, 933], [403, 601, 565, 933]],
    ]


def test_a_worker_knows_itself_and_its_set():
    def about(index):
        info = get_worker_info()
        return [
            info.id,
            info.num_workers,
            info.dataset.count,
            info.worker_method == "multiprocessing",
        ]

    (first, second) = DataLoader(Samples(2, about), batch_size=None, num_workers=2)

    assert first == [0, 2, 2, True] and second == [1, 2, 2, True]
    assert get_worker_info() is None


def test_a_function_sets_each_worker_up():
    def set_up(number):
        get_worker_info().dataset.make = lambda index: 100 * number + index

    loader = DataLoader(Samples(4, None), num_workers=2, worker_init_fn=set_up)

    assert as_lists(loader) == [[0], [101], [2], [103]]


def test_an_error_comes_with_the_workers_traceback():
    def fail(index):
        raise KeyError("no such sample")

    with pytest.raises(KeyError) as caught:
        list(DataLoader(Samples(4, fail), num_workers=1))

    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 0.\nOriginal Traceback")
    assert 'raise KeyError("no such sample")' in text


def test_an_error_while_setting_up_comes_with_the_first_batch():
    def fail(number):
        raise ValueError(f"worker {number} has no disk")

    with pytest.raises(ValueError, match=r"Caught ValueError in .*(?s:.*)worker 0 has no disk"):
        list(DataLoader(Samples(4, int), num_workers=1, worker_init_fn=fail))


def test_an_error_that_cannot_be_made_again_is_a_runtime_error():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

    def fail(index):
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Caught Odd in DataLoader worker process 0"):
        list(DataLoader(Samples(2, fail), num_workers=1))


def test_a_pass_goes_on_after_an_error():
    def fail_at_two(index):
        if index == 2:
            raise ValueError("two")
        return index

    iterator = iter(DataLoader(Samples(5, fail_at_two), num_workers=2))
    seen = []
    for _ in range(5):
        try:
            seen.append(next(iterator).item())
        except ValueError:
            seen.append("error")

    assert seen == [0, 1, "error", 3, 4]


def test_a_batch_that_cannot_be_sent_is_an_error():
    with pytest.raises((AttributeError, TypeError, RuntimeError), match="in DataLoader worker"):
        list(DataLoader(Samples(2, lambda i: lambda: i), batch_size=None, num_workers=1))


def test_a_tensor_with_a_history_is_not_sent():
    def make(index):
        return torch.ones(2, requires_grad=True) * 2

    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        list(DataLoader(Samples(2, make), batch_size=None, num_workers=1))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by signal: SIGKILL"),
        (lambda: os._exit(3), "exit code 3"),
    ],
)
def test_a_worker_that_dies_is_named(end, words):
    def make(index):
        return end() if index == 2 else index

    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Samples(4, make), num_workers=1))

    assert "DataLoader worker (pid(s) " in str(caught.value)
    assert f"exited unexpectedly: {words}" in str(caught.value)


def test_a_worker_that_takes_too_long_is_an_error():
    def sleep(index):
        time.sleep(0.5)
        return index

    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.05 seconds"):
        list(DataLoader(Samples(2, sleep), num_workers=1, timeout=0.05))


def test_a_pass_broken_off_ends_its_workers():
    for _ in DataLoader(range(100), num_workers=2):
        break

    assert multiprocessing.active_children() == []


def test_persistent_workers_live_as_long_as_their_loader():
    def who(index):
        return os.getpid()

    loader = DataLoader(Samples(8, who), num_workers=2, persistent_workers=True)
    passes = [as_lists(loader) for _ in range(2)]
    next(iter(loader))  # broken off: what is still on the way must not come with the next pass
    passes.append(as_lists(loader))

    assert passes[0] == passes[1] == passes[2]
    assert len({pid for (pid,) in passes[0]}) == 2
    pids = [process.pid for process in multiprocessing.active_children()]
    assert len(pids) == 2
    del loader
    assert multiprocessing.active_children() == []


def test_persistent_workers_read_iterable_sets_again():
    loader = DataLoader(Ranges(), 2, num_workers=2, persistent_workers=True)

    assert as_lists(loader) == as_lists(loader)


def test_out_of_order_the_fast_worker_goes_on():
    def slow_zero(index):
        time.sleep(0.3 if index == 0 else 0)
        return index

    loader = DataLoader(Samples(6, slow_zero), num_workers=2, in_order=False)
    order = [batch.item() for batch in loader]

    assert sorted(order) == list(range(6))
    assert order[0] != 0


def test_many_indices_and_large_batches_do_not_block_each_other():
    """Both pipes hold 64 KB; a main process that waits for a worker that waits for it hangs."""

    class Large(Dataset):
        def __len__(self):
            return 200_000

        def __getitems__(self, indices):
            return [np.zeros(300_000, np.uint8)]

    loader = DataLoader(Large(), batch_size=50_000, num_workers=2, timeout=20)

    assert [batch.shape for batch in loader] == [(1, 300_000)] * 4


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor(3),
        torch.zeros(0, 4),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(2, requires_grad=True),
        {"a": [np.arange(3), "text"]},
    ],
    ids=["floats", "strided", "0-d", "empty", "bfloat16", "leaf", "structure"],
)
def test_what_a_worker_sends_arrives_whole(value):
    (found,) = DataLoader(Samples(1, lambda index: value), batch_size=None, num_workers=1)

    if isinstance(value, dict):
        assert found["a"][0].tolist() == [0, 1, 2] and found["a"][1] == "text"
    else:
        assert found.tolist() == value.tolist()
        assert found.dtype is value.dtype and found.requires_grad is value.requires_grad
        if not value.requires_grad:
            found += 1  # the memory is the program's own


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_to_start_a_worker_work(method):
    data = TensorDataset(torch.arange(4))
    loader = DataLoader(data, 2, num_workers=1, multiprocessing_context=method)

    assert [batch[0].tolist() for batch in loader] == [[0, 1], [2, 3]]


def test_too_many_workers_are_warned_of():
    with pytest.warns(UserWarning, match="This DataLoader will create 9999 worker processes"):
        DataLoader(range(2), num_workers=9999)


PROGRAM = """
import os, sys, time
import taper
from taper.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, i):
        time.sleep(0.01)
        return os.getpid()

print("ready", flush=True)
for batch in DataLoader(Slow(), num_workers=2):
    print(batch.item(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_is_stopped_leaves_no_worker_behind(number):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout.readline() == "ready\n"
    pids = {int(program.stdout.readline()) for _ in range(6)}
    program.send_signal(number)
    program.wait(20)
    program.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(map(alive, pids)):
        time.sleep(0.05)

    assert len(pids) == 2
    assert not any(map(alive, pids))


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
