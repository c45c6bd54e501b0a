"""RAdam: Adam that waits for a reliable variance."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_betas, check_lr, number
from taper.tensor import Tensor


class RAdam(FlatOptimizer):
    """Rectified Adam: plain momentum until the variance of the step size is finite, then Adam
    times the rectification factor.

    Source: Liu et al. 2020.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("decoupled_weight_decay", False)

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        step = float(scalars["step"])
        lr = self.option(group, "lr")
        beta1, beta2 = (float(beta) for beta in group["betas"])
        decay = group["weight_decay"]
        correction2 = 1 - beta2**step
        # Length of the average that the exponential one amounts to: in the long run, and now.
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * step * beta2**step / correction2
        rectification = None
        if rho > 5.0:
            rectification = (
                (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
            ) ** 0.5
        shrink = 1 - lr * decay if decay and group["decoupled_weight_decay"] else None
        return (
            lr,
            beta1,
            beta2,
            1 - beta1**step,
            correction2**0.5,
            rectification,
            group["eps"],
            0 if group["decoupled_weight_decay"] else decay,
            shrink,
        )

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        lr, beta1, beta2, correction1, root2, rectification, eps, decay, shrink = c
        exp_avg, exp_avg_sq = state
        if shrink is not None:
            m.mul_(param, shrink)
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.lerp_(exp_avg, grad, 1 - beta1)
        m.mul_(exp_avg_sq, beta2)
        m.addcmul_(exp_avg_sq, grad, grad, 1 - beta2)
        update = m.div(exp_avg, correction1)
        m.mul_(update, lr)
        if rectification is not None:
            denom = m.sqrt(exp_avg_sq)
            m.add_(denom, eps)
            m.mul_(update, m.div(root2, denom))
            m.mul_(update, rectification)
        m.add_(param, update, -1)
