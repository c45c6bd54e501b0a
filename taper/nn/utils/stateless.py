"""A module called with other parameters and buffers than its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taper.nn.modules.module import Module
from taper.tensor import Tensor

__all__ = ["functional_call"]

_MISSING: Any = object()


def _tied_names(module: Module) -> dict[str, set[str]]:
    """For every tensor the module holds under several names: each name, and all of them."""
    names: dict[int, set[str]] = {}
    for named in (
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    ):
        for name, tensor in named:
            names.setdefault(id(tensor), set()).add(name)
    return {name: group for group in names.values() if len(group) > 1 for name in group}


def _untied(module: Module, given: dict[str, Any]) -> dict[str, Any]:
    """The given tensors under all names that the module ties to the given ones.

    Raises: ValueError if two tied names were given different tensors.
    """
    tied = _tied_names(module)
    completed = dict(given)
    for name in given.keys() & tied.keys():
        if len({id(given[each]) for each in tied[name] & given.keys()}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(tied[name])}, which are "
                "tied. Consider using tie_weights=False"
            )
        completed.update(dict.fromkeys(tied[name], given[name]))
    return completed


def _check_keys(module: Module, given: dict[str, Any]) -> None:
    """Raises: RuntimeError unless exactly the module's parameters and buffers are given."""
    own = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    own |= {name for name, _ in module.named_buffers(remove_duplicate=False)}
    problems = [
        f"{kind} key(s): {', '.join(map(repr, sorted(keys)))}."
        for kind, keys in (("Unexpected", given.keys() - own), ("Missing", own - given.keys()))
        if keys
    ]
    if problems:
        raise RuntimeError(
            "Error(s) in reparametrizing for {}:\n\t{}".format(
                module._get_name(), "\n\t".join(problems)
            )
        )


def _swap(module: Module, path: str, tensor: Any) -> Any:
    """Puts the tensor (or nothing, for _MISSING) in the path's place; returns what was there."""
    *parents, name = path.split(".")
    owner: Any = module
    for parent in parents:
        if not hasattr(owner, parent):
            raise AttributeError(f"{owner._get_name()} has no attribute `{parent}`")
        owner = getattr(owner, parent)
    if tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    for registry in (owner._parameters, owner._buffers):
        if name in registry:
            before = registry[name]
            registry[name] = tensor
            return before
    before = getattr(owner, name, _MISSING)
    if tensor is not _MISSING:
        setattr(owner, name, tensor)
    elif before is not _MISSING:
        delattr(owner, name)
    return before


@contextmanager
def _reparametrize_module(
    module: Module,
    parameters_and_buffers: dict[str, Any],
    tie_weights: bool = False,
    strict: bool = False,
    stack_weights: bool = False,
) -> Iterator[None]:
    """While open, the module has the given tensors; they are updated if it replaces them."""
    given = parameters_and_buffers
    used = _untied(module, given) if tie_weights else given
    if strict:
        _check_keys(module, used)
    before: dict[str, Any] = {}
    try:
        for path, tensor in used.items():
            before[path] = _swap(module, path, tensor)
        yield
    finally:
        # With stack_weights a path may have been swapped twice: the last first.
        order = reversed(list(before.items())) if stack_weights else before.items()
        after = {path: _swap(module, path, tensor) for path, tensor in order}
        given.update({path: after[path] for path in given if path in after})


def _functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Any],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights, strict):
        return module(*arguments, **(kwargs or {}))


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Any],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """The module's result with the given tensors in the place of its own of the same names.

    The module itself stays as it is. A tensor that the module holds under several names is
    replaced under all of them if tie_weights. Deprecated in favour of torch.func.functional_call.

    Raises: ValueError for different tensors under tied names; RuntimeError for missing or
        unexpected names if strict.
    """
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be "
        "removed in a future version of PyTorch. Please use `torch.func.functional_call` instead "
        "which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
