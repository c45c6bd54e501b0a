"""What happens in a call: which ops run, which functions of `m` they call, which kernels run in these.

While a Recorder is active the ops of the registry have another `run` and `vjp`, the namespace `m` has
other functions, and kernels are watched (backends/llvm/watch.py). Every step is timed where
it happens: it is run again, many times, and the shortest run counts. Outside of it nothing is changed.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from taper import backends
from taper.backends import reference
from taper.inspection import work
from taper.inspection.peaks import best
from taper.inspection.work import Work
from taper.op import REGISTRY

# Seconds that timing may take: for one step, and for all of them.
STEP = 0.03
ALL = 3.0
# Seconds up to which what surrounds a call of a kernel is but that.
CALL = 5e-6


@dataclass
class KernelUse:
    """A kernel that ran in a step: its specification, how often, and the seconds of all its calls."""

    spec: Any
    function: str
    parallel: bool
    calls: int = 0
    seconds: float = 0.0
    program: Any = None  # of an elementwise kernel
    symbol: str = ""  # the function of the assembly that ran, where there are several alike


@dataclass
class Step:
    """One piece of work: a function of `m`, or a whole op or derivative where it calls none.

    `name` is the function's, or "forward" or "derivative"; `backward` says when it ran. `by` is what
    of numpy computes it, or would without kernels.
    """

    op: Any
    backward: bool
    name: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    kernels: list[KernelUse] = field(default_factory=list)
    by: str = ""
    uses: tuple[str, ...] = ()  # the functions of numpy in that
    seconds: float = 0.0
    work: Work = field(default_factory=lambda: Work(0, 0))
    dtype: Any = None
    program: Any = None  # of an elementwise formula, whoever computes it

    @property
    def parallel(self) -> bool:
        """Whether threads took part."""
        return any(k.parallel for k in self.kernels)

    @property
    def in_kernels(self) -> bool:
        """Whether kernels do all of it: little time passes outside of them."""
        calls = sum(k.calls for k in self.kernels)
        inside = sum(k.seconds for k in self.kernels)
        return calls > 0 and self.seconds - inside < max(CALL * calls, inside)

    @property
    def work_seconds(self) -> float:
        """Of the kernels alone, if they do all of it."""
        return sum(k.seconds for k in self.kernels) if self.in_kernels else self.seconds


def program_of(spec: Any, operands: Any) -> tuple[Any, str]:
    """The program of an elementwise kernel; of Direct, the one for these operands and its name."""
    for number, variant in enumerate(getattr(spec, "variants", ())):
        given = [x for x in operands if x is not None]
        letters = [x.dtype.char if isinstance(x, np.ndarray) else "w" for x in given]
        if variant.kinds.replace("n", "") == "".join(letters):
            return variant.program, f"kernel{number}"
    return getattr(spec, "program", None), ""


def described(x: Any) -> str:
    """A dtype and shape: float32[64, 1000]."""
    from taper import dtypes

    return f"{dtypes.of(x.dtype).name}{list(x.shape)}"


class Recorder:
    """Records the calls made in its `with` block."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.ops: list[
            tuple[Any, bool]
        ] = []  # in the order of their first calls, and whether backward
        self.backward = False  # set by whoever runs the derivatives
        self._open: list[_Frame] = []
        self._outside = [Step(None, phase, "outside of ops") for phase in (False, True)]
        self._paused = False
        self._called = False  # whether a function of `m` was
        self._spent = 0.0
        self._times: dict[Any, float] = {}
        self._watch: Any = None
        self._undo = contextlib.ExitStack()

    # ------------------------------------------------------------ switching on and off

    def __enter__(self) -> Recorder:
        with self._undo:
            for op in list(REGISTRY.values()):
                self._replace(op, "run", self._recorded(op, "run"))
                self._replace(op, "function", None)
                if op.direct is not None:
                    # A built-in that a function of `m` calls as well is seen there.
                    self._replace(op, "direct", None if op.built_in else self._recorded_direct(op))
                if op.vjp is not None:
                    self._replace(op, "vjp", self._recorded(op, "vjp"))
            math = backends.math()
            for op in REGISTRY.values():
                if op.ufunc:  # a function that dispatch calls without the namespace
                    getattr(math, op.ufunc)
            for name, function in list(vars(math).items()):
                if callable(function) and not isinstance(function, type) and name not in _OTHERS:
                    self._replace(math, name, _Function(name, function, self))
            if not is_reference():
                from taper.backends.llvm.watch import Watch

                self._watch = self._undo.enter_context(Watch(self._see))
            self._undo = self._undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.__exit__(kind, error, trace)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        own = vars(owner)
        had, before = name in own, own.get(name)
        own[name] = value

        def restore() -> None:
            if own.get(name) is value:  # else the op has changed it meanwhile: fusing.py
                if had:
                    own[name] = before
                else:
                    del own[name]

        self._undo.callback(restore)

    @contextlib.contextmanager
    def _pause(self) -> Iterator[None]:
        self._paused = True
        try:
            with self._watch.suspended() if self._watch else contextlib.nullcontext():
                yield
        finally:
            self._paused = False

    # ------------------------------------------------------------ what is seen

    def _recorded(self, op: Any, name: str) -> Callable[..., Any]:
        original, derivative = getattr(op, name), name == "vjp"

        def run(m: Any, *operands: Any, **attrs: Any) -> Any:
            if self._paused or not getattr(m, "on_arrays", True):
                return original(m, *operands, **attrs)
            self._enter_op(op)
            step = Step(op, self.backward, "derivative" if derivative else "forward")
            with self._frame(step) as frame:
                made = original(m, *operands, **attrs)
            self._finish_op(frame, original, m, operands, attrs, made)
            return made

        return run

    def _recorded_direct(self, op: Any) -> Callable[..., Any]:
        """An op's built-in, which gives None where the general way is to be gone."""
        direct = op.direct

        def run(*operands: Any) -> Any:
            if self._paused:
                return direct(*operands)
            step = Step(op, self.backward, "forward")
            with self._frame(step) as frame:
                made = direct(*operands)
            if made is not None:
                self._enter_op(op)
                self._finish_op(frame, lambda m, *given: direct(*given), None, operands, {}, made)
            return made

        return run

    def _enter_op(self, op: Any) -> None:
        if all(op is not known for known, _ in self.ops):
            self.ops.append((op, self.backward))

    @contextlib.contextmanager
    def _frame(self, step: Step, of_function: bool = False) -> Iterator[_Frame]:
        frame = _Frame(step, len(self.steps), of_function)
        self._open.append(frame)
        try:
            yield frame
        finally:
            self._open.pop()

    def _finish_op(
        self, frame: _Frame, original: Any, m: Any, operands: Any, attrs: Any, made: Any
    ) -> None:
        """Adds the op as a step, where it did something itself."""
        step = frame.step
        if len(self.steps) > frame.first and not step.kernels:
            return
        if not step.kernels and _are_views(made, operands):
            return
        step.inputs = tuple(described(x) for x in work.arrays_in(operands))
        step.outputs = tuple(described(x) for x in work.arrays_in(made))
        arrays = list(work.arrays_in((made, operands)))
        if not arrays:
            return
        step.dtype = arrays[0].dtype
        step.program = self._program(step, operands, attrs)
        used = operands
        if step.program is not None:  # a derivative need not read all that it is given
            given = list(work.arrays_in(operands))
            read = {rest[0] for name, _, *rest in step.program.steps if name == "input"}
            used = [given[i] for i in sorted(read)]
        step.work = work.of_program(step.program, used, made)
        step.by, step.uses = by_numpy(step.op, step.name == "derivative")
        self._called = False
        step.seconds = self._time(lambda: original(m, *operands, **attrs))
        # What calls functions only when it runs again was given their results: it did no work.
        if step.kernels or not self._called or len(self.steps) > frame.first:
            self.steps.append(step)

    def _program(self, step: Step, operands: Any, attrs: Any) -> Any:
        """What an elementwise op does: by the kernel that ran, or as its formula says."""
        for use in step.kernels:
            use.program, use.symbol = program_of(use.spec, operands)
            if use.program is not None:
                return use.program
        op = step.op
        if not op.elements:
            return None
        if step.name == "derivative":
            return work.traced(type(op).vjp.__get__(op), operands, attrs)
        return work.traced(op.formula if op.elementwise else op.forward, operands, attrs)

    def called(self, name: str, function: Any, args: Any, keywords: Any) -> Any:
        """Runs a function of `m` and records it."""
        self._called = True
        if self._paused or (self._open and self._open[-1].of_function):
            return function(*args, **keywords)
        op = self._open[-1].step.op if self._open else None
        step = Step(op, self.backward, name)
        with self._frame(step, True):
            made = function(*args, **keywords)
        outputs = list(work.arrays_in(made))
        inputs = list(work.arrays_in((args, keywords)))
        if not step.kernels and _are_views(made, inputs):
            return made
        step.inputs = tuple(described(x) for x in inputs)
        step.outputs = tuple(described(x) for x in outputs)
        step.dtype = next((x.dtype for x in outputs if x.dtype.kind in "fcV"), outputs[0].dtype)
        step.work = work.of_function(name, args, keywords, made)
        for use in step.kernels:
            use.program, use.symbol = program_of(use.spec, args)
            step.program = step.program or use.program
        if step.program is None and not keywords and not step.kernels:
            step.program = work.traced(lambda m, *x: getattr(m, name)(*x), args, {})
        step.by, step.uses = named(name)
        step.seconds = self._time(lambda: function(*args, **keywords))
        self.steps.append(step)
        return made

    def _see(self, address: int, kernel: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        from taper.backends.llvm import build, pool

        found = build.origin(address)
        if found is not None and type(found[0]).__name__ == "DirectRows":
            return None  # it calls a kernel of its owner's: gone the general way, this one is seen
        result = kernel(*args)
        if self._paused or found is None:
            return result
        step = self._open[-1].step if self._open else self._outside[self.backward]
        spec, function = found
        if type(spec).__name__ == "Tape":
            return result  # it keeps the books: part of what Python would do
        if result is None and type(spec).__name__.startswith("Direct"):
            return result  # such a built-in gives its result, or None to what it does not take
        workers = pool.address()
        parallel = bool(workers) and any(type(x) is int and x == workers for x in args)
        layouts = [(x.shape, x.strides) if isinstance(x, np.ndarray) else 0 for x in args]
        key = (address, parallel, *layouts)
        seconds = self._times.get(key)
        if seconds is None:
            seconds = self._times[key] = self._time(lambda: kernel(*args))
        for use in step.kernels:
            if use.spec == spec and use.function == function and use.parallel == parallel:
                break
        else:
            use = KernelUse(spec, function, parallel)
            step.kernels.append(use)
        use.calls += 1
        use.seconds += seconds
        return result

    def _time(self, run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        token = reference.silence()
        try:
            with self._pause():
                return best(run, STEP if self._spent < ALL else 0.0, 2e-4)
        finally:
            reference.restore(token)
            self._spent += time.perf_counter() - start

    def all_steps(self) -> list[Step]:
        """The steps, and last what kernels ran outside of any op, such as random draws."""
        return self.steps + [step for step in self._outside if step.kernels]


@dataclass
class _Frame:
    step: Step
    first: int  # number of steps when it began
    of_function: bool  # of `m`; what it calls in turn is part of it


def _are_views(made: Any, given: Any) -> bool:
    """Whether all results lie in the memory of what was given: nothing was computed."""
    sources = list(work.arrays_in(given))
    return all(any(np.may_share_memory(x, s) for s in sources) for x in work.arrays_in(made))


def named(name: str) -> tuple[str, tuple[str, ...]]:
    """What computes a function of `m` without kernels, and the functions of numpy that it uses.

    numpy.exp; or taper.backends.rows.softmax, which uses numpy.exp and others.
    """
    first, _, rest = name.partition(".")
    found: Any = getattr(reference.math, first)
    if isinstance(found, _Function):
        found = found.plain
    module = getattr(found, "__module__", None) or "numpy"
    if isinstance(found, np.ufunc) or module.startswith("numpy"):
        own = f"numpy.{getattr(found, '__name__', first)}" + (f".{rest}" if rest else "")
        return own, (own,)
    return f"{module}.{found.__name__}", _numpy_names(found)


def by_numpy(op: Any, derivative: bool) -> tuple[str, tuple[str, ...]]:
    """The same of an op's own code."""
    kind = type(op)
    names = _numpy_names(
        kind.vjp if derivative else getattr(kind, "formula" if op.elementwise else "forward")
    )
    if len(names) == 1:
        return names[0], names
    return f"numpy, in {kind.__module__.replace('.', '/')}.py", names


def _numpy_names(function: Any) -> tuple[str, ...]:
    """The functions of numpy that a function's text calls."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        return ()
    found = re.findall(r"\bnp\.([a-z_.]+\w)\(", text)
    return tuple(f"numpy.{n}" for n in dict.fromkeys(found) if n != "dtype")


# Of the namespace, what computes nothing itself.
_OTHERS = ("built_in", "call", "fuse", "tape", "ufunc", "update_rule", "update_together")


class _Function:
    """A function of `m` that records its calls."""

    def __init__(self, name: str, plain: Any, recorder: Recorder) -> None:
        self._name, self.plain, self._recorder = name, plain, recorder

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._recorder.called(self._name, self.plain, args, keywords)

    def __getattr__(self, name: str) -> Any:  # add.reduce
        found = getattr(self.plain, name)
        if not callable(found):
            return found
        return _Function(f"{self._name}.{name}", found, self._recorder)


def is_reference() -> bool:
    """Whether numpy computes everything."""
    return backends.math() is reference.math
