"""torch.func: derivatives of functions, as functions.

grad, vjp, jvp, Jacobians and Hessians on the same tape as backward(). vmap is not there yet.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.autograd import functional as _functional
from taper.autograd.engine import grad as _grad
from taper.autograd.grad_mode import enable_grad
from taper.errors import MissingFeature
from taper.tensor import Tensor

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
           "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap"]  # fmt: skip


def _mapped(value: Any, function: Callable[[Tensor], object]) -> Any:
    """`function` of every tensor in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_mapped(each, function) for each in value])
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(each, function) for each in value])
    if isinstance(value, dict):
        return type(value)((key, _mapped(each, function)) for key, each in value.items())
    return value


def _tensors(value: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _mapped(value, found.append)
    return found


def _active(value: Any) -> Any:
    """The same structure of tensors whose gradient can be asked for."""
    return _mapped(
        value, lambda t: t.view_as(t) if t.requires_grad else t.detach().requires_grad_()
    )


def _split(name: str, args: tuple[Any, ...], argnums: Any) -> tuple[list[Any], tuple[int, ...]]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise RuntimeError(
                f"{name}: got argnum={number}, but only {len(args)} positional inputs"
            )
    own = list(args)
    for number in numbers:
        own[number] = _active(own[number])
    return own, numbers


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Any:
    """A function that returns (gradient of `func` at its arguments, its value)."""

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            own, numbers = _split("grad", args, argnums)
            result = func(*own, **kwargs)
            output, *aux = result if has_aux else (result,)
            if not isinstance(output, Tensor):
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a single tensor, got "
                    f"{type(output)}"
                )
            if output.dim() != 0:
                raise RuntimeError(
                    "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got "
                    f"tensor with {output.dim()} dims. Maybe you wanted to use the vjp or jacrev "
                    "APIs instead?"
                )
            outer = any(t.requires_grad for n in numbers for t in _tensors(args[n]))
            wanted = [own[n] for n in numbers]
            flat = _tensors(wanted)
            found: Any = [None] * len(flat)
            if output.requires_grad:
                found = _grad(output, flat, allow_unused=True, create_graph=True)
            known = {
                id(t): t.new_zeros(t.shape) if g is None else g
                for t, g in zip(flat, found, strict=True)
            }
            grads = [_mapped(w, lambda t: known[id(t)]) for w in wanted]
        if not outer:
            grads = _mapped(grads, lambda t: t.detach())
            output = output.detach()
        result = grads[0] if isinstance(argnums, int) else tuple(grads)
        return (result, (output, *aux)) if has_aux else (result, output)

    return derived


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Any:
    """A function that returns the gradient of `func`, whose result must be a 0-d tensor.

    `argnums` says with respect to which arguments; with `has_aux` the function returns (result,
    anything) and its gradient comes as (gradient, anything).
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return derived


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(value of `func`, function from a cotangent to the gradients of the primals)."""
    with enable_grad():
        own = _active(primals)
        result = func(*own)
    output, *aux = result if has_aux else (result,)
    flat_out, flat_in = _tensors(output), _tensors(own)

    def pull(*cotangents: Any, retain_graph: bool = True, create_graph: bool = True) -> Any:
        given = _tensors(cotangents)
        live = [(o, c) for o, c in zip(flat_out, given, strict=True) if o.requires_grad]
        found: Any = [None] * len(flat_in)
        if live:
            found = _grad(
                [o for o, _ in live], flat_in, [c for _, c in live], allow_unused=True,
                retain_graph=True, create_graph=any(c.requires_grad for c in given),
            )  # fmt: skip
        known = {
            id(t): t.new_zeros(t.shape) if g is None else g
            for t, g in zip(flat_in, found, strict=True)
        }
        return _mapped(own, lambda t: known[id(t)])

    value = _mapped(output, lambda t: t.detach())
    return (value, pull, aux[0]) if has_aux else (value, pull)


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> Any:  # fmt: skip
    """(value of `func`, its directional derivative along the tangents)."""
    kept: list[Any] = []

    def plain(*args: Any) -> Any:
        result = func(*args)
        if has_aux:
            kept[:] = [result[1]]
            return result[0]
        return result

    value, derivative = _functional.jvp(plain, tuple(primals), tuple(tangents), strict=strict)
    return (value, derivative, kept[0]) if has_aux else (value, derivative)


def _jacobian(func: Callable[..., Any], argnums: Any, has_aux: bool, name: str) -> Any:
    @functools.wraps(func)
    def derived(*args: Any, **kwargs: Any) -> Any:
        kept: list[Any] = []
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

        def inner(*chosen: Any) -> Any:
            own = list(args)
            for number, value in zip(numbers, chosen, strict=True):
                own[number] = value
            result = func(*own, **kwargs)
            if has_aux:
                kept[:] = [result[1]]
                return result[0]
            return result

        outer = any(t.requires_grad for n in numbers for t in _tensors(args[n]))
        found = _functional.jacobian(inner, tuple(args[n] for n in numbers), create_graph=outer)
        if isinstance(argnums, int):
            nested = isinstance(found, tuple) and found and isinstance(found[0], tuple)
            found = tuple(row[0] for row in found) if nested else found[0]
        return (found, kept[0]) if has_aux else found

    return derived


def jacrev(func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False,
           chunk_size: int | None = None, _preallocate_and_copy: bool = False) -> Any:  # fmt: skip
    """A function that returns the Jacobian of `func`, one row of it per reverse pass."""
    return _jacobian(func, argnums, has_aux, "jacrev")


def jacfwd(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *,
           randomness: str = "error") -> Any:  # fmt: skip
    """The same Jacobian; taper computes it by reverse passes too."""
    return _jacobian(func, argnums, has_aux, "jacfwd")


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Any:
    """A function that returns the matrix of second derivatives."""

    def derived(*args: Any) -> Any:
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

        def inner(*chosen: Any) -> Any:
            own = list(args)
            for number, value in zip(numbers, chosen, strict=True):
                own[number] = value
            return func(*own)

        found = _functional.hessian(inner, tuple(args[n] for n in numbers))
        return found[0][0] if isinstance(argnums, int) else found

    return derived


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: Any = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:  # fmt: skip
    """The module's result with other parameters and buffers, which stay as they are."""
    from taper.nn.utils import stateless

    given = parameter_and_buffer_dicts
    if isinstance(given, (list, tuple)):
        merged: dict[str, Any] = {}
        for each in given:
            for key, value in each.items():
                if key in merged:
                    raise ValueError(
                        f"{key} appears in multiple dictionaries; behavior of functional call is "
                        "ambiguous"
                    )
                merged[key] = value
        given = merged
    return stateless._functional_call(
        module, given, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of models of one class, stacked along a new first dimension."""
    import taper

    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(named: list[dict[str, Any]], grad: bool) -> dict[str, Any]:
        return {
            key: taper.stack([each[key].detach() for each in named]).requires_grad_(
                grad and named[0][key].requires_grad
            )
            for key in named[0]
        }

    return (
        stacked([dict(m.named_parameters()) for m in models], True),
        stacked([dict(m.named_buffers()) for m in models], False),
    )


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Takes the running statistics from every batch norm in the module, in place; returns it.

    The norms use their batch's statistics from then on, so that calls have no side effect.
    """
    from taper.nn.modules.batchnorm import _BatchNorm

    for module in root.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root


def vmap(func: Any, in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *,
         chunk_size: int | None = None) -> Any:  # fmt: skip
    """Raises: NotImplementedError. Write the batch dimension, or stack a list of results."""
    raise MissingFeature(
        "torch.func.vmap", "is not available yet; write the function for a batch, or "
        "torch.stack([func(x) for x in xs])",
    )  # fmt: skip
