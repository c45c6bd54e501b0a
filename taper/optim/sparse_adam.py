"""SparseAdam: Adam that updates only the rows that a sparse gradient names."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import touch
from taper.optim.optimizer import PerParameterOptimizer, check_betas, check_lr, number, zeros_like
from taper.tensor import Tensor


class SparseAdam(PerParameterOptimizer):
    """Adam for sparse gradients, such as those of an embedding: the averages of elements without
    gradient stay as they are.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        sparse, complex_ = [], []
        for i, group in enumerate(self.param_groups):
            for j, p in enumerate(group["params"]):
                if p.is_sparse:
                    sparse.append([i, j])
                if p.is_complex():
                    complex_.append([i, j])
        if sparse:
            raise ValueError(
                f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors"
            )
        if complex_:
            raise ValueError(
                f"Complex params at indices {complex_}: SparseAdam does not support "
                "complex parameters"
            )

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if not grad.is_sparse:
            raise RuntimeError(
                "SparseAdam does not support dense gradients, please consider Adam instead"
            )
        entry = self.state[p]
        if not entry:
            entry["step"] = 0
            entry["exp_avg"] = zeros_like(p)
            entry["exp_avg_sq"] = zeros_like(p)
        entry["step"] += 1
        grad = grad.coalesce()
        where = tuple(grad.indices()._array)
        g = grad.values()._array
        if g.size == 0:
            return
        if group.get("maximize", False):
            g = -g
        beta1, beta2 = group["betas"]
        step = entry["step"]
        # Fancy indexing copies, so each line reads the named elements and writes them back.
        first, second = entry["exp_avg"]._array, entry["exp_avg_sq"]._array
        m = first[where]
        m += (g - m) * (1 - beta1)
        first[where] = m
        v = second[where]
        v += (g * g - v) * (1 - beta2)
        second[where] = v
        step_size = number(group["lr"]) * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        p._array[where] -= step_size * (m / (np.sqrt(v) + group["eps"]))
        for tensor in (p, entry["exp_avg"], entry["exp_avg_sq"]):
            touch(tensor)
