"""RMSprop: steps divided by the root of a running average of squared gradients."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class RMSprop(FlatOptimizer):
    """Root mean square propagation.

        v = alpha v + (1 - alpha) grad^2
        param -= lr * grad / (sqrt(v) + eps)

    `centered` subtracts the square of the gradient's average from v; `momentum` averages the
    steps.
    Source: Hinton's lecture 6 (2012); Graves 2013 for the centered form.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        if not momentum >= 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not alpha >= 0.0:
            raise ValueError(f"Invalid alpha value: {alpha}")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("momentum", 0)
            group.setdefault("centered", False)

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        names: tuple[str, ...] = ("square_avg",)
        if group["momentum"] > 0:
            names += ("momentum_buffer",)
        return (*names, "grad_avg") if group["centered"] else names

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        return (
            self.option(group, "lr"),
            group["alpha"],
            group["eps"],
            group["momentum"],
            group["weight_decay"],
            group["centered"],
        )

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        lr, alpha, eps, momentum, decay, centered = c
        square_avg = state[0]
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.mul_(square_avg, alpha)
        m.addcmul_(square_avg, grad, grad, 1 - alpha)
        if centered:
            grad_avg = state[-1]
            m.lerp_(grad_avg, grad, 1 - alpha)
            variance = m.clone(square_avg)
            m.addcmul_(variance, grad_avg, grad_avg, -1)
            avg = m.sqrt_(variance)
        else:
            avg = m.sqrt(square_avg)
        m.add_(avg, eps)
        if momentum > 0:
            buf = state[1]
            m.mul_(buf, momentum)
            m.addcdiv_(buf, grad, avg)
            m.add_(param, buf, -lr)
        else:
            m.addcdiv_(param, grad, avg, -lr)
