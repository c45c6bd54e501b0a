"""SGD: steps along the gradient, with momentum if wanted."""

from __future__ import annotations

from typing import Any

from taper.optim.flat import FlatOptimizer, full_like
from taper.optim.optimizer import check_lr, number
from taper.tensor import Tensor


class SGD(FlatOptimizer):
    """Gradient descent.

        buf = momentum buf + (1 - dampening) grad        (the first time: buf = grad)
        param -= lr * buf                                (nesterov: grad + momentum buf)

    `weight_decay` times the parameter is added to the gradient.
    Source: Sutskever et al. 2013 for Nesterov's momentum.
    """

    scalars = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        if number(lr) < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if number(weight_decay) < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
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
            group.setdefault("nesterov", False)
            group.setdefault("fused", False)

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _entry(self, p: Tensor, group: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        entry = self.state[p] if group["momentum"] else {}
        if not group["momentum"] or entry.get("momentum_buffer") is not None:
            return entry, False
        entry["momentum_buffer"] = full_like(p, 0.0)
        return entry, True

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        return (
            self.option(group, "lr"),
            group["momentum"],
            1 - group["dampening"],
            self.option(group, "weight_decay"),
            group["nesterov"],
            scalars["fresh"],
        )

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        lr, momentum, share, decay, nesterov, fresh = c
        if isinstance(decay, Tensor) or decay != 0:
            grad = m.add(grad, param, decay)
        if momentum:
            (buf,) = state
            if fresh:
                m.copy_(buf, grad)
            else:
                m.mul_(buf, momentum)
                m.add_(buf, grad, share)
            grad = m.add(grad, buf, momentum) if nesterov else buf
        m.add_(param, grad, -lr)
