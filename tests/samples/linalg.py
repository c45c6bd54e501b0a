"""Samples of the ops of linear algebra: matrices that are square, well-conditioned, positive..."""

from __future__ import annotations

from typing import Any

import numpy as np


def _matrix(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, which make matrices with distinct singular values and eigenvalues."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def _complex(*shape: int, seed: int = 0) -> np.ndarray:
    made: np.ndarray = _matrix(*shape, seed=seed) + 1j * _matrix(*shape, seed=seed + 7)
    return made


def _square(n: int, *batch: int, seed: int = 0) -> np.ndarray:
    """Square matrices far from singular."""
    made: np.ndarray = _matrix(*batch, n, n, seed=seed) + 3 * np.eye(n)
    return made


def _bound(value: float = 0.0) -> Any:
    return np.array(value)


SAMPLES = {
    # solve
    "Solve": lambda: [
        ([_square(3), _matrix(3, 2)], {}),
        ([_square(3, 2), _matrix(3, 1)], {}),
        ([_complex(2, 2) + 3 * np.eye(2), _complex(2, 1)], {}),
    ],
    "Inv": lambda: [([_square(3, 2)], {}), ([_complex(2, 2) + 3 * np.eye(2)], {})],
    "SolveTriangular": lambda: [
        ([_square(3), _matrix(3, 2)], {"upper": True, "unit": False}),
        ([_square(3, 2), _matrix(3, 1)], {"upper": False, "unit": False}),
        ([_square(3), _matrix(2, 3, 1)], {"upper": False, "unit": True}),
        ([_square(20) / 4, _matrix(20, 1)], {"upper": True, "unit": True}),
        ([_complex(2, 2) + 3 * np.eye(2), _complex(2, 1)], {"upper": True, "unit": False}),
    ],
    "Det": lambda: [
        ([_square(3, 2)], {}),
        ([_complex(2, 2)], {}),
    ],
    "Slogdet": lambda: [([_square(3, 2)], {}), ([_complex(2, 2)], {})],
    # decompose
    "Cholesky": lambda: [
        ([_positive(3)], {"upper": False}),
        ([np.stack([_positive(2), 2 * _positive(2)])], {"upper": True}),
    ],
    "CholeskySolve": lambda: [
        ([_matrix(3, 2), np.tril(_square(3))], {"upper": False}),
        ([_matrix(3, 1), np.triu(_square(3))], {"upper": True}),
    ],
    "Qr": lambda: [
        ([_matrix(4, 3)], {"mode": "reduced"}),
        ([_matrix(2, 4)], {"mode": "reduced"}),
        ([_matrix(2, 3, 3)], {"mode": "complete"}),
    ],
    "Eigh": lambda: [([_symmetric(3)], {"uplo": "L"})],
    "EigenvaluesHermitian": lambda: [([_symmetric(3)], {"uplo": "U"})],
    "Eig": lambda: [
        ([np.diag([1.0, 2.0, 4.0]) + 0.2 * _complex(3, 3)], {"real": False}),
        ([np.diag([1.0, 2.0, 4.0]) + 0.2 * _matrix(3, 3)], {"real": True}),
    ],
    "Eigenvalues": lambda: [([_matrix(3, 3)], {})],
    "Svd": lambda: [
        ([_matrix(4, 3)], {"full": False}),
        ([_matrix(2, 4)], {"full": False}),
        ([_matrix(2, 3, 3)], {"full": True}),
    ],
    "SingularValues": lambda: [([_matrix(2, 4, 3)], {})],
    # factor
    "LuFactor": lambda: [
        ([_matrix(3, 3)], {}),
        ([_matrix(2, 3, 5)], {}),
        ([_matrix(5, 3)], {}),
        ([_complex(3, 3)], {}),
    ],
    "LdlFactor": lambda: [
        ([_symmetric(5)], {"hermitian": False}),
        ([_complex(3, 3) + _complex(3, 3).conj().T], {"hermitian": True}),
    ],
    "LdlSolve": lambda: [
        ([np.tril(_square(3)), np.array([1, -3, -3]), _matrix(3, 2)], {"hermitian": False})
    ],
    "Geqrf": lambda: [([_matrix(2, 4, 3)], {})],
    # matrix_functions, least_squares
    "MatrixExp": lambda: [
        ([_matrix(2, 3, 3)], {}),
        ([4 * _matrix(2, 2)], {}),
        ([_complex(2, 2)], {}),
    ],
    "Pinv": lambda: [
        ([_matrix(4, 3), _bound(), _bound(1e-10)], {"hermitian": False}),
        ([_matrix(2, 2, 3), _bound(), _bound(1e-10)], {"hermitian": False}),
    ],
    "Lobpcg": lambda: [
        (
            [_symmetric(7), None, _matrix(7, 2), None],
            {"niter": 500, "tol": 1e-13, "largest": True, "count": 2},
        )
    ],
    "Lstsq": lambda: [
        ([_matrix(4, 3), _matrix(4, 2, seed=1)], {"rcond": 1e-10, "residuals": True}),
        ([_matrix(2, 2, 3), _matrix(2, 2, 1)], {"rcond": 1e-10, "residuals": False}),
    ],
}


def _symmetric(n: int) -> np.ndarray:
    made: np.ndarray = _matrix(n, n) + _matrix(n, n).T
    return made


def _positive(n: int) -> np.ndarray:
    made: np.ndarray = _matrix(n, n) @ _matrix(n, n).T + np.eye(n)
    return made


def _of_hermitian(run: Any) -> Any:
    """The op after (x + x^H) / 2: it reads one triangle, but its gradient is of the whole."""
    return lambda x: run((x + x.mH) / 2)


def _first_without_sign(run: Any) -> Any:
    """The squares of the vectors' elements, as functions of a symmetric first input."""

    def function(x: Any, *others: Any) -> Any:
        values, vectors = run((x + x.mH) / 2, *others)
        return values, vectors**2

    return function


def _of_triangle(run: Any) -> Any:
    """The op after a mask that keeps the factor triangular."""

    def function(x: Any, factor: Any) -> Any:
        upper = abs(factor[0, -1].item()) > 1e-3
        return run(x, factor.triu() if upper else factor.tril())

    return function


def _without_phase(run: Any) -> Any:
    """The sizes of the eigenvectors' elements; their phases are arbitrary."""

    def function(x: Any) -> Any:
        values, vectors = run(x)
        return values, vectors.abs()

    return function


CHECKED = {
    "Cholesky": _of_hermitian,
    "CholeskySolve": _of_triangle,
    "Eigh": _of_hermitian,
    "Eig": _without_phase,
    "Lobpcg": _first_without_sign,
}
