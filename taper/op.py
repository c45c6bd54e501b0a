"""What an op is, the registry of all ops, and the decorator of the public functions.

An op is one class: how it is evaluated (`formula` or `forward`), what its derivative needs
(`saves`) and is (`vjp`). `@op` checks that the parts are there, replaces the class by its one
instance and enters it in REGISTRY. `@public` enters the function beside it in PUBLIC, from which
the namespaces, the Tensor methods, the in-place variants and `out=` are made.

docs/design.md, "An op, defined once", is the contract in full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

REGISTRY: dict[str, Op] = {}

# What dispatch passes to vjp for one input: nothing, its array, or its shape.
SKIP, VALUE, SHAPE = range(3)


class Op:
    """Base of the kinds. Class attributes are the op's declaration."""

    name = ""  # as in error messages: log_add_exp -> "logaddexp" if the class says so
    node_name = ""  # PyTorch's name of the grad_fn
    saves: tuple[str, ...] = ()
    # A saved input that only one other input's derivative needs: its name -> that input's. Where the
    # other needs none, the saved one is let go (elementwise ops) or may be written to.
    needed_for: dict[str, str] = {}
    outputs = 1
    saved_from = 0  # with "out" saved: the first output that is
    differentiable: tuple[bool, ...] | None = None
    elements = False  # each element is computed by itself, so that a backend may fuse the steps
    elementwise = False  # dispatch promotes and broadcasts; the engine sums the gradients back
    floating = False  # integer inputs become the default floating dtype
    view = False
    built_in = ""  # a backend's name of its quick way for plain small arrays: see `direct`
    ufunc = ""  # numpy's name of the formula, where the formula is that one function
    plain = False  # the result lies in row-major order, however the inputs do
    unpromoted = 0  # leading inputs of an elementwise op that keep their dtype: a condition
    takes = ""  # kinds of dtype an elementwise op computes in without promotion

    # Filled in by @op.
    inputs: tuple[str, ...]
    variadic: bool
    plan: tuple[int, ...]
    values: tuple[int, ...]  # the inputs that are saved
    saves_out: bool
    spared: tuple[tuple[int, int], ...]  # needed_for by numbers
    frees: bool  # whether backward() frees what was saved: tensors, not shapes
    wants_needs: bool
    run: Callable[..., Any]
    function: Callable[..., Any] | None = None  # the ufunc itself, called without `m`
    # A backend's quick way for plain small arrays, with the attributes behind them as they stand in
    # the call: the result, or None if it does not take them.
    direct: Callable[..., Any] | None = None
    takes_attrs: bool  # whether the formula has keywords
    vjp: Any = None
    node_class: Any = None  # of its nodes; made by dispatch at the first call that is recorded

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def error(self, text: str) -> Exception:
        """A ShapeError that begins with the op's name."""
        from taper.errors import ShapeError

        return ShapeError(self.name, text)


class Elementwise(Op):
    """out[i] = formula(input[i], ...) after promotion and broadcasting."""

    elements = True
    elementwise = True


class Reduction(Op):
    """Folds the dimensions `axis` (a tuple of non-negative ints) away, or to 1 with `keepdims`."""

    plain = True


class View(Op):
    """Another look at the same memory."""

    view = True


class Contraction(Op):
    """Sums of products: matmul, convolution."""


class Opaque(Op):
    """Whatever fits no other kind."""


def op(cls: type[Op]) -> Any:
    """Checks the class, makes its one instance and enters it in the registry."""
    made = cls()
    body = getattr(cls, "formula" if cls.elementwise else "forward", None)
    if body is None:
        raise TypeError(
            f"{cls.__name__}: an op of this kind must define "
            f"{'formula' if cls.elementwise else 'forward'}"
        )
    code = body.__code__
    made.inputs = code.co_varnames[2 : code.co_argcount]
    made.variadic = bool(code.co_flags & 0x04)
    made.takes_attrs = bool(code.co_kwonlyargcount or code.co_flags & 0x08)
    if made.variadic:
        varargs = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
        made.inputs = (*made.inputs, varargs)
    made.run = getattr(made, body.__name__)
    if cls.elementwise:
        made.takes = "" if made.unpromoted else "f" if cls.floating else "fciub"
        made.takes = made.takes.replace("f", "fc", 1) if cls.floating else made.takes
        made.takes = made.takes or "-"
    if cls.ufunc:
        from taper import backends

        made.function = backends.math().ufunc(cls.ufunc)
    made.name = cls.name or cls.__name__.lower()
    made.node_name = cls.node_name or cls.__name__ + "Backward0"
    wanted = set(cls.saves)
    plan = []
    for name in made.inputs:
        if name in wanted:
            plan.append(VALUE)
        elif name + ".shape" in wanted:
            plan.append(SHAPE)
        else:
            plan.append(SKIP)
        wanted -= {name, name + ".shape"}
    made.saves_out = "out" in wanted
    wanted.discard("out")
    if wanted:
        raise TypeError(f"{cls.__name__}: saves names no input: {sorted(wanted)}")
    made.plan = tuple(plan)
    made.values = tuple(i for i, kind in enumerate(plan) if kind == VALUE)
    made.spared = tuple(
        (made.inputs.index(kept), made.inputs.index(other))
        for kept, other in cls.needed_for.items()
    )
    made.frees = made.saves_out or VALUE in plan
    vjp = getattr(cls, "vjp", None)
    if vjp is not None:
        vjp_code = vjp.__code__
        names = vjp_code.co_varnames[: vjp_code.co_argcount + vjp_code.co_kwonlyargcount]
        made.wants_needs = "needs" in names
    else:
        made.wants_needs = False
    if cls.elements:
        from taper import backends

        backends.math().fuse(made)
    if cls.built_in:
        from taper import backends

        made.direct = backends.math().built_in(made)
    if REGISTRY.setdefault(cls.__name__, made) is not made:
        raise TypeError(f"two ops are called {cls.__name__}")
    return made


class Public:
    """The record of one public function: where it is to be found and in which variants."""

    __slots__ = ("aliases", "function", "inplace", "method", "name", "namespaces", "out")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        method: bool,
        inplace: bool,
        out: bool,
        namespaces: tuple[str, ...],
        aliases: tuple[str, ...],
    ) -> None:
        self.function = function
        self.name = name
        self.method = method
        self.inplace = inplace
        self.out = out
        self.namespaces = namespaces
        self.aliases = aliases


PUBLIC: list[Public] = []
# namespace ("torch", "special", "nn.functional", ...) -> name -> function
NAMESPACES: dict[str, dict[str, Callable[..., Any]]] = {}
# Tensor methods, in-place variants included
METHODS: dict[str, Callable[..., Any]] = {}


def public(
    *,
    method: bool = False,
    inplace: bool = False,
    out: bool = False,
    namespaces: tuple[str, ...] = ("torch",),
    aliases: tuple[str, ...] = (),
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Publishes a function: in `namespaces` ("special:expit" renames), as a Tensor method, as the
    in-place method `name_`, and with the keyword `out=`; each also under every alias.
    """

    def publish(function: Callable[..., Any]) -> Callable[..., Any]:
        from taper import variants

        own = name or function.__name__
        first = (namespaces or ("torch",))[0].partition(":")[0]
        home = "taper" if first == "torch" else "taper." + first
        if name is not None or "<locals>" in function.__qualname__:  # prints and pickles as known
            function.__name__ = function.__qualname__ = own
            function.__module__ = home
        record = Public(function, own, method, inplace, out, namespaces, aliases)
        PUBLIC.append(record)
        spelled = variants.with_numpy_spelling(function)
        if own in variants.OLD_FORMS:
            spelled = variants.with_old_form(spelled, own)
        called = variants.with_out(spelled, own) if out else spelled
        if called is not function:
            called.__module__ = home
        for place in namespaces:
            space, _, renamed = place.partition(":")
            for each in (renamed,) if renamed else (own, *aliases):
                NAMESPACES.setdefault(space, {})[each] = called
        if method:
            for each in (own, *aliases):
                METHODS[each] = spelled
        if inplace:
            changed = variants.in_place(spelled, own)
            for each in (own, *aliases):
                METHODS[each + "_"] = changed
                if method and each + "_" in TORCH_LEVEL_IN_PLACE:
                    NAMESPACES.setdefault("torch", {})[each + "_"] = changed
                    changed.__module__ = "taper"
        return function

    return publish


# In-place functions that PyTorch also has at module level, such as torch.relu_(x).
TORCH_LEVEL_IN_PLACE = frozenset(
    name + "_"
    for name in [
        "abs",
        "acos",
        "acosh",
        "addmv",
        "alpha_dropout",
        "arccos",
        "arccosh",
        "arcsin",
        "arcsinh",
        "arctan",
        "arctanh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "ceil",
        "celu",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clip",
        "conj_physical",
        "cos",
        "cosh",
        "deg2rad",
        "dropout",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "feature_alpha_dropout",
        "feature_dropout",
        "fix",
        "floor",
        "frac",
        "gcd",
        "i0",
        "index_put",
        "lcm",
        "ldexp",
        "log",
        "log10",
        "log1p",
        "log2",
        "logit",
        "nan_to_num",
        "neg",
        "negative",
        "rad2deg",
        "reciprocal",
        "relu",
        "round",
        "rrelu",
        "rsqrt",
        "selu",
        "sigmoid",
        "sign",
        "sin",
        "sinc",
        "sinh",
        "sqrt",
        "square",
        "tan",
        "tanh",
        "threshold",
        "trunc",
        "xlogy",
        "fill",
        "zero",
        "detach",
        "absolute",
    ]
)
