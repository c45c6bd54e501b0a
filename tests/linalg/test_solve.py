"""Linear equations, inverses, determinants, and what happens with singular matrices."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import linalg
from taper.autograd.gradcheck import gradcheck
from taper.ops import elimination

COMPLEX_AND_REAL = [np.float32, np.float64, np.complex64, np.complex128]


def matrix(*shape: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng([seed, *shape])
    made = generator.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        made = made + 1j * generator.normal(size=shape)
    return made.astype(dtype)


def tensor(x: np.ndarray) -> taper.Tensor:
    return taper.from_numpy(np.array(x))


def near(dtype: type) -> float:
    return 3e-4 if np.dtype(dtype) in (np.float32, np.complex64) else 1e-10


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
def test_solve_gives_the_right_hand_side_back(dtype):
    a, b = matrix(2, 1, 4, 4, dtype=dtype), matrix(3, 4, 2, dtype=dtype)

    x = linalg.solve(tensor(a), tensor(b))

    assert x.shape == (2, 3, 4, 2)
    np.testing.assert_allclose(a @ x.numpy(), b + np.zeros((2, 3, 1, 1)), atol=near(dtype))


def test_solve_takes_vectors_and_the_other_side():
    a, v, b = matrix(3, 3), matrix(3), matrix(2, 3)

    np.testing.assert_allclose(a @ linalg.solve(tensor(a), tensor(v)).numpy(), v, atol=1e-12)
    other = linalg.solve(tensor(a), tensor(b), left=False)
    np.testing.assert_allclose(other.numpy() @ a, b, atol=1e-12)


def test_a_singular_matrix_is_an_error_that_names_the_batch_element():
    batch = tensor(np.stack([np.eye(2), np.zeros((2, 2))]))

    with pytest.raises(linalg.LinAlgError, match=r"\(Batch element 1\): The solver failed"):
        linalg.solve(batch, taper.ones(2, 2, 1, dtype=taper.float64))
    with pytest.raises(linalg.LinAlgError, match=r"linalg.inv: \(Batch element 1\): The diagonal"):
        linalg.inv(batch)


def test_inv_ex_reports_the_zero_pivot_and_inverts_the_others():
    batch = tensor(np.stack([2 * np.eye(2), np.array([[1.0, 1.0], [1.0, 1.0]])]))

    made, info = linalg.inv_ex(batch)

    assert info.tolist() == [0, 2]
    assert made[0].tolist() == [[0.5, 0], [0, 0.5]]


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 33])
@pytest.mark.parametrize("upper", [False, True])
def test_triangular_systems_read_one_triangle(dtype, n, upper):
    a = matrix(2, n, n, dtype=dtype) / max(n, 1) + 2 * np.eye(n, dtype=dtype)
    b = matrix(n, 3, dtype=dtype)
    triangle = np.triu(a) if upper else np.tril(a)

    x = linalg.solve_triangular(tensor(a), tensor(b), upper=upper)

    np.testing.assert_allclose(triangle @ x.numpy(), b + np.zeros((2, 1, 1)), atol=near(dtype))


def test_a_unit_triangle_does_not_read_its_diagonal():
    a = np.array([[float("nan"), 0], [3.0, float("nan")]])

    x = linalg.solve_triangular(tensor(a), tensor([[1.0], [5.0]]), upper=False, unitriangular=True)

    assert x.tolist() == [[1], [2]]


def test_a_zero_on_the_diagonal_gives_inf_and_nan_without_an_error():
    x = linalg.solve_triangular(taper.zeros(2, 2), taper.ones(2, 1), upper=True)

    assert np.isnan(x[0].item())
    assert x[1].item() == float("inf")


@pytest.mark.parametrize("dtype", COMPLEX_AND_REAL)
def test_det_slogdet_and_logdet_agree(dtype):
    a = matrix(3, 4, 4, dtype=dtype)

    det, (sign, size) = linalg.det(tensor(a)), linalg.slogdet(tensor(a))

    np.testing.assert_allclose(det.numpy(), np.linalg.det(a), rtol=near(dtype))
    np.testing.assert_allclose((sign * size.exp()).numpy(), det.numpy(), rtol=near(dtype))


def test_logdet_of_a_negative_determinant_is_nan_and_of_zero_minus_infinity():
    assert np.isnan(taper.logdet(-taper.eye(3)).item())
    assert taper.logdet(taper.zeros(2, 2)).item() == float("-inf")


@pytest.mark.parametrize("rank", [1, 2])
def test_the_gradient_of_a_zero_determinant_is_that_of_the_cofactors(rank):
    """A^-1 does not exist there, but det is a polynomial with a gradient everywhere."""
    a = matrix(3, rank) @ matrix(rank, 3)
    x = tensor(a).requires_grad_()
    # Exact zero needs exact arithmetic: integers.
    x = tensor(np.outer([1.0, 2, 3], [1.0, 1, 2])).requires_grad_() if rank == 1 else x
    if rank == 2:
        x = tensor([[1.0, 2, 3], [2, 4, 6], [1, 0, 1]]).requires_grad_()

    linalg.det(x).backward()

    a = x.detach().numpy()
    cofactors = [
        [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(3)]
        for i in range(3)
    ]
    np.testing.assert_allclose(x.grad.numpy(), cofactors, atol=1e-12)


def test_logdet_is_differentiable():
    a = matrix(3, 3)
    x = tensor(a @ a.T + np.eye(3)).requires_grad_()

    taper.logdet(x).backward()

    np.testing.assert_allclose(x.grad.numpy(), np.linalg.inv(x.detach().numpy()).T, rtol=1e-10)


def test_tensorsolve_and_tensorinv_are_numpys():
    a, b = matrix(2, 3, 6), matrix(2, 3)

    np.testing.assert_allclose(
        linalg.tensorsolve(tensor(a), tensor(b)).numpy(), np.linalg.tensorsolve(a, b), rtol=1e-9
    )
    np.testing.assert_allclose(
        linalg.tensorinv(tensor(a), ind=2).numpy(), np.linalg.tensorinv(a, ind=2), rtol=1e-9
    )


def test_the_older_triangular_solve_transposes():
    a, b = matrix(3, 3), matrix(3, 2)

    made = taper.triangular_solve(tensor(b), tensor(a), transpose=True)

    np.testing.assert_allclose(np.triu(a).T @ made.solution.numpy(), b, atol=1e-12)
    assert made.cloned_coefficient.tolist() == a.tolist()


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 5), (40, 40), (50, 35), (35, 50), (2, 4, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_lu_multiplies_back_and_its_multipliers_are_small(shape, dtype):
    a = matrix(*shape, dtype=dtype)

    p, lower, upper = linalg.lu(tensor(a))

    np.testing.assert_allclose((p @ lower @ upper).numpy(), a, atol=near(dtype))
    assert (np.abs(lower.numpy()) <= 1.5).all()  # complex pivots are compared by |re| + |im|


def test_lu_reports_a_zero_pivot():
    made = linalg.lu_factor_ex(taper.ones(2, 2))

    assert made.info.item() == 2
    with pytest.raises(RuntimeError, match=r"U\[2,2\] is zero and using it on lu_solve"):
        linalg.lu_factor(taper.ones(2, 2))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve_takes_both_sides_and_the_adjoint(left, adjoint):
    a, b = matrix(4, 4, dtype=np.complex128), matrix(4, 4, dtype=np.complex128, seed=1)

    x = linalg.lu_solve(*linalg.lu_factor(tensor(a)), tensor(b), left=left, adjoint=adjoint)

    factor = a.conj().T if adjoint else a
    made = factor @ x.numpy() if left else x.numpy() @ factor
    np.testing.assert_allclose(made, b, atol=1e-12)


def test_lu_solve_is_differentiable_in_the_factors():
    a, b = tensor(matrix(3, 3)).requires_grad_(), tensor(matrix(3, 2)).requires_grad_()

    def function(a, b):
        return linalg.lu_solve(*linalg.lu_factor(a), b)

    assert gradcheck(function, (a, b))


def test_swaps_that_are_undone_leave_the_rows_in_order():
    order = elimination.permutation(np.array([2, 3, 3]), 3)

    assert order.tolist() == [1, 2, 0]
