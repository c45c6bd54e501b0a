"""Inputs of the ops in taper/ops/special.py, gamma.py, bessel.py and orthogonal_polynomials.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper import Tensor, full_like

DOMAIN = {
    "Erfinv": (-0.9, 0.9),
    "Ndtri": (0.1, 0.9),
    "Entr": (0.2, 2),
    "Xlogy": (0.3, 2),
    "Xlog1py": (0.3, 2),
    "Logit": (0.1, 0.9),
    "Lgamma": (0.5, 3),
    "Digamma": (0.5, 3),
    "Polygamma": (0.5, 3),
    "Mvlgamma": (1, 5),
    "Igamma": (0.5, 3),
    "Igammac": (0.5, 3),
    "Zeta": (1.5, 3),
}
ATTRS = {"Polygamma": {"n": 2}, "Mvlgamma": {"p": 2}}


def _with_fixed_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """The op as a function of its second operand: there is no derivative in the first."""

    def fixed(first: Tensor, second: Tensor) -> Any:
        return function(full_like(first, 2.5, requires_grad=False), second)

    return fixed


CHECKED = dict.fromkeys(("Igamma", "Igammac", "Zeta"), _with_fixed_first)
