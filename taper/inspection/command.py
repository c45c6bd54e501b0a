"""`taper inspect`: a function or an expression, shapes, and what to show."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from taper.errors import TaperError
from taper.inspection import SECTIONS, explained, written

DESCRIPTION = """\
Explains one call: the formula and its derivative, the kernels, LLVM's IR, the instructions, how many
operations and bytes that is, how long it takes, and what share of this machine's peak it reaches.
"""
EPILOG = """\
A call is a function with its arguments, or an expression with the values of its names:

  taper inspect softmax 64x1000 dim=-1
  taper inspect nn.functional.conv2d 32x3x32x32 16x3x3x3 --backward --section assembly
  taper inspect "relu(linear(x, w, b))" x=64x150 w=64x150 b=64
  taper inspect "nn.Linear(150, 64)(x)" x=64x150
  taper inspect cross_entropy 64x1000 64:int64:1000

A tensor is its shape and, after colons, its dtype and for integers the bound of their values; ()
is a tensor of one number. What is no shape is a Python value (dim=-1), and so is a single integer,
unless the function takes a tensor there (64:float32 is one in any case). Floats are random numbers
between 0 and 1. Functions are looked for in nn.functional, torch,
linalg, fft, special, and among the methods of tensors; torch.embedding is torch's own.

TAPER_BACKEND=reference shows what numpy does instead of kernels; TAPER_TARGET=avx2 shows the code for
another processor; TAPER_THREADS sets the threads. The peaks are measured once a machine and kept in
the cache folder; --peaks measures them again.
"""

_SHAPE = re.compile(r"(\(\)|\d+(?:x\d+)*)(?::(\w+))?(?::(\d+))?")
_PLACES = ("nn.functional", "", "linalg", "fft", "special", "Tensor")


class Mistake(TaperError):
    """What the user wrote cannot be inspected."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `taper inspect`."""
    parser.add_argument("call", help="a function, such as softmax, or an expression in quotes")
    parser.add_argument("arguments", nargs="*", help="64x1000, x=64x150, 64:int64:10, dim=-1 ...")
    parser.add_argument("--dtype", default="float32", help="of tensors without one (%(default)s)")
    parser.add_argument("--backward", action="store_true", help="the gradients' kernels too")
    parser.add_argument("--section", action="append", choices=[*SECTIONS, "all"], metavar="NAME",
                        help=f"show this in full ({', '.join(SECTIONS)}, all); may be repeated")  # fmt: skip
    parser.add_argument("--peaks", action="store_true", help="measure the machine's peaks again")


def run(options: argparse.Namespace) -> int:
    """Explains what the options name; returns the exit status."""
    import taper

    taper.manual_seed(0)
    taper.ops.load_all()
    call, function, args, kwargs = _call(options)
    try:
        found = explained(call, function, args, kwargs, again=options.peaks)
    except Exception as error:  # whatever the function says of its arguments
        lines = (str(error) or type(error).__name__).splitlines()
        text = "\n".join(line for line in lines if not line.startswith("  called at "))
        raise Mistake(f"inspect: {text}") from error
    if not options.section:
        print(found)
        return 0
    chosen = SECTIONS if "all" in options.section else options.section
    print("\n\n".join(found.section(each) for each in chosen))
    return 0


# ---------------------------------------------------------------- what is called


def _call(options: argparse.Namespace) -> tuple[str, Callable[..., Any], list[Any], dict[str, Any]]:
    text = options.call.strip()
    positional = [a for a in options.arguments if not _keyword(a)]
    named = dict(a.split("=", 1) for a in options.arguments if _keyword(a))
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
        if positional:
            raise Mistake(
                f"inspect: {positional[0]!r} has no name; the values of an expression's names are "
                f"given as x={positional[0]}"
            )
        return _expression(text, named, options)
    function = _function(text)
    takes = _takes_tensors(function)
    hints = [*takes.values(), *[True] * len(positional)]
    args = [_value(word, hint, options) for word, hint in zip(positional, hints, strict=False)]
    kwargs = {key: _value(word, takes.get(key, True), options) for key, word in named.items()}
    return written(text, args, kwargs), function, args, kwargs


def _keyword(word: str) -> bool:
    return bool(re.match(r"[A-Za-z_]\w*=", word))


def _function(path: str) -> Callable[..., Any]:
    import taper

    first, _, rest = path.partition(".")
    places: tuple[str, ...] = _PLACES
    if first in ("torch", "taper"):
        path, places = rest, ("",)
    elif first == "F":
        path = "nn.functional." + rest
    for place in places:
        found: Any = taper
        for part in [p for p in [*place.split("."), *path.split(".")] if p]:
            found = getattr(found, part, None)
            if found is None:
                break
        if isinstance(found, type):
            raise Mistake(
                f'inspect: {path} is a class; inspect a call of an instance: "{path}(...)(x)" x=...'
            )
        if callable(found):
            return found
    known = {name for place in ("torch", *_PLACES) for name in taper.op.NAMESPACES.get(place, {})}
    near = difflib.get_close_matches(path.rpartition(".")[2], sorted(known), 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise Mistake(f"inspect: there is no function {path!r}{hint}")


# Parameters that are tensors, or numbers, where the annotation does not say so.
_TENSORS = frozenset(
    ["input", "other", "weight", "bias", "target", "tensor1", "tensor2", "mask", "condition"]
)


def _takes_tensors(function: Any) -> dict[str, bool]:
    """Whether a single integer given for a parameter is meant as a shape."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        p.name: p.annotation is p.empty or "Tensor" in str(p.annotation) or p.name in _TENSORS
        for p in parameters
    }


# ---------------------------------------------------------------- values


def _value(word: str, takes_tensor: bool, options: argparse.Namespace) -> Any:
    """A tensor of a shape, or a Python value."""
    shape = _SHAPE.fullmatch(word)
    if shape and (takes_tensor or not word.isdigit()):
        return _tensor(shape, options)
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        pass
    import taper

    found = getattr(taper, word, None)  # a dtype
    if isinstance(found, taper.dtype):
        return found
    if re.fullmatch(r"[A-Za-z_]\w*", word):
        return word  # reduction=sum
    raise Mistake(
        f"inspect: {word!r} is neither a shape, such as 64x1000 or 64:int64:10, nor a Python value"
    )


def _tensor(shape: re.Match[str], options: argparse.Namespace) -> Any:
    import taper

    sizes = [] if shape[1] == "()" else [int(n) for n in shape[1].split("x")]
    name = shape[2] or options.dtype
    dtype = getattr(taper, name, None)
    if not isinstance(dtype, taper.dtype):
        raise Mistake(
            f"inspect: there is no dtype {name!r}; choose from float32, float64, int64 ..."
        )
    if dtype.is_floating_point or dtype.is_complex:
        made = taper.rand(sizes, dtype=taper.float64 if not dtype.is_complex else dtype).to(dtype)
        return made.requires_grad_(options.backward)
    return taper.randint(0, int(shape[3] or 2), sizes).to(dtype)


# ---------------------------------------------------------------- expressions


class _Names(dict[str, Any]):
    """What an expression may name: its values, then what nn.functional and torch have."""

    def __missing__(self, name: str) -> Any:
        import taper

        if name in ("torch", "taper"):
            return taper
        if name == "F":
            return taper.nn.functional
        found = taper.op.NAMESPACES["nn.functional"].get(name) or getattr(taper, name, None)
        if found is None:
            raise KeyError(name)
        return found


def _expression(
    text: str, named: dict[str, str], options: argparse.Namespace
) -> tuple[str, Callable[..., Any], list[Any], dict[str, Any]]:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise Mistake(f"inspect: {text!r} is no expression: {error.msg}") from None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for name in named:
        if name not in used:
            raise Mistake(f"inspect: {name} does not occur in {text!r}")
    values = {name: _value(word, True, options) for name, word in named.items()}
    names = _Names()
    for name in sorted(used - set(values)):
        try:
            names[name]
        except KeyError:
            raise Mistake(
                f"inspect: {name} is neither given (as {name}=64x150) nor a name of torch or "
                "torch.nn.functional"
            ) from None
    fixed = _Fixed(set(values), names)
    try:
        body = ast.fix_missing_locations(fixed.visit(tree))
    except Exception as error:
        raise Mistake(f"inspect: {error}") from error
    compiled = compile(body, "<expression>", "eval")

    def function(**given: Any) -> Any:
        return eval(compiled, {"__builtins__": {}}, _Names({**fixed.values, **given}))

    if not values and not fixed.values:
        raise Mistake(f"inspect: {text!r} calls nothing")
    return written(f"{text} for ", [], values), function, [], values


class _Fixed(ast.NodeTransformer):
    """Evaluates once what depends on no value, such as nn.Linear(150, 64) in nn.Linear(150, 64)(x)."""

    def __init__(self, given: set[str], names: _Names) -> None:
        self._given, self._names = given, names
        self.values: dict[str, Any] = {}

    def visit_Call(self, node: ast.Call) -> Any:
        """A call whose names are all ours is replaced by its result, if something else calls it."""
        if isinstance(node.func, ast.Call) and not self._depends(node.func):
            name = f"_{len(self.values)}"
            code = compile(ast.Expression(node.func), "<expression>", "eval")
            self.values[name] = eval(code, {"__builtins__": {}}, self._names)
            node.func = ast.Name(name, ast.Load())
        self.generic_visit(node)
        return node

    def _depends(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and n.id in self._given for n in ast.walk(node))


def main(argv: list[str]) -> int:
    """`taper inspect` with these arguments."""
    parser = argparse.ArgumentParser(
        prog="taper inspect",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser)
    # dim=-1 begins with no dash, but -1 does: what looks like a number is an argument.
    options = parser.parse_intermixed_args(argv)
    try:
        return run(options)
    except Mistake as mistake:
        print(f"taper: {mistake}", file=sys.stderr)
        return 2
