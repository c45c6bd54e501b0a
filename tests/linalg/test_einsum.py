"""einsum and tensordot against numpy's, and their error texts."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper.autograd.gradcheck import gradcheck, gradgradcheck

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "i": 3, "j": 4, "k": 2, "A": 3}


def operand(term: str, seed: int = 0) -> taper.Tensor:
    shape = tuple(SIZES[letter] for letter in term)
    return taper.from_numpy(np.random.default_rng([seed, *shape]).normal(size=shape))


@pytest.mark.parametrize(
    "equation",
    [
        "ij,jk->ik",
        "ij,jk->ki",
        "ij,jk",
        "ij->ji",
        "ij->",
        "ij->j",
        "ii->i",
        "ii",
        "iji->j",
        "iij,jk->ik",
        "i,j->ij",
        "ij,ij->ij",
        "ij,ij->",
        "ij,ij->i",
        "abc,acd->abd",
        "abcd,aicd->acbi",
        "ij,j,k->ik",
        "ab,bc,cd->ad",
        "ab,bc,cd,da->",
        "bA,A->bA",
        " i j , j k -> i k ",
        "abc,bcd,cda->abcd",
        "ij,k->ik",
    ],
)
def test_einsum_is_numpys(equation):
    terms = equation.replace(" ", "").split("->")[0].split(",")
    operands = [operand(term, i) for i, term in enumerate(terms)]

    made = taper.einsum(equation, *operands)

    expected = np.einsum(equation.replace(" ", ""), *(x.numpy() for x in operands))
    np.testing.assert_allclose(made.numpy(), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i...->...", [(3, 2)]),
        ("...i,...i", [(2, 3), (3,)]),
        ("ij,jk->ik", [(2, 1), (3, 4)]),
        ("...,...->...", [(2, 1), (3,)]),
    ],
)
def test_an_ellipsis_and_sizes_of_one_broadcast(equation, shapes):
    operands = [
        taper.from_numpy(np.random.default_rng([i, *s]).normal(size=s))
        for i, s in enumerate(shapes)
    ]

    made = taper.einsum(equation, *operands)

    arrays = [x.numpy() for x in operands]
    np.testing.assert_allclose(made.numpy(), np.einsum(equation, *arrays), rtol=1e-12)


def test_without_an_arrow_capital_letters_come_first():
    assert taper.einsum("iJ", taper.ones(2, 3)).shape == (3, 2)


def test_lists_of_numbers_take_the_place_of_letters():
    x, y = operand("ij"), operand("jk", 1)

    made = taper.einsum(x, [0, 1], y, [1, 2], [2, 0])

    np.testing.assert_allclose(made.numpy(), (x.numpy() @ y.numpy()).T, rtol=1e-12)
    assert taper.einsum(x, [..., 0], [0, ...]).shape == (4, 3)


@pytest.mark.parametrize("equation", ["ij,jk->ik", "iij,j->i", "ab,bc,ca->b", "a,b->ba"])
def test_einsum_is_twice_differentiable(equation):
    terms = equation.split("->")[0].split(",")
    given = [operand(term, i).requires_grad_() for i, term in enumerate(terms)]

    assert gradcheck(lambda *x: taper.einsum(equation, *x), given)
    assert gradgradcheck(lambda *x: taper.einsum(equation, *x), given)


def test_a_diagonal_is_a_view():
    x = taper.zeros(2, 2)

    taper.einsum("ii->i", x).fill_(1)

    assert x.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("ij,jk->ik", [(2, 3), (4, 5)], "subscript j has size 4 for operand 1 which does not"),
        ("ij->il", [(2, 3)], "output subscript l does not appear"),
        ("ij->ii", [(2, 3)], "output subscript i appears more than once"),
        ("ij", [(2, 3), (2,)], "more operands were provided"),
        ("ij,jk", [(2, 3)], "fewer operands were provided"),
        ("ijk", [(2, 3)], r"subscripts in the equation \(3\) does not match the number of dim"),
        ("ii", [(2, 3)], "subscript i is repeated for operand 0 but the sizes don't match"),
        ("i1", [(2, 3)], "invalid subscript given at index 1"),
        ("..i", [(2, 3)], "found '.' for operand 0 that is not part of any ellipsis"),
        ("...i...", [(2, 3)], "for which an ellipsis was already found"),
    ],
)
def test_an_equation_that_does_not_fit_is_explained(equation, shapes, words):
    with pytest.raises(RuntimeError, match=words):
        taper.einsum(equation, *(taper.ones(*s) for s in shapes))


def test_tensordot_takes_a_number_or_pairs_of_dimensions():
    a, b = operand("bcd"), operand("cdk", 1)

    made = taper.tensordot(a, b, 2)
    pairs = taper.tensordot(a, b, ([2, 1], [1, 0]))

    np.testing.assert_allclose(made.numpy(), np.tensordot(a.numpy(), b.numpy(), 2), rtol=1e-12)
    np.testing.assert_allclose(pairs.numpy(), made.numpy(), rtol=1e-12)


def test_tensordot_names_sizes_that_differ():
    with pytest.raises(RuntimeError, match="first has size 3 in dim -1 and second has size 4"):
        taper.tensordot(taper.ones(2, 3), taper.ones(4, 5), dims=1)
