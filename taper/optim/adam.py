"""Adam: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_betas, check_lr, number
from taper.tensor import Tensor


class Adam(FlatOptimizer):
    """Adam, with bias correction.

        m = lerp(m, grad, 1 - beta1)
        v = beta2 v + (1 - beta2) grad^2
        param -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    `weight_decay` is added to the gradient, or with `decoupled_weight_decay` shrinks the
    parameters; `amsgrad` divides by the largest v so far.
    Source: Kingma and Ba 2015; Reddi et al. 2018 for amsgrad.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        single = foreach and not capturable
        if isinstance(lr, Tensor) and single:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        if not number(weight_decay) >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        kinds = {Tensor if isinstance(beta, Tensor) else type(beta) for beta in betas}
        if len(kinds) != 1 or not kinds <= {float, Tensor}:
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                if single:
                    raise ValueError(
                        f"betas[{i}] as a Tensor is not supported for "
                        "capturable=False and foreach=True"
                    )
                if beta.numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element")
        pair = tuple(b.squeeze() if isinstance(b, Tensor) and b.ndim else b for b in betas)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": pair,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )
        if fused:
            if differentiable:
                raise RuntimeError("`fused` does not support `differentiable`")
            if foreach:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("amsgrad", False)
            group.setdefault("decoupled_weight_decay", False)
            group.setdefault("fused", None)

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        if group["amsgrad"]:
            return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        return ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        if group["foreach"] and isinstance(group["lr"], Tensor) and not group["capturable"]:
            raise RuntimeError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        step = float(scalars["step"])
        lr = self.option(group, "lr")
        beta1, beta2 = group["betas"]
        if not group["differentiable"]:
            beta1, beta2 = number(beta1), number(beta2)
        # Both corrections are moved out of the quotient, which saves a pass over the elements.
        root = (1 - beta2**step) ** 0.5
        step_size = lr / (1 - beta1**step) * root
        eps = group["eps"] * root
        decay = self.option(group, "weight_decay")
        # The decoupled decay as a factor of the parameter; None where there is none.
        shrink = None
        if group["decoupled_weight_decay"]:
            shrink = 1 - lr * decay if _some(decay) else None
            decay = 0
        return beta1, beta2, step_size, eps, decay, shrink

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        beta1, beta2, step_size, eps, decay, shrink = c
        exp_avg, exp_avg_sq, *rest = state
        if shrink is not None:
            m.mul_(param, shrink)
        if _some(decay):
            grad = m.add(grad, param, decay)
        m.lerp_(exp_avg, grad, 1 - beta1)
        m.mul_(exp_avg_sq, beta2)
        m.addcmul_(exp_avg_sq, grad, grad, 1 - beta2)
        second = exp_avg_sq
        if rest:
            (second,) = rest
            m.maximum_(second, exp_avg_sq)
        denom = m.sqrt(second)
        m.add_(denom, eps)
        m.addcdiv_(param, exp_avg, denom, -step_size)


def _some(decay: Any) -> bool:
    """Whether a weight decay is to be applied; a tensor always is, its gradient may be wanted."""
    return isinstance(decay, Tensor) or decay != 0
