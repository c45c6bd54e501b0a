"""Function: ops written by the user, with a backward of their own."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.grad_mode import mode
from taper.autograd.inplace import place, rebase
from taper.autograd.node import FREED, Needs, Node, check_version
from taper.dispatch import check_history, join, touch
from taper.errors import GradError, MissingFeature
from taper.storage import storage_of
from taper.tensor import Tensor, wrap


class FunctionCtx:
    """What forward and backward of a Function share: `ctx`."""

    _saved: tuple[Any, ...] | None = ()
    _node: Any = None
    _dirty: tuple[Tensor, ...] = ()
    _non_differentiable: tuple[Tensor, ...] = ()
    _materialize = True
    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs and outputs for backward, guarded against in-place updates."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    "save_for_backward can only save variables, but argument is of "
                    f"type {type(t).__name__}"
                )
        self._to_save = tensors

    save_for_forward = save_for_backward
    _to_save: tuple[Any, ...] = ()

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors given to save_for_backward.

        Raises: RuntimeError after they were freed or overwritten.
        """
        if self._saved is None:
            raise GradError(FREED)
        node: Any = None if self._node is None else self._node()
        restored: list[Tensor | None] = []
        for item in self._saved:
            if item is None:
                restored.append(None)
                continue
            tensor, array, version, number = item
            if array is None:  # packed by a saved-tensor hook
                tensor = tensor.tensor(recorded=True)
                if number >= 0:
                    tensor._requires_grad, tensor._grad_fn = True, node
                    tensor._output_nr = number
                restored.append(tensor)
                continue
            check_version(node, (tensor, array, version))
            if number >= 0:  # an output: kept without its node, so that saving it makes no cycle
                storage, tensor = tensor._storage, wrap(array)
                tensor._storage = storage
                tensor._requires_grad, tensor._grad_fn = True, node
                tensor._output_nr = number
            restored.append(tensor)
        return tuple(restored)

    saved_variables = saved_tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Declares inputs that forward wrote to; each must also be returned."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Declares outputs that have no gradient."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether missing gradients reach backward as zeros (the default) or as None."""
        self._materialize = value

    def mark_shared_storage(self, *pairs: Any) -> None:
        """Accepted: sharing is found without it."""


class FunctionNode(Node):
    """The node of a user's Function."""

    def __init__(self, edges: tuple[Any, ...], function: Any, ctx: Any) -> None:
        super().__init__(edges)
        self.function = function
        self.ctx = ctx
        self.output_count = 1
        self.metas: list[Any] = []

    def name(self) -> str:
        return self.function.__name__ + "Backward"

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    def release(self) -> None:
        self.ctx._saved = None

    def __getattr__(self, name: str) -> Any:
        # grad_fn of a Function is its ctx in PyTorch: attributes set in forward are seen here.
        return getattr(object.__getattribute__(self, "ctx"), name)

    def run(self, lane: Any, grads: list[Any], needs: Needs) -> Any:
        outward: list[Any] = []
        for grad, (shape, dtype) in zip(grads, self.metas, strict=False):
            if grad is None and self.ctx._materialize:
                outward.append(wrap(np.zeros(shape, dtype)))
            else:
                outward.append(None if grad is None else lane.outward(grad))
        backward = self.function.backward
        if backward is Function.backward:
            backward = self.function.vjp
        results = backward(self.ctx, *outward)
        if not isinstance(results, (tuple, list)):
            results = (results,)
        wanted = len(self.edges)
        if len(results) > wanted and all(r is None for r in results[wanted:]):
            results = results[:wanted]
        if len(results) != wanted:
            raise GradError(
                f"function {self.name()} returned an incorrect number of gradients "
                f"(expected {wanted}, got {len(results)})"
            )
        inward: list[Any] = []
        for i, (result, needed) in enumerate(zip(results, self.wanted(needs), strict=True)):
            if result is None or not needed:
                inward.append(None)
                continue
            if not isinstance(result, Tensor):
                raise TypeError(
                    f"function {self.name()} returned a gradient of type "
                    f"{type(result).__name__} at position {i}; expected a Tensor or "
                    "None"
                )
            inward.append(lane.inward(_fitted(self, i, result)))
        return inward


def _node_class(function: Any) -> type[FunctionNode]:
    """The class of a Function's nodes, called DoubleBackward for Double."""
    found = function.__dict__.get("_backward_cls")
    if found is None:
        name = function.__name__ + "Backward"
        found = type(name, (FunctionNode,), {"__module__": "torch.autograd.function"})
        function._backward_cls = found
    return found


def _fitted(node: FunctionNode, i: int, grad: Tensor) -> Tensor:
    """The gradient in the input's shape, or the error that says it cannot be."""
    shape, dtype = node.ctx._input_metas[i]
    if grad._array.shape != shape:
        extra = grad._array.ndim - len(shape)
        own = grad._array.shape[max(extra, 0) :]
        if extra < 0 or any(n not in (1, o) for n, o in zip(shape, own, strict=True)):
            raise GradError(
                f"Function {node.name()} returned an invalid gradient at index {i} - "
                f"got {list(grad._array.shape)} but expected shape compatible with "
                f"{list(shape)}"
            )
        from taper.ops.tensor_math import math

        grad = math.sum_to(grad, shape)
    return grad if grad._array.dtype == dtype else grad.to(_dtype(dtype))


def _dtype(numpy_dtype: Any) -> Any:
    from taper import dtypes

    return dtypes.of(numpy_dtype)


class Function(FunctionCtx):
    """Base of user-defined ops: write static `forward(ctx, *inputs)` and `backward(ctx, *grads)`,
    or `forward(*inputs)` and `setup_context(ctx, inputs, output)`; call `Name.apply(...)`.
    """

    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs; to be overridden."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Saves what backward needs; to be overridden together with a forward without ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the inputs from those of the outputs; to be overridden."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your "
            "custom autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name for backward."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your "
            "custom autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Forward mode, which taper does not have."""
        raise MissingFeature(
            "Function.jvp", "forward-mode differentiation is not available; use backward()"
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """The function of a batch; to be overridden. Only vmap, which taper lacks, calls it."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap static method or "
            "set generate_vmap_rule=True."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. "
            "Please use new-style autograd function with static forward method. "
            "(Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward and records the call."""
        if kwargs:
            raise TypeError(f"{cls.__name__}.apply() takes no keyword arguments")
        ctx = cls.__new__(cls)
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        ctx.needs_input_grad = needs
        taped = mode.grad and any(needs)
        before = mode.grad
        mode.grad = False
        try:
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        finally:
            mode.grad = before
        outputs = result if isinstance(result, tuple) else (result,)
        made = _wrap_outputs(cls, ctx, args, needs, outputs, taped)
        return made if isinstance(result, tuple) else made[0]


def _wrap_outputs(
    cls: Any, ctx: Any, args: Any, needs: Any, outputs: Any, taped: bool
) -> tuple[Any, ...]:
    node = None
    if taped:
        edges = tuple(_edge(a) if needed else None for a, needed in zip(args, needs, strict=True))
        node = _node_class(cls)(edges, cls, ctx)
        ctx._node = weakref.ref(node)  # the node holds the ctx
        ctx._input_metas = [
            (a._array.shape, a._array.dtype) if isinstance(a, Tensor) else None for a in args
        ]
        node.output_count = len(outputs)
    for d in ctx._dirty:
        if not any(out is d for out in outputs):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )
    made: list[Any] = []
    for number, out in enumerate(outputs):
        if not isinstance(out, Tensor):
            made.append(out)
            if node is not None:
                node.metas.append(((), np.float32))
            continue
        plain = any(out is n for n in ctx._non_differentiable)
        dirty = any(out is d for d in ctx._dirty)
        if dirty:
            touch(out)
        else:
            if any(out is a for a in args):
                source, out = out, wrap(out._array)
                join(out, source)
            if out._view_version is not None:
                out._view_origin = "custom Function"
        if node is not None:
            node.metas.append((out._array.shape, out._array.dtype))
            if not plain and out._array.dtype.kind in "fcV":
                _attach(out, node, number, dirty)
        made.append(out)
    views = [t for t in made if isinstance(t, Tensor) and t._view_origin == "custom Function"]
    if views and sum(isinstance(t, Tensor) and t._grad_fn is node for t in made) > 1:
        for view in views:
            view._view_origin = "several views"
    if node is not None:
        ctx._saved = tuple(_save(t, outputs, made) for t in ctx._to_save)
    else:
        ctx._saved = tuple(None if t is None else _save(t, (), ()) for t in ctx._to_save)
    # What was declared would hold the outputs, and they their node and so the ctx.
    ctx._to_save = ctx._dirty = ctx._non_differentiable = ()
    return tuple(made)


def _attach(out: Tensor, node: FunctionNode, number: int, dirty: bool) -> None:
    """Puts an output at its place on the tape."""
    if dirty:
        check_history(out)
        result = wrap(out._array)
        result._grad_fn, result._output_nr, result._requires_grad = node, number, True
        rebase(out, result, 0)
        out._grad = None
    else:
        place(out, node, number)
        if out._view_version is not None:
            out._view_version = storage_of(out).version


def _edge(tensor: Tensor) -> Any:
    function = tensor.grad_fn
    return (tensor, 0) if function is None else (function, tensor._output_nr)


def _save(tensor: Tensor | None, outputs: Any, made: Any) -> Any:
    """(tensor, array, version, number among the outputs or -1)."""
    if tensor is None:
        return None
    version = storage_of(tensor).version
    if mode.saved_hooks:
        from taper.autograd.saved_hooks import packed

        own = [n for n, out in enumerate(outputs) if out is tensor and made[n] is tensor]
        return packed(tensor), None, version, own[0] if own else -1
    for number, out in enumerate(outputs):
        if out is tensor and made[number] is tensor and isinstance(tensor._grad_fn, FunctionNode):
            alias = wrap(tensor._array)
            alias._storage = tensor._storage
            return alias, tensor._array, version, number
    return tensor, tensor._array, version, -1


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a backward that cannot itself be differentiated."""
    import functools

    @functools.wraps(function)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        taped = mode.grad and any(isinstance(g, Tensor) and g.requires_grad for g in grads)
        before = mode.grad
        mode.grad = False
        try:
            results = function(ctx, *grads)
        finally:
            mode.grad = before
        if not taped:
            return results
        many = results if isinstance(results, tuple) else (results,)
        blocked = tuple(_Blocked.apply(r, *grads) if isinstance(r, Tensor) else r for r in many)
        return blocked if isinstance(results, tuple) else blocked[0]

    return wrapped


class _Blocked(Function):
    """Passes a value on and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *grads: Any) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise GradError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


NestedIOFunction = Function
