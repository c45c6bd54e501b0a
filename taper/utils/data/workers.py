"""Worker processes: they fetch batches while the program computes.

Each worker has one pipe in both directions: numbered tasks go in, numbered batches come out. A
batch travels as a pickle whose arrays follow it as raw bytes, straight into fresh memory. Within a
worker a thread empties the pipe of tasks, so that the main process never waits to hand one over and
the two can never wait for each other.

A pass ends its workers by closing the pipes, also when it is dropped in the middle or the program
ends; a worker whose main process is gone ends by itself. Processes rather than threads: samples are
mostly made by Python code, which threads would not run in parallel, and a worker's seeds are its
own.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import random
import signal
import struct
import threading
import time
import traceback
import warnings
import weakref
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from taper.tensor import Tensor
from taper.utils.data._utils import worker as this_worker
from taper.utils.data.dataloader import DataLoader, Fetcher, _BaseDataLoaderIter, _DatasetKind

# Seconds between two looks whether the main process is alive, and for a worker to end by itself.
_INTERVAL = 5.0

# The main process's ends of all pipes. A forked child inherits them and must close them, or its
# brothers would never see that the main process closed its own.
_own_ends: weakref.WeakSet[Connection] = weakref.WeakSet()


def checked_context(context: Any, num_workers: int) -> BaseContext:
    """The multiprocessing context of that name, or the context itself.

    Raises: ValueError for an unknown name or without workers, TypeError for another object.
    """
    if num_workers <= 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading "
            f"(num_workers > 0), but got num_workers={num_workers}"
        )
    if isinstance(context, str):
        names = multiprocessing.get_all_start_methods()
        if context not in names:
            raise ValueError(
                "multiprocessing_context option should specify a valid start method in "
                f"{names!r}, but got multiprocessing_context={context!r}"
            )
        context = multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string "
            f"specifying the start method, but got multiprocessing_context={context}"
        )
    return context


# ---------------------------------------------------------------- messages


class _Pickler(pickle.Pickler):
    """Refuses tensors with a history, which would be lost without a word."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor) and obj.requires_grad and not obj.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since "
                "autograd does not support crossing process boundaries. If you just want to "
                "transfer the data, call detach() on the tensor before serializing (e.g., putting "
                "it on the queue)."
            )
        return NotImplemented


def send(pipe: Connection, message: Any) -> None:
    """Sends an object; the memory of its arrays follows the pickle without being copied into it."""
    buffers: list[pickle.PickleBuffer] = []
    file = BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(message)
    raws = [buffer.raw() for buffer in buffers]
    sizes = struct.pack(f"<I{len(raws)}Q", len(raws), *(raw.nbytes for raw in raws))
    pipe.send_bytes(sizes + file.getbuffer())
    for raw in raws:
        if raw.nbytes:
            pipe.send_bytes(raw)


def receive(pipe: Connection) -> Any:
    """What the other side sent; EOFError if it is gone."""
    head = memoryview(pipe.recv_bytes())
    (count,) = struct.unpack_from("<I", head)
    sizes = struct.unpack_from(f"<{count}Q", head, 4)
    buffers = []
    for size in sizes:
        memory = np.empty(size, np.uint8)
        if size:
            pipe.recv_bytes_into(memory.data)
        buffers.append(memory)
    return pickle.loads(head[4 + 8 * count :], buffers=buffers)


class _KeyErrorText(str):
    """A text that KeyError, which shows the repr of its argument, shows line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Failure:
    """An exception in a worker, with its traceback as text."""

    kind: type[BaseException]
    text: str

    @staticmethod
    def of(error: BaseException, worker: int) -> Failure:
        """The failure to be sent for `error`."""
        shown = "".join(traceback.format_exception(error))
        kind = type(error)
        text = f"Caught {kind.__name__} in DataLoader worker process {worker}.\nOriginal {shown}"
        try:
            pickle.dumps(kind)
        except Exception:  # a class that only the worker knows
            kind = RuntimeError
        return Failure(kind, text)

    def reraise(self) -> None:
        """Raises an exception of the same class whose text holds the worker's traceback."""
        text = _KeyErrorText(self.text) if self.kind is KeyError else self.text
        try:
            if getattr(self.kind, "message", None):
                error = self.kind(message=text)  # type: ignore[call-arg]
            else:
                error = self.kind(text)
        except Exception:  # a class that wants other arguments
            raise RuntimeError(text) from None
        try:
            raise error
        finally:
            # The exception's traceback holds this frame: a cycle, and with it the iterator above,
            # whose workers would live until the next garbage collection.
            del error


@dataclass(frozen=True)
class Ended:
    """A worker's IterableDataset has no more samples."""


@dataclass(frozen=True)
class Resume:
    """Begins another pass with the same workers."""


# ---------------------------------------------------------------- in the worker process


@dataclass(frozen=True)
class Job:
    """All that a worker is told when it starts."""

    kind: int
    dataset: Any
    auto_collation: bool
    collate_fn: Any
    drop_last: bool
    base_seed: int
    init_fn: Any
    number: int
    count: int

    def fetcher(self) -> Fetcher:
        """What makes the batches of one pass."""
        return Fetcher(
            self.kind, self.dataset, self.auto_collation, self.collate_fn, self.drop_last
        )


def run_worker(pipe: Connection, job: Job, forked: bool) -> None:
    """The life of a worker process."""
    if forked:
        for end in list(_own_ends):
            end.close()
    try:
        _seed(job)
        tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(
            target=_take_tasks, args=(pipe, tasks, os.getppid()), daemon=True, name="tasks"
        ).start()
        _work(pipe, job, tasks)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass  # the main process is told by itself, or is gone


def _seed(job: Job) -> None:
    import taper

    taper.set_num_threads(1)
    seed = job.base_seed + job.number
    random.seed(seed)
    taper.manual_seed(seed)
    # numpy's generator is the same algorithm as Python's; a plain seed would give related numbers.
    entropy = [job.number, job.base_seed & 0xFFFFFFFF, job.base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    this_worker._worker_info = this_worker.WorkerInfo(job.number, job.count, seed, job.dataset)


def _take_tasks(pipe: Connection, tasks: queue.SimpleQueue[Any], parent: int) -> None:
    """Moves tasks from the pipe to the queue; None when the main process wants no more."""
    try:
        while True:
            while not pipe.poll(_INTERVAL):
                if os.getppid() != parent:
                    os._exit(1)
            task = pipe.recv()
            tasks.put(task)
            if task is None:
                return
    except (EOFError, OSError):
        tasks.put(None)


def _work(pipe: Connection, job: Job, tasks: queue.SimpleQueue[Any]) -> None:
    failure = fetcher = None
    try:
        if job.init_fn is not None:
            job.init_fn(job.number)
        fetcher = job.fetcher()
    except Exception as error:
        failure = Failure.of(error, job.number)
    ended = False
    while (task := tasks.get()) is not None:
        if isinstance(task, Resume):
            ended = False
            try:
                fetcher = job.fetcher()
            except Exception as error:
                failure = Failure.of(error, job.number)
            continue
        if ended:
            continue
        label, index = task
        answer: Any
        if failure is not None:
            answer, failure = failure, None
        else:
            try:
                answer = fetcher.fetch(index)  # type: ignore[union-attr]
            except Exception as error:
                if isinstance(error, StopIteration) and job.kind == _DatasetKind.Iterable:
                    answer, ended = Ended(), True
                else:
                    answer = Failure.of(error, job.number)
        try:
            send(pipe, (label, answer))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # the batch cannot be pickled
            send(pipe, (label, Failure.of(error, job.number)))
        del answer, task, index


# ---------------------------------------------------------------- in the main process


class _Worker:
    """A worker process, its pipe, and how many tasks it has."""

    __slots__ = ("active", "pipe", "process", "tasks")

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.process = process
        self.pipe = pipe
        self.active = True
        self.tasks = 0


def _start(context: Any, job: Job) -> _Worker:
    ours, theirs = context.Pipe()
    _own_ends.add(ours)
    forked = context.get_start_method() == "fork"
    process = context.Process(target=run_worker, args=(theirs, job, forked), daemon=True)
    try:
        process.start()
    except (TypeError, AttributeError, pickle.PicklingError):
        warnings.warn(
            "Got pickle error when attempting to start a worker Process. This might be because the "
            "worker Process arguments are not picklable. Python 3.14+ changed the multiprocessing "
            "start method in non-Mac POSIX platforms to 'forkserver', which requires the worker "
            "Process arguments to be picklable. You can also try "
            "multiprocessing.set_start_method('fork').",
            stacklevel=6,
        )
        raise
    finally:
        theirs.close()
    return _Worker(process, ours)


def _stop(workers: list[_Worker], owner: int) -> None:
    """Ends the workers; one that does not listen is terminated."""
    if os.getpid() != owner:
        return  # a forked copy of the iterator has been dropped
    for worker in workers:
        try:
            worker.pipe.send(None)
        except (OSError, ValueError):
            pass  # it has ended already
        worker.pipe.close()
    deadline = time.monotonic() + _INTERVAL
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join()
    workers.clear()


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """One pass, or with persistent workers several, by worker processes."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        if not loader.prefetch_factor:
            raise AssertionError(
                "prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter"
            )
        self._in_order = loader.in_order
        self._most_tasks = loader.prefetch_factor * self._num_workers
        context = loader.multiprocessing_context or multiprocessing.get_context()
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _stop, self._workers, os.getpid())
        try:
            for number in range(self._num_workers):
                job = Job(
                    self._dataset_kind,
                    self._dataset,
                    self._auto_collation,
                    self._collate_fn,
                    self._drop_last,
                    self._base_seed,
                    loader.worker_init_fn,
                    number,
                    self._num_workers,
                )
                self._workers.append(_start(context, job))
        except BaseException:
            self._finalizer()
            raise
        self._pass = 0
        self._hand_out()

    def _reset(self, loader: DataLoader[Any]) -> None:
        """Begins another pass; what is still on the way from the one before will be dropped."""
        self._begin(loader)
        self._pass += 1
        for worker in self._workers:
            worker.active, worker.tasks = True, 0
            worker.pipe.send(Resume())
        self._hand_out()

    def _hand_out(self) -> None:
        self._sent = 0  # number of the next task to be given to a worker
        self._wanted = 0  # number of the next batch to be returned
        self._owners: dict[int, int] = {}  # tasks not yet returned -> worker
        self._ready: dict[int, Any] = {}
        self._turn = 0
        for _ in range(self._most_tasks):
            self._assign()

    def _assign(self) -> None:
        """Gives the next task to the worker whose turn it is."""
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return
        number = self._whose_turn()
        if number is None:
            return
        worker = self._workers[number]
        try:
            worker.pipe.send(((self._pass, self._sent), index))
        except OSError:
            self._raise_dead([worker])
        worker.tasks += 1
        self._owners[self._sent] = number
        self._sent += 1

    def _whose_turn(self) -> int | None:
        active = sum(worker.active for worker in self._workers)
        for _ in range(self._num_workers):
            number = self._turn
            self._turn = (number + 1) % self._num_workers
            worker = self._workers[number]
            if worker.active and (self._in_order or worker.tasks < self._most_tasks // active):
                return number
        return None

    def _next_data(self) -> Any:
        while self._finalizer.alive:
            while self._wanted < self._sent and self._wanted not in self._owners:
                self._wanted += 1
            if self._wanted == self._sent:
                if not self._persistent_workers:
                    self._finalizer()
                raise StopIteration
            if self._wanted in self._ready:
                return self._deliver(self._wanted, self._ready.pop(self._wanted))
            number, data = self._receive()
            if isinstance(data, Ended):
                self._retire(self._owners[number])
                self._assign()
            elif number == self._wanted or not self._in_order:
                return self._deliver(number, data)
            else:
                self._ready[number] = data
        raise StopIteration

    def _retire(self, number: int) -> None:
        """Forgets the tasks of a worker that has no more samples."""
        self._workers[number].active = False
        for task in [t for t, owner in self._owners.items() if owner == number]:
            if task not in self._ready:
                del self._owners[task]

    def _deliver(self, number: int, data: Any) -> Any:
        self._workers[self._owners.pop(number)].tasks -= 1
        self._assign()
        if isinstance(data, Failure):
            data.reraise()
        return data

    def _receive(self) -> tuple[int, Any]:
        """The next answer of any worker to a task of this pass."""
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        owners = {worker.pipe: worker for worker in self._workers}
        sentinels = {worker.process.sentinel: worker for worker in self._workers if worker.active}
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = wait([*owners, *sentinels], left)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            pipes = [each for each in ready if each in owners]
            if not pipes:
                self._raise_dead([sentinels[each] for each in ready])
            try:
                (turn, number), data = receive(pipes[0])
            except (EOFError, OSError):
                worker = owners[pipes[0]]
                if worker.active:
                    self._raise_dead([worker])
                del owners[worker.pipe]
                continue
            if turn == self._pass:
                return number, data

    def _raise_dead(self, workers: list[_Worker]) -> None:
        """RuntimeError that names the dead workers and how they ended."""
        endings = []
        for worker in workers:
            worker.process.join(_INTERVAL)
            worker.active = False
            endings.append(_ending(worker.process.exitcode))
        pids = ", ".join(str(worker.process.pid) for worker in workers)
        self._finalizer()
        raise RuntimeError(
            f"DataLoader worker (pid(s) {pids}) exited unexpectedly: {', '.join(endings)}"
        ) from None


def _ending(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    if code < 0:
        return f"killed by signal: {signal.Signals(-code).name}"
    return f"exit code {code}"
