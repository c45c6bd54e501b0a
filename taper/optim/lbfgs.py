"""LBFGS: a quasi-Newton method with a limited memory, and its line search.

All parameters are seen as one flat vector; the inverse Hessian is known only through the last
changes of the point and of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.autograd.grad_mode import enable_grad
from taper.backends.reference import restore, silence
from taper.dispatch import touch
from taper.optim.optimizer import Optimizer, check_lr, number
from taper.tensor import Tensor, wrap

Objective = Callable[[float, np.ndarray], tuple[float, np.ndarray]]


class LBFGS(Optimizer):
    """Limited-memory BFGS; step(closure) evaluates the closure several times.

    One parameter group only. `line_search_fn="strong_wolfe"` chooses the step length, otherwise it
    is `lr`.
    Source: Nocedal and Wright, Numerical Optimization, chapters 3 and 7.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if not number(lr) >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    # ------------------------------------------------------------ the flat vector

    def _flat_grad(self) -> np.ndarray:
        """The gradients one after the other; zeros where there is none."""
        parts = []
        for p in self._params:
            if p._grad is None:
                parts.append(np.zeros_like(p._array).reshape(-1))
            elif p._grad.is_sparse:
                parts.append(p._grad.to_dense()._array.reshape(-1))
            else:
                parts.append(p._grad._array.reshape(-1))
        return np.concatenate([_reals(part) for part in parts])

    def _move(self, length: float, direction: np.ndarray) -> None:
        """Adds length * direction to the parameters."""
        start = 0
        for p in self._params:
            array = p._array
            size = array.size * (2 if array.dtype.kind == "c" else 1)
            part = (direction[start : start + size] * length).astype(_real_type(array), copy=False)
            array += part.view(array.dtype).reshape(array.shape)
            start += size
            touch(p)

    def _put_back(self, arrays: list[np.ndarray]) -> None:
        for p, array in zip(self._params, arrays, strict=True):
            p._array[...] = array
            touch(p)

    # ------------------------------------------------------------ the step

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Up to `max_iter` iterations; returns the loss at the start.

        `closure` clears the gradients, computes the loss, calls backward() and returns the loss.
        """
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")

        def evaluate() -> Any:
            with enable_grad():
                return closure()

        first_loss = evaluate()
        token = silence()
        try:
            self._iterate(evaluate, float(first_loss), group)
        finally:
            restore(token)
        return first_loss

    def _iterate(self, evaluate: Callable[[], Any], loss: float, group: dict[str, Any]) -> None:
        lr, max_iter, max_eval = _scalar(group["lr"]), group["max_iter"], group["max_eval"]
        tolerance_change = group["tolerance_change"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        state["func_evals"] += 1
        evaluations = 1
        grad = self._flat_grad()
        if np.abs(grad).max() <= group["tolerance_grad"]:
            return
        memory = _Memory(state, group["history_size"])
        iteration = 0
        while iteration < max_iter:
            iteration += 1
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                memory.clear()
                direction = -grad
                length = min(1.0, 1.0 / np.abs(grad).sum()) * lr
            else:
                memory.add(grad)
                direction = memory.direction(grad)
                length = lr
            memory.previous_grad = grad
            memory.previous_loss = loss
            memory.d, memory.t = direction, length
            slope = grad @ direction
            if slope > -tolerance_change:
                break
            used = 0
            if group["line_search_fn"] is not None:
                loss, grad, length, used = self._search(
                    evaluate,
                    length,
                    direction,
                    loss,
                    grad,
                    slope,
                    max_eval - evaluations,
                    tolerance_change,
                )
                memory.t = length
                self._move(length, direction)
            else:
                self._move(length, direction)
                if iteration != max_iter:
                    loss = float(evaluate())
                    grad = self._flat_grad()
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if (
                iteration == max_iter
                or evaluations >= max_eval
                or np.abs(grad).max() <= group["tolerance_grad"]
                or np.abs(direction * length).max() <= tolerance_change
                or abs(loss - memory.previous_loss) < tolerance_change
            ):
                break
        memory.keep(state)

    def _search(
        self,
        evaluate: Callable[[], Any],
        length: float,
        direction: np.ndarray,
        loss: float,
        grad: np.ndarray,
        slope: float,
        budget: int,
        tolerance: float,
    ) -> tuple[float, np.ndarray, float, int]:
        start = [p._array.copy() for p in self._params]

        def objective(length: float, direction: np.ndarray) -> tuple[float, np.ndarray]:
            self._move(length, direction)
            value = float(evaluate())
            found = self._flat_grad()
            self._put_back(start)
            return value, found

        return strong_wolfe(
            objective,
            length,
            direction,
            loss,
            grad,
            slope,
            tolerance_change=tolerance,
            max_ls=budget,
        )


class _Memory:
    """The last changes of the point (`old_stps`) and of the gradient (`old_dirs`)."""

    def __init__(self, state: dict[str, Any], size: int) -> None:
        self.size = size
        self.d = _array(state.get("d"))
        self.t: Any = _scalar(state.get("t"))
        self.changes = [_array(x) for x in state.get("old_dirs") or ()]
        self.steps = [_array(x) for x in state.get("old_stps") or ()]
        self.ro = [_scalar(x) for x in state.get("ro") or ()]
        self.diagonal: Any = _scalar(state.get("H_diag", 1))
        self.previous_grad = _array(state.get("prev_flat_grad"))
        self.previous_loss: Any = state.get("prev_loss")
        self.al: list[Any] | None = state.get("al")

    def clear(self) -> None:
        self.changes, self.steps, self.ro, self.diagonal = [], [], [], 1

    def add(self, grad: np.ndarray) -> None:
        """Learns from the last step, unless the curvature along it is not positive."""
        change = grad - self.previous_grad
        # A length that came from a tensor lr of a wider dtype must not widen the step.
        step = (self.d * self.t).astype(self.d.dtype, copy=False)
        curvature = change @ step
        if curvature > 1e-10:
            if len(self.changes) == self.size:
                for remembered in (self.changes, self.steps, self.ro):
                    remembered.pop(0)
            self.changes.append(change)
            self.steps.append(step)
            self.ro.append(1.0 / curvature)
            self.diagonal = curvature / (change @ change)

    def direction(self, grad: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        if self.al is None:
            self.al = [None] * self.size
        q = -grad
        for i in reversed(range(len(self.changes))):
            self.al[i] = (self.steps[i] @ q) * self.ro[i]
            q -= self.changes[i] * self.al[i]
        r = q * self.diagonal
        for i in range(len(self.changes)):
            b = (self.changes[i] @ r) * self.ro[i]
            r += self.steps[i] * (self.al[i] - b)
        return r

    def keep(self, state: dict[str, Any]) -> None:
        """Stores everything as PyTorch's state entries."""
        state["d"] = wrap(self.d)
        state["t"] = _kept(self.t)
        state["old_dirs"] = [wrap(x) for x in self.changes]
        state["old_stps"] = [wrap(x) for x in self.steps]
        state["ro"] = [wrap(np.asarray(x)) for x in self.ro]
        state["H_diag"] = _kept(self.diagonal)
        state["prev_flat_grad"] = wrap(self.previous_grad)
        state["prev_loss"] = self.previous_loss
        if self.al is not None:
            state["al"] = [_kept(x) for x in self.al]


def _array(tensor: Any) -> Any:
    return tensor._array if isinstance(tensor, Tensor) else tensor


def _scalar(value: Any) -> Any:
    """What _kept made a tensor of; numbers as they are."""
    return value._array.reshape(())[()] if isinstance(value, Tensor) else value


def _kept(value: Any) -> Any:
    """A number of the dtype of the parameters as a 0-d tensor, others as they are."""
    return wrap(np.asarray(value)) if isinstance(value, np.generic) else value


def _real_type(array: np.ndarray) -> np.dtype:
    return np.empty(0, array.dtype).real.dtype


def _reals(flat: np.ndarray) -> np.ndarray:
    return flat.view(_real_type(flat)) if flat.dtype.kind == "c" else flat


def cubic_minimum(
    x1: float,
    f1: float,
    g1: float,
    x2: float,
    f2: float,
    g2: float,
    bounds: tuple[float, float] | None = None,
) -> Any:
    """Where the cubic through two points with given slopes is least, within the bounds.

    Source: Nocedal and Wright, equation 3.59.
    """
    low, high = bounds if bounds is not None else ((x1, x2) if x1 <= x2 else (x2, x1))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if not square >= 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        found = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        found = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(found, low), high)


class _Point:
    """A step length with the loss, gradient and slope there."""

    __slots__ = ("loss", "grad", "slope", "t")  # noqa: RUF023 - the order of the arguments

    def __init__(self, t: Any, loss: float, grad: np.ndarray, slope: Any) -> None:
        self.t = t
        self.loss = loss
        self.grad = grad
        self.slope = slope


def strong_wolfe(
    objective: Objective,
    t: Any,
    direction: np.ndarray,
    loss: float,
    grad: np.ndarray,
    slope: Any,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, np.ndarray, Any, int]:
    """Loss, gradient and step length where the strong Wolfe conditions hold, and evaluations used.

    First the step grows until a bracket holds such a point, then the bracket shrinks by cubic
    interpolation.
    Source: Nocedal and Wright, algorithms 3.5 and 3.6.
    """
    start = _Point(0, loss, grad, slope)

    def at(t: Any) -> _Point:
        value, found = objective(t, direction)
        return _Point(t, value, found, found @ direction)

    def too_high(point: _Point) -> bool:
        return bool(point.loss > loss + c1 * point.t * slope)

    def flat_enough(point: _Point) -> bool:
        return bool(abs(point.slope) <= -c2 * slope)

    new, previous = at(t), start
    rounds, done = 0, False
    bracket = [start, new]
    while rounds < max_ls:
        if too_high(new) or (rounds > 1 and new.loss >= previous.loss):
            bracket = [previous, new]
            break
        if flat_enough(new):
            bracket, done = [new], True
            break
        if new.slope >= 0:
            bracket = [previous, new]
            break
        bounds = (new.t + 0.01 * (new.t - previous.t), new.t * 10)
        t = cubic_minimum(
            previous.t, previous.loss, previous.slope, new.t, new.loss, new.slope, bounds
        )
        previous, new = new, at(t)
        rounds += 1
    evaluations = rounds + 1
    if rounds == max_ls:
        bracket = [start, new]

    size = np.abs(direction).max()
    stalled = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and rounds < max_ls:
        left, right = bracket
        if abs(right.t - left.t) * size < tolerance_change:
            break
        t = cubic_minimum(left.t, left.loss, left.slope, right.t, right.loss, right.slope)
        ends = (min(left.t, right.t), max(left.t, right.t))
        margin = 0.1 * (ends[1] - ends[0])
        if min(ends[1] - t, t - ends[0]) < margin:
            # Near an end twice in a row, or on it: move inside by a tenth.
            if stalled or t >= ends[1] or t <= ends[0]:
                t = ends[1] - margin if abs(t - ends[1]) < abs(t - ends[0]) else ends[0] + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new = at(t)
        evaluations += 1
        rounds += 1
        if too_high(new) or new.loss >= bracket[low].loss:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        else:
            if flat_enough(new):
                done = True
            elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
    best = bracket[low] if len(bracket) > 1 else bracket[0]
    return best.loss, best.grad, best.t, evaluations
