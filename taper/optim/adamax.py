"""Adamax: Adam with the largest gradient in place of the root of the average square."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_betas, check_lr, number
from taper.tensor import Tensor


class Adamax(FlatOptimizer):
    """Adam in the infinity norm.

        m = lerp(m, grad, 1 - beta1)
        u = max(beta2 u, |grad| + eps)
        param -= lr / (1 - beta1^t) * m / u

    Source: Kingma and Ba 2015, section 7.1.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        beta1, beta2 = (float(beta) for beta in group["betas"])
        step_size = self.option(group, "lr") / (1 - beta1 ** float(scalars["step"]))
        return beta1, beta2, step_size, group["eps"], group["weight_decay"]

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        beta1, beta2, step_size, eps, decay = c
        exp_avg, exp_inf = state
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.lerp_(exp_avg, grad, 1 - beta1)
        size = m.abs(grad)
        m.add_(size, eps)
        m.mul_(exp_inf, beta2)
        m.maximum_(exp_inf, size)
        m.addcdiv_(param, exp_avg, exp_inf, -step_size)
