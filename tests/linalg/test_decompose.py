"""Factorizations: what multiplies back, which triangle is read, phases, and singular cases."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import linalg
from taper.autograd.gradcheck import gradcheck, gradgradcheck


def matrix(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def complex_matrix(*shape: int) -> np.ndarray:
    return matrix(*shape) + 1j * matrix(*shape, seed=1)


def tensor(x: np.ndarray) -> taper.Tensor:
    return taper.from_numpy(np.array(x))


def test_cholesky_reads_one_triangle():
    a = np.array([[4.0, 99], [2, 5]])

    lower = linalg.cholesky(tensor(a))
    upper = linalg.cholesky(tensor(a.T), upper=True)

    assert lower.tolist() == [[2, 0], [1, 2]]
    assert upper.tolist() == [[2, 1], [0, 2]]


@pytest.mark.parametrize("bad", [-1.0, 0.0, float("nan")])
def test_cholesky_names_the_minor_that_is_not_positive(bad):
    a = np.diag([1.0, bad, 1.0])

    with pytest.raises(linalg.LinAlgError, match="leading minor of order 2 is not positive-def"):
        linalg.cholesky(tensor(a))
    assert linalg.cholesky_ex(tensor(a)).info.item() == 2


def test_cholesky_ex_factors_the_good_matrices_of_a_batch():
    batch = tensor(np.stack([np.diag([1.0, -1.0]), np.diag([4.0, 9.0])]))

    made, info = linalg.cholesky_ex(batch)

    assert info.tolist() == [2, 0]
    assert made[1].tolist() == [[2, 0], [0, 3]]


def test_cholesky_solve_and_inverse_take_the_factor():
    a = matrix(3, 3)
    a = a @ a.T + np.eye(3)
    lower = linalg.cholesky(tensor(a))

    inverse = taper.cholesky_inverse(lower)
    solution = taper.cholesky_solve(tensor(np.eye(3)), lower.mT, upper=True)

    np.testing.assert_allclose(inverse.numpy(), np.linalg.inv(a), rtol=1e-10)
    np.testing.assert_allclose(solution.numpy(), np.linalg.inv(a), rtol=1e-10)


@pytest.mark.parametrize("mode", ["reduced", "complete"])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3), (0, 3), (3, 0)])
def test_qr_multiplies_back(mode, shape):
    a = matrix(*shape)

    q, r = linalg.qr(tensor(a), mode)

    np.testing.assert_allclose((q @ r).numpy(), a, atol=1e-12)
    np.testing.assert_allclose(
        (q.mT @ q).numpy(), np.eye(q.shape[-1]) + np.zeros((*shape[:-2], 1, 1)), atol=1e-12
    )


def test_qr_in_mode_r_says_why_it_has_no_derivative():
    x = tensor(matrix(3, 3)).requires_grad_()

    with pytest.raises(RuntimeError, match="not computed when mode='r'"):
        linalg.qr(x, "r").R.sum().backward()
    with pytest.raises(RuntimeError, match="mode='complete' and nrows > ncols"):
        linalg.qr(tensor(matrix(3, 2)).requires_grad_(), "complete").R.sum().backward()


def test_eigh_reads_one_triangle_and_eig_is_always_complex():
    a = np.array([[2.0, 99], [1, 2]])

    np.testing.assert_allclose(linalg.eigvalsh(tensor(a)).numpy(), [1, 3], rtol=1e-14)
    assert linalg.eig(tensor(np.eye(2))).eigenvalues.dtype is taper.complex128
    assert linalg.eigvals(taper.eye(2)).dtype is taper.complex64


def test_eigenvalues_of_a_real_matrix_have_a_real_gradient():
    x = tensor(matrix(3, 3)).requires_grad_()

    assert gradcheck(lambda a: linalg.eigvals(a).abs(), (x,))


def test_a_loss_that_depends_on_the_phase_of_vectors_is_refused():
    x = tensor(complex_matrix(3, 3)).requires_grad_()

    with pytest.raises(RuntimeError, match="eigenvectors in the complex case are specified up to"):
        linalg.eig(x).eigenvectors.imag.sum().backward()
    with pytest.raises(RuntimeError, match="singular vectors in the complex case"):
        linalg.svd(x).U.imag.sum().backward()


def test_nan_gives_nan_eigenvalues_and_an_error_elsewhere():
    nan = taper.full((2, 2), float("nan"))

    assert linalg.eigvalsh(nan).isnan().all()
    with pytest.raises(linalg.LinAlgError, match=r"linalg\.svd: .*contained non-finite values"):
        linalg.svd(nan)
    with pytest.raises(RuntimeError, match="should not contain infs or NaNs"):
        linalg.eig(nan)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 3, 3), (0, 3)])
def test_svd_multiplies_back(full, shape):
    a = matrix(*shape)

    u, s, vh = linalg.svd(tensor(a), full_matrices=full)

    k = s.shape[-1]
    made = (u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :]
    np.testing.assert_allclose(made.numpy(), a, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (3, 3)])
def test_complex_svd_is_differentiable_where_phases_cancel(shape):
    x = tensor(complex_matrix(*shape)).requires_grad_()

    def function(a):
        u, s, vh = linalg.svd(a, full_matrices=False)
        return u @ vh, s

    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_the_older_svd_returns_v_and_zeros_without_vectors():
    a = matrix(2, 3)

    u, s, v = taper.svd(tensor(a))
    empty = taper.svd(tensor(a), compute_uv=False)

    np.testing.assert_allclose((u * s @ v.mT).numpy(), a, atol=1e-12)
    assert empty.U.tolist() == np.zeros((2, 2)).tolist()
    assert empty.V.shape == (3, 3)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_ldl_solves_indefinite_systems(hermitian, n):
    a = complex_matrix(2, n, n)
    a = a + (a.conj() if hermitian else a).swapaxes(-1, -2)
    b = complex_matrix(n, 2)

    factors, pivots = linalg.ldl_factor(tensor(a), hermitian=hermitian)
    x = linalg.ldl_solve(factors, pivots, tensor(b), hermitian=hermitian)

    np.testing.assert_allclose(a @ x.numpy(), b + np.zeros((2, 1, 1)), atol=1e-10)


def test_ldl_stores_a_block_of_two_as_lapack_does():
    a = tensor([[1.0, 2, 3], [2, 1, 5], [3, 5, 1]])

    factors, pivots = linalg.ldl_factor(a)

    expected = [[1, 0, 0], [3, 1, 0], [1.625, 0.125, -2.875]]
    np.testing.assert_allclose(factors.numpy(), expected, rtol=1e-14)
    assert pivots.tolist() == [-3, -3, 3]


def test_reflections_make_the_q_of_qr():
    a = matrix(2, 4, 3)
    packed, tau = taper.geqrf(tensor(a))

    q = linalg.householder_product(packed, tau)
    other = matrix(2, 4, 5)
    full = linalg.qr(tensor(a), "complete").Q.numpy()

    np.testing.assert_allclose((q @ packed[:, :3].triu()).numpy(), a, atol=1e-12)
    made = taper.ormqr(packed, tau, tensor(other), transpose=True)
    np.testing.assert_allclose(made.numpy(), full.swapaxes(-1, -2) @ other, atol=1e-12)
    right = taper.ormqr(packed, tau, tensor(other).mT, left=False)
    np.testing.assert_allclose(right.numpy(), other.swapaxes(-1, -2) @ full, atol=1e-12)


def test_householder_product_is_differentiable():
    a, tau = tensor(matrix(4, 3)).requires_grad_(), tensor(matrix(2)).requires_grad_()

    assert gradcheck(linalg.householder_product, (a, tau))
