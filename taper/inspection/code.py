"""Kernels as text: what is specified, LLVM's IR, the processor's instructions, and excerpts of these."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any

from taper.backends.llvm import build

_DTYPES = {"f": "float32", "d": "float64", "i": "int32", "l": "int64", "?": "bool", "w": "number"}


@functools.lru_cache(64)
def llvm(spec: Any) -> str:
    """LLVM's IR."""
    return build.source(spec)


@functools.lru_cache(64)
def assembly(spec: Any) -> str:
    """The instructions, without the assembler's directives."""
    lines = build.assembly(spec).splitlines()
    kept = [line for line in lines if not re.match(r"\s+\.(?!L)|\s*[#;]|\s*$", line)]
    return "\n".join(re.sub(r"\s+#.*$", "", line).expandtabs(8) for line in kept)


def name(spec: Any) -> str:
    """The kernel's name."""
    return type(spec).__name__


def meaning(spec: Any) -> str:
    """The first sentence of the kernel's docstring."""
    text = inspect.getdoc(type(spec)) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(" Call: ")[0]


def program(found: Any) -> str:
    """The steps of an elementwise kernel, one a line."""
    steps = found.steps
    shown: dict[int, str] = {}
    lines: list[tuple[str, str]] = []
    for number, (word, code, *rest) in enumerate(steps):
        if word == "constant":
            shown[number] = f"{rest[0]:g}" if isinstance(rest[0], float) else str(rest[0])
            continue
        shown[number] = f"%{len(lines)}"
        if word in ("input", "number"):
            text = f"{word} {rest[0]}"
        elif word == "astype":
            text = f"astype({shown[rest[0]]})"
        else:
            text = f"{word}({', '.join(shown[r] for r in rest)})"
        lines.append((f"{shown[number]} = {text}", _DTYPES[code]))
    wide = max((len(text) for text, _ in lines), default=0)
    made = [f"{text:<{wide}}  : {dtype}" for text, dtype in lines]
    return "\n".join([*made, "return " + ", ".join(shown[o] for o in found.outputs)])


def specification(spec: Any, found: Any = None) -> str:
    """What a kernel is: the steps of an elementwise one, the fields of others."""
    if found is not None:
        return program(found)
    return _fields(spec, "")


def _fields(value: Any, indent: str) -> str:
    if not dataclasses.is_dataclass(value):
        text = repr(value)
        return text if len(text) <= 200 else text[:197] + "..."
    text = f"{type(value).__name__}("
    parts = []
    for each in dataclasses.fields(value):
        own = getattr(value, each.name)
        parts.append(f"{each.name}={_fields(own, indent + '    ')}")
    short = text + ", ".join(parts) + ")"
    if len(indent) + len(short) <= 88 and "\n" not in short:
        return short
    inner = "".join(f"\n{indent}    {part}," for part in parts)
    return f"{text}{inner}\n{indent})"


# ---------------------------------------------------------------- excerpts


_IR_ARITHMETIC = re.compile(r"= (f(add|sub|mul|div|cmp|neg) |call [^@]*@llvm\.)")


def busiest_block(text: str, symbol: str = "") -> list[str]:
    """The block of LLVM's IR with the most arithmetic, after the head of its function.

    A block is what runs from a label to the next branch; `symbol` names the only function to look at.
    """
    best: list[str] = []
    block: list[str] = []
    most, head = (-1, 0), ""
    for line in [*text.splitlines(), "}"]:
        if line.startswith("define"):
            head, block = line, []
        elif line.endswith(":") or line == "}":
            number = sum(bool(_IR_ARITHMETIC.search(each)) for each in block)
            count = (number, -len(block) if number else len(block))
            if block and count > most and (not symbol or f"@{symbol}(" in head):
                best, most = [head, "  ...", *_without_phis(block)], count
            block = [line]
        else:
            block.append(line)
    return [line if len(line) <= 100 else line[:97] + "..." for line in best]


def _without_phis(block: list[str]) -> list[str]:
    """The block without the values that its loop carries, and without addresses."""
    carried = sum(" = phi " in line for line in block)
    label, *rest = [x for x in block if " = phi " not in x and " = getelementptr " not in x]
    if not carried:
        return block
    return [
        label,
        f"  ... {carried} values that a loop carries, and addresses, are left out",
        *rest,
    ]


def inner_loops(text: str) -> list[list[str]]:
    """The loops of assembly that contain no other: from a label to the jump back to it."""
    lines = text.splitlines()
    labels: dict[str, int] = {}
    spans = []
    for i, line in enumerate(lines):
        label = re.match(r"([\w.$]+):", line)
        if label:
            labels[label[1]] = i
            continue
        jump = re.match(r"\s+(?:j\w+|b\.\w+|b|cbn?z\s+\w+,|tbn?z\s+.*,)\s+(\.L[\w$]+)\s*$", line)
        if jump and jump[1] in labels:
            spans.append((labels[jump[1]], i))
    return [
        lines[start : end + 1]
        for start, end in spans
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in spans)
    ]


_ARITHMETIC = re.compile(r"^\s+v?(f?n?m(add|sub|la)|add|sub|mul|div|max|min|sqrt|fma|fmla)\w*[sd]\b|"
                         r"^\s+vf\w+|^\s+f(add|mul|sub|mla|div|max|min)\b")  # fmt: skip


def hottest(text: str) -> list[str]:
    """The inner loop with the most floating-point instructions; empty if there is no loop."""
    loops = inner_loops(text)
    if not loops:
        return []
    return max(
        loops, key=lambda lines: (sum(bool(_ARITHMETIC.match(x)) for x in lines), len(lines))
    )


def part(text: str, symbol: str) -> str:
    """One function of assembly."""
    found = re.search(rf"^{re.escape(symbol)}:$.*?(?=^[A-Za-z_]\w*:$|\Z)", text, re.M | re.S)
    return found[0] if found else text
