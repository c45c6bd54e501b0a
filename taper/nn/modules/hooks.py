"""Hooks of modules: registering them, and the call that runs them.

A call of a module without any hook never comes here (see Module.__call__): `switch.on` is set by
the first registration in the process and stays.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from taper.autograd.function import Function
from taper.autograd.grad_mode import mode
from taper.autograd.hooks import RemovableHandle
from taper.tensor import Tensor

Hook = Callable[..., Any]
Hooks = OrderedDict[int, Hook]


class _Switch:
    """Whether any hook was ever registered."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


switch = _Switch()

# Hooks of all modules. The names are PyTorch's.
_global_forward_pre_hooks: Hooks = OrderedDict()
_global_forward_hooks: Hooks = OrderedDict()
_global_forward_hooks_with_kwargs: dict[int, bool] = OrderedDict()
_global_forward_hooks_always_called: dict[int, bool] = OrderedDict()
_global_backward_pre_hooks: Hooks = OrderedDict()
_global_backward_hooks: Hooks = OrderedDict()
_global_is_full_backward_hook: bool | None = None
_global_buffer_registration_hooks: Hooks = OrderedDict()
_global_module_registration_hooks: Hooks = OrderedDict()
_global_parameter_registration_hooks: Hooks = OrderedDict()

_MIXED = (
    "Cannot use both regular backward hooks and full backward hooks on a single Module. "
    "Please use only one of them."
)
_MIXED_GLOBALLY = (
    "Cannot use both regular backward hooks and full backward hooks as a global "
    "Module hook. Please use only one of them."
)


def enter(
    hooks: Hooks,
    hook: Hook,
    prepend: bool = False,
    marks: tuple[tuple[bool, dict[int, bool]], ...] = (),
) -> RemovableHandle:
    """Puts the hook into `hooks`, and its id into each dict of `marks` that applies to it."""
    switch.on = True
    handle = RemovableHandle(hooks, extra_dict=[where for _, where in marks])
    hooks[handle.id] = hook
    for applies, where in marks:
        if applies:
            where[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


# ---------------------------------------------------------------- hooks of all modules


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """hook(module, name, buffer) runs when any module registers a buffer, and may replace it."""
    return RemovableHandle.enter(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """hook(module, name, child) runs when any module registers a child, and may replace it."""
    return RemovableHandle.enter(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """hook(module, name, parameter) runs when a parameter is registered, and may replace it."""
    return RemovableHandle.enter(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """hook(module, args) runs before every forward and may replace the arguments."""
    return enter(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """hook(module, args, output) runs after every forward and may replace the output."""
    return enter(
        _global_forward_hooks,
        hook,
        marks=(
            (with_kwargs, _global_forward_hooks_with_kwargs),
            (always_call, _global_forward_hooks_always_called),
        ),
    )


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """hook(module, grad_input, grad_output) of the last node of every forward. Deprecated."""
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is True:
        raise RuntimeError(_MIXED_GLOBALLY)
    _global_is_full_backward_hook = False
    return enter(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """hook(module, grad_output) runs before the backward of every module."""
    return enter(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """hook(module, grad_input, grad_output) runs after the backward of every module."""
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is False:
        raise RuntimeError(_MIXED_GLOBALLY)
    _global_is_full_backward_hook = True
    return enter(_global_backward_hooks, hook)


class HookOfModule:
    """A hook that is called with its module, which it does not keep alive."""

    def __init__(self, hook: Callable[..., Any], module: Any = None) -> None:
        import functools
        import weakref

        functools.update_wrapper(self, hook)
        self.hook = hook
        self.with_module = module is not None
        if self.with_module:
            self.module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook, self.with_module = state["hook"], state["with_module"]
        if self.with_module:
            import weakref

            module = state["module"]
            if module is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(module)


# ---------------------------------------------------------------- hooks of one module


class Hooked:
    """The part of Module that registers hooks and calls forward with them."""

    forward: Callable[..., Any]
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: dict[int, bool]
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: dict[int, bool]
    _forward_hooks_always_called: dict[int, bool]
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """hook(module, args) runs before forward and may return new arguments.

        With `with_kwargs` it is hook(module, args, kwargs) and may return (args, kwargs).
        """
        return enter(
            self._forward_pre_hooks,
            hook,
            prepend,
            ((with_kwargs, self._forward_pre_hooks_with_kwargs),),
        )

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """hook(module, args, output) runs after forward and may return another output.

        With `with_kwargs` it is hook(module, args, kwargs, output); with `always_call` it also
        runs when forward raises.
        """
        return enter(
            self._forward_hooks,
            hook,
            prepend,
            (
                (with_kwargs, self._forward_hooks_with_kwargs),
                (always_call, self._forward_hooks_always_called),
            ),
        )

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """hook(module, grad_output) runs before the module's backward and may replace it."""
        return enter(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """hook(module, grad_input, grad_output) runs after the module's backward.

        It may return another grad_input.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = True
        return enter(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """hook(module, grad_input, grad_output) of forward's last node only. Deprecated."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = False
        return enter(self._backward_hooks, hook)

    # ------------------------------------------------------------ the call

    def _get_backward_pre_hooks(self) -> list[Hook]:
        return [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]

    def _get_backward_hooks(self) -> tuple[list[Hook], list[Hook]]:
        """Full hooks, and those of the deprecated kind."""
        everywhere, own = list(_global_backward_hooks.values()), list(self._backward_hooks.values())
        full: list[Hook] = []
        old: list[Hook] = []
        (full if _global_is_full_backward_hook is True else old).extend(everywhere)
        (full if self._is_full_backward_hook is True else old).extend(own)
        return full, old

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """forward with every hook around it."""
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _global_forward_hooks
            or _global_forward_pre_hooks
            or _global_backward_hooks
            or _global_backward_pre_hooks
        ):
            return self.forward(*args, **kwargs)
        called: set[int] = set()
        result: list[Any] = [None]  # the hooks of a failed forward see the last result
        try:
            return self._run_hooked(args, kwargs, called, result)
        except Exception:
            self._run_always_called(args, kwargs, called, result[0])
            raise

    _wrapped_call_impl = _call_impl

    def _run_hooked(self, args: Any, kwargs: Any, called: set[int], last: list[Any]) -> Any:
        full, old = self._get_backward_hooks()
        before = self._get_backward_pre_hooks()
        args, kwargs = self._run_pre_hooks(args, kwargs)
        around = BackwardHook(self, full, before) if full or before else None
        if around is not None:
            args = around.setup_input_hook(args)
        result = last[0] = self.forward(*args, **kwargs)
        for where, marks, always in (
            (
                _global_forward_hooks,
                _global_forward_hooks_with_kwargs,
                _global_forward_hooks_always_called,
            ),
            (
                self._forward_hooks,
                self._forward_hooks_with_kwargs,
                self._forward_hooks_always_called,
            ),
        ):
            for key, hook in list(where.items()):
                if key in always:
                    called.add(key)
                changed = (
                    hook(self, args, kwargs, result) if key in marks else hook(self, args, result)
                )
                if changed is not None:
                    result = last[0] = changed
        if around is not None:
            if not isinstance(result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor "
                    f"or a tuple of Tensors but received {type(result)}",
                    stacklevel=4,
                )
            result = around.setup_output_hook(result)
        if old:
            self._attach_old(old, args, result)
        return result

    def _run_pre_hooks(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        for key, hook in [*_global_forward_pre_hooks.items(), *self._forward_pre_hooks.items()]:
            if key in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple of (new_args, "
                        f"new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _run_always_called(self, args: Any, kwargs: Any, called: set[int], result: Any) -> None:
        """After an error, the hooks that want to be called in any case and were not yet."""
        for where, marks, always in (
            (
                _global_forward_hooks,
                _global_forward_hooks_with_kwargs,
                _global_forward_hooks_always_called,
            ),
            (
                self._forward_hooks,
                self._forward_hooks_with_kwargs,
                self._forward_hooks_always_called,
            ),
        ):
            for key, hook in list(where.items()):
                if key not in always or key in called:
                    continue
                try:
                    changed = (
                        hook(self, args, kwargs, result)
                        if key in marks
                        else hook(self, args, result)
                    )
                    if changed is not None:
                        result = changed
                except Exception as error:
                    kind = "global module" if where is _global_forward_hooks else "module"
                    warnings.warn(
                        f"{kind} forward hook with ``always_call=True`` raised an "
                        "exception that was silenced as another error was raised in "
                        f"forward: {error}",
                        stacklevel=4,
                    )

    def _attach_old(self, hooks: list[Hook], args: Any, result: Any) -> None:
        """Deprecated backward hooks hang on the node of the result's first tensor."""
        found = result
        while not isinstance(found, Tensor):
            if isinstance(found, dict):
                found = next(v for v in found.values() if isinstance(v, Tensor))
            else:
                found = found[0]
        node = found.grad_fn
        if node is None:
            return
        for hook in hooks:
            node.register_hook(HookOfModule(hook, self))
        missed = _missed_by_old(args, result, node)
        if missed:
            warnings.warn(missed, FutureWarning, stacklevel=5)


def _missed_by_old(args: tuple[Any, ...], result: Any, node: Any) -> str:
    """What a deprecated backward hook on the result's node will not see; "" if it sees all."""
    outputs = result if isinstance(result, tuple) else (result,)
    instead = "Please use register_full_backward_hook to get the documented behavior."
    ends = "is deprecated and will be removed in future versions. This hook will be missing some"
    if not all(isinstance(r, Tensor) for r in outputs):
        return (
            "Using non-full backward hooks on a Module that does not return a single Tensor or a "
            f"tuple of Tensors {ends} of the grad_output. {instead}"
        )
    if not all(isinstance(a, Tensor) for a in args):
        return (
            "Using non-full backward hooks on a Module that does not take as input a single Tensor "
            f"or a tuple of Tensors {ends} of the grad_input. {instead}"
        )
    nodes = {r.grad_fn for r in outputs if r.grad_fn is not None}
    if nodes != {node}:
        return (
            "Using a non-full backward hook when outputs are generated by different autograd "
            f"Nodes {ends} grad_output. {instead}"
        )
    if {a.grad_fn for a in args if a.grad_fn is not None} != {n for n, _ in node.next_functions}:
        return (
            "Using a non-full backward hook when the forward contains multiple autograd Nodes "
            f"{ends} grad_input. {instead}"
        )
    return ""


# ---------------------------------------------------------------- full backward hooks


class BackwardHookFunction(Function):
    """Identity. Its nodes mark where a module's gradients come in and go out."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> tuple[Tensor, ...]:
        """The arguments."""
        ctx.mark_non_differentiable(*[a for a in args if not a.requires_grad])
        return args

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        """The gradients."""
        return grads


class BackwardHook:
    """Two identity nodes around one forward: at the outer one the gradient of the output is
    noted (and pre-hooks run), at the inner one the module's hooks run.
    """

    def __init__(self, module: Any, user_hooks: list[Hook], user_pre_hooks: list[Hook]) -> None:
        self.module = module
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.n_inputs = -1
        self.n_outputs = -1
        self.input_places: list[int] | None = None
        self.output_places: list[int] | None = None

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, behind the node at which the hooks run."""
        through, node, self.input_places = _through_identity(args)
        self.n_inputs = len(args)
        if node is not None:
            node.register_hook(self._on_inputs)
        return through

    def setup_output_hook(self, result: Any) -> Any:
        """The result, behind the node at which its gradient is noted."""
        many = result if isinstance(result, tuple) else (result,)
        through, node, self.output_places = _through_identity(many)
        self.n_outputs = len(many)
        if node is not None:
            node.register_prehook(self._on_outputs)
        return through if isinstance(result, tuple) else through[0]

    def _on_outputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        noted = _spread(self.output_places, grads, self.n_outputs)
        for hook in self.user_pre_hooks:
            changed = hook(self.module, noted)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(noted):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(changed)}, but expected {len(noted)}"
                )
            noted = changed
        self.grad_outputs = noted
        if self.input_places is None:
            self._without_inputs(noted)
        assert self.output_places is not None
        return tuple(noted[i] for i in self.output_places)

    def _without_inputs(self, noted: tuple[Any, ...]) -> None:
        """No input requires grad, so the inner node will not run: the hooks run now."""
        if self.user_hooks:
            warnings.warn(
                "Full backward hook is firing when gradients are computed with respect to module "
                "outputs since no inputs require gradients. See https://docs.pytorch.org/docs/main/"
                "generated/torch.nn.Module.html#torch.nn.Module.register_full_backward_hook for "
                "more details.",
                stacklevel=5,
            )
        nothing = (None,) * self.n_inputs
        for hook in self.user_hooks:
            changed = hook(self.module, nothing, noted)
            if changed is not None and not (
                isinstance(changed, tuple) and all(g is None for g in changed)
            ):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient "
                    "should always return None or None for all gradients."
                )
        self.grad_outputs = None

    def _on_inputs(self, grad_inputs: tuple[Any, ...], _: Any) -> tuple[Any, ...] | None:
        if self.grad_outputs is None:
            return None  # backward began inside of the module
        noted = _spread(self.input_places, grad_inputs, self.n_inputs)
        for hook in self.user_hooks:
            changed = hook(self.module, noted, self.grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(noted):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, got "
                    f"{len(changed)}, but expected {len(noted)}"
                )
            noted = changed
        self.grad_outputs = None
        assert self.input_places is not None
        return tuple(noted[i] for i in self.input_places)


def _spread(places: list[int] | None, values: Any, count: int) -> tuple[Any, ...]:
    """The values at their places among `count`, None elsewhere."""
    spread: list[Any] = [None] * count
    for place, value in zip(places or (), values, strict=True):
        spread[place] = value
    return tuple(spread)


def _through_identity(args: Any) -> tuple[Any, Any, list[int] | None]:
    """The arguments with their tensors passed through one node, the node, and the places.

    Without a tensor that requires grad nothing is changed and the places are None.
    """
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    if not (mode.grad and any(args[i].requires_grad for i in places)):
        return args, None, None
    passed = BackwardHookFunction.apply(*(args[i] for i in places))
    node = next(t.grad_fn for t in passed if t.requires_grad)
    made = list(args)
    for place, tensor in zip(places, passed, strict=True):
        made[place] = tensor
    fields = getattr(args, "_fields", None)  # a named tuple stays one
    return (type(args)(*made) if fields else tuple(made)), node, places
