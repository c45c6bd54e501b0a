"""Module: the base of all layers and models.

Here is what a module is: attributes that register themselves, the call, train and eval, and casts.
hooks.py has the hooks and the call with them, state.py state_dict and its loading, tree.py the
walks over what is inside.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from taper import dtypes
from taper.autograd.grad_mode import no_grad
from taper.devices import require_cpu
from taper.errors import annotate
from taper.nn.modules import hooks as _hooks
from taper.nn.modules.hooks import (  # noqa: F401 - PyTorch has these names here
    BackwardHook,
    Hooked,
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_pre_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from taper.nn.modules.state import (  # noqa: F401 - PyTorch has these names here
    _EXTRA_STATE_KEY_SUFFIX,
    Stateful,
    _IncompatibleKeys,
)
from taper.nn.modules.tree import Tree
from taper.nn.parameter import Buffer, Parameter
from taper.settings import typename
from taper.tensor import Tensor

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_switch = _hooks.switch

# Hooks that a module pickled by an older PyTorch may lack.
_HOOK_FIELDS = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _forward_unimplemented(self: Module, *input: Any) -> Any:
    """Computes the output; to be overridden by every module that is called."""
    raise NotImplementedError(
        f'Module [{type(self).__name__}] is missing the required "forward" function'
    )


def _addindent(text: str, spaces: int) -> str:
    """The text with every line but the first indented."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(Hooked, Stateful, Tree):
    """Base of all layers and models: holds parameters, buffers and other modules.

    Assigning a Parameter, a Buffer or a Module to an attribute registers it. Call the module, not
    its `forward`: the call also runs the hooks.
    """

    dump_patches = False
    _version: int = 1
    training: bool
    call_super_init = False
    _compiled_call_impl: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword "
                    f"argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but "
                    f"{len(args) + 1} were given"
                )
        # Past __setattr__, which would look for each name among the registered ones.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _backward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _is_full_backward_hook=None,
            _forward_hooks=OrderedDict(),
            _forward_hooks_with_kwargs=OrderedDict(),
            _forward_hooks_always_called=OrderedDict(),
            _forward_pre_hooks=OrderedDict(),
            _forward_pre_hooks_with_kwargs=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
            _modules={},
        )
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    forward: Callable[..., Any] = _forward_unimplemented

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if _switch.on:
                return self._call_impl(*args, **kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            annotate(error)
            raise

    # ------------------------------------------------------------ registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under `name`; None reserves the name.

        Raises: TypeError for anything but a Parameter, KeyError if the name is taken.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param._grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    f"be created explicitly. To express '{name}' as a function of another Tensor, "
                    "compute the value in the forward() method."
                )
            for hook in _hooks._global_parameter_registration_hooks.values():
                changed = hook(self, name, param)
                param = param if changed is None else changed
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a buffer under `name`: a tensor that belongs to the module but is not trained.

        One that is not `persistent` is left out of state_dict.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch "
                "Tensor or None required)"
            )
        for hook in _hooks._global_buffer_registration_hooks.values():
            changed = hook(self, name, tensor)
            tensor = tensor if changed is None else changed
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a module under `name`; None reserves the name."""
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = self._hooked_child(name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as add_module."""
        self.add_module(name, module)

    def _hooked_child(self, name: str, module: Module | None) -> Module | None:
        for hook in _hooks._global_module_registration_hooks.values():
            changed = hook(self, name, module)
            module = module if changed is None else changed
        return module

    def _check_name(self, kind: str, name: Any, own: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if name not in own and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            shown = f", got: {name}" if kind == "module" else ""
            raise KeyError(f'{kind} name can\'t contain "."{shown}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    # ------------------------------------------------------------ attributes

    def __getattr__(self, name: str) -> Any:
        # Only reached for what is not in __dict__ or on the class.
        fields = self.__dict__
        for registry in ("_parameters", "_buffers", "_modules"):
            held = fields.get(registry)
            if held is not None and name in held:
                return held[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        parameters = fields.get("_parameters")
        plain = value is not None and not isinstance(value, (Tensor, Module))
        if parameters is None:
            self._set_before_init(name, value)
        elif not plain and isinstance(value, Parameter):
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, "_modules")
            fields["_modules"][name] = self._hooked_child(name, value)
        elif name in fields["_modules"]:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            fields["_modules"][name] = self._hooked_child(name, value)
        elif name in fields["_buffers"] or (not plain and isinstance(value, Buffer)):
            self._set_buffer(name, value)
        else:
            object.__setattr__(self, name, value)

    def _set_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"cannot assign '{typename(value)}' as buffer '{name}' "
                "(torch.nn.Buffer, torch.Tensor or None expected)"
            )
        if isinstance(value, Buffer):
            self._forget(name, "_buffers")
            persistent = value.persistent
        else:
            persistent = name not in self._non_persistent_buffers_set
        self.register_buffer(name, value, persistent)

    def _set_before_init(self, name: str, value: Any) -> None:
        for kind, held in ((Parameter, "parameters"), (Module, "module"), (Buffer, "buffer")):
            if isinstance(value, kind):
                raise AttributeError(f"cannot assign {held} before Module.__init__() call")
        object.__setattr__(self, name, value)

    def _forget(self, name: str, but: str) -> None:
        """Takes the name out of everything but one registry, so that it means one thing."""
        fields = self.__dict__
        fields.pop(name, None)
        for registry in ("_parameters", "_buffers", "_modules"):
            if registry != but:
                fields[registry].pop(name, None)
        fields["_non_persistent_buffers_set"].discard(name)

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {
            *dir(type(self)),
            *self.__dict__,
            *self._parameters,
            *self._modules,
            *self._buffers,
        }
        # Numbers, as in Sequential, cannot be written as attributes.
        return sorted(name for name in names if not name[0].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        fields = self.__dict__
        for name in _HOOK_FIELDS:
            fields.setdefault(name, OrderedDict())
        fields.setdefault("_non_persistent_buffers_set", set())
        fields.setdefault("_is_full_backward_hook", None)
        if any(fields[name] for name in _CALL_HOOKS):
            _switch.on = True

    def _replicate_for_data_parallel(self) -> Module:
        replica: Module = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        replica.__dict__.update(
            _parameters={},
            _buffers=self._buffers.copy(),
            _modules=self._modules.copy(),
            _is_replica=True,
        )
        return replica

    # ------------------------------------------------------------ text

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's text; to be overridden."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        inner = [
            f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()
        ]
        if not inner and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + inner) + "\n)"

    # ------------------------------------------------------------ modes

    def train(self, mode: bool = True) -> Any:
        """Puts the module and all inside it in training mode (or, with False, evaluation mode)."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Puts the module and all inside it in evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Sets requires_grad of every parameter."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or sets them to zero."""
        if self.__dict__.get("_is_replica", False):
            import warnings

            warnings.warn(
                "Calling .zero_grad() from a module created with nn.DataParallel() has no effect. "
                "The parameters are copied (in a differentiable manner) from the original module. "
                "This means they are not leaf nodes in autograd and so don't accumulate gradients. "
                "If you need gradients in your forward method, consider using autograd.grad "
                "instead.",
                stacklevel=2,
            )
        for parameter in self.parameters():
            grad = parameter._grad
            if grad is None:
                continue
            if set_to_none:
                parameter._grad = None
            else:
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    def apply(self, fn: Callable[[Any], None]) -> Any:
        """Calls fn on every module inside, then on the module itself."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ------------------------------------------------------------ casts

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replaces the memory of every parameter, its gradient and every buffer by fn's result."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            with no_grad():
                parameter.data = fn(parameter)
                if parameter._grad is not None:
                    parameter._grad.data = fn(parameter._grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _cast(self, dtype: dtypes.dtype) -> Any:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Casts floating parameters and buffers in place: to(dtype), to(device), to(tensor).

        Raises: TypeError for a dtype that is neither floating nor complex.
        """
        from taper.ops.convert import _parse_to

        if "copy" in kwargs:
            raise RuntimeError(".to() does not accept copy argument")
        dtype, _, memory_format = _parse_to(args, kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, but "
                    f"got desired dtype={dtype}"
                )
            if dtype.is_complex:
                import warnings

                warnings.warn(
                    "Complex modules are a new feature under active development whose "
                    "design may change, and some modules might not work as expected when "
                    "using complex tensors as parameters or buffers.",
                    stacklevel=2,
                )

        def convert(tensor: Tensor) -> Tensor:
            changes = tensor.is_floating_point() or tensor.is_complex()
            chosen = dtype if changes else None
            if memory_format is not None and tensor.dim() in (4, 5):
                return tensor.to(dtype=chosen, memory_format=memory_format)
            return tensor if chosen is None else tensor.to(chosen)

        if dtype is None and memory_format is None:
            return self
        return self._apply(convert)

    def type(self, dst_type: Any) -> Any:
        """Casts all parameters and buffers to a type."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Any:
        """Casts floating parameters and buffers to float32."""
        return self._cast(dtypes.float32)

    def double(self) -> Any:
        """Casts floating parameters and buffers to float64."""
        return self._cast(dtypes.float64)

    def half(self) -> Any:
        """Casts floating parameters and buffers to float16."""
        return self._cast(dtypes.float16)

    def bfloat16(self) -> Any:
        """Casts floating parameters and buffers to bfloat16."""
        return self._cast(dtypes.bfloat16)

    def cpu(self) -> Any:
        """The module itself: it is on the CPU."""
        return self

    def cuda(self, device: Any = None) -> Any:
        """Raises: AssertionError, as PyTorch does on a machine without a GPU."""
        require_cpu("cuda")
        return self

    def _other_device(name: str) -> Any:  # type: ignore[misc]
        def method(self: Any, device: Any = None) -> Any:
            raise AssertionError(f"Torch not compiled with {name} enabled")

        return method

    xpu = _other_device("XPU")
    ipu = _other_device("IPU")
    mtia = _other_device("MTIA")
    del _other_device

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Gives every parameter and buffer new, uninitialized memory."""
        require_cpu(device)
        from taper.ops.create import empty_like

        return self._apply(lambda t: empty_like(t), recurse=recurse)

    def share_memory(self) -> Any:
        """The module itself; worker processes get copies."""
        return self._apply(lambda t: t.share_memory_())

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Has the module compiled in place: it goes on to run eagerly, as in torch.compile."""
        from taper.compiler import compile

        compile(self, *args, **kwargs)
