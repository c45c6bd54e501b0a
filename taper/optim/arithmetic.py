"""The words in which an update rule is written, in three readings.

A rule (Adam.update, SGD.update, ...) is one formula over a parameter, its gradient and its state:
`m.lerp_(exp_avg, grad, 1 - beta1)`. Names that end with an underscore change their first argument,
as PyTorch's do; the others give something new. `m` is

* ArrayMath: numpy, in place, temporaries from a pool; complex numbers come as pairs of reals.
* HalfMath: the same for float16 and bfloat16, computing each word in float32 and rounding once.
* TensorMath: tensor operations that are recorded, for differentiable=True.

Each word rounds where PyTorch's operation of that name does, so that results agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.tensor import Tensor

Array = np.ndarray


class ArrayMath:
    """Reads a rule with numpy on flat arrays.

    `begin(n)` starts a rule on arrays of n elements and takes all temporaries back.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.pool: list[Array] = []
        self.used = 0
        self.size = 0

    def begin(self, size: int) -> None:
        """Starts a rule; temporaries of the one before are free again."""
        self.size = size
        self.used = 0

    def new(self) -> Array:
        """A temporary, uninitialised."""
        used = self.used
        if used == len(self.pool):
            self.pool.append(np.empty(self.size, self.dtype))
        found = self.pool[used]
        if found.size < self.size:
            found = self.pool[used] = np.empty(self.size, self.dtype)
        self.used = used + 1
        return found if found.size == self.size else found[: self.size]

    def neg(self, x: Array) -> Array:
        return np.negative(x, self.new())

    def abs(self, x: Array) -> Array:
        return np.absolute(x, self.new())

    def sign(self, x: Array) -> Array:
        return np.sign(x, self.new())

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x, self.new())

    def sqrt_(self, x: Array) -> Array:
        return np.sqrt(x, x)

    def clone(self, x: Array) -> Array:
        made = self.new()
        made[...] = x
        return made

    def copy_(self, x: Array, y: Array) -> None:
        x[...] = y

    def add(self, x: Array, y: Any, alpha: float = 1) -> Array:
        """x + alpha * y."""
        made = self.new()
        if alpha == 1:
            return np.add(x, y, made)
        np.multiply(y, alpha, made)
        return np.add(x, made, made)

    def sub(self, x: Array, y: Any) -> Array:
        return np.subtract(x, y, self.new())

    def mul(self, x: Array, y: Any) -> Array:
        return np.multiply(x, y, self.new())

    def div(self, x: Any, y: Any) -> Array:
        return np.divide(x, y, self.new(), dtype=self.dtype)

    def add_(self, x: Array, y: Any, alpha: float = 1) -> None:
        """x += alpha * y."""
        if alpha == 1:
            np.add(x, y, x)
        else:
            made = self.new()
            np.multiply(y, alpha, made)
            np.add(x, made, x)
            self.used -= 1

    def mul_(self, x: Array, y: Any) -> None:
        np.multiply(x, y, x)

    def div_(self, x: Array, y: Any) -> None:
        np.divide(x, y, x)

    def addcmul_(self, x: Array, y: Array, z: Array, value: float = 1) -> None:
        """x += value * y * z."""
        made = self.new()
        if value == 1:
            np.multiply(y, z, made)
        else:
            np.multiply(y, value, made)
            np.multiply(made, z, made)
        np.add(x, made, x)
        self.used -= 1

    def addcdiv_(self, x: Array, y: Array, z: Array, value: float = 1) -> None:
        """x += value * y / z."""
        made = self.new()
        if value == 1:
            np.divide(y, z, made)
        else:
            np.multiply(y, value, made)
            np.divide(made, z, made)
        np.add(x, made, x)
        self.used -= 1

    def lerp_(self, x: Array, end: Array, weight: float) -> None:
        """x moves towards `end` by the share `weight`."""
        made = self.new()
        np.subtract(end, x, made)
        if abs(weight) < 0.5:
            np.multiply(made, weight, made)
            np.add(x, made, x)
        else:
            # Seen from the end, so that weight 1 gives exactly `end`.
            np.multiply(made, 1 - weight, made)
            np.subtract(end, made, x)
        self.used -= 1

    def maximum_(self, x: Array, y: Array) -> None:
        np.maximum(x, y, out=x)

    def clamp_(self, x: Array, low: float, high: float) -> None:
        np.clip(x, low, high, out=x)

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        return np.where(condition, x, y).astype(self.dtype, copy=False)


class HalfMath(ArrayMath):
    """Reads a rule on float16 or bfloat16: a word computes in float32 and rounds its result."""

    def _wide(self, *values: Any) -> list[Any]:
        return [v.astype(np.float32) if isinstance(v, Array) else v for v in values]

    def _round(self, x: Any) -> Array:
        return np.asarray(x).astype(self.dtype)

    def neg(self, x: Array) -> Array:
        return -x

    def abs(self, x: Array) -> Array:
        return self._round(abs(x.astype(np.float32)))

    def sign(self, x: Array) -> Array:
        return self._round(np.sign(x.astype(np.float32)))

    def sqrt(self, x: Array) -> Array:
        return self._round(np.sqrt(x.astype(np.float32)))

    def sqrt_(self, x: Array) -> Array:
        x[...] = self.sqrt(x)
        return x

    def clone(self, x: Array) -> Array:
        return x.copy()

    def add(self, x: Array, y: Any, alpha: float = 1) -> Array:
        a, b = self._wide(x, y)
        return self._round(a + b * np.float32(alpha))

    def sub(self, x: Array, y: Any) -> Array:
        a, b = self._wide(x, y)
        return self._round(a - b)

    def mul(self, x: Array, y: Any) -> Array:
        a, b = self._wide(x, y)
        return self._round(a * b)

    def div(self, x: Any, y: Any) -> Array:
        a, b = self._wide(x, y)
        return self._round(a / b)

    def add_(self, x: Array, y: Any, alpha: float = 1) -> None:
        x[...] = self.add(x, y, alpha)

    def mul_(self, x: Array, y: Any) -> None:
        x[...] = self.mul(x, y)

    def div_(self, x: Array, y: Any) -> None:
        x[...] = self.div(x, y)

    def addcmul_(self, x: Array, y: Array, z: Array, value: float = 1) -> None:
        a, b, c = self._wide(x, y, z)
        x[...] = self._round(a + np.float32(value) * b * c)

    def addcdiv_(self, x: Array, y: Array, z: Array, value: float = 1) -> None:
        a, b, c = self._wide(x, y, z)
        x[...] = self._round(a + np.float32(value) * b / c)

    def lerp_(self, x: Array, end: Array, weight: float) -> None:
        a, b = self._wide(x, end)
        share = np.float32(weight)
        x[...] = self._round(
            a + share * (b - a) if abs(weight) < 0.5 else b - (b - a) * (1 - share)
        )

    def maximum_(self, x: Array, y: Array) -> None:
        a, b = self._wide(x, y)
        x[...] = self._round(np.maximum(a, b))

    def clamp_(self, x: Array, low: float, high: float) -> None:
        x[...] = self._round(np.clip(x.astype(np.float32), low, high))

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        a, b = self._wide(x, y)
        return self._round(np.where(condition, a, b))


def math_for(dtype: np.dtype) -> ArrayMath:
    """The reading for arrays of this dtype."""
    return ArrayMath(dtype) if dtype.itemsize > 2 else HalfMath(dtype)


class TensorMath:
    """Reads a rule with recorded tensor operations.

    What an operation saves for its derivative is cloned where the rule may overwrite it later.
    """

    def begin(self, size: int) -> None:
        return None

    def neg(self, x: Tensor) -> Tensor:
        return -x

    def abs(self, x: Tensor) -> Tensor:
        return x.abs()

    def sign(self, x: Tensor) -> Tensor:
        return x.sign()

    def sqrt(self, x: Tensor) -> Tensor:
        return _held(x.sqrt())

    def sqrt_(self, x: Tensor) -> Tensor:
        return _held(x.sqrt())

    def clone(self, x: Tensor) -> Tensor:
        return x.clone()

    def copy_(self, x: Tensor, y: Tensor) -> None:
        x.copy_(y)

    def add(self, x: Tensor, y: Any, alpha: Any = 1) -> Tensor:
        return x + _held(y) * alpha

    def sub(self, x: Tensor, y: Any) -> Tensor:
        return x - y

    def mul(self, x: Tensor, y: Any) -> Tensor:
        return _held(x) * _held(y)

    def div(self, x: Any, y: Any) -> Tensor:
        return _held(x) / _held(y)

    def add_(self, x: Tensor, y: Any, alpha: Any = 1) -> None:
        x.add_(_held(y) * alpha)

    def mul_(self, x: Tensor, y: Any) -> None:
        x.mul_(_held(y))

    def div_(self, x: Tensor, y: Any) -> None:
        x.div_(_held(y))

    def addcmul_(self, x: Tensor, y: Tensor, z: Tensor, value: Any = 1) -> None:
        x.add_(_held(y) * _held(z) * value)

    def addcdiv_(self, x: Tensor, y: Tensor, z: Tensor, value: Any = 1) -> None:
        x.add_(_held(y) / _held(z) * value)

    def lerp_(self, x: Tensor, end: Tensor, weight: Any) -> None:
        x.add_((end - x) * weight)

    def maximum_(self, x: Tensor, y: Tensor) -> None:
        import taper

        x.copy_(taper.maximum(x.clone(), y))

    def clamp_(self, x: Tensor, low: float, high: float) -> None:
        x.copy_(x.clone().clamp(low, high))

    def where(self, condition: Tensor, x: Any, y: Any) -> Tensor:
        import taper

        return taper.where(condition, x, y)


def _held(x: Any) -> Any:
    """A value that later writes into `x` do not reach."""
    return x.clone() if isinstance(x, Tensor) else x
