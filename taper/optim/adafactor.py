"""Adafactor: second moments of a matrix kept as one row and one column."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import store, touch
from taper.optim.optimizer import PerParameterOptimizer, check_lr, number, scalar_state
from taper.tensor import Tensor, wrap


class Adafactor(PerParameterOptimizer):
    """Adaptive steps with memory that grows with rows + columns instead of rows x columns.

    The step is relative to the size of the parameter, and clipped where its root mean square
    exceeds `d`. eps[0] None stands for the machine epsilon of the parameter's dtype.
    Source: Shazeer and Stern 2018.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            for p in group["params"]:
                entry = self.state.get(p)
                if entry and not isinstance(entry["step"], Tensor):
                    entry["step"] = scalar_state(float(entry["step"]))

    def _entry(self, p: Tensor, grad: Tensor) -> dict[str, Any]:
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if grad.is_sparse:
            raise RuntimeError("Adafactor does not support sparse gradients")
        entry: dict[str, Any] = self.state[p]
        if not entry:
            g = grad._array
            entry["step"] = scalar_state(0.0)
            if g.ndim > 1:
                entry["row_var"] = wrap(np.zeros((*g.shape[:-1], 1), g.dtype))
                entry["col_var"] = wrap(np.zeros((*g.shape[:-2], 1, g.shape[-1]), g.dtype))
            else:
                entry["variance"] = wrap(np.zeros_like(g))
        return entry

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        entry = self._entry(p, grad)
        lr, (eps1, eps2) = number(group["lr"]), group["eps"]
        if eps1 is None:
            from taper.dtypes import finfo

            eps1 = finfo(p.dtype).eps
        entry["step"]._array[...] += 1
        step = entry["step"].item()
        fading = step ** group["beta2_decay"]
        # float16 and bfloat16 are computed in float32 and rounded when stored.
        half = p._array.itemsize == 2
        param, g = (t._array.astype(np.float32) if half else t._array for t in (p, grad))
        if group["maximize"]:
            g = -g
        relative = max(eps2, _root_mean_square(param)) * min(lr, 1 / step**0.5)
        if group["weight_decay"] != 0:
            param = param * (1 - lr * group["weight_decay"])
        squares = g * g
        if g.ndim > 1:
            row = _faded(entry["row_var"], squares.mean(-1, keepdims=True), fading)
            column = _faded(entry["col_var"], squares.mean(-2, keepdims=True), fading)
            estimate = row @ column
            estimate /= np.maximum(row.mean(-2, keepdims=True), eps1)
        else:
            estimate = _faded(entry["variance"], squares, fading)
        update = g / np.sqrt(np.maximum(estimate, eps1 * eps1))
        clip = max(1.0, _root_mean_square(update) / group["d"])
        store(p._array, np.asarray(param - update * (relative / clip)))
        touch(p)


def _root_mean_square(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.reshape(-1))) / array.size**0.5


def _faded(state: Tensor, value: np.ndarray, weight: float) -> np.ndarray:
    """Moves a state tensor towards `value` and returns its new content."""
    held = state._array.astype(value.dtype, copy=False)
    new = held + weight * (value - held) if weight < 0.5 else value - (value - held) * (1 - weight)
    store(state._array, np.asarray(new))
    touch(state)
    return new
