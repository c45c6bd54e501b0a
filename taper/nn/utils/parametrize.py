"""Parametrizations: a parameter that is computed from others whenever it is read.

`register_parametrization` moves the parameter into module.parametrizations, gives the module a
class of its own, and there a property of the parameter's name. Reading the property runs the
parametrizations, assigning to it runs their right inverses.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import taper
from taper.nn.modules.container import ModuleDict, ModuleList
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter
from taper.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]


class _Cache:
    """Computed parameters by module and name, kept while a `cached` block is open."""

    depth = 0
    held: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """While open, every parametrized tensor is computed at most once."""
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.held = {}


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _check_unchanged(before: Any, after: Any, change: str, one: str, other: str) -> None:
    """Raises: ValueError unless `after` is a tensor of the dtype and shape of `before`.

    `change` begins the message, `one` and `other` name the two in it.
    """
    for kind in ("dtype", "shape"):
        was, now = getattr(before, kind), getattr(after, kind)
        if was != now:
            raise ValueError(
                change.format(kind) + f"\n{one.format(kind)}: {was}\n{other.format(kind)}: {now}"
            )


def _require_tensor(value: Any, what: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"{what} Got {type(value).__name__}")


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor and the tensors they start from.

    These are `original`, or `original0`, `original1` ... if the first parametrization takes several
    tensors. Calling the list computes the parametrized tensor.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        # Kept apart, because `original` is about to change.
        shape, dtype = original.shape, original.dtype
        start = self._inverted_where_possible(original)
        self.is_tensor = isinstance(start, Tensor)
        if isinstance(start, Tensor):
            self.ntensors = 1
            if dtype != start.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {start.dtype}"
                )
            with taper.no_grad():
                original.set_(start)
            _register(self, "original", original)
        elif isinstance(start, Sequence):
            self.ntensors = len(start)
            self._take_originals(start, original)
        else:
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(start).__name__}"
            )
        if not unsafe:
            made = self()
            _require_tensor(made, "A parametrization must return a tensor.")
            told = (
                "Registering a parametrization may not change the {} of the tensor, unless "
                "`unsafe` flag is enabled."
            )
            if made.dtype != dtype or made.shape != shape:
                kind, was, now = (
                    ("dtype", dtype, made.dtype)
                    if made.dtype != dtype
                    else ("shape", shape, made.shape)
                )
                raise ValueError(
                    told.format(kind)
                    + f"\nunparametrized {kind}: {was}\nparametrized {kind}: {now}"
                )

    def _inverted_where_possible(self, value: Any) -> Any:
        with taper.no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    try:
                        value = module.right_inverse(value)
                    except NotImplementedError:
                        pass  # start from the tensor as it is
        return value

    def _take_originals(self, tensors: Sequence[Any], original: Tensor) -> None:
        for i, tensor in enumerate(tensors):
            if not isinstance(tensor, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                    f"tuple...). Got element {i} of the sequence with type {type(tensor).__name__}."
                )
            if isinstance(original, Parameter):
                tensor = Parameter(tensor, original.requires_grad)
            tensor.requires_grad_(original.requires_grad)
            _register(self, f"original{i}", tensor)

    def right_inverse(self, value: Any) -> None:
        """Sets the original tensors so that the parametrized one becomes `value`.

        Raises: RuntimeError if a parametrization has no right_inverse, ValueError if its result
            does not fit the original tensors.
        """
        with taper.no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                value = module.right_inverse(value)
            if self.is_tensor:
                if not isinstance(value, Tensor):
                    raise ValueError(
                        f"`right_inverse` should return a tensor. Got {type(value).__name__}"
                    )
                if value.dtype != self.original.dtype:
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {value.dtype} while "
                        f"`original` has dtype {self.original.dtype}"
                    )
                self.original.set_(value)
            else:
                self._set_originals(value)

    def _set_originals(self, tensors: Any) -> None:
        if not isinstance(tensors, Sequence):
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors. Got {type(tensors).__name__}."
            )
        if len(tensors) != self.ntensors:
            raise ValueError(
                "'right_inverse' must return a sequence of tensors of length "
                f"{self.ntensors}. Got a sequence of length {len(tensors)}."
            )
        for i, tensor in enumerate(tensors):
            held = getattr(self, f"original{i}")
            if not isinstance(tensor, Tensor):
                raise ValueError(
                    "'right_inverse' must return a sequence of tensors. Got element "
                    f"{i} of type {type(tensor).__name__}"
                )
            if held.dtype != tensor.dtype:
                raise ValueError(
                    f"Tensor {i} returned by `right_inverse` has dtype {tensor.dtype} while "
                    f"`original{i}` has dtype {held.dtype}"
                )
            held.set_(tensor)

    def forward(self) -> Any:
        """The parametrized tensor."""
        if self.is_tensor:
            originals = [self.original]
        else:
            originals = [getattr(self, f"original{i}") for i in range(self.ntensors)]
        first, *rest = self
        made = first(*originals)
        for module in rest:
            made = module(made)
        return made


def _own_deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    """A copy that shares the made class: the class cannot be pickled, hence not copied by state."""
    if id(self) in memo:
        return memo[id(self)]
    copy = memo[id(self)] = self.__new__(type(self))
    copy.__dict__ = deepcopy(self.__dict__, memo)
    for slot in copyreg._slotnames(type(self)):  # type: ignore[attr-defined]  # not in typeshed
        if hasattr(self, slot):
            setattr(copy, slot, deepcopy(getattr(self, slot), memo))
    return copy


def _refuse_pickle(self: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(). See:\n"
        "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
        "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training"
    )


def _give_own_class(module: Module) -> None:
    """A subclass for this module alone, because properties live on classes."""
    kind = type(module)
    fields: dict[str, Any] = {"__getstate__": _refuse_pickle}
    if not hasattr(kind, "__deepcopy__"):
        fields["__deepcopy__"] = _own_deepcopy
    module.__class__ = type(f"Parametrized{kind.__name__}", (kind,), fields)


def _give_property(module: Module, name: str) -> None:
    def read(self: Any) -> Any:
        compute = self.parametrizations[name]
        if not _Cache.depth:
            return compute()
        key = (id(self), name)
        if key not in _Cache.held:
            _Cache.held[key] = compute()
        return _Cache.held[key]

    def write(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def _check_composition(module: Module, name: str, parametrization: Any) -> None:
    """That another parametrization on top keeps dtype and shape, and so does its inverse."""
    before = getattr(module, name)
    after = parametrization(before)
    _require_tensor(after, "A parametrization must return a tensor.")
    _check_unchanged(
        before,
        after,
        "Registering a parametrization may not change the {} of the tensor, unless the `unsafe` "
        "flag is enabled.",
        f"module.{name}.{{}}",
        f"parametrization(module.{name}).{{}}",
    )
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    if not isinstance(back, Tensor):
        raise ValueError(
            f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}"
        )
    _check_unchanged(
        before,
        back,
        "The tensor returned by parametrization.right_inverse must have the same {} as "
        f"module.{name}, unless the `unsafe` flag is enabled.",
        f"module.{name}.{{}}",
        "returned {}",
    )


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes a parameter or buffer of the module the result of `parametrization`; returns the module.

    A second parametrization of the same tensor is applied after the first. If the parametrization
    has a method right_inverse, the tensor can be assigned to, and starts from its present value.
    `unsafe` leaves out the checks that dtype and shape stay.

    Raises: ValueError if there is no such tensor or a check fails.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_composition(module, tensor_name, parametrization)
        composed: Any = module.parametrizations[tensor_name]
        composed.append(parametrization)
        composed.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        made = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_own_class(module)
            module.parametrizations = ModuleDict()
        _give_property(module, tensor_name)
        module.parametrizations[tensor_name] = made
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module (or its tensor of that name) has parametrizations."""
    held = getattr(module, "parametrizations", None)
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes the tensor a parameter or buffer again; returns the module.

    It keeps its present value, or goes back to `original` if leave_parametrized is False.

    Raises: ValueError if it has no parametrization, or starts from several tensors and is to go
        back to them.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held: Any = module.parametrizations[tensor_name]
    if held.is_tensor:
        original = held.original
        if leave_parametrized:
            with taper.no_grad():
                # The same object, so that optimizers keep hold of it.
                original.set_(getattr(module, tensor_name))
    elif leave_parametrized:
        made = getattr(module, tensor_name)
        original = Parameter(made) if made.requires_grad else made
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class before it was given one of its own."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Gives to_module the parametrizations of from_module (or of one tensor) and their originals.

    The parametrizations are shared, not copied. Returns to_module.
    """
    if not is_parametrized(from_module):
        return to_module
    source: Any = from_module.parametrizations
    for name in list(source) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in source[name]:
            register_parametrization(to_module, name, parametrization)
        target: Any = to_module.parametrizations[name]
        if hasattr(source[name], "original"):
            target.original = source[name].original
        else:
            for i in range(source[name].ntensors):
                setattr(target, f"original{i}", getattr(source[name], f"original{i}"))
    return to_module
