"""Jacobians, Hessians and their products with vectors, by reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.engine import grad
from taper.autograd.grad_mode import enable_grad
from taper.tensor import Tensor, wrap

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any, what: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    single = not isinstance(x, (tuple, list))
    items = (x,) if single else tuple(x)
    for i, item in enumerate(items):
        if not isinstance(item, Tensor):
            where = "" if single else f" at index {i}"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of "
                f"Tensors but the value{where} has type {type(item)}."
            )
    return not single, items


def _fresh(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    return tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().clone().requires_grad_()
        for x in inputs
    )


def _settle(values: Any, create_graph: bool) -> Any:
    if isinstance(values, tuple):
        return tuple(_settle(v, create_graph) for v in values)
    return values if create_graph else values.detach()


def _zeros(x: Tensor) -> Tensor:
    return wrap(np.zeros(x._array.shape, x._array.dtype))


def _grads(
    outputs: Any, inputs: Any, seeds: Any, create_graph: bool, strict: bool, name: str = ""
) -> tuple[Tensor, ...]:
    kept = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
    if strict and len(kept) < len(outputs):
        raise RuntimeError(
            f"Output of the user-provided function does not require gradients. The "
            f"outputs must be computed in a differentiable manner from the input "
            f"when running in strict mode ({name})."
        )
    if not kept:
        return tuple(_zeros(x) for x in inputs)
    found = grad(
        [k[0] for k in kept],
        list(inputs),
        [k[1] for k in kept],
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )
    if strict and any(f is None for f in found):
        raise RuntimeError(
            "Output of the user-provided function is independent of an input. This "
            "is not allowed in strict mode."
        )
    return tuple(_zeros(x) if f is None else f for f, x in zip(found, inputs, strict=True))


def _run(function: Callable[..., Any], inputs: tuple[Tensor, ...], name: str) -> Any:
    return _tuple(function(*inputs), "outputs of the user-provided function", name)


def _unpack(values: tuple[Any, ...], is_tuple: bool) -> Any:
    return values if is_tuple else values[0]


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """(outputs, v @ Jacobian) of `func` at `inputs`."""
    with enable_grad():
        in_tuple, args = _tuple(inputs, "inputs", "vjp")
        args = _fresh(args, create_graph)
        out_tuple, outputs = _run(func, args, "vjp")
        if v is None:
            if len(outputs) != 1 or outputs[0]._array.size != 1:
                raise RuntimeError(
                    "The vector v can only be None if the user-provided function "
                    "returns a single Tensor with a single element."
                )
            seeds: tuple[Tensor, ...] = (wrap(np.ones_like(outputs[0]._array)),)
        else:
            seeds = _tuple(v, "v", "vjp")[1]
            _check_match(seeds, outputs, "v", "outputs")
        found = _grads(outputs, args, seeds, create_graph, strict, "vjp")
    return (
        _unpack(_settle(outputs, create_graph), out_tuple),
        _unpack(_settle(found, create_graph), in_tuple),
    )


def _check_match(given: Any, wanted: Any, what: str, whose: str) -> None:
    if len(given) != len(wanted):
        raise RuntimeError(
            f"{what} is a tuple of invalid length: should be {len(wanted)} but got {len(given)}."
        )
    for i, (a, b) in enumerate(zip(given, wanted, strict=True)):
        if a._array.shape != b._array.shape:
            raise RuntimeError(
                f"Entry {i} in {what} has invalid size: should be "
                f"{list(b._array.shape)} as the {whose} but got "
                f"{list(a._array.shape)}."
            )


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """(outputs, Jacobian @ v), by differentiating the vjp with respect to its cotangent."""
    with enable_grad():
        _, args = _tuple(inputs, "inputs", "jvp")
        args = _fresh(args, create_graph)
        if v is None:
            if len(args) != 1 or args[0]._array.size != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the "
                    "user-provided function is a single Tensor with a single "
                    "element."
                )
            vectors: tuple[Tensor, ...] = (wrap(np.ones_like(args[0]._array)),)
        else:
            vectors = _tuple(v, "v", "jvp")[1]
            _check_match(vectors, args, "v", "inputs")
        out_tuple, outputs = _run(func, args, "jvp")
        seeds = tuple(_zeros(o).requires_grad_() for o in outputs)
        inner = _grads(outputs, args, seeds, True, strict, "jvp")
        found = _grads(inner, seeds, vectors, create_graph, False)
    return (
        _unpack(_settle(outputs, create_graph), out_tuple),
        _unpack(_settle(found, create_graph), out_tuple),
    )


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """d outputs / d inputs: for each output and input a tensor of shape (*output, *input)."""
    with enable_grad():
        in_tuple, args = _tuple(inputs, "inputs", "jacobian")
        args = _fresh(args, create_graph)
        out_tuple, outputs = _run(func, args, "jacobian")
        table = []
        for output in outputs:
            rows: list[tuple[Tensor, ...]] = []
            for index in np.ndindex(output._array.shape):
                seed = _zeros(output)
                seed._array[index] = 1
                rows.append(_grads((output,), args, (seed,), create_graph, strict, "jacobian"))
            table.append(
                tuple(_stacked([r[i] for r in rows], output, x) for i, x in enumerate(args))
            )
    made = tuple(_unpack(_settle(row, create_graph), in_tuple) for row in table)
    return _unpack(made, out_tuple)


def _stacked(rows: list[Tensor], output: Tensor, x: Tensor) -> Tensor:
    shape = (*output._array.shape, *x._array.shape)
    if not rows:
        return wrap(np.zeros(shape, x._array.dtype))
    from taper import stack

    return stack(rows).view(shape)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of a scalar function."""
    in_tuple, args = _tuple(inputs, "inputs", "hessian")

    def gradient(*xs: Tensor) -> tuple[Tensor, ...]:
        out = func(*xs)
        if not isinstance(out, Tensor) or out._array.size != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should "
                "contain a single element"
            )
        return _grads((out.reshape(()),), xs, (wrap(np.ones((), out._array.dtype)),), True, strict)

    made = jacobian(gradient, args, create_graph=create_graph, strict=strict)
    return made if in_tuple else made[0][0]


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """(outputs, Hessian @ v) of a scalar function."""
    return vhp(func, inputs, v, create_graph, strict)


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> Any:
    """(outputs, v @ Hessian) of a scalar function."""
    with enable_grad():
        in_tuple, args = _tuple(inputs, "inputs", "vhp")
        args = _fresh(args, create_graph)
        out_tuple, outputs = _run(func, args, "vhp")
        if out_tuple or outputs[0]._array.size != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to vhp should contain a single element"
            )
        if v is None:
            vectors: tuple[Tensor, ...] = (wrap(np.ones_like(args[0]._array)),)
        else:
            vectors = _tuple(v, "v", "vhp")[1]
            _check_match(vectors, args, "v", "inputs")
        inner = _grads(outputs, args, (wrap(np.ones_like(outputs[0]._array)),), True, strict)
        found = _grads(inner, args, vectors, create_graph, strict)
    return (
        _unpack(_settle(outputs, create_graph), out_tuple),
        _unpack(_settle(found, create_graph), in_tuple),
    )
