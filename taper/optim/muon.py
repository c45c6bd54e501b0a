"""Muon: momentum whose matrix is made orthogonal before each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import store, touch
from taper.optim.optimizer import PerParameterOptimizer, check_lr, number
from taper.tensor import Tensor, wrap


class Muon(PerParameterOptimizer):
    """Momentum orthogonalised by Newton and Schulz's iteration; for matrices only.

    Biases, embeddings and other parameters belong to another optimizer, such as AdamW.
    Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon; `adjust_lr_fn`
        "match_rms_adamw" is Moonshot's rule (Liu et al. 2025).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a "
                        f"parameter with size: {p.size()}"
                    )

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        if grad.is_sparse:
            raise RuntimeError("Muon does not support sparse gradients")
        entry = self.state[p]
        if "momentum_buffer" not in entry:
            entry["momentum_buffer"] = wrap(np.zeros_like(grad._array))
        lr, momentum = group["lr"], group["momentum"]
        if isinstance(lr, Tensor):  # the coefficients are computed in its dtype
            lr = lr._array.reshape(())[()]
        wide = np.float32 if p._array.itemsize == 2 else p._array.dtype
        param, g = p._array.astype(wide, copy=False), grad._array.astype(wide, copy=False)
        buf = _lerp(entry["momentum_buffer"]._array.astype(wide, copy=False), g, 1 - momentum)
        store(entry["momentum_buffer"]._array, buf)
        touch(entry["momentum_buffer"])
        update = _lerp(g, buf, momentum) if group["nesterov"] else buf
        update = orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = param.shape
        ratio = max(1.0, rows / columns) ** 0.5
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * max(rows, columns) ** 0.5
        store(p._array, param * (1 - lr * group["weight_decay"]) - (lr * ratio) * update)
        touch(p)


def orthogonal(
    matrix: np.ndarray, coefficients: tuple[float, float, float], steps: int, eps: float
) -> np.ndarray:
    """A matrix close to the orthogonal factor of `matrix`, in bfloat16 precision (as float32).

    The quintic a x + b x^3 + c x^5 drives all singular values towards one.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = to_bfloat16(matrix.astype(np.float32))
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    norm = to_bfloat16(np.asarray(np.linalg.norm(x), np.float32))
    x = to_bfloat16(x / np.maximum(norm, to_bfloat16(np.float32(eps))))
    for _ in range(steps):
        gram = to_bfloat16(x @ x.T)
        gram_update = to_bfloat16(b * gram + c * (gram @ gram))
        x = to_bfloat16(a * x + gram_update @ x)
    return x.T if tall else x


def to_bfloat16(x: Any) -> np.ndarray:
    """float32 values rounded to bfloat16's eight significant bits, halves to even."""
    x = np.ascontiguousarray(x, np.float32)
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(
        0xFFFF0000
    )
    return np.where(np.isnan(x), x, rounded.view(np.float32)).reshape(np.shape(x))


def _lerp(start: np.ndarray, end: np.ndarray, weight: float) -> np.ndarray:
    if weight < 0.5:
        return start + weight * (end - start)
    return end - (end - start) * (1 - weight)
