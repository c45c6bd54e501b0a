"""Rprop: steps that grow while the gradient keeps its sign and shrink when it turns."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class Rprop(FlatOptimizer):
    """Resilient propagation: only the signs of the gradient count.

    The step of an element is multiplied by etas[1] if its gradient kept the sign, by etas[0] if it
    turned (it then also pauses once), and stays within `step_sizes`.
    Source: Riedmiller and Braun 1993.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def initial(self, name: str, group: dict[str, Any]) -> float:
        return number(group["lr"]) if name == "step_size" else 0.0

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        return (*group["etas"], *group["step_sizes"])

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        shrink, grow, smallest, largest = c
        prev, step_size = state
        agreement = m.mul(grad, prev)
        turned = agreement < 0
        m.mul_(step_size, m.where(agreement > 0, grow, m.where(turned, shrink, 1.0)))
        m.clamp_(step_size, smallest, largest)
        grad = m.where(turned, 0.0, grad)
        m.addcmul_(param, m.sign(grad), step_size, -1)
        m.copy_(prev, grad)
