"""The named tuples that functions with several results return, such as torch.return_types.max.

Each is a tuple with a property for every field, and prints as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any


class NamedResult(tuple[Any, ...]):
    """Base of the named tuples; made from one sequence of the results."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def __new__(cls, results: Iterable[Any]) -> NamedResult:
        made = tuple.__new__(cls, results)
        if len(made) != len(cls.__match_args__):
            raise TypeError(
                f"{cls.__module__}.{cls.__name__}() takes a {len(cls.__match_args__)}-sequence "
                f"({len(made)}-sequence given)"
            )
        return made

    def __repr__(self) -> str:
        parts = ",\n".join(f"{k}={v!r}" for k, v in zip(self.__match_args__, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{parts})"

    def __reduce__(self) -> Any:
        return type(self), (tuple(self),)


_FIELDS = {
    "aminmax": "min max",
    "cummax": "values indices",
    "cummin": "values indices",
    "frexp": "mantissa exponent",
    "geqrf": "a tau",
    "histogram": "hist bin_edges",
    "histogramdd": "hist bin_edges",
    "kthvalue": "values indices",
    "linalg_cholesky_ex": "L info",
    "linalg_eig": "eigenvalues eigenvectors",
    "linalg_eigh": "eigenvalues eigenvectors",
    "linalg_inv_ex": "inverse info",
    "linalg_ldl_factor": "LD pivots",
    "linalg_ldl_factor_ex": "LD pivots info",
    "linalg_lstsq": "solution residuals rank singular_values",
    "linalg_lu": "P L U",
    "linalg_lu_factor": "LU pivots",
    "linalg_lu_factor_ex": "LU pivots info",
    "linalg_qr": "Q R",
    "linalg_slogdet": "sign logabsdet",
    "linalg_solve_ex": "result info",
    "linalg_svd": "U S Vh",
    "lu_unpack": "P L U",
    "max": "values indices",
    "median": "values indices",
    "min": "values indices",
    "mode": "values indices",
    "nanmedian": "values indices",
    "qr": "Q R",
    "slogdet": "sign logabsdet",
    "sort": "values indices",
    "svd": "U S V",
    "topk": "values indices",
    "triangular_solve": "solution cloned_coefficient",
}


def _named(name: str, fields: tuple[str, ...]) -> type[NamedResult]:
    body: dict[str, Any] = {field: property(itemgetter(i)) for i, field in enumerate(fields)}
    body |= {
        "__slots__": (),
        "__module__": __name__,
        "__doc__": f"({', '.join(fields)})",
        "__match_args__": fields,
        "n__match_args__": len(fields),
        "n_sequence__match_args__": len(fields),
        "n_unnamed__match_args__": 0,
    }
    return type(name, (NamedResult,), body)


all_return_types = [_named(name, tuple(fields.split())) for name, fields in _FIELDS.items()]
globals().update({made.__name__: made for made in all_return_types})

__all__ = [made.__name__ for made in all_return_types]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'torch.return_types' has no attribute {name!r}")
