"""Random programs, run by taper and by PyTorch on the same numbers, must not be told apart.

A program is a list of Python lines over the names v0, v1, ...: ops, views, in-place updates of
bases and views, index assignment, hooks, modes, custom Functions and backward passes. After its
lines (every line, in one half of the programs) values, dtypes, shapes, strides, places on the tape,
gradients, calls of hooks, warnings and errors are compared. `python
tests/autograd/test_random_programs.py 0 5000` runs the seeds from 0 to 5000 and prints every
disagreement with its shortest program.
"""

from __future__ import annotations

import math
import random
import sys
import warnings

import pytest

PRELUDE = """
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 2 + x * 0

class SavesOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        out = torch.tanh(x)
        ctx.save_for_backward(out)
        return out
    @staticmethod
    def backward(ctx, g):
        out, = ctx.saved_tensors
        return g * (1 - out * out)

class Dirty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        x.mul_(0.5)
        return x
    @staticmethod
    def backward(ctx, g):
        return g * 0.5

class Two(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        sign = torch.sign(y)
        ctx.mark_non_differentiable(sign)
        return x * y * scale, x + 1, sign
    @staticmethod
    def backward(ctx, g, h, s):
        x, y = ctx.saved_tensors
        gx = g * y * ctx.scale + h if ctx.needs_input_grad[0] else None
        return gx, (g * x * ctx.scale if ctx.needs_input_grad[1] else None), None

class Raw(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.set_materialize_grads(False)
        return x * 1, x * 2
    @staticmethod
    def backward(ctx, g, h):
        log.append(("raw", g is None, h is None))
        return (0 if g is None else g) + (0 if h is None else h * 2)

class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x
    @staticmethod
    def backward(ctx, g):
        return g * 3

class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return 2 * g * x

class SetsUp(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return torch.sin(x)
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * torch.cos(x)

class Layer(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(x) * 2

def note(name, scale=None):
    def hook(g):
        log.append((name, g.detach().tolist(), g.requires_grad))
        return None if scale is None else g * scale
    return hook

def after(name):
    def hook(t):
        log.append((name, t.grad.detach().tolist()))
    return hook

def on_node(name, scale=None):
    def hook(gi, go):
        log.append((name, [None if g is None else g.detach().tolist() for g in gi],
                    [None if g is None else g.detach().tolist() for g in go]))
        return None if scale is None else tuple(None if g is None else g * scale for g in gi)
    return hook

def before_node(name, scale=None):
    def hook(go):
        log.append((name, [None if g is None else g.detach().tolist() for g in go]))
        return None if scale is None else tuple(None if g is None else g * scale for g in go)
    return hook

def on_module(name):
    def hook(module, gi, go):
        log.append((name, [None if g is None else g.detach().tolist() for g in gi],
                    [None if g is None else g.detach().tolist() for g in go]))
    return hook
"""

DTYPES = ["float64"] * 6 + ["float32"] * 3 + ["int64", "bool", "complex128", "float16", "int32"]
SHAPES = [
    (),
    (1,),
    (2,),
    (3,),
    (2, 3),
    (3, 2),
    (3, 3),
    (1, 3),
    (2, 1),
    (2, 1, 3),
    (2, 2, 2),
    (0,),
    (2, 0),
]
UNARY = [
    "sin",
    "cos",
    "tanh",
    "sigmoid",
    "neg",
    "abs",
    "relu",
    "square",
    "clone",
    "exp",
    "floor",
    "sign",
    "atan",
    "erf",
    "log1p",
    "contiguous",
    "real",
    "positive",
    "trunc",
]
BINARY = [
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "atan2",
    "hypot",
    "logaddexp",
    "copysign",
    "fmod",
]
REDUCE = [
    "sum",
    "mean",
    "prod",
    "amax",
    "amin",
    "std",
    "var",
    "logsumexp",
    "cumsum",
    "softmax",
    "norm",
]
IN_PLACE = [
    "sin_",
    "tanh_",
    "neg_",
    "relu_",
    "square_",
    "sigmoid_",
    "exp_",
    "zero_",
    "abs_",
    "floor_",
    "detach_",
]


class Writer:
    """Writes one line at a time, looking at the tensors that PyTorch has so far."""

    def __init__(self, seed, torch, names):
        self.random = random.Random(seed)
        self.torch = torch
        self.names = names  # PyTorch's namespace
        self.count = 0

    def tensors(self):
        return [n for n, t in self.names.items() if n[0] == "v" and n[1:].isdigit()]

    def once(self, name):
        """Whether no two elements of the tensor share a place in memory."""
        t = self.names[name]
        return t.numel() <= 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=False))

    def other(self, name):
        """A tensor that begins elsewhere in memory, or a number: an update in place may then be
        differentiated, where PyTorch would find that it has overwritten what it saved."""
        where = self.names[name].untyped_storage().data_ptr()
        found = [n for n in self.tensors() if self.names[n].untyped_storage().data_ptr() != where]
        return self.random.choice(found or ["2"])

    def pick(self, floating=False, ndim=None, once=False):
        found = self.tensors()
        if once:
            found = [n for n in found if self.once(n)] or found
        if floating:
            found = [n for n in found if self.names[n].is_floating_point()] or found
        if ndim is not None:
            found = [n for n in found if self.names[n].ndim == ndim] or found
        return self.random.choice(found)

    def fresh(self):
        self.count += 1
        return f"v{self.count - 1}"

    def values(self, shape, dtype):
        if shape:
            return [self.values(shape[1:], dtype) for _ in range(shape[0])]
        if dtype in ("int64", "int32"):
            return self.random.randint(-3, 3)
        if dtype == "bool":
            return self.random.random() < 0.5
        value = round(self.random.uniform(-1.5, 1.5), 2)
        return complex(value, round(self.random.uniform(-1, 1), 2)) if "complex" in dtype else value

    def line(self):
        r = self.random
        if len(self.tensors()) < 2:
            return self.create()
        if len(self.tensors()) > 9:
            return f"del {self.pick()}"
        kinds = [
            (self.create, 6),
            (self.unary, 6),
            (self.binary, 10),
            (self.scalar, 5),
            (self.reduce, 5),
            (self.view, 14),
            (self.index, 6),
            (self.assign_index, 7),
            (self.in_place, 12),
            (self.in_mode, 6),
            (self.autograd_flags, 7),
            (self.hooks, 5),
            (self.backward, 9),
            (self.grad, 6),
            (self.custom, 5),
            (self.out, 2),
            (self.join, 3),
            (self.matrix, 3),
            (self.module, 2),
            (self.many_views, 3),
            (self.set_data, 2),
            (self.set_grad, 2),
            (self.casts, 3),
            (self.python, 2),
        ]
        make = r.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        return make()

    def create(self):
        r = self.random
        dtype, shape = r.choice(DTYPES), r.choice(SHAPES)
        grad = ", requires_grad=True" if "float" in dtype or "complex" in dtype else ""
        grad = grad if r.random() < 0.6 else ""
        return (
            f"{self.fresh()} = torch.tensor({self.values(shape, dtype)}, dtype=torch.{dtype}{grad})"
            + (f".reshape({shape})" if 0 in shape and len(shape) > 1 and not grad else "")
        )

    def unary(self):
        return f"{self.fresh()} = {self.pick(True)}.{self.random.choice(UNARY)}()"

    def binary(self):
        r = self.random
        op = r.choice(BINARY[:4] if r.random() < 0.8 else BINARY)
        return f"{self.fresh()} = torch.{op}({self.pick(True)}, {self.pick()})"

    def number(self):
        return self.random.choice(["2", "0.5", "-1", "1.5", "0", "3", "True"])

    def scalar(self):
        r = self.random
        x, n = self.pick(True), self.number()
        form = r.choice(
            [
                "{x} * {n}",
                "{n} - {x}",
                "{x} + {n}",
                "{x} / 2",
                "{x} ** 2",
                "2 / ({x} * {x} + 1)",
                "{x}.clamp(-0.5, 0.5)",
                "torch.where({x} > 0, {x}, {n})",
                "{x}.pow(3)",
                "{x}.masked_fill({x} > 0, {n})",
                "{x} // 2",
                "{x} % 2",
                "-{x}",
                "{x} > {n}",
                "{x} == {x}",
                "torch.lerp({x}, {x}, 0.5)",
                "torch.addcmul({x}, {x}, {x}, value=2)",
            ]
        )
        return f"{self.fresh()} = {form.format(x=x, n=n)}"

    def reduce(self):
        r = self.random
        x = self.pick(True)
        op = r.choice(REDUCE)
        ndim = self.names[x].ndim
        if op in ("std", "var") and (not ndim or min(self.names[x].shape) < 2):
            op = "sum"
        if op in ("cumsum", "softmax", "logsumexp"):
            return f"{self.fresh()} = {x}.{op}({r.choice([0, -1])})"
        if r.random() < 0.5 or not ndim:
            return f"{self.fresh()} = {x}.{op}()"
        return f"{self.fresh()} = {x}.{op}(dim={r.randrange(ndim)}, keepdim={r.random() < 0.5})"

    def view_text(self, x):
        r = self.random
        t = self.names[x]
        n = t.ndim
        options = [
            "view(-1)",
            "unsqueeze(0)",
            "unsqueeze(-1)",
            "squeeze()",
            "reshape(-1)",
            "detach()",
            "view_as({x})",
            "expand_as({x})",
            "flatten()",
            "alias()",
        ]
        options.remove("alias()")
        if n:
            d = r.randrange(n)
            size = t.shape[d]
            options += [
                f"narrow({d}, 0, {max(size - 1, 0)})",
                f"squeeze({d})",
                f"transpose(0, {d})",
                f"unfold({d}, {min(2, size)}, 1)",
                "__getitem__(0)",
                "__getitem__(slice(1, None))",
                "__getitem__(slice(None, None, 2))",
                "__getitem__((Ellipsis, 0))",
                f"select({d}, -1)",
                f"expand(2, {', '.join(map(str, t.shape))})",
                "__getitem__(None)",
                "flip(0)",
                f"movedim(0, {d})",
            ]
        if n == 2:
            options += [
                "t()",
                "T",
                "diagonal()",
                "mT",
                "permute(1, 0)",
            ]
            if t.numel():
                options.append("as_strided((2, 2), (1, 1))")
        if t.is_complex():
            options += ["real", "imag"]
        text = r.choice(options).format(x=x)
        return f"{x}.{text}"

    def view(self):
        x = self.pick()
        return f"{self.fresh()} = {self.view_text(x)}"

    def many_views(self):
        r = self.random
        x = self.pick()
        t = self.names[x]
        if not t.ndim or not t.shape[0]:
            return self.view()
        if r.random() < 0.5:
            a, b = self.fresh(), self.fresh()
            return f"{a}, *_, {b} = {x}.{r.choice(['unbind(0)', 'chunk(2)', 'split(1)', 'tensor_split(2)'])}"
        a, b = self.fresh(), self.fresh()
        return f"{a}, {b} = {r.choice(['torch.max', 'torch.sort', 'torch.topk', 'torch.median', 'torch.cummax'])}({x}, {r.choice([1, 1, 0]) if t.ndim > 1 else 0})"

    def key(self, x):
        r = self.random
        t = self.names[x]
        options = ["...", "None", f"{x} > 0", "True"]
        if t.ndim:
            options += [
                "0",
                "-1",
                "slice(0, 1)",
                "slice(1, None)",
                "[0, -1]",
                "torch.tensor([0, 0])",
                "slice(None, None, 2)",
                "torch.tensor(0)",
                "torch.tensor([True, False])",
            ]
        if t.ndim > 1:
            options += [
                "(slice(None), 0)",
                "(0, slice(1, None))",
                "([0, 1], [1, 0])",
                "(slice(None), [0, 0])",
                "(..., None, 0)",
                "(None, slice(None), [0])",
                "(0, torch.tensor([1, 0]))",
            ]
        if t.ndim > 1 and min(t.shape[:2]) < 2:
            options = [o for o in options if "[0, 1]" not in o and "[1, 0]" not in o]
        return r.choice(options)

    def index(self):
        x = self.pick()
        return f"{self.fresh()} = {x}[{self.key(x)}]"

    def assign_index(self):
        r = self.random
        x = self.pick(True, once=True)
        value = self.number() if r.random() < 0.5 else self.other(x)
        if r.random() < 0.3:
            value = f"{value} * 2"
        return f"{x}[{self.key(x)}] {r.choice(['=', '=', '=', '+=', '*='])} {value}"

    def in_place_text(self):
        r = self.random
        x = self.pick(True, once=True)
        target = self.view_text(x) if r.random() < 0.25 else x
        if "as_strided" in target or "unfold" in target or "expand" in target:
            target = x  # elements that lie in one place more than once
        form = r.choice(
            [
                "{x}.{u}()",
                "{x}.add_({y})",
                "{x}.mul_({y})",
                "{x}.copy_({y})",
                "{x}.fill_({n})",
                "{x}.sub_({y}, alpha=2)",
                "{x}.div_(2)",
                "{x}.mul_({n})",
                "{x}.add_({n})",
                "{x}.clamp_(-0.5, 0.5)",
                "{x}.masked_fill_({x} > 0, {n})",
                "{x}.addcmul_({y}, {y})",
                "{x}.fill_({y})",
                "{x}.index_fill_(0, torch.tensor([0]), {n})",
                "{x}.lerp_({y}, 0.5)",
                "{x}.t_()",
                "{x}.squeeze_()",
                "{x}.unsqueeze_(0)",
                "{x}.index_add_(0, torch.tensor([0]), {y})",
                "{x}.pow_(2)",
                "{x}.transpose_(0, -1)",
                "{x}.cumsum_(0)",
                "{x}.requires_grad_()",
            ]
        )
        if "index_" in form and 0 in self.names[x].shape:
            form = "{x}.neg_()"
        y = self.other(x)
        if y == "2":
            form = "{x}.neg_()"
        return form.format(x=target, y=y, n=self.number(), u=r.choice(IN_PLACE))

    def in_place(self):
        r = self.random
        if r.random() < 0.25:
            x = self.pick(True, once=True)
            other = self.other(x) if r.random() < 0.6 else self.number()
            return f"{x} {r.choice(['+=', '*=', '-=', '/='])} {other}"
        return self.in_place_text()

    def in_mode(self):
        r = self.random
        mode = r.choice(
            ["torch.no_grad()"] * 4 + ["torch.enable_grad()", "torch.set_grad_enabled(False)"]
        )
        inner = r.choice(
            [self.in_place_text, self.view, self.assign_index, self.unary, self.binary]
        )()
        return f"with {mode}: {inner}"

    def autograd_flags(self):
        r = self.random
        x = self.pick(True)
        return r.choice(
            [
                f"{x}.requires_grad_()",
                f"{x}.requires_grad = False",
                f"{self.fresh()} = {x}.detach()",
                f"{self.fresh()} = {x}.data",
                f"{x}.retain_grad()",
                f"{x}.detach_()",
                f"{x}.requires_grad_(False)",
                f"{self.fresh()} = {x}.clone().detach().requires_grad_()",
                f"log.append({x}.grad_fn is None)",
                f"log.append({x}.retains_grad)",
                f"{self.fresh()} = torch.nn.Parameter({x})",
            ]
        )

    def hooks(self):
        r = self.random
        x = self.pick(True)
        lost = self.names[x]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                lost = lost._is_view() and lost.grad_fn is None
            except RuntimeError:
                lost = True
        if lost:  # a hook on a view made without recording crashes PyTorch
            return "h.remove()"
        name = f"'h{r.randrange(100)}'"
        scale = r.choice(["", ", 2"])
        return r.choice(
            [
                f"h = {x}.register_hook(note({name}{scale}))",
                f"h = {x}.register_hook(note({name}{scale}))",
                f"h = {x}.register_post_accumulate_grad_hook(after({name}))",
                f"h = {x}.grad_fn.register_hook(on_node({name}))",
                f"h = {x}.grad_fn.register_prehook(before_node({name}{scale}))",
                "h.remove()",
            ]
        )

    def backward(self):
        r = self.random
        leaves = [n for n in self.tensors() if self.names[n]._base is None]
        leaves = [n for n in leaves if self.names[n].is_leaf] or ["v0"]
        x = self.pick(True)
        scalar = (
            x
            if r.random() < 0.2
            else f"{x}.sum()"
            if r.random() < 0.7
            else f"({x} * {self.pick(True)}).sum()"
        )
        options = r.choice(
            [
                "",
                "",
                "retain_graph=True",
                "retain_graph=True",
                "create_graph=True",
                f"inputs=[{r.choice(leaves)}]",
                "torch.ones(())",
                f"gradient=torch.ones_like({x})",
            ]
        )
        if "ones_like" in options:
            scalar = x
        return f"{scalar}.backward({options})"

    def grad(self):
        r = self.random
        y = self.pick(True)
        inputs = self.pick(True) if r.random() < 0.6 else f"[{self.pick(True)}, {self.pick(True)}]"
        options = r.choice(
            [
                "",
                "allow_unused=True",
                "retain_graph=True",
                "create_graph=True",
                "create_graph=True, allow_unused=True",
                "materialize_grads=True",
            ]
        )
        out = r.choice([f"{y}.sum()", f"({y} * {y}).sum()", f"{y}.real.sum()"])
        return f"g = torch.autograd.grad({out}, {inputs}, {options}); {self.fresh()} = g[0] * 2"

    def custom(self):
        r = self.random
        x, y = self.pick(True), self.pick(True)
        a = self.fresh()
        kind = r.choice(["Double", "SavesOutput", "Dirty", "Same", "Once", "SetsUp", "Two", "Raw"])
        if kind == "Two":
            return (
                f"{a}, {self.fresh()}, {self.fresh()} = Two.apply({x}, {y}, {r.choice([2, 0.5])})"
            )
        if kind == "Raw":
            return f"{a}, {self.fresh()} = Raw.apply({x})"
        return f"{a} = {kind}.apply({x})"

    def out(self):
        r = self.random
        x = self.pick(True)
        alike = [n for n in self.tensors() if self.names[n].shape == self.names[x].shape]
        return f"torch.{r.choice(['add', 'mul'])}({x}, {r.choice(alike)}, out={r.choice(alike)})"

    def join(self):
        r = self.random
        return f"{self.fresh()} = torch.{r.choice(['cat', 'stack'])}([{self.pick()}, {self.pick()}], {r.choice([0, -1])})"

    def matrix(self):
        r = self.random
        x, y = self.pick(True, 2), self.pick(True, r.choice([1, 2]))
        return f"{self.fresh()} = {r.choice([f'{x} @ {y}', f'{x} @ {y}.t()', f'torch.outer({x}, {y})'])}"

    def module(self):
        r = self.random
        kind = r.choice(
            [
                "register_full_backward_hook",
                "register_full_backward_pre_hook",
                "register_backward_hook",
            ]
        )
        hook = "before_module" if "pre" in kind else "on_module"
        if hook == "before_module":
            made = f"m = Layer(); m.{kind}(lambda m, go: log.append(('pre', go[0].tolist())))"
        else:
            made = f"m = Layer(); m.{kind}(on_module('m{r.randrange(9)}'))"
        return f"{made}; {self.fresh()} = m({self.pick(True)})"

    def set_data(self):
        r = self.random
        x = self.pick(True)
        tensor = self.names[x]
        y = r.choice([n for n in self.tensors() if self.names[n].shape == tensor.shape])
        if tensor._is_view() or not tensor.is_leaf:
            # PyTorch would go on calling it a view of what it left.
            return f"{x}.data.mul_(2)"
        return r.choice(
            [
                f"{x}.data = {y}",
                f"{x}.data = {x}.data * 2",
                f"{x}.data.mul_(2)",
                f"{x}.data.zero_()",
                f"{x}.data[...] = 1",
                f"{x}.detach().add_(1)",
            ]
        )

    def set_grad(self):
        r = self.random
        x = self.pick(True)
        return r.choice(
            [
                f"{x}.grad = None",
                f"{x}.grad = torch.ones_like({x})",
                f"{x}.grad.zero_()",
                f"{self.fresh()} = {x}.grad * 2",
                f"{x}.grad = {self.pick()}",
            ]
        )

    def casts(self):
        r = self.random
        x = self.pick()
        return f"{self.fresh()} = {x}.{r.choice(['double()', 'float()', 'to(torch.float64)', 'long()', 'type(torch.float32)', 'half()', 'to(torch.complex128)', 'bool()', 'to(torch.float64, copy=True)'])}"

    def python(self):
        r = self.random
        x = self.pick()
        return r.choice(
            [
                f"log.append({x}.tolist())",
                f"log.append(bool({x}))",
                f"log.append({x}.item())",
                f"log.append(float({x}))",
                f"log.append(len({x}))",
                f"log.append(repr({x}))",
                f"{self.fresh()} = copy.deepcopy({x})",
                f"log.append({x}.numpy().tolist())",
                f"{self.fresh()} = copy.copy({x})",
                f"log.append(str({x}.grad_fn).split(' ')[0].split('Backward')[0])",
            ]
        )


def namespace(module):
    import copy

    names = {"torch": module, "log": [], "copy": copy}
    exec(PRELUDE, names)
    return names


ONCE = (
    "Casting complex",
    "Converting a tensor with requires_grad",
    "Using backward() with create",
    "var(): degrees",
    "std(): degrees",
    "backward hook",
    "Use of index",
    "ComplexHalf",
)


def execute(line, names):
    """(error or None, warnings) of one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(line, names)
            error = None
        except Exception as raised:
            error = raised
            raised.__traceback__ = None
    seen = [(w.category.__name__, str(w.message)[:40]) for w in caught]
    # Those that PyTorch gives once in a process would depend on the programs before.
    return error, [w for w in dict.fromkeys(seen) if not w[1].startswith(ONCE)]


def close(one, other, tolerance):
    if isinstance(one, (list, tuple)):
        return (
            isinstance(other, (list, tuple))
            and len(one) == len(other)
            and all(close(a, b, tolerance) for a, b in zip(one, other, strict=False))
        )
    if isinstance(one, complex) and isinstance(other, complex):
        return close(one.real, other.real, tolerance) and close(one.imag, other.imag, tolerance)
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        if math.isinf(one) or math.isinf(other):
            return one == other
        return abs(one - other) <= tolerance * max(1, abs(one), abs(other))
    return type(one) is type(other) and one == other


TOLERANCE = {"float16": 4e-2, "float32": 1e-3, "complex64": 1e-3}


def _name(function):
    """The node's name without its number, which tells overloads apart."""
    return _ALIKE.get(function.name(), function.name()).rstrip("0123456789")


# Nodes that taper does not tell apart.
_ALIKE = {"IndexFillBackward0": "IndexCopyBackward0", "ToCopyBackward0": "CloneBackward0"}


# PyTorch's node of a view whose memory was written, where taper may keep the view's own.
_RENEWED = "AsStridedBackward"
# Nodes where PyTorch has others: parts of complex numbers, casts at the
# end of an in-place update, products of many dimensions.
_OWN_WAY = (
    *("RealBackward", "ImagBackward", "CloneBackward", "FillBackward", "UnsafeViewBackward"),
    *("ViewBackward", "torch::autograd::CopyBackwards"),
)


def describe(tensor):
    """What can be seen of a tensor, but for its values."""
    try:
        function = tensor.grad_fn
        is_leaf = tensor.is_leaf
    except RuntimeError as error:  # a view that the tape has lost
        return {"error": str(error)[:80]}
    return {
        "type": type(tensor).__name__,
        "dtype": str(tensor.dtype).partition(".")[2],
        "shape": tuple(tensor.shape),
        "contiguous": tensor.is_contiguous(),
        "requires_grad": tensor.requires_grad,
        "is_leaf": is_leaf,
        "grad_fn": None if function is None else _name(function),
        "retains_grad": tensor.retains_grad,
        "is_view": tensor._is_view(),
        "output_nr": tensor.output_nr,
    }


def differences(mine, theirs):
    """The first difference between the tensors and logs of two namespaces, or None."""
    halves = any(str(t.dtype) == "torch.float16" for n, t in theirs.items() if n[1:].isdigit())
    least = 0.1 if halves else 0
    for name in [n for n in theirs if n[0] == "v" and n[1:].isdigit()]:
        if name not in mine:
            return f"{name} is missing"
        one, other = mine[name], theirs[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            a, b = describe(one), describe(other)
            for key in b:
                if key == "grad_fn" and (b[key] == _RENEWED or a.get(key) in _OWN_WAY):
                    continue
                if key in ("contiguous", "is_view") and (not b[key] or not other.numel()):
                    continue  # PyTorch leaves more results in the order of their inputs, and
                    # calls the end of a product no view
                if a.get(key) != b[key]:
                    return f"{name}.{key}: taper {a.get(key)}, PyTorch {b[key]}"
            if "error" in b:
                continue
            tolerance = max(least, TOLERANCE.get(b["dtype"], 2e-5))
            if not close(one.tolist(), other.tolist(), tolerance):
                return f"{name}: taper {one.tolist()}, PyTorch {other.tolist()}"
            one, other = one.grad, other.grad
            if (one is None) != (other is None):
                return f"{name}.grad: taper {one}, PyTorch {other}"
            if other is None:
                continue
            for key in ("dtype", "shape", "requires_grad"):
                a, b = describe(one)[key], describe(other)[key]
                if a != b:
                    return f"{name}.grad.{key}: taper {a}, PyTorch {b}"
            if not close(one.tolist(), other.tolist(), tolerance * 10):
                return f"{name}.grad: taper {one.tolist()}, PyTorch {other.tolist()}"
    if not close(mine["log"], theirs["log"], max(least, 1e-3)):
        return f"log: taper {mine['log'][-3:]}, PyTorch {theirs['log'][-3:]}"
    return None


def compare_line(line, mine, theirs):
    """(how the two differ on one line, or None; whether it failed). It is executed in both."""
    their_error, their_warnings = execute(line, theirs)
    my_error, my_warnings = execute(line, mine)
    failed = their_error is not None
    both = f"taper: {my_error!r}\n   PyTorch: {their_error!r}"
    if "ComplexHalf" in str(their_error) or "some elements" in str(their_error):
        return None, True  # a dtype that taper does not have; an overlap that it takes care of
    if (my_error is None) != (their_error is None):
        return both, failed
    if failed and ("a leaf Variable" in str(their_error) or "] =" in line):
        return None, failed  # of several mistakes, either may be found first
    if failed and (
        "not implemented for" in f"{my_error} {their_error}" or "complex" in str(my_error)
    ):
        return None, failed
    if failed and not isinstance(my_error, type(their_error)):
        return both, failed
    if my_warnings != their_warnings:
        return f"warnings: taper {my_warnings}, PyTorch {their_warnings}", failed
    if TEXTS and failed and str(their_error)[:30] not in str(my_error):
        return "text: " + both, failed
    return None, failed


TEXTS = False


def run(next_line, taper, torch, names, always):
    """(lines, first difference or None) of a program whose lines come one by one."""
    mine, theirs = namespace(taper), names
    lines = []
    line = next_line()
    while line is not None:
        lines.append(line)
        found, failed = compare_line(line, mine, theirs)
        # PyTorch has filled part of the gradients when a backward pass fails, taper none.
        last = failed and any(word in line for word in ("backward(", "grad(", "apply("))
        line = None if last else next_line()
        if found is None and (always or line is None) and not last:
            found = differences(mine, theirs)
        if found is not None:
            return lines, found
    return lines, None


def generate(seed, taper, torch, steps=25):
    """(lines, first difference or None) of the program of a seed."""
    theirs = namespace(torch)
    writer = Writer(seed, torch, theirs)
    left = iter(range(steps))
    return run(
        lambda: None if next(left, None) is None else writer.line(),
        taper,
        torch,
        theirs,
        seed % 2 == 0,
    )


def replay(lines, taper, torch, always):
    """The first difference of a given program."""
    given = iter(lines)
    return run(lambda: next(given, None), taper, torch, namespace(torch), always)[1]


def kind_of(found):
    """What is compared of a difference while a program is made shorter."""
    import re

    return re.sub(r"v\d+|[-\d.e]+", "#", found)[:60]


def shorten(lines, taper, torch, always, found):
    """The program without the lines that the difference does not need."""
    kind = kind_of(found)
    position = len(lines) - 2
    while position >= 0:
        shorter = lines[:position] + lines[position + 1 :]
        seen = replay(shorter, taper, torch, always)
        if seen is not None and kind_of(seen) == kind:
            lines, found = shorter, seen
        position -= 1
    return lines, found


@pytest.mark.parametrize("block", range(4))
def test_random_programs_cannot_tell_taper_from_pytorch(block):
    torch = pytest.importorskip("torch")
    import taper

    for seed in range(block * 25, block * 25 + 25):
        lines, found = generate(seed, taper, torch)
        assert found is None, f"seed {seed}: {found}\n" + "\n".join(lines)


def main(first, last):
    import torch

    import taper

    counts = {}
    for seed in range(first, last):
        lines, found = generate(seed, taper, torch)
        if found is None:
            continue
        if "--long" in sys.argv:
            print("\n".join(lines), found, flush=True)
        lines, found = shorten(lines, taper, torch, seed % 2 == 0, found)
        kind = kind_of(found)
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= 2:
            print(f"seed {seed}: {found}")
            for line in lines:
                print("   ", line)
            sys.stdout.flush()
    print(sum(counts.values()), "disagreements in", last - first, "programs")
    for kind, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:5} {kind!r}")


if __name__ == "__main__":
    TEXTS = "--texts" in sys.argv
    main(int(sys.argv[1]), int(sys.argv[2]))
