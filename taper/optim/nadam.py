"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_betas, check_lr, number
from taper.tensor import Tensor


class NAdam(FlatOptimizer):
    """Adam that looks one step of momentum ahead.

        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),  P_t = mu_1 ... mu_t
        param -= lr (1 - mu_t) / (1 - P_t) * grad / (sqrt(v / (1 - beta2^t)) + eps)
               + lr mu_(t+1) / (1 - P_(t+1)) * m / (the same)

    Source: Dozat 2016.
    """

    scalars = ("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        if not momentum_decay >= 0.0:
            raise ValueError(f"Invalid momentum_decay value: {momentum_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("decoupled_weight_decay", False)

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def initial(self, name: str, group: dict[str, Any]) -> float:
        return 1.0 if name == "mu_product" else 0.0

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        step = float(scalars["step"])
        lr = self.option(group, "lr")
        beta1, beta2 = (float(beta) for beta in group["betas"])
        momentum_decay, decay = group["momentum_decay"], group["weight_decay"]
        mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        kept = scalars["mu_product"]
        scalars["mu_product"] = kept * kept.dtype.type(mu)  # rounded as the state is
        product = float(scalars["mu_product"])
        of_grad = -lr * (1 - mu) / (1 - product)
        of_avg = -lr * mu_next / (1 - product * mu_next)
        shrink = 1 - lr * decay if decay and group["decoupled_weight_decay"] else None
        return (
            beta1,
            beta2,
            1 - beta2**step,
            group["eps"],
            of_grad,
            of_avg,
            0 if group["decoupled_weight_decay"] else decay,
            shrink,
        )

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        beta1, beta2, correction2, eps, of_grad, of_avg, decay, shrink = c
        exp_avg, exp_avg_sq = state
        if shrink is not None:
            m.mul_(param, shrink)
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.lerp_(exp_avg, grad, 1 - beta1)
        m.mul_(exp_avg_sq, beta2)
        m.addcmul_(exp_avg_sq, grad, grad, 1 - beta2)
        denom = m.sqrt_(m.div(exp_avg_sq, correction2))
        m.add_(denom, eps)
        m.addcdiv_(param, grad, denom, of_grad)
        m.addcdiv_(param, exp_avg, denom, of_avg)
