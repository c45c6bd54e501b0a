"""Distances: values, gradients where vectors coincide, the two ways of cdist, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn

inf = math.inf


def points(rows, columns, seed=0):
    values = np.random.default_rng(seed).uniform(-2, 2, (rows, columns))
    return torch.tensor(values.tolist(), dtype=torch.float64)


def by_hand(x, y, p):
    """All distances, as the definition has them."""
    gap = np.abs(np.array(x.tolist())[:, None] - np.array(y.tolist()))
    if p == 0:
        return (gap != 0).sum(-1)
    return gap.max(-1) if p == inf else (gap**p).sum(-1) ** (1 / p)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, inf])
def test_cdist_and_pdist(p):
    x, y = points(5, 3), points(4, 3, seed=1)

    np.testing.assert_allclose(torch.cdist(x, y, p).tolist(), by_hand(x, y, p), rtol=1e-12)
    np.testing.assert_allclose(
        F.pdist(x, p).tolist(), by_hand(x, x, p)[np.triu_indices(5, 1)], rtol=1e-12
    )


def test_many_rows_take_the_matrix_product_and_give_the_same_gradients():
    x, y = points(30, 3).requires_grad_(), points(40, 3, seed=1).requires_grad_()
    found = []
    for mode in ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        made = torch.cdist(x, y, compute_mode=mode)
        found.append([made, *torch.autograd.grad(made.square().sum(), (x, y))])
    usual = torch.cdist(x, y)

    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=1e-9)
    assert torch.equal(usual, found[0][0])


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, inf])
def test_coinciding_points_get_no_gradient(p):
    x = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    torch.cdist(x, torch.ones(2, 3, dtype=torch.float64), p).sum().backward()
    y = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    F.pdist(y, p).sum().backward()

    assert x.grad.abs().sum().item() == y.grad.abs().sum().item() == 0


def test_cdist_broadcasts_its_batches():
    x, y = points(6, 5).reshape(2, 1, 3, 5), points(8, 5, seed=1).reshape(4, 2, 5)
    made = torch.cdist(x, y)

    assert made.shape == (2, 4, 3, 2)
    np.testing.assert_allclose(made[1, 2].tolist(), by_hand(x[1, 0], y[2], 2), rtol=1e-12)


def test_distances_of_nothing():
    assert torch.cdist(torch.zeros(0, 5), torch.zeros(3, 5)).shape == (0, 3)
    assert torch.cdist(torch.zeros(2, 0), torch.zeros(3, 0)).tolist() == [[0] * 3] * 2
    assert F.pdist(torch.zeros(1, 5)).shape == (0,)


@pytest.mark.parametrize(
    "x, y, options, error, text",
    [
        ((3,), (3,), {}, RuntimeError, "at least 2D tensors, X1 got: 1D"),
        ((2, 3), (2, 4), {}, RuntimeError, "same number of columns. X1: 3 X2: 4"),
        ((2, 3), (2, 3), {"p": -1}, RuntimeError, "only supports non-negative p values"),
        ((2, 3), (2, 3), {"compute_mode": "fast"}, ValueError, "fast is not a valid value"),
        ((2, 2, 3), (3, 2, 3), {}, RuntimeError, r"tensor a \(2\) must match .* b \(3\)"),
    ],
)
def test_cdist_of_what_does_not_fit(x, y, options, error, text):
    with pytest.raises(error, match=text):
        torch.cdist(torch.zeros(x), torch.zeros(y), **options)


def test_distances_are_of_floating_numbers():
    with pytest.raises(RuntimeError, match="floating-point dtypes, X1 got: Long"):
        torch.cdist(torch.ones(2, 3).long(), torch.ones(2, 3).long())
    with pytest.raises(NotImplementedError, match="\"cdist\" not implemented for 'Half'"):
        torch.cdist(torch.ones(2, 3).half(), torch.ones(2, 3).half())
    with pytest.raises(RuntimeError, match="pdist only supports 2D tensors, got: 1D"):
        F.pdist(torch.ones(3))


# ---------------------------------------------------------------- pairs


def test_cosine_similarity():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    y = torch.tensor([[4.0, 3.0], [-2.0, 0.0], [1.0, 0.0]])

    np.testing.assert_allclose(F.cosine_similarity(x, y).tolist(), [0.96, -1, 0], rtol=1e-6)
    assert F.cosine_similarity(x, y, dim=0).shape == (2,)
    assert F.cosine_similarity(x, y[0], dim=-1).shape == (3,)
    assert torch.equal(nn.CosineSimilarity()(x, y), F.cosine_similarity(x, y))


def test_a_vector_of_zeros_has_similarity_0_and_a_finite_gradient():
    x = torch.zeros(1, 2, requires_grad=True)
    F.cosine_similarity(x, torch.ones(1, 2), eps=0.5).backward()

    # Below eps the length is constant: what remains is y / (eps * |y|).
    np.testing.assert_allclose(x.grad.tolist(), [[math.sqrt(2)] * 2], rtol=1e-6)


def test_cosine_similarity_does_not_overflow_in_float16():
    x = torch.full((1, 2), 300.0, dtype=torch.float16)

    assert F.cosine_similarity(x, x).tolist() == [1]


def test_cosine_similarity_of_what_does_not_fit():
    with pytest.raises(RuntimeError, match=r"common dtype to be floating point, .* is Long"):
        F.cosine_similarity(torch.ones(2, 3).long(), torch.ones(2, 3).long())
    with pytest.raises(IndexError, match="Dimension out of range"):
        F.cosine_similarity(torch.ones(3), torch.ones(3))
    with pytest.raises(RuntimeError, match=r"tensor a \(3\) must match"):
        F.cosine_similarity(torch.ones(3, 2), torch.ones(2, 2))


def test_pairwise_distance():
    x, y = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]])

    np.testing.assert_allclose(F.pairwise_distance(x, y, eps=0).tolist(), [5, 1])
    assert F.pairwise_distance(x, y, p=1, eps=0).tolist() == [7, 1]
    assert F.pairwise_distance(x, y, keepdim=True).shape == (2, 1)
    assert torch.equal(nn.PairwiseDistance(p=1)(x, y), F.pairwise_distance(x, y, 1))
