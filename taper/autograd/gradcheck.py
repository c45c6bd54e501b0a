"""gradcheck: compares derivatives with differences of the function's values, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.engine import grad
from taper.autograd.grad_mode import enable_grad, no_grad
from taper.tensor import Tensor, wrap


class GradcheckError(RuntimeError):
    """The derivative and the differences disagree."""


def _tensors(inputs: Any) -> list[Tensor]:
    return [x for x in _flat(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _flat(inputs: Any) -> list[Any]:
    found: list[Any] = []
    for x in inputs if isinstance(inputs, (tuple, list)) else (inputs,):
        found.extend(_flat(x) if isinstance(x, (tuple, list)) else [x])
    return found


def _outputs(result: Any) -> list[Tensor]:
    return [x for x in _flat(result) if isinstance(x, Tensor) and x._array.dtype.kind in "fcV"]


def _numerical(
    function: Callable[..., Any], inputs: Any, target: Tensor, eps: float, count: int
) -> list[np.ndarray]:
    """Jacobian of each output with respect to `target`, by central differences.

    Shape: (elements of the target, elements of the output). For complex numbers the derivative is
    the conjugate Wirtinger one that backward() computes.
    """
    array = target._array
    columns: list[list[Any]] = [[] for _ in range(count)]
    complex_input = array.dtype.kind == "c"

    def difference(index: Any, step: Any) -> list[np.ndarray]:
        kept = array[index].copy()
        array[index] = kept + step
        above = [
            o._array.astype(np.complex128 if o._array.dtype.kind == "c" else np.float64)
            for o in _outputs(function(*inputs))
        ]
        array[index] = kept - step
        below = [
            o._array.astype(a.dtype)
            for o, a in zip(_outputs(function(*inputs)), above, strict=True)
        ]
        array[index] = kept
        return [(a - b).reshape(-1) / (2 * eps) for a, b in zip(above, below, strict=True)]

    for index in np.ndindex(array.shape):
        real = difference(index, eps)
        imaginary = difference(index, 1j * eps) if complex_input else None
        for i in range(count):
            columns[i].append(real[i] if imaginary is None else (real[i], imaginary[i]))
    return [np.array(c) for c in columns]


def _first(
    results: Any, inputs: list[Tensor], cotangent: Tensor, output: Tensor, graph: bool
) -> list[Any]:
    return list(
        grad(output, inputs, cotangent, retain_graph=True, create_graph=graph, allow_unused=True)
    )


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the derivatives of `func` agree with central differences at `inputs`.

    Inputs that require grad should be float64 (or complex128). `fast_mode` is accepted; all
    columns are always compared.
    Raises: GradcheckError (a RuntimeError) on disagreement, unless `raise_exception` is False.
    """
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    try:
        _check(func, args, eps, atol, rtol, nondet_tol, check_undefined_grad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Any, args: Any, eps: float, atol: float, rtol: float, nondet: float, undefined: bool
) -> None:
    targets = _tensors(args)
    if not targets:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but "
            "none of the them have requires_grad=True."
        )
    for i, t in enumerate(targets):
        if t._array.dtype.itemsize < (16 if t._array.dtype.kind == "c" else 8):
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating "
                "point or complex. This check will likely fail if all the inputs are "
                "not of double precision floating point or complex. ",
                stacklevel=4,
            )
        if 0 in t._array.strides and t._array.size > 1:
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only "
                "supports inputs that are non-overlapping to be able to compute the "
                "numerical gradients correctly. You should call .contiguous on the "
                "input before passing it to gradcheck."
            )
    results = _outputs(func(*args))
    differentiable = [r for r in results if r.requires_grad]
    if not differentiable:
        with no_grad():
            for t in targets:
                for jacobian in _numerical(func, args, t, eps, len(results)):
                    if np.abs(jacobian).max(initial=0) > atol:
                        raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    for number, t in enumerate(targets):
        # With the tape running, as above: a function may give other outputs without it.
        numeric = _numerical(func, args, t, eps, len(results))
        for place, output in enumerate(results):
            if not output.requires_grad:
                continue
            analytic = _analytic(output, t)
            again = _analytic(_outputs(func(*args))[place], t)
            if np.abs(analytic - again).max(initial=0) > nondet:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same "
                    "input and grad_output multiple times gives different values, "
                    "although analytical gradient matches numerical gradient."
                    f"The tolerance for nondeterminism was {nondet}."
                )
            expected = _expected(numeric[place], t, output)
            if not np.allclose(analytic, expected, rtol=rtol, atol=atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {place} with respect to input {number},\n"
                    f"numerical:{expected}\nanalytical:{analytic}\n"
                )


def _analytic(output: Tensor, target: Tensor) -> np.ndarray:
    """Columns of the Jacobian by backward; for complex outputs with cotangents 1 and 1j."""
    rows = []
    units = (1, 1j) if output._array.dtype.kind == "c" else (1,)
    for unit in units:
        for index in np.ndindex(output._array.shape):
            seed = np.zeros(output._array.shape, output._array.dtype)
            seed[index] = unit
            (found,) = grad(output, target, wrap(seed), retain_graph=True, allow_unused=True)
            rows.append(
                np.zeros(target._array.size, target._array.dtype)
                if found is None
                else found._array.reshape(-1)
            )
    made = np.array(rows)
    return made.reshape(len(rows), target._array.size).T


def _expected(numeric: np.ndarray, target: Tensor, output: Tensor) -> np.ndarray:
    """The same columns from differences: for real L = Re(conj(v) * out), dL/da + i dL/db."""
    size, count = target._array.size, output._array.size
    if target._array.dtype.kind == "c":
        pairs = numeric.reshape(size, 2, count)
        if output._array.dtype.kind == "c":
            by_one = pairs[:, 0].real + 1j * pairs[:, 1].real
            by_i = pairs[:, 0].imag + 1j * pairs[:, 1].imag
            return np.concatenate([by_one, by_i], 1)
        return pairs[:, 0] + 1j * pairs[:, 1]
    numeric = numeric.reshape(size, count)
    if output._array.dtype.kind == "c":
        return np.concatenate([numeric.real, numeric.imag], 1)
    return numeric


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """gradcheck of the derivative of `func`: with respect to the inputs and the cotangents."""
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outputs = [o for o in _outputs(func(*args)) if o.requires_grad]
    if grad_outputs is None:
        generator = np.random.default_rng(0)
        seeds = []
        for o in outputs:
            seed = generator.uniform(0.5, 1.5, o._array.shape).astype(o._array.dtype)
            made = wrap(seed)
            made.requires_grad = True
            seeds.append(made)
    else:
        seeds = list(grad_outputs) if isinstance(grad_outputs, (tuple, list)) else [grad_outputs]
    targets = _tensors(args)
    count = len(args)

    def derivative(*both: Any) -> Any:
        inner = both[:count]
        with enable_grad():  # the differences are taken without recording
            roots = [o for o in _outputs(func(*inner)) if o.requires_grad]
            found = grad(
                roots, _tensors(inner), list(both[count:]), create_graph=True, allow_unused=True
            )
        return tuple(g for g in found if g is not None)

    assert targets
    return gradcheck(
        derivative,
        (*args, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )
