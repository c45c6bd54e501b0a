"""Norms, condition numbers, ranks, matrix functions, least squares and low rank."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper
from taper import linalg
from taper.autograd.gradcheck import gradcheck


def matrix(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def tensor(x: np.ndarray) -> taper.Tensor:
    return taper.from_numpy(np.array(x))


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
@pytest.mark.parametrize("keepdim", [False, True])
def test_matrix_norms_are_numpys(order, keepdim):
    a = matrix(2, 3, 4)

    made = linalg.matrix_norm(tensor(a), order, (0, 2), keepdim)

    expected = np.linalg.norm(a, order, (0, 2), keepdims=keepdim)
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2, 3.5, 0.5, -1, math.inf, -math.inf])
def test_vector_norms_are_numpys(order):
    a = matrix(3, 4)

    made = linalg.vector_norm(tensor(a), order, 1)

    np.testing.assert_allclose(made.numpy(), np.linalg.norm(a, order, 1), rtol=1e-12)


def test_norm_picks_between_vectors_and_matrices():
    a = tensor(matrix(3, 4))

    assert linalg.norm(a).item() == linalg.vector_norm(a).item()
    assert linalg.norm(a, 2).item() == linalg.matrix_norm(a, 2).item()
    assert linalg.norm(a, 2, 0).shape == (4,)
    with pytest.raises(RuntimeError, match=r"the input must be 1D or 2D\. Got 3D"):
        linalg.norm(taper.ones(2, 2, 2), 2)
    with pytest.raises(RuntimeError, match="Order 3 not supported"):
        linalg.norm(a, 3)
    with pytest.raises(RuntimeError, match="Expected a floating point or complex tensor"):
        linalg.norm(taper.ones(2, dtype=taper.int64))


def test_the_norm_of_an_empty_tensor_may_not_exist():
    assert linalg.matrix_norm(taper.ones(0, 2), 2).item() == 0
    with pytest.raises(RuntimeError, match="cannot compute the inf norm on an empty tensor"):
        linalg.vector_norm(taper.ones(0), math.inf)


@pytest.mark.parametrize("order", [None, 2, -2, "fro", "nuc", 1, -1, math.inf, -math.inf])
def test_condition_numbers_are_numpys(order):
    a = matrix(3, 3)

    made = linalg.cond(tensor(a), order)

    np.testing.assert_allclose(made.item(), np.linalg.cond(a, order), rtol=1e-10)


def test_the_condition_of_a_singular_matrix_is_infinite():
    assert linalg.cond(taper.zeros(2, 2), 1).item() == math.inf


def test_rank_counts_singular_values_above_the_tolerance():
    a = np.diag([1.0, 0.1, 1e-20])

    assert linalg.matrix_rank(tensor(a)).item() == 2
    assert linalg.matrix_rank(tensor(a), tol=0.5).item() == 1
    assert linalg.matrix_rank(tensor(a), rtol=0.5).item() == 1
    assert linalg.matrix_rank(tensor(-a), hermitian=True).item() == 2


def test_pinv_meets_its_four_conditions():
    a = matrix(4, 2) @ matrix(2, 3)

    p = linalg.pinv(tensor(a), rtol=1e-10).numpy()

    for made, wanted in ((a @ p @ a, a), (p @ a @ p, p), ((a @ p).T, a @ p), ((p @ a).T, p @ a)):
        np.testing.assert_allclose(made, wanted, atol=1e-12)


def test_lstsq_returns_what_its_driver_returns():
    a, b = matrix(5, 3), matrix(5, 2)
    expected, residuals, *_ = np.linalg.lstsq(a, b)

    full = linalg.lstsq(tensor(a), tensor(b), driver="gelsd")
    plain = linalg.lstsq(tensor(a), tensor(b))

    np.testing.assert_allclose(full.solution.numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(full.residuals.numpy(), residuals, rtol=1e-10)
    assert full.rank.item() == plain.rank.item() == 3
    assert plain.residuals.numel() == plain.singular_values.numel() == 0
    with pytest.raises(RuntimeError, match="`driver` should be one of"):
        linalg.lstsq(tensor(a), tensor(b), driver="x")


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 40.0])
def test_matrix_exp_agrees_with_the_eigenvalues(scale):
    a = matrix(3, 4, 4)
    a = scale * (a + a.swapaxes(-1, -2)) / 2
    values, vectors = np.linalg.eigh(a)

    made = linalg.matrix_exp(tensor(a)).numpy()

    expected = (vectors * np.exp(values)[:, None, :]) @ vectors.swapaxes(-1, -2)
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_matrix_exp_of_nan_and_of_nothing():
    assert linalg.matrix_exp(taper.full((2, 2), float("nan"))).isnan().all()
    assert linalg.matrix_exp(taper.ones(0, 0)).shape == (0, 0)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 7])
def test_matrix_power_is_numpys_and_differentiable(n):
    a = matrix(3, 3) + 2 * np.eye(3)
    x = tensor(a).requires_grad_()

    made = linalg.matrix_power(x, n)

    np.testing.assert_allclose(made.detach().numpy(), np.linalg.matrix_power(a, n), rtol=1e-10)
    assert gradcheck(lambda x: linalg.matrix_power(x, n), (x,))


def test_vander_has_its_powers_rising_in_linalg_and_falling_in_torch():
    x = taper.tensor([2, 3])

    assert linalg.vander(x, N=3).tolist() == [[1, 2, 4], [1, 3, 9]]
    assert taper.vander(x, N=3).tolist() == [[4, 2, 1], [9, 3, 1]]


def test_svd_lowrank_finds_a_matrix_of_low_rank():
    a = matrix(30, 3) @ matrix(3, 20)

    taper.manual_seed(0)
    u, s, v = taper.svd_lowrank(tensor(a), q=5)

    np.testing.assert_allclose((u * s @ v.mT).numpy(), a, atol=1e-10)


def test_pca_lowrank_centres_the_rows():
    a = matrix(30, 2) @ matrix(2, 10) + 100

    taper.manual_seed(0)
    u, s, v = taper.pca_lowrank(tensor(a), q=3)

    np.testing.assert_allclose((u * s @ v.mT).numpy(), a - a.mean(0), atol=1e-9)


def test_arguments_are_taken_under_both_of_their_names():
    a = taper.eye(2)

    assert linalg.norm(A=a).item() == linalg.norm(input=a).item()
    assert linalg.eigvalsh(input=a).tolist() == linalg.eigvalsh(A=a).tolist()


def test_functions_that_pytorch_removed_say_what_to_use():
    with pytest.raises(RuntimeError, match=r"in favor of `torch\.linalg\.lstsq`"):
        taper.lstsq(taper.eye(2), taper.eye(2))


@pytest.mark.parametrize("largest", [True, False])
def test_lobpcg_finds_the_extreme_eigenpairs_of_a_pencil(largest):
    a, b = matrix(30, 30), matrix(30, 30, seed=1)
    a, b = a @ a.T, b @ b.T / 30 + np.eye(30)

    taper.manual_seed(0)
    values, x = taper.lobpcg(tensor(a), k=3, B=tensor(b), largest=largest)

    inverse = np.linalg.inv(np.linalg.cholesky(b))
    every = np.linalg.eigvalsh(inverse @ a @ inverse.T)
    np.testing.assert_allclose(values.numpy(), every[::-1][:3] if largest else every[:3], atol=1e-8)
    np.testing.assert_allclose(x.numpy().T @ b @ x.numpy(), np.eye(3), atol=1e-10)


def test_lobpcg_stops_at_nan_and_refuses_small_matrices():
    bad = taper.eye(9)
    bad[0, 0] = float("nan")

    with pytest.raises(ValueError, match=r"number of A rows \(=5\) is smaller than 3 x"):
        taper.lobpcg(taper.eye(5), k=2)
    with pytest.raises(NotImplementedError, match="tracker is not available"):
        taper.lobpcg(taper.eye(9), tracker=print)
    assert not np.isfinite(taper.lobpcg(bad)[0].item())


def test_lobpcg_begins_with_columns_that_depend_on_each_other():
    start = taper.ones(9, 2, dtype=taper.float64)

    values, _ = taper.lobpcg(tensor(np.diag(np.arange(9.0))), X=start)

    np.testing.assert_allclose(values.numpy(), [8, 7], atol=1e-8)
