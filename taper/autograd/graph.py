"""Looking at the tape: Node, saved-tensor hooks, gradient edges."""

from __future__ import annotations

from typing import Any, NamedTuple

from taper.autograd.grad_mode import mode
from taper.autograd.node import AccumulateGrad, Node
from taper.tensor import Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class GradientEdge(NamedTuple):
    """A node and the number of its output: where a gradient arrives."""

    node: Any
    output_nr: int


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The edge at which the tensor's gradient arrives."""
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not "
            "require gradients"
        )
    function = tensor.grad_fn
    if function is None:
        return GradientEdge(AccumulateGrad.of(tensor), 0)
    return GradientEdge(function, tensor._output_nr)


def increment_version(tensor: Any) -> None:
    """Counts a write to the memory of a tensor (or of several), made behind taper's back."""
    from taper.dispatch import touch

    for each in (tensor,) if isinstance(tensor, Tensor) else tensor:
        if each.is_inference():
            raise RuntimeError(
                "Inplace update to inference tensor outside InferenceMode is not allowed."
            )
        touch(each)


def register_multi_grad_hook(tensors: Any, fn: Any, *, mode: str = "all") -> Any:
    """Calls fn(grads) when all gradients have arrived, or fn(grad) at the first ("any")."""
    tensors = list(tensors)
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    state: dict[str, Any] = {"grads": [None] * len(tensors), "count": 0, "done": False}

    def make(i: int) -> Any:
        def hook(grad: Tensor) -> None:
            if mode == "any":
                if not state["done"]:
                    state["done"] = True
                    fn(grad)
                return
            state["grads"][i] = grad
            state["count"] += 1
            if state["count"] == len(tensors):
                grads, state["grads"], state["count"] = state["grads"], [None] * len(tensors), 0
                fn(grads)

        return hook

    handles = [t.register_hook(make(i)) for i, t in enumerate(tensors)]

    class Handles:
        def remove(self) -> None:
            for handle in handles:
                handle.remove()

    return Handles()


class saved_tensors_hooks:
    """A context in which what ops save goes through pack_hook(tensor), and back through
    unpack_hook(whatever pack_hook gave) when the derivative is computed.

    Contexts nest; the innermost counts. Raises: RuntimeError where they are disabled.
    """

    def __init__(self, pack_hook: Any, unpack_hook: Any) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if mode.no_saved_hooks is not None:
            raise RuntimeError(mode.no_saved_hooks)
        mode.saved_hooks = (*mode.saved_hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *error: object) -> None:
        mode.saved_hooks = mode.saved_hooks[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Saved tensors on the CPU, where they are already: each is kept as a copy."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda tensor: tensor.clone(), lambda kept: kept)


class disable_saved_tensors_hooks:
    """A context (or decorator) in which setting saved-tensor hooks is an error with this text."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        self._before = mode.no_saved_hooks
        if mode.saved_hooks:
            raise RuntimeError(self.error_message)
        mode.no_saved_hooks = self.error_message

    def __exit__(self, *error: object) -> None:
        mode.no_saved_hooks = self._before


class allow_mutation_on_saved_tensors:
    """Raises: NotImplementedError on entering. Clone a tensor before writing to it instead."""

    def __enter__(self) -> None:
        raise NotImplementedError(
            "allow_mutation_on_saved_tensors is not available in taper yet; "
            "clone the tensor before the in-place update"
        )

    def __exit__(self, *error: object) -> None:
        return None
