"""Products of matrices: shapes, dtypes, derivatives of the batched cases, and error texts."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import linalg
from taper.autograd.gradcheck import gradcheck


def matrix(*shape: int, seed: int = 0) -> taper.Tensor:
    return taper.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 2)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (4, 3, 2)),
        ((0, 2, 3), (3, 4)),
        ((2, 0), (0, 3)),
        ((4, 2, 0), (0, 3)),
    ],
)
def test_matmul_has_the_values_and_shapes_of_numpy(one, other):
    a, b = matrix(*one), matrix(*other, seed=1)

    made = a @ b

    np.testing.assert_allclose(made.numpy(), a.numpy() @ b.numpy(), rtol=1e-13)


def test_a_batch_that_broadcasts_sums_its_gradient():
    a, b = matrix(2, 3).requires_grad_(), matrix(4, 3, 2, seed=1)

    (a @ b).sum().backward()

    expected = b.numpy().sum((0, 2))
    np.testing.assert_allclose(a.grad.numpy(), np.tile(expected, (2, 1)), rtol=1e-13)


@pytest.mark.parametrize("dtype", [taper.float16, taper.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    # In float16 itself the sum would stop at 2048, where adding 1 no longer changes anything.
    ones = taper.ones(1, 4096, dtype=dtype)

    assert (ones @ ones.t()).item() == 4096
    assert taper.addmm(taper.zeros(1, 1, dtype=dtype), ones, ones.t()).item() == 4096
    assert taper.einsum("ij,kj->ik", ones, ones).item() == 4096


def test_a_product_of_half_types_can_stay_in_float32():
    row = taper.full((1, 3), 0.1, dtype=taper.float16)

    made = taper.mm(row, row.t(), out_dtype=taper.float32)

    exact = 3 * np.float64(np.float16(0.1)) ** 2
    assert made.dtype is taper.float32
    assert made.item() == pytest.approx(exact, rel=1e-7)
    with pytest.raises(RuntimeError, match="out_dtype must be the same as input dtype or fp32"):
        taper.mm(row, row.t(), out_dtype=taper.float64)


def test_vdot_conjugates_its_first_vector():
    z = taper.tensor([1 + 2j, 3j])

    assert taper.vdot(z, z).item() == 14
    assert taper.dot(z, z).item() == (1 + 2j) ** 2 - 9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda t: t.mm(t.ones(2, 3), t.ones(4, 5)),
            r"mat1 and mat2 shapes cannot be multiplied \(2x3 and 4x5\)",
        ),
        (
            lambda t: t.ones(2, 2, 3) @ t.ones(2, 3),
            r"mat1 and mat2 shapes cannot be multiplied \(4x3 and 2x3\)",
        ),
        (
            lambda t: t.ones(2, 2, 3) @ t.ones(2, 4, 3),
            r"batch2 tensor to be: \[2, 3\] but got: \[2, 4\]",
        ),
        (
            lambda t: t.ones(2, 2, 3) @ t.ones(3, 3, 2),
            r"size of tensor a \(2\) must match the size of tensor b \(3\) at non-singleton "
            "dimension 0",
        ),
        (lambda t: t.mv(t.ones(2, 2), t.ones(3)), r"got input \(2\), mat \(2x2\), vec \(3\)"),
        (lambda t: t.dot(t.ones(2), t.ones(3)), "inconsistent tensor size"),
        (lambda t: t.tensor(1.0) @ t.ones(2), "need to be at least 1D, but they are 0D and 1D"),
        (
            lambda t: t.ones(2, 2) @ t.ones(2, 2).double(),
            "expected m1 and m2 to have the same dtype, but got: float != double",
        ),
        (
            lambda t: t.addmm(t.ones(3, 3), t.ones(2, 2), t.ones(2, 2)),
            r"expanded size of the tensor \(2\) must match the existing size \(3\)",
        ),
        (
            lambda t: t.linalg.multi_dot([t.ones(2, 2), t.ones(3, 2)]),
            r"tensors 0 and 1 with shapes \[2, 2\] and \[3, 2\] cannot be multiplied",
        ),
    ],
)
def test_factors_that_do_not_fit_are_named(call, words):
    with pytest.raises(RuntimeError, match=words):
        call(taper)


def test_truth_values_are_not_multiplied():
    yes = taper.ones(2, 2, dtype=taper.bool)

    with pytest.raises(NotImplementedError, match=r"addmm_impl_cpu_.*not implemented for 'Bool'"):
        yes @ yes


def test_addmm_with_beta_zero_ignores_nan_in_its_summand():
    made = taper.addmm(taper.full((2, 2), float("nan")), taper.eye(2), taper.eye(2), beta=0)

    assert made.tolist() == [[1, 0], [0, 1]]


def test_addbmm_sums_over_the_batch():
    m, a, b = matrix(2, 4), matrix(3, 2, 5), matrix(3, 5, 4)

    made = taper.addbmm(m, a, b, beta=0.5, alpha=2)

    expected = 0.5 * m.numpy() + 2 * (a.numpy() @ b.numpy()).sum(0)
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-12)


def test_a_chain_is_multiplied_in_the_cheapest_order():
    a, b, c = matrix(1, 50), matrix(50, 50, seed=1), matrix(50, 1, seed=2)

    made = linalg.multi_dot([a, b, c])

    np.testing.assert_allclose(made.numpy(), a.numpy() @ b.numpy() @ c.numpy(), rtol=1e-11)
    from taper.ops.products import _split_points

    # The textbook example: ((A1 (A2 A3)) ((A4 A5) A6)).
    split = _split_points([30, 35, 15, 5, 10, 20, 25])
    assert (split[0][5], split[0][2], split[3][5]) == (2, 0, 4)


def test_kron_trace_and_block_diag_are_those_of_numpy():
    a, b = matrix(2, 3), matrix(4, 2, seed=1)

    np.testing.assert_allclose(taper.kron(a, b).numpy(), np.kron(a.numpy(), b.numpy()))
    assert taper.trace(b).item() == pytest.approx(np.trace(b.numpy()))
    blocks = taper.block_diag(taper.ones(1, 2), taper.tensor(3.0), taper.ones(2))
    assert blocks.tolist() == [[1, 1, 0, 0, 0], [0, 0, 3, 0, 0], [0, 0, 0, 1, 1]]


def test_block_diag_is_differentiable():
    a, b = matrix(2, 3).requires_grad_(), matrix(1, 2).requires_grad_()

    assert gradcheck(taper.block_diag, (a, b))


def test_cross_takes_the_first_dimension_of_size_three():
    a, b = matrix(3, 3), matrix(3, 3, seed=1)

    np.testing.assert_allclose(taper.cross(a, b).numpy(), np.cross(a.numpy().T, b.numpy().T).T)
    np.testing.assert_allclose(linalg.cross(a, b).numpy(), np.cross(a.numpy(), b.numpy()))
