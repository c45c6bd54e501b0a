"""The reverse pass.

The engine takes nodes off a heap, latest first. A node may run only when every reader of its
outputs has added its share to the gradient; readers are recorded after what they read, so "latest
first" is that order, and nothing has to be counted beforehand. Gradients travel as plain arrays;
with create_graph they travel as tensors, through the same derivatives, and are recorded in turn.
What the two ways do differently is a Lane.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from taper import backends
from taper.autograd.grad_mode import mode
from taper.autograd.node import ManyOutputs, Needs, Node, check_output, check_version
from taper.backends import reference
from taper.errors import GradError
from taper.tensor import Tensor, quick, wrap


class ArrayLane:
    """Gradients as arrays: nothing is recorded."""

    recorded = False
    m = backends.math()

    @staticmethod
    def values(node: Any, saved: list[Any], places: Any) -> list[Any]:
        """What a derivative is given for each input: an array, a shape, a number or None."""
        given = list(saved)
        common = node.common
        for i in places:
            item = given[i]
            if type(item) is tuple:
                tensor, array, version = item
                storage = tensor._storage
                if storage is not None and storage.version != version:
                    check_version(node, item)
                given[i] = array if common is None else array.astype(common, copy=False)
        return given

    @staticmethod
    def shape(grad: Any) -> Any:
        return grad.shape

    @staticmethod
    def output(node: Any, out: Any) -> Any:
        if type(out) is ManyOutputs:
            return tuple(ArrayLane.output(node, each) for each in out)
        array, storage, version = out
        if storage.version != version:
            check_output(node, array, storage, version)
        return array

    @staticmethod
    def fits(grads: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
        """Whether all are arrays of the shape, as where nothing was broadcast."""
        for grad in grads:
            if grad is not None and (type(grad) is not np.ndarray or grad.shape != shape):
                return False
        return True

    @staticmethod
    def fit(grads: tuple[Any, ...], needs: Needs, shapes: Any, dtypes: Any) -> Any:
        """Sums over broadcast dimensions and casts back to the inputs' dtypes."""
        fitted: list[Any] = []
        for i, grad in enumerate(grads):
            if grad is None or (needs is not None and not needs[i]):
                fitted.append(None)
                continue
            if type(grad) is not np.ndarray:
                grad = np.asarray(grad)
            if grad.shape != shapes[i]:
                grad = ArrayLane.m.sum_to(grad, shapes[i])
            if dtypes is not None and grad.dtype != dtypes[i]:
                if grad.dtype.kind == "c" and dtypes[i].kind != "c":
                    grad = grad.real
                grad = grad.astype(dtypes[i])
            fitted.append(grad)
        return fitted

    @staticmethod
    def add(one: Any, other: Any) -> Any:
        total = one + other
        return total if type(total) is np.ndarray else np.asarray(total)

    @staticmethod
    def inward(grad: Tensor) -> Any:
        return grad._array

    @staticmethod
    def outward(grad: Any) -> Tensor:
        return wrap(np.asarray(grad))


class TensorLane:
    """Gradients as tensors: the derivative is recorded like any other computation."""

    recorded = True

    def __init__(self) -> None:
        from taper.ops import tensor_math

        self.m = tensor_math.math

    def values(self, node: Any, saved: list[Any], places: Any) -> list[Any]:
        """What a derivative is given for each input: a tensor, a shape, a number or None."""
        given = list(saved)
        for i in places:
            if type(given[i]) is tuple:
                given[i] = self._value(node, given[i])
        return given

    def _value(self, node: Any, saved: Any) -> Any:
        tensor, array, _ = saved
        check_version(node, saved)
        if tensor._array is not array:
            tensor = wrap(array)
        return tensor if node.common is None else self.m.astype(tensor, node.common)

    @staticmethod
    def shape(grad: Any) -> Any:
        return grad._array.shape

    @staticmethod
    def output(node: Any, out: Any, number: int = 0) -> Any:
        if type(out) is ManyOutputs:
            return tuple(
                TensorLane.output(node, each, i) for i, each in enumerate(out, node.op.saved_from)
            )
        array, storage, version = out
        check_output(node, array, storage, version)
        again = wrap(array)
        again._storage = storage
        if node.op.differentiable is None or node.op.differentiable[number]:
            again._requires_grad = True
            again._grad_fn = node
            again._output_nr = number
        return again

    @staticmethod
    def fits(grads: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
        """Whether all are tensors of the shape."""
        return all(g is None or (isinstance(g, Tensor) and g._array.shape == shape) for g in grads)

    def fit(self, grads: tuple[Any, ...], needs: Needs, shapes: Any, dtypes: Any) -> Any:
        fitted: list[Any] = []
        for i, grad in enumerate(grads):
            if grad is None or (needs is not None and not needs[i]):
                fitted.append(None)
                continue
            if not isinstance(grad, Tensor):
                grad = wrap(np.asarray(grad))
            if grad._array.shape != shapes[i]:
                grad = self.m.sum_to(grad, shapes[i])
            if dtypes is not None and grad._array.dtype != dtypes[i]:
                if grad._array.dtype.kind == "c" and dtypes[i].kind != "c":
                    grad = self.m.real(grad)
                grad = self.m.astype(grad, dtypes[i])
            fitted.append(grad)
        return fitted

    @staticmethod
    def add(one: Any, other: Any) -> Any:
        return one + other

    @staticmethod
    def inward(grad: Tensor) -> Any:
        return grad

    @staticmethod
    def outward(grad: Any) -> Tensor:
        return grad


_array_lane = ArrayLane()


def run_backward(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor],
    *,
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Tensor] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None]:
    """Sends `grads` backward from `roots`.

    Adds into the `.grad` of the leaves if `accumulate`, and returns the gradients of `targets`
    (None where nothing arrived).
    """
    lane: Any = TensorLane() if create_graph else _array_lane
    # By minus the node's number, which the heap holds: the node and the gradients that arrived.
    pending: dict[int, tuple[Node, list[Any]]] = {}
    heap: list[int] = []
    leaves: dict[int, tuple[Tensor, Any] | None] = {}
    caught: dict[Any, Any] = {}
    wanted: dict[Any, int] = {}
    reach: set[Node] | None = None
    if targets is not None:
        wanted = {_slot(t): i for i, t in enumerate(targets)}
        reach = _nodes_toward(roots, wanted)

    before, anomaly = mode.grad, mode.anomaly
    mode.grad = create_graph
    token = reference.silence()
    slots: Any
    deliver = quick.deliver if reach is None and not create_graph else None
    edges: Any = [_slot(root) for root in roots]
    results: Any = [lane.inward(grad) for grad in grads]
    try:
        while True:
            start = 0 if deliver is None else deliver(edges, results, pending, heap, leaves)
            if start:  # what comes before has been delivered
                edges, results = edges[start:], results[start:]
            for edge, grad in () if start is None else zip(edges, results, strict=False):
                if grad is None or edge is None:
                    continue
                target, number = edge
                if not isinstance(target, Node):
                    # Re-entering puts the leaf at the end: leaves finish in the order of their
                    # last share.
                    held = leaves.pop(id(target), None)
                    if held is not None:
                        grad = lane.add(held[1], grad)
                    leaves[id(target)] = (target, grad)
                elif reach is None or target in reach:
                    place = -target.number
                    found = pending.get(place)
                    if found is None:
                        slots = [None] * target.output_count
                        slots[number] = grad
                        pending[place] = (target, slots)
                        heappush(heap, place)
                    else:
                        slots = found[1]
                        held = slots[number]
                        slots[number] = grad if held is None else lane.add(held, grad)
            edges = results = held = grad = found = slots = None
            if not heap:
                break
            node, slots = pending.pop(heappop(heap))
            edges = results = ()
            hooks = node.hooks
            if hooks is not None:
                _run_grad_hooks(lane, node, slots)
            if wanted:
                for number, grad in enumerate(slots):
                    if grad is not None and (node, number) in wanted:
                        caught[(node, number)] = grad
            if slots[0] is None and all(grad is None for grad in slots):
                continue
            needs = None  # all that have an edge
            if reach is not None:
                needs = tuple([_leads(edge, wanted, reach) for edge in node.edges])
                if not any(needs):
                    continue
            if hooks is None and not anomaly:
                results = node.run(lane, slots, needs)
            else:
                results = _run_watched(lane, node, slots, needs)
            edges = node.edges
            if not retain_graph:
                node.release()
            slots = None
            if needs is not None:
                results = [g if n else None for g, n in zip(results, needs, strict=True)]
        _finish_leaves(lane, leaves, wanted, caught, accumulate, create_graph)
    finally:
        reference.restore(token)
        mode.grad = before
    if targets is None:
        return []
    return [_caught(lane, caught.get(_slot(t)), create_graph) for t in targets]


def _caught(lane: Any, grad: Any, create_graph: bool) -> Tensor | None:
    return None if grad is None else lane.outward(grad)


def _slot(tensor: Tensor) -> tuple[Any, int]:
    """Where the tensor's gradient arrives: its node's output, or the leaf itself."""
    function = tensor.grad_fn
    return (tensor, 0) if function is None else (function, tensor._output_nr)


def _leads(edge: Any, wanted: dict[Any, int], reach: set[Node]) -> bool:
    """Whether a gradient that somebody asked for lies at or beyond the edge."""
    return edge is not None and (edge in wanted or (isinstance(edge[0], Node) and edge[0] in reach))


def _run_watched(lane: Any, node: Node, slots: list[Any], needs: Needs) -> Any:
    """Runs a node with its hooks, and under anomaly mode's eyes."""
    if node.hooks is not None:
        places = node.differentiable_outputs()
        for hook in list(node.hooks.get("pre", {}).values()):
            changed = hook(_outward(lane, [slots[i] for i in places]))
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                for i, g in zip(places, changed, strict=True):
                    slots[i] = None if g is None else lane.inward(g)
    if mode.anomaly:
        from taper.autograd.anomaly import run_watched

        results = run_watched(lane, node, slots, needs)
    else:
        results = node.run(lane, slots, needs)
    if node.hooks is not None:
        for hook in list(node.hooks.get("post", {}).values()):
            outer = _outward(lane, [slots[i] for i in places])
            changed = hook(_outward(lane, results), outer)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                results = [None if g is None else lane.inward(g) for g in changed]
    return results


def _outward(lane: Any, grads: Sequence[Any]) -> tuple[Tensor | None, ...]:
    return tuple(None if g is None else lane.outward(g) for g in grads)


def _run_grad_hooks(lane: Any, node: Node, slots: list[Any]) -> None:
    """Tensor hooks of the node's outputs, then retain_grad."""
    assert node.hooks is not None
    for number, grad in enumerate(slots):
        for hook in list(node.hooks.get(("grad", number), {}).values()):
            changed = hook(None if grad is None else lane.outward(grad))
            if changed is not None:
                slots[number] = grad = lane.inward(_checked(changed, grad, lane))
        if grad is None:
            continue
        for keeper in list(node.hooks.get(("retain", number), {}).values()):
            keeper(lane.outward(grad))


def _checked(changed: Any, grad: Any, lane: Any) -> Tensor:
    if not isinstance(changed, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(changed).__name__}'")
    if grad is not None and changed._array.shape != lane.outward(grad)._array.shape:
        raise RuntimeError("hook 'hook' has changed the size of value")
    return changed


def _finish_leaves(
    lane: Any,
    leaves: dict[int, tuple[Tensor, Any] | None],
    wanted: dict[Any, int],
    caught: dict[Any, Any],
    accumulate: bool,
    create_graph: bool,
) -> None:
    every = accumulate and not wanted
    if every and not create_graph and quick.finish is not None:
        quick.finish(leaves)
    for key in list(leaves):
        item = leaves.pop(key)
        if item is None:  # has been given
            continue
        leaf, grad = item
        item = None
        hooks = leaf._hooks
        if every and leaf._requires_grad and hooks is None and leaf._accumulate is None:
            if leaf._post_accumulate is None:  # nobody looks on
                _accumulate(leaf, grad, create_graph)
                continue
        if hooks:
            for hook in list(hooks.values()):
                changed = hook(lane.outward(grad))
                if changed is not None:
                    grad = lane.inward(_checked(changed, grad, lane))
        if (leaf, 0) in wanted:
            caught[(leaf, 0)] = grad
        if accumulate and (not wanted or (leaf, 0) in wanted):
            node = leaf._accumulate and leaf._accumulate()  # only if somebody holds it
            if node is not None and node.hooks is not None:
                for hook in list(node.hooks.get("pre", {}).values()):
                    changed = hook((lane.outward(grad),))
                    if changed is not None:
                        grad = lane.inward(changed[0] if isinstance(changed, tuple) else changed)
            if leaf._requires_grad:  # still
                _accumulate(leaf, grad, create_graph)
            if node is not None and node.hooks is not None:
                for hook in list(node.hooks.get("post", {}).values()):
                    hook((), (lane.outward(grad),))
            for hook in list((leaf._post_accumulate or {}).values()):
                hook(leaf)


def _references(leaf: Any, grad: Any, create_graph: bool) -> int:
    """What `_accumulate` sees of an array that only its caller's variable holds."""
    return sys.getrefcount(grad)


def _count_ours() -> int:
    grad = np.empty(0)
    return _references(None, grad, False)


# Three in Python 3.11: the caller's variable, the callee's, getrefcount's. Newer ones borrow some.
_OURS = _count_ours()


def _accumulate(leaf: Tensor, grad: Any, create_graph: bool) -> None:
    """Adds a gradient into leaf.grad."""
    held = leaf._grad
    if create_graph:
        leaf._grad = grad.clone() if held is None else held + grad
        return
    if held is None:
        # Kept as it is only if nobody else holds the array.
        if grad.base is not None or sys.getrefcount(grad) > _OURS or not grad.flags.writeable:
            grad = grad.copy()
        leaf._grad = quick.wrap(grad)
    elif (
        held._array.size and 0 in held._array.strides
    ):  # the user's own, of elements that lie in one place
        leaf._grad = wrap(held._array + grad)
    else:
        from taper.dispatch import touch

        held._array += grad
        touch(held)


def _nodes_toward(roots: Sequence[Tensor], wanted: dict[Any, int]) -> set[Node]:
    """The nodes from which a wanted gradient can be reached."""
    targets = {slot[0] if isinstance(slot[0], Node) else id(slot[0]) for slot in wanted}
    reach: set[Node] = set()
    state: dict[Node, int] = {}
    stack = [s[0] for s in map(_slot, roots) if isinstance(s[0], Node)]
    while stack:
        node = stack[-1]
        if node not in state:
            state[node] = 0
            for edge in node.edges:
                if edge is not None and isinstance(edge[0], Node) and edge[0] not in state:
                    stack.append(edge[0])
            continue
        stack.pop()
        if state[node]:
            continue
        state[node] = 1
        if node in targets:
            reach.add(node)
            continue
        for edge in node.edges:
            if edge is None:
                continue
            target = edge[0]
            if (target in reach) if isinstance(target, Node) else (id(target) in targets):
                reach.add(node)
                break
    for node in state:
        if node in targets:
            reach.add(node)
    return reach


def _first_grads(tensors: Sequence[Tensor], grads: Sequence[Any], graph: bool) -> list[Tensor]:
    made: list[Tensor] = []
    for tensor, grad in zip(tensors, grads, strict=True):
        if grad is None and not tensor.requires_grad:
            made.append(tensor)  # refused below, after what is wrong with the others
            continue
        if grad is None:
            if tensor._array.size != 1:
                raise GradError("grad can be implicitly created only for scalar outputs")
            if tensor._array.dtype.kind == "c":
                raise GradError(
                    f"grad can be computed only for real scalar outputs but got {tensor.dtype!r}"
                )
            made.append(wrap(np.ones(tensor._array.shape, tensor._array.dtype)))
            continue
        if not isinstance(grad, Tensor):
            raise TypeError(
                "gradients can be either Tensors or None, but got " + type(grad).__name__
            )
        if grad._array.shape != tensor._array.shape:
            raise GradError(
                f"Mismatch in shape: grad_output[{len(made)}] has a shape of {grad.shape} and "
                f"output[{len(made)}] has a shape of {tensor.shape}."
            )
        if (grad._array.dtype.kind == "c") != (tensor._array.dtype.kind == "c"):
            raise GradError(
                "For complex Tensors, both grad_output and output are required to have the same "
                f"dtype. Mismatch in dtype: grad_output[{len(made)}] has a dtype of "
                f"{grad.dtype!r} and output[{len(made)}] has a dtype of {tensor.dtype!r}."
            )
        if grad._array.dtype != tensor._array.dtype:
            grad = wrap(grad._array.astype(tensor._array.dtype))
        made.append(grad)
    for number, tensor in enumerate(tensors):
        if tensor.grad_fn is None and not tensor._requires_grad:
            raise GradError(
                f"element {number} of tensors does not require grad and does not have a grad_fn"
            )
    return made


_warned_of_cycle = False


def _warn_of_cycle() -> None:
    """Once in a process, as PyTorch does."""
    global _warned_of_cycle
    if not _warned_of_cycle:
        _warned_of_cycle = True
        warnings.warn(
            "Using backward() with create_graph=True will create a reference cycle between the "
            "parameter and its gradient which can cause a memory leak. We recommend using "
            "autograd.grad when creating the graph to avoid this. If you have to use this "
            "function, make sure to reset the .grad fields of your parameters to None after use "
            "to break the cycle and avoid the leak.",
            UserWarning,
            stacklevel=4,
        )


def _listed(tensors: Any) -> list[Any]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Sums of the gradients of `tensors` with respect to the graph's leaves, into their `.grad`.

    Raises: RuntimeError if a tensor neither requires grad nor has a grad_fn, or has more than one
        element and no gradient is given for it.
    """
    if grad_variables is not None:
        warnings.warn(
            "`grad_variables` is deprecated. Use `grad_tensors` instead.",
            FutureWarning,
            stacklevel=2,
        )
        grad_tensors = grad_variables
    roots = _listed(tensors)
    grads = [None] * len(roots) if grad_tensors is None else _listed(grad_tensors)
    if len(grads) < len(roots):
        grads += [None] * (len(roots) - len(grads))
    if inputs is not None:
        targets = _listed(inputs)
        if not targets:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    first = _first_grads(roots, grads, create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    if create_graph:
        _warn_of_cycle()
    if inputs is not None:
        for target in targets:
            target.retain_grad()
    else:
        run_backward(roots, first, retain_graph=retain, create_graph=create_graph)
        return
    run_backward(roots, first, retain_graph=retain, create_graph=create_graph, targets=targets)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The sums of gradients of `outputs` with respect to `inputs`, returned, not accumulated."""
    if is_grads_batched:
        from taper.errors import MissingFeature

        raise MissingFeature(
            "autograd.grad",
            "is_grads_batched needs vmap, which is not available "
            "yet; call grad once for each vector",
        )
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To "
            "accumulate gradient for other parts of the graph, please use "
            "torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when "
            "materialize_grads=True, but got: allow_unused=False."
        )
    roots, targets = _listed(outputs), _listed(inputs)
    if not targets:
        raise ValueError("grad requires non-empty inputs.")
    grads = [None] * len(roots) if grad_outputs is None else _listed(grad_outputs)
    first = _first_grads(roots, grads, create_graph)
    for target in targets:
        if not target.requires_grad:
            raise GradError("One of the differentiated Tensors does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    found = run_backward(
        roots,
        first,
        retain_graph=retain,
        create_graph=create_graph,
        targets=targets,
        accumulate=False,
    )
    for i, result in enumerate(found):
        if result is not None:
            continue
        if materialize_grads:
            found[i] = wrap(np.zeros_like(targets[i]._array))
        elif not allow_unused:
            raise GradError(
                f"The differentiated Tensor at index {i} appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
    return tuple(found)
