"""Adagrad: steps divided by the root of the sum of all squared gradients."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class Adagrad(FlatOptimizer):
    """Adaptive gradients.

        sum += grad^2
        param -= lr / (1 + (t - 1) lr_decay) * grad / (sqrt(sum) + eps)

    Source: Duchi et al. 2011.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not lr_decay >= 0.0:
            raise ValueError(f"Invalid lr_decay value: {lr_decay}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not initial_accumulator_value >= 0.0:
            raise ValueError(
                f"Invalid initial_accumulator_value value: {initial_accumulator_value}"
            )
        if not eps >= 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        if fused:
            if differentiable:
                raise RuntimeError("`fused` does not support `differentiable`")
            if foreach:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        # Adagrad's state is there from the start, so that processes can share it.
        for group in self.param_groups:
            for p in group["params"]:
                self._entry(p, group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("fused", None)

    def share_memory(self) -> None:
        """Moves the sums into memory that processes share."""
        self._plans.clear()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["sum"].share_memory_()

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def initial(self, name: str, group: dict[str, Any]) -> float:
        return 0.0 if name == "step" else self.defaults["initial_accumulator_value"]

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        step = float(scalars["step"])
        lr = self.option(group, "lr") / (1 + (step - 1) * group["lr_decay"])
        return lr, group["eps"], group["weight_decay"]

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        lr, eps, decay = c
        (total,) = state
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.addcmul_(total, grad, grad)
        std = m.sqrt(total)
        m.add_(std, eps)
        m.addcdiv_(param, grad, std, -lr)
