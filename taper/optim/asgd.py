"""ASGD: gradient descent that also keeps the average of its way."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class ASGD(FlatOptimizer):
    """Averaged stochastic gradient descent; the average is the state entry `ax`.

        param = (1 - lambd eta) param - eta grad
        ax += mu (param - ax)
        eta = lr / (1 + lambd lr t)^alpha,  mu = 1 / max(1, t - t0)

    Source: Polyak and Juditsky 1992.
    """

    scalars = ("step", "eta", "mu")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not weight_decay >= 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def initial(self, name: str, group: dict[str, Any]) -> float:
        if name == "eta":
            return number(group["lr"])
        return 1.0 if name == "mu" else 0.0

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        step, eta, mu = (float(scalars[name]) for name in self.scalars)
        lr, lambd = number(group["lr"]), group["lambd"]
        scalars["eta"] = lr / (1 + lambd * lr * step) ** group["alpha"]
        scalars["mu"] = 1 / max(1, step - group["t0"])
        return eta, mu, 1 - lambd * eta, group["weight_decay"]

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        eta, mu, shrink, decay = c
        (ax,) = state
        if decay != 0:
            grad = m.add(grad, param, decay)
        m.mul_(param, shrink)
        m.add_(param, grad, -eta)
        if mu == 1:
            m.copy_(ax, param)
        else:
            m.add_(ax, m.mul(m.sub(param, ax), mu))
