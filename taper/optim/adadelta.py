"""Adadelta: steps scaled by the ratio of past steps to past gradients."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class Adadelta(FlatOptimizer):
    """Adaptive steps without a scale of their own.

        v = rho v + (1 - rho) grad^2
        delta = sqrt(u + eps) / sqrt(v + eps) * grad
        u = rho u + (1 - rho) delta^2
        param -= lr * delta

    Source: Zeiler 2012.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        return self.option(group, "lr"), group["rho"], group["eps"], group["weight_decay"]

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        lr, rho, eps, decay = c
        square_avg, acc_delta = state
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.mul_(square_avg, rho)
        m.addcmul_(square_avg, grad, grad, 1 - rho)
        std = m.sqrt_(m.add(square_avg, eps))
        delta = m.sqrt_(m.add(acc_delta, eps))
        m.div_(delta, std)
        m.mul_(delta, grad)
        m.mul_(acc_delta, rho)
        m.addcmul_(acc_delta, delta, delta, 1 - rho)
        m.add_(param, delta, -lr)
