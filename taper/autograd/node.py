"""The tape: one node per recorded op call.

A node knows its op, the nodes (or leaf tensors) its inputs came from, and what the derivative
needs. Sequence numbers grow with time, so a node's inputs always have smaller numbers: that is all
the ordering the engine needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.errors import GradError
from taper.op import Op
from taper.storage import Storage

if TYPE_CHECKING:
    from taper.tensor import Tensor

next_number = itertools.count().__next__

# Where a gradient goes: (node, output number), (leaf tensor, 0), or None.
Edge = Any

# For each input whether its gradient is wanted; None means all that have an edge.
Needs = Any

# The version of a saved tensor that may be written to: its value will not count.
UNCHECKED = -1

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward."
)


class Node:
    """Base of all nodes: edges, hooks, and PyTorch's surface of grad_fn."""

    __slots__ = ("__dict__", "__weakref__")
    edges: tuple[Edge, ...]
    number: int
    output_count = 1
    # kind -> {key: function}; kinds: ("grad", output number), ("retain", number), "pre", "post"
    hooks: dict[Any, dict[int, Any]] | None = None
    trace: str | None = None
    _metadata: dict[str, Any] | None = None

    def __init__(self, edges: tuple[Edge, ...]) -> None:
        self.edges = edges
        self.number = next_number()

    def name(self) -> str:
        """PyTorch's name of the node, such as AddBackward0."""
        raise NotImplementedError

    def run(self, lane: Any, grads: list[Any], needs: Needs) -> Any:
        """Gradients of the inputs from those of the outputs, one per edge."""
        raise NotImplementedError

    def wanted(self, needs: Needs) -> tuple[bool, ...]:
        """`needs` in full."""
        return tuple([edge is not None for edge in self.edges]) if needs is None else needs

    def release(self) -> None:
        """Forgets what was saved for the derivative."""

    def differentiable_outputs(self) -> Sequence[int]:
        """Numbers of the outputs whose gradients hooks see."""
        return range(self.output_count)

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """(node, output number) of every input; (None, 0) where no gradient flows."""
        return tuple((None, 0) if e is None else (function_of(e), e[1]) for e in self.edges)

    @property
    def metadata(self) -> dict[str, Any]:
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    def add_hook(self, kind: Any, hook: Any) -> Any:
        """Registers a hook and returns its handle."""
        if self.hooks is None:
            self.hooks = {}
        from taper.autograd.hooks import RemovableHandle

        return RemovableHandle.enter(self.hooks.setdefault(kind, {}), hook)

    def register_hook(self, hook: Any) -> Any:
        """hook(grad_inputs, grad_outputs) runs after the node and may replace grad_inputs."""
        return self.add_hook("post", hook)

    def register_prehook(self, hook: Any) -> Any:
        """hook(grad_outputs) runs before the node and may replace them."""
        return self.add_hook("pre", hook)

    def _sequence_nr(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


def function_of(edge: Edge) -> Any:
    """The node of an edge; a leaf tensor's is its AccumulateGrad."""
    target = edge[0]
    return target if isinstance(target, Node) else AccumulateGrad.of(target)


class AccumulateGrad(Node):
    """The end of the tape at a leaf: adds into `variable.grad`. Made when somebody looks."""

    def __init__(self, variable: Tensor) -> None:
        super().__init__(())
        self.variable = variable

    @staticmethod
    def of(variable: Tensor) -> AccumulateGrad:
        """The leaf's node; the same one as long as anybody holds it."""
        import weakref

        known = variable._accumulate
        found = known() if known is not None else None
        if found is None:
            found = AccumulateGrad(variable)
            variable._accumulate = weakref.ref(found)
        return found

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"


NO_ATTRS: dict[str, Any] = {}


class OpNode(Node):
    """A recorded call of an op from the registry.

    `saved` has, by the op's plan, (tensor, array, version), a shape, a Python number or None.
    `shapes` and `dtypes` are the inputs' where they differ from the result's (elementwise ops).
    """

    # What every node has, for machine code to fill (backends/llvm/tape.py); the rest is rare.
    __slots__ = ("attrs", "edges", "number", "out", "output_count", "saved")

    op: Op  # of the class, as is `plan`: see node_class
    # [inputs, elementwise, then of each input what is saved and whose gradient alone needs it or -1]
    plan: np.ndarray | None
    attrs: dict[str, Any]
    saved: list[Any] | None
    out: Any
    output_count: int
    is_packed = False  # by saved-tensor hooks
    common: Any = None
    dtypes: Any = None
    shapes: Any = None

    def name(self) -> str:
        return self.op.node_name

    def differentiable_outputs(self) -> Sequence[int]:
        flags = self.op.differentiable
        if flags is None:
            return range(self.output_count)
        return [i for i, flag in enumerate(flags) if flag]

    def release(self) -> None:
        if self.op.frees:
            self.saved = None
            self.out = None
            self.attrs = NO_ATTRS  # some hold arrays, such as the moments of a norm

    def run(self, lane: Any, grads: list[Any], needs: Needs) -> Any:
        op = self.op
        saved = self.saved
        if saved is None:
            raise GradError(FREED)
        out = self.out
        if self.is_packed:
            from taper.autograd.saved_hooks import unpack

            saved, out = unpack(self, lane.recorded)
        args = saved
        if op.values:
            places = op.values
            if op.variadic and places[-1] == len(op.plan) - 1:
                places = (*places, *range(len(op.plan), len(saved)))
            args = lane.values(self, saved, places)
        if out is not None:
            out = lane.output(self, out)
        grad = grads[0] if op.outputs == 1 else tuple(grads)
        if op.wants_needs:
            needs = self.wanted(needs)
            result = op.vjp(lane.m, grad, out, *args, needs=needs, **self.attrs)
        else:
            result = op.vjp(lane.m, grad, out, *args, **self.attrs)
        if type(result) is not tuple:
            result = (result,)
        if op.elementwise:
            shapes = self.shapes
            if shapes is None:
                shape = lane.shape(grad)
                if self.dtypes is None and lane.fits(result, shape):
                    return result
                shapes = (shape,) * len(result)
            return lane.fit(result, needs, shapes, self.dtypes)
        return result


def node_class(op: Op) -> type[OpNode]:
    """The class of an op's nodes, which knows the op and has the name that PyTorch gives them."""
    plan = None
    if not op.variadic:
        readers = dict(op.spared)
        plan = np.array(
            [len(op.plan), op.elementwise]
            + [n for i, kind in enumerate(op.plan) for n in (kind, readers.get(i, -1))],
            np.int64,
        )
    name = op.node_name.rpartition(":")[2]
    fields = {"__module__": "builtins", "__slots__": (), "op": op, "plan": plan}
    op.node_class = type(name, (OpNode,), fields)
    return op.node_class


class ManyOutputs(tuple[Any, ...]):
    """(array, storage, version) of each output of a node that saves its outputs."""


def modified(node: Node, array: np.ndarray, number: int, now: int, then: int) -> GradError:
    """The error for a saved tensor that was written to before its derivative was computed."""
    from taper import dtypes

    kind = dtypes.cpp_name(dtypes.of(array.dtype))
    what = f"output {number} of {node.name()}" if number >= 0 else "saved for " + node.name()
    text = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [torch.{kind}Tensor {list(array.shape)}], which is {what}, is at version "
        f"{now}; expected version {then} instead. Hint: "
    )
    if node.trace:
        text += (
            "the backtrace further above shows the operation that failed to compute its "
            "gradient. The variable in question was changed in there or anywhere later. "
            "Good luck!"
        )
    else:
        text += (
            "enable anomaly detection to find the operation that failed to compute its "
            "gradient, with torch.autograd.set_detect_anomaly(True)."
        )
    return GradError(text)


def check_version(node: Node, saved: tuple[Tensor, np.ndarray, int]) -> None:
    """An error if the saved tensor was written to since."""
    tensor, array, version = saved
    storage = tensor._storage
    now = 0 if storage is None else storage.version
    if now != version != UNCHECKED and tensor._array is array:
        number = tensor._output_nr if tensor._grad_fn is not None else -1
        raise modified(tensor._grad_fn or node, array, number, now, version)


def check_output(node: Node, array: np.ndarray, storage: Storage, version: int) -> None:
    """An error if the saved result was written to since."""
    if storage.version != version:
        raise modified(node, array, 0, storage.version, version)
