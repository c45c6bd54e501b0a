"""Checkpoints within a model: intermediate results are computed again instead of being kept.

The checkpointed function runs once and its part of the tape is thrown away. In its place stands one
node with an edge to everything the part rested on: arguments, parameters, and whatever else the
function used. When a gradient arrives, the node runs the function again and sends the gradient
through the new part, up to those same edges.
"""

from __future__ import annotations

import contextlib
import enum
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.autograd.engine import run_backward
from taper.autograd.grad_mode import enable_grad, mode, no_grad
from taper.autograd.node import FREED, Node, OpNode, next_number
from taper.errors import GradError, MissingFeature
from taper.storage import storage_of
from taper.tensor import Tensor, wrap

__all__ = [
    "CheckpointError",
    "CheckpointPolicy",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did something else than the first."""


class CheckpointPolicy(enum.Enum):
    """What is to happen to the result of an op under selective checkpointing."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> Any:
    """Would keep the results of some ops only. Raises: NotImplementedError."""
    raise MissingFeature(
        "create_selective_checkpoint_contexts",
        "taper recomputes a checkpointed function entirely; checkpoint a smaller part of the model "
        "instead",
    )


_debug: bool | None = None


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """In this context `debug` of all checkpoints is `enabled`; None leaves it to each."""
    global _debug
    before, _debug = _debug, enabled
    try:
        yield
    finally:
        _debug = before


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Accepted: taper runs a checkpointed function to its end, as with `enable` False."""
    yield


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts without effect."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs with tensors detached from the tape; they require grad as before."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(
            "Only tuple of tensors is supported. Got Unsupported input type: "
            + type(inputs).__name__
        )
    return tuple(
        x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs
    )


# ---------------------------------------------------------------- tensors in a result


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in _tensors(part)]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in _tensors(part)]
    return []


def _replaced(value: Any, by: dict[int, Tensor]) -> Any:
    """The same structure with other tensors, by id."""
    if isinstance(value, Tensor):
        return by.get(id(value), value)
    if isinstance(value, (tuple, list)):
        parts = [_replaced(part, by) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return type(value)((key, _replaced(part, by)) for key, part in value.items())
    return value


# ---------------------------------------------------------------- a part of the tape


@dataclass
class _Part:
    """What a run of the function put on the tape, without the tape itself."""

    results: list[Tensor]  # the tensors that came out of it
    metas: list[tuple[Any, Any]]  # their shapes and dtypes
    edges: list[tuple[Any, int]]  # from where it came: (earlier node or leaf, output number)
    nodes: list[Node]  # its ops, latest first
    saved: int  # tensors kept for the derivative


def _key(edge: tuple[Any, int]) -> tuple[int, int]:
    return id(edge[0]), edge[1]


def _part_since(start: int, value: Any) -> _Part:
    """The part of the tape between the results in `value` and what is older than `start`."""
    results: list[Tensor] = []
    for tensor in _tensors(value):
        function = tensor.grad_fn
        if function is not None and function.number > start:
            if not any(tensor is known for known in results):
                results.append(tensor)
    edges: dict[tuple[int, int], tuple[Any, int]] = {}
    saved = 0
    stack: list[Node] = [tensor.grad_fn for tensor in results]
    seen: dict[Node, None] = {}
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen[node] = None
        if isinstance(node, OpNode) and node.saved is not None:
            saved += sum(type(item) is tuple and len(item) == 3 for item in node.saved)
        for edge in node.edges:
            if edge is None:
                continue
            if isinstance(edge[0], Node) and edge[0].number > start:
                stack.append(edge[0])
            else:
                edges[_key(edge)] = edge
    metas = [(tensor.shape, tensor._array.dtype) for tensor in results]
    return _Part(results, metas, list(edges.values()), list(seen), saved)


@contextlib.contextmanager
def _cut(nodes: list[Node], leaves: dict[Any, Tensor], restore: bool) -> Iterator[None]:
    """Lets the edges by which the part rested on older things end at leaves of their own.

    Gradients then stop there, whatever lies beyond, and run no hooks: those run when the gradient
    of the checkpoint as a whole arrives.
    """
    before = [(node, node.edges) for node in nodes]
    for node, edges in before:
        node.edges = tuple(
            (leaves[_key(edge)], 0) if edge is not None and _key(edge) in leaves else edge
            for edge in edges
        )
    try:
        yield
    finally:
        if restore:
            for node, edges in before:
                node.edges = edges


class _Run:
    """A function with its arguments and the surroundings of its first run."""

    def __init__(
        self, function: Any, args: Any, kwargs: Any, contexts: tuple[Any, Any], preserve: bool
    ) -> None:
        import taper

        self.function, self.args, self.kwargs = function, args, kwargs
        self.contexts = contexts
        self.random_state = taper.get_rng_state() if preserve else None

    def first(self) -> Any:
        with self.contexts[0]:
            return self.function(*self.args, **self.kwargs)

    @contextlib.contextmanager
    def _random_as_at_first(self) -> Iterator[None]:
        import taper

        now = None
        if self.random_state is not None:
            now = taper.get_rng_state()
            taper.set_rng_state(self.random_state)
        try:
            yield
        finally:
            if now is not None:
                taper.set_rng_state(now)

    def again(self) -> Any:
        with enable_grad(), self._random_as_at_first(), self.contexts[1]:
            return self.function(*self.args, **self.kwargs)


def _names(part: _Part) -> tuple[str, ...]:
    """The part's ops in the order in which they ran."""
    return tuple(node.name() for node in sorted(part.nodes, key=lambda node: node.number))


class CheckpointNode(Node):
    """Stands on the tape for a checkpointed function."""

    def __init__(self, run: _Run, part: _Part, check: bool, debug: bool) -> None:
        super().__init__(tuple(part.edges))
        self.again: _Run | None = run
        self.metas, self.saved = part.metas, part.saved
        self.names = _names(part) if debug else ()
        self.check, self.debug = check, debug
        self.output_count = len(part.results)

    def name(self) -> str:
        return "CheckpointFunctionBackward"

    def release(self) -> None:
        self.again = None

    def _error(self, text: str, part: _Part) -> CheckpointError:
        text = f"torch.utils.checkpoint: {text}"
        if self.debug:
            return CheckpointError(
                f"{text}\nOps of the forward: {' '.join(self.names)}\nOps again: "
                + " ".join(_names(part))
            )
        return CheckpointError(
            f"{text}\nTip: To see a more detailed error, either pass `debug=True` to "
            "`torch.utils.checkpoint.checkpoint(...)` or wrap the code block with `with "
            "torch.utils.checkpoint.set_checkpoint_debug_enabled(True):`."
        )

    def _compare(self, part: _Part) -> None:
        """CheckpointError if the second run is another computation than the first."""
        if self.metas != part.metas and (self.check or len(self.metas) != len(part.metas)):
            raise self._error(
                "Recomputed values for the following tensors have different metadata than during "
                f"the forward pass.\nforward: {self.metas}\nrecomputed: {part.metas}",
                part,
            )
        if self.check and self.saved != part.saved:
            raise self._error(
                "A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {self.saved}\nNumber of "
                f"tensors saved during recomputation: {part.saved}.",
                part,
            )

    def run(self, lane: Any, grads: list[Any], needs: Any) -> Any:
        needs = self.wanted(needs)
        if self.again is None:
            raise GradError(FREED)
        graph = mode.grad  # create_graph
        start = next_number()
        part = _part_since(start, self.again.again())
        self._compare(part)
        arrived = [
            (root, lane.outward(grad))
            for root, grad in zip(part.results, grads, strict=True)
            if grad is not None
        ]
        leaves = {
            _key(edge): wrap(np.empty(0))
            for edge, needed in zip(self.edges, needs, strict=True)
            if needed
        }
        with _cut(part.nodes, leaves, graph):
            found = run_backward(
                [root for root, _ in arrived],
                [grad for _, grad in arrived],
                retain_graph=graph,
                create_graph=graph,
                targets=list(leaves.values()),
                accumulate=False,
            )
        rest = iter(found)
        results = [next(rest) if needed else None for needed in needs]
        return [None if grad is None else lane.inward(grad) for grad in results]


# ---------------------------------------------------------------- the functions


def _recorded(run: _Run, check: bool, debug: bool) -> Any:
    """Runs the function and puts one node in the place of its part of the tape."""
    start = next_number()
    value = run.first()
    part = _part_since(start, value)
    if not part.results:
        return value
    node = CheckpointNode(run, part, check, debug)
    made = {}
    for number, result in enumerate(part.results):
        again = wrap(result._array, type(result))
        again._storage = storage_of(result)
        again._grad_fn, again._output_nr, again._requires_grad = node, number, True
        made[id(result)] = again
    return _replaced(value, made)


_NOT_CHOSEN = (
    "the use_reentrant parameter should be passed explicitly. {version} use_reentrant=False is "
    "recommended, but if you need to preserve the current default behavior, you can pass "
    "use_reentrant=True. Refer to docs for more details on the differences between the two "
    "variants."
)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs) that keeps no intermediate results for the derivative.

    They are computed again in the reverse pass, with the random numbers of the first time unless
    preserve_rng_state=False is given. With `use_reentrant` the result requires grad only if an
    argument does, and keyword arguments are refused. `context_fn` gives the contexts of the two
    runs. `determinism_check` "none" allows them to differ.
    Raises: CheckpointError, in the reverse pass, if the second run is another computation.
    """
    if use_reentrant is None:
        version = (
            "Starting in PyTorch 2.9, calling checkpoint without use_reentrant will raise an "
            "exception."
        )
        warnings.warn(
            "torch.utils.checkpoint: " + _NOT_CHOSEN.format(version=version), stacklevel=2
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if determinism_check not in ("default", "none"):
        raise ValueError(
            "determinism_check should be one of ['default', 'none'], but got " + determinism_check
        )
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        if not any(isinstance(x, Tensor) and x.requires_grad for x in args):
            if mode.grad:
                warnings.warn(
                    "None of the inputs have requires_grad=True. Gradients will be None",
                    stacklevel=2,
                )
            with no_grad():
                return function(*args)
    elif debug and context_fn is not noop_context_fn:
        raise ValueError("debug=True is incompatible with non-default context_fn")
    run = _Run(function, args, kwargs, context_fn(), preserve)
    if not mode.grad:
        return run.first()
    shown = debug if _debug is None else _debug
    return _recorded(run, determinism_check == "default", shown)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """The functions one after the other, in `segments` checkpoints; the last is an ordinary run.

    `functions` is a Sequential or a list.
    """
    from taper.nn import Sequential

    if use_reentrant is None:
        version = "In version 2.9 we will raise an exception if use_reentrant is not passed."
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: " + _NOT_CHOSEN.format(version=version),
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    parts = list(functions.children() if isinstance(functions, Sequential) else functions)

    def chained(some: list[Any]) -> Callable[[Any], Any]:
        def forward(value: Any) -> Any:
            for each in some:
                value = each(value)
            return value

        return forward

    size = len(parts) // segments
    done = size * (segments - 1)
    for start in range(0, done, size) if size else ():
        input = checkpoint(
            chained(parts[start : start + size]),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve,
        )
    return chained(parts[done:])(input)
