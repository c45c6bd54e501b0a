"""What is known of one call, and how it is told: see `taper.explain`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taper.inspection import code
from taper.inspection.peaks import Peaks, all_levels
from taper.inspection.recorder import KernelUse, Step
from taper.op import PUBLIC

SECTIONS = ("formula", "figures", "ir", "llvm", "assembly")

# Lines of each text in the short form, and rows of figures.
_LINES = {"formula": 14, "llvm": 12, "assembly": 24}
_ROWS = 24


@dataclass
class Explanation:
    """A call of a function, from its formula down to the machine's instructions.

    `str()` is a page of it. `section("assembly")` gives one of SECTIONS in full. `steps` has the
    figures: seconds, work (operations, bytes) and kernels of every piece of the call.
    """

    call: str
    result: str
    ops: list[tuple[Any, bool]]  # and whether it ran in derivatives only
    steps: list[Step]
    seconds: float  # of a whole call, and of the derivatives after it
    backward_seconds: float | None
    peaks: list[Peaks] = field(repr=False)  # with one thread, and with as many as are set
    backend: str = "llvm"
    about: str = ""  # the first line of the function's docstring

    # ------------------------------------------------------------ parts

    @property
    def kernels(self) -> list[KernelUse]:
        """The kernels that ran, each once."""
        found: dict[Any, KernelUse] = {}
        for step in self.steps:
            for use in step.kernels:
                found.setdefault((use.spec, use.program), use)
        return list(found.values())

    @property
    def operations(self) -> int | None:
        """Floating-point operations, as inspection/work.py counts; None if a step's are not known."""
        counts = [step.work.operations for step in self.steps]
        return None if None in counts else sum(c for c in counts if c is not None)

    @property
    def formula(self) -> str:
        return self.section("formula")

    @property
    def figures(self) -> str:
        return self.section("figures")

    @property
    def ir(self) -> str:
        return self.section("ir")

    @property
    def llvm(self) -> str:
        return self.section("llvm")

    @property
    def assembly(self) -> str:
        return self.section("assembly")

    def section(self, name: str, short: bool = False) -> str:
        """One of SECTIONS.

        Raises: ValueError for another name.
        """
        if name not in SECTIONS:
            raise ValueError(f"no section {name!r}; choose from {', '.join(SECTIONS)}")
        made: str = getattr(self, f"_{name}")(short)
        return made

    def __str__(self) -> str:
        parts = [f"{self.title}\n{self.about}" if self.about else self.title]
        for name in SECTIONS:
            text = self.section(name, short=True)
            if text:
                parts.append(f"{_TITLES[name]}\n{textwrap.indent(text, '  ')}")
        return "\n\n".join(parts)

    @property
    def title(self) -> str:
        """The call and its result."""
        return f"{self.call} -> {self.result}"

    # ------------------------------------------------------------ formula

    def _formula(self, short: bool) -> str:
        parts = [_formula_of(op, short, not backward) for op, backward in self.ops]
        if not parts:
            return "no op of taper ran"
        if short and len(parts) > 6:
            hidden = len(parts) - 6
            parts = [*parts[:6], f"... and {hidden} more ops: --section formula"]
        return "\n\n".join(parts)

    # ------------------------------------------------------------ figures

    def _figures(self, short: bool) -> str:
        rows: list[tuple[str, ...]] = [
            ("", "computed by", "time", "FLOPs", "FLOP/s", "of peak", "bytes", "bytes/s", "of peak")
        ]
        notes: list[str] = []
        for backward, total in ((False, self.seconds), (True, self.backward_seconds)):
            if total is None:
                continue
            steps = [s for s in self.steps if s.backward == backward]
            title = "backward" if backward else "forward"
            rows.append((title, "", _seconds(total), *[""] * 6))
            shown = steps[:_ROWS] if short else steps
            rows += [self._row(step, notes) for step in shown]
            if len(shown) < len(steps):
                rest = sum(s.work_seconds for s in steps[_ROWS:])
                rows.append((f"  ... {len(steps) - _ROWS} more", "", _seconds(rest), *[""] * 6))
            named = sum(s.work_seconds for s in steps)
            if total > named:
                rows.append(("  the rest: Python", "", _seconds(total - named), *[""] * 6))
        text = [_table(rows), "", f"Peaks measured here, {all_levels(self.peaks)}"]
        text[-1] = text[-1].replace("\n", "\n" + " " * len("Peaks measured here, "))
        notes.insert(0, _COUNTING)
        return "\n".join([*text, *notes])

    def _row(self, step: Step, notes: list[str]) -> tuple[str, ...]:
        name = _step_name(step)
        seconds = step.work_seconds
        by = _by(step)
        if step.parallel:
            by += f", {self.peaks[-1].threads} threads"
        peaks = self.peaks[-1 if step.parallel else 0]
        work = step.work
        operations, rate, share = "not known", "", ""
        if work.note:
            _note(notes, f"{step.name}: FLOPs are those of the {work.note}.")
        if work.operations is not None:
            operations = _count(work.operations)
            if work.operations:
                rate = _rate(work.operations / seconds, "FLOP/s")
                peak = _peak(peaks, step.dtype)
                share = f"{100 * work.operations / seconds / peak:.0f} %" if peak else ""
        if not work.bytes:
            return (f"  {name}", by, _seconds(seconds), "", "", "", "", "", "")
        speed = work.bytes / seconds
        level = peaks.level(work.bytes)
        return (
            f"  {name}", by, _seconds(seconds), operations, rate, share, _count(work.bytes, "B"),
            _rate(speed, "B/s"), f"{100 * speed / level.rate:.0f} % {level.name}",
        )  # fmt: skip

    # ------------------------------------------------------------ code

    def _each_kernel(self, short: bool) -> list[KernelUse]:
        found = self.kernels
        return sorted(found, key=lambda u: -u.seconds)[:4] if short else found

    def _without_kernels(self) -> str:
        if not self.steps:
            return "None: nothing is computed."
        reason = "no kernel takes these functions, sizes, dtypes or strides"
        if self.backend == "reference":
            reason = "the backend is the reference (TAPER_BACKEND)"
        lines = _unique([f"    {_step_name(s)}: {_in_full(s)}" for s in self.steps])
        return "\n".join([f"None: {reason}. numpy computes it.", *lines])

    def _used_by(self, use: KernelUse) -> str:
        """A kernel's name, and the steps in which it ran."""
        same = (use.spec, use.program)
        steps = [s for s in self.steps if any((k.spec, k.program) == same for k in s.kernels)]
        return f"{code.name(use.spec)} ({', '.join(_unique([_step_name(s) for s in steps]))})"

    def _ir(self, short: bool) -> str:
        parts = []
        for use in self._each_kernel(short):
            head = f"{self._used_by(use)}: {code.meaning(use.spec)}"
            text = code.specification(use.spec, use.program)
            parts.append(f"{textwrap.fill(head, 96)}\n{textwrap.indent(text, '    ')}")
        told = {id(u.program) for u in self.kernels if u.program is not None}
        for step in self.steps:
            if step.program is not None and not step.kernels and id(step.program) not in told:
                told.add(id(step.program))
                if operations_in(step.program) > 1 and (not short or len(parts) < 6):
                    head = f"{_step_name(step)}, by numpy, step by step"
                    parts.append(f"{head}\n{textwrap.indent(code.program(step.program), '    ')}")
        if not self.kernels:
            parts.insert(0, self._without_kernels())
        hidden = len(self.kernels) - 4
        if short and hidden > 0:
            parts.append(f"... and {hidden} more kernels: --section ir")
        return "\n\n".join(_unique(parts))

    def _llvm(self, short: bool) -> str:
        if not self.kernels:
            return "" if short else self._without_kernels()
        parts = []
        for use in self._each_kernel(short)[: 1 if short else None]:
            text = code.llvm(use.spec).strip()
            head = f"; {self._used_by(use)}"
            if short:
                lines = code.busiest_block(text, use.symbol)
                head += ", the block with the most arithmetic"
                text = _first(lines, _LINES["llvm"], "block", text, "llvm")
            parts.append(f"{head}\n{text}")
        return "\n\n".join(parts)

    def _assembly(self, short: bool) -> str:
        if not self.kernels:
            return "" if short else self._without_kernels()
        parts = []
        for use in self._each_kernel(short)[: 1 if short else None]:
            text = code.assembly(use.spec)
            head = f"# {self._used_by(use)}"
            if short:
                own = code.part(text, use.symbol) if use.symbol else text
                loop = code.hottest(own)
                head += ", the inner loop with the most arithmetic" if loop else ", the beginning"
                lines = loop or own.splitlines()
                text = _first(lines, _LINES["assembly"], "loop", text, "assembly")
            parts.append(f"{head}\n{text}")
        return "\n\n".join(parts)


def _first(lines: list[str], most: int, what: str, text: str, section: str) -> str:
    """An excerpt, and how to see the rest."""
    shown = lines[:most]
    if len(lines) > most:
        shown.append(f"        ... {len(lines) - most} more in this {what}")
    count = text.count("\n") + 1
    return "\n".join([*shown, f"... {count:,} lines in all: --section {section}"])


_COUNTING = (
    "FLOPs: a multiply-add is 2, exp and the like what their polynomials take.\n"
    "Bytes: each array once; their peak is that of a copy, and reading alone may be faster."
)
_TITLES = {
    "formula": "Formula",
    "figures": "Figures",
    "ir": "Kernels",
    "llvm": "LLVM IR",
    "assembly": "Assembly",
}


def operations_in(program: Any) -> int:
    """Steps that compute something."""
    return sum(name not in ("input", "number", "constant", "astype") for name, *_ in program.steps)


def _step_name(step: Step) -> str:
    """Softmax: m.softmax; or Relu: forward, where the op calls no function of `m`."""
    name = step.name if step.name in ("forward", "derivative") else f"m.{step.name}"
    if step.op is None:
        return step.name if " " in step.name else name
    return f"{type(step.op).__name__}: {name}"


def _in_full(step: Step) -> str:
    """What of numpy computes a step."""
    if not step.uses or step.uses == (step.by,):
        return step.by
    return f"{step.by} ({', '.join(step.uses)})"


def _unique(parts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(parts))


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def _formula_of(op: Any, short: bool, derivative: bool) -> str:
    """An op's docstring, what computes it, and its derivative, as its class declares them."""
    kind = type(op)
    described = _first_paragraph(vars(kind).get("__doc__") or _public_docstring(kind))
    lines = [f"{kind.__name__}: {described}" if described else kind.__name__]
    lines[0] += f"  [{kind.__module__.replace('.', '/')}.py]"
    lines.append(_source(kind, "formula" if op.elementwise else "forward", short))
    if kind.vjp is None:
        lines.append("  (not differentiable)")
    elif derivative:
        lines.append(_source(kind, "vjp", short))
    return "\n".join(lines)


def _first_paragraph(text: str) -> str:
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _public_docstring(kind: Any) -> str:
    """That of the public function beside the class, which applies it."""
    for record in PUBLIC:
        function = record.function
        if function.__module__ in (kind.__module__, "taper") and function.__doc__:
            code = getattr(function, "__code__", None)
            if code is not None and kind.__name__ in code.co_names:
                return function.__doc__
    return ""


def _source(kind: Any, name: str, short: bool) -> str:
    """A method as it stands in its class, without the annotations that say nothing."""
    try:
        text = textwrap.dedent(inspect.getsource(getattr(kind, name)))
    except (OSError, TypeError):
        return f"  {name}: its source is not at hand"
    head, colon, body = text.rstrip().partition(":\n")
    head = " ".join(head.split()).replace("( ", "(").replace(" )", ")").replace(",)", ")")
    head = head.replace(": Any", "").replace(" -> Any", "").replace("self, ", "")
    lines = (head + colon + body).splitlines()
    most = _LINES["formula"]
    if short and len(lines) > most:
        lines = [
            *lines[: most - 1],
            f"    ... {len(lines) - most + 1} more lines: --section formula",
        ]
    return textwrap.indent("\n".join(lines), "  ")


def _by(step: Step) -> str:
    if not step.kernels:
        return step.by
    names: dict[str, int] = {}
    for use in step.kernels:
        names[code.name(use.spec)] = names.get(code.name(use.spec), 0) + use.calls
    text = "kernel " + ", ".join(f"{n} x{c}" if c > 1 else n for n, c in names.items())
    return text if step.in_kernels else f"{step.by} and {text}"


def _peak(peaks: Peaks, dtype: Any) -> float:
    """Of the arithmetic of a dtype; 0 for integers. Half types are computed in float32."""
    if dtype is None or dtype.kind not in "fV":
        return 0.0
    return peaks.float64 if dtype == np.float64 else peaks.float32


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def _scaled(value: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * scale:
            number = value / scale
            return f"{number:.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"
    return f"{value:.3g} "


def _count(value: int, unit: str = "") -> str:
    return (_scaled(value) + unit).strip() if value >= 10_000 else f"{value:,} {unit}".strip()


def _rate(value: float, unit: str) -> str:
    return _scaled(value) + unit


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
