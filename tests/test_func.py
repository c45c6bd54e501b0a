"""torch.func: derivatives as functions, against closed forms."""

from __future__ import annotations

import pytest

import taper as torch
from taper import func
from taper.testing import assert_close


def cubes(x):
    return (x**3).sum()


def test_grad_of_grad_of_grad():
    derivative = func.grad(func.grad(func.grad(lambda x: x**4)))

    assert derivative(torch.tensor(2.0)).item() == 48


def test_grad_takes_argnums_aux_and_nested_structures():
    def loss(weights, x):
        y = weights["w"] * x + weights["b"]
        return (y * y).sum(), y

    weights = {"w": torch.tensor(2.0), "b": torch.tensor(1.0)}
    x = torch.tensor([1.0, 3.0])

    grads, aux = func.grad(loss, has_aux=True)(weights, x)

    assert grads["w"].item() == 2 * (3 * 1 + 7 * 3) and grads["b"].item() == 2 * (3 + 7)
    assert aux.tolist() == [3, 7]
    assert func.grad(lambda a, b: (a * b).sum(), argnums=1)(x, x).tolist() == [1, 3]


def test_results_are_not_recorded_unless_the_input_was():
    x = torch.tensor([1.0, 2.0])
    assert not func.grad(cubes)(x).requires_grad
    assert func.grad(cubes)(x.requires_grad_()).requires_grad


def test_vjp_and_jvp_are_adjoint():
    torch.manual_seed(0)
    x, v, w = torch.rand(3), torch.rand(3), torch.rand(2)
    matrix = torch.rand(2, 3)

    def function(x):
        return torch.tanh(matrix @ x)

    value, pull = func.vjp(function, x)
    again, forward = func.jvp(function, (x,), (v,))

    assert_close(value, again)
    assert_close((pull(w)[0] * v).sum(), (w * forward).sum())


def test_jacobian_and_hessian():
    x = torch.tensor([1.0, 2.0])

    assert func.jacrev(lambda x: x**2)(x).tolist() == [[2, 0], [0, 4]]
    assert func.jacfwd(lambda x: x**2)(x).tolist() == [[2, 0], [0, 4]]
    assert func.hessian(cubes)(x).tolist() == [[6, 0], [0, 12]]


def test_a_vector_has_no_gradient():
    with pytest.raises(RuntimeError, match=r"Expected f.* to return a scalar tensor"):
        func.grad(lambda x: x * 2)(torch.ones(2))


def test_vmap_says_what_to_do_instead():
    with pytest.raises(NotImplementedError, match="write the function for a batch"):
        func.vmap(cubes)
