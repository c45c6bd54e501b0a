"""FlatOptimizer: an elementwise update rule applied to all parameters in one pass.

Small parameters with the same dtype and the same step count form a bucket. Their state lives in one
flat array per entry (`exp_avg`, ...), of which the tensors in `optimizer.state` are views; a step
gathers the gradients and the parameters, runs the rule once and writes the parameters back. A large
parameter is a bucket of its own and is updated where it lies, a chunk at a time. The buckets are
kept from step to step and are made again when anything they rest on has changed: a gradient that
appears or stops, a replaced parameter or state tensor, a step count set by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import is_
from typing import Any

import numpy as np

from taper import backends, dtypes
from taper.autograd.grad_mode import enable_grad
from taper.backends.reference import restore, silence
from taper.dispatch import touch
from taper.errors import DtypeError, ShapeError
from taper.optim.arithmetic import ArrayMath, TensorMath, math_for
from taper.optim.optimizer import Optimizer, number, scalar_dtype, scalar_state
from taper.tensor import Tensor, quick, wrap

# Parameters with up to so many elements in all are gathered and updated together.
SMALL = 16384
# Elements of a larger one that a rule works on at once. Parameter, gradient, two state arrays and a
# temporary of this many float32 take 1.3 MB, about what a second-level cache holds. Adam on a
# million elements: 3.0 ms with 8192 at a time, 2.2 ms with 16384, 1.85 ms with 65536.
CHUNK = 65536

_tensor_math = TensorMath()
# Run a rule in one pass, on flat arrays or on parameters as they lie, or say that they cannot.
_update_rule, _update_together = (
    backends.math().update_rule, backends.math().update_together,
)  # fmt: skip


class Bucket:
    """Parameters that are updated together: same dtype, same step count, same options."""

    __slots__ = (
        "arrays",
        "flat",
        "fresh",
        "grad",
        "math",
        "numbers",
        "param",
        "params",
        "size",
        "together",
        "views",
    )

    def __init__(self, params: list[Tensor], math: ArrayMath, fresh: bool) -> None:
        self.params = params
        self.math = math
        self.fresh = fresh  # whether the state was made for this step
        self.arrays = tuple([p._array for p in params])
        self.size = _real_size(self.arrays)
        # The parameters, where they may be updated together as they lie.
        self.together = tuple(params) if self.size <= SMALL else None
        self.flat: list[np.ndarray] = []  # full-size state, one flat array of reals per entry
        self.numbers: dict[str, np.ndarray] = {}  # 0-d state, one array per entry
        self.param: np.ndarray | None = None  # where parameters and gradients are gathered
        self.grad: np.ndarray | None = None
        self.views: list[np.ndarray] = []  # each parameter's part of `param`


class Plan:
    """The buckets of one group, and what must still hold for them to be used again."""

    __slots__ = ("buckets", "columns", "entries", "held", "slots", "states")

    def __init__(
        self,
        slots: list[Any],
        states: list[Any],
        held: list[Any],
        entries: tuple[str, ...],
        buckets: list[Bucket],
    ) -> None:
        self.slots = slots  # (parameter, its array or None if idle)
        self.states = states  # the states of all parameters of the optimizer
        self.held = held  # (state, name of an entry, its array) of this group's parameters
        self.entries = entries
        self.buckets = buckets
        # The same as tuples of one kind each, for `quick.holds`.
        columns = [*zip(*slots, strict=True)] or [(), ()]
        self.columns = (*columns, *([*zip(*held, strict=True)] or [(), (), ()]))


class FlatOptimizer(Optimizer):
    """Base of the optimizers with an elementwise rule.

    A subclass says which state it keeps (`scalars`, `arrays`, `initial`), what is computed once per
    step (`coefficients`) and what happens to each element (`update`).
    """

    scalars: tuple[str, ...] = ("step",)
    _plans: dict[int, Plan]

    def arrays(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the state entries with a parameter's shape, in PyTorch's order."""
        return ()

    def initial(self, name: str, group: dict[str, Any]) -> float:
        """First value of a state entry."""
        return 0.0

    def coefficients(self, group: dict[str, Any], scalars: dict[str, Any]) -> Any:
        """What `update` needs besides the arrays.

        `scalars` holds the 0-d state with `step` already counted; what is assigned to it here is
        stored.
        """
        raise NotImplementedError

    def update(self, m: Any, param: Any, grad: Any, state: Any, c: Any) -> None:
        """The rule, in the words of arithmetic.py: changes `param` and `state`, not `grad`."""
        raise NotImplementedError

    # ------------------------------------------------------------ the step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters from their gradients; returns what `closure` returned, if given."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        plans = self._plans
        token = silence()
        try:
            for i, group in enumerate(self.param_groups):
                if group["differentiable"]:
                    self._step_recorded(group)
                    continue
                plan = plans.get(i)
                if plan is None or not self._still_holds(plan, group):
                    plan = plans[i] = self._make_plan(group)
                for bucket in plan.buckets:
                    self._run(bucket, group)
        finally:
            restore(token)
        return loss

    def _run(self, bucket: Bucket, group: dict[str, Any]) -> None:
        c = self._advance(bucket, group)
        maximize = group["maximize"]
        m = bucket.math
        if bucket.together is not None and _update_together(
            self.update, bucket.together, bucket.arrays, bucket.flat, c, maximize
        ):
            bucket.fresh = False
            return
        grads = [p._grad._array for p in bucket.params]  # type: ignore[union-attr]
        if bucket.param is not None:
            grad = np.concatenate(grads, axis=None, out=bucket.grad)
            param = np.concatenate(bucket.arrays, axis=None, out=bucket.param)
            if bucket.views[0].dtype.kind == "c":
                grad, param = _reals(grad), _reals(param)
            if not _update_rule(self.update, param, grad, bucket.flat, c, maximize):
                m.begin(bucket.size)
                self.update(m, param, m.neg(grad) if maximize else grad, bucket.flat, c)
            for array, view in zip(bucket.arrays, bucket.views, strict=True):
                array[...] = view
        else:
            array = bucket.arrays[0]
            param, grad = _reals(array), _reals(grads[0])
            done = _update_rule(self.update, param, grad, bucket.flat, c, maximize)
            for start in range(0, 0 if done else bucket.size, CHUNK):
                part = slice(start, start + CHUNK)
                piece, g = param[part], grad[part]
                m.begin(piece.size)
                self.update(
                    m, piece, m.neg(g) if maximize else g, [state[part] for state in bucket.flat], c
                )
            if not array.flags.c_contiguous:  # then `param` was a copy
                array[...] = param.view(array.dtype).reshape(array.shape)
        bucket.fresh = False
        for p in bucket.params:
            touch(p)

    def _advance(self, bucket: Bucket, group: dict[str, Any]) -> Any:
        """Counts the step in the 0-d state and computes the coefficients."""
        numbers = bucket.numbers
        if not numbers:
            return self.coefficients(group, {"fresh": bucket.fresh})
        numbers["step"] += 1
        scalars = {name: values[0] for name, values in numbers.items()}
        before = dict(scalars)
        c = self.coefficients(group, scalars)
        for name, value in scalars.items():
            if value is not before[name]:
                numbers[name][...] = value
        return c

    @enable_grad()
    def _step_recorded(self, group: dict[str, Any]) -> None:
        """The step with tensor operations, so that it can be differentiated."""
        for p in group["params"]:
            grad = p._grad
            if grad is None:
                continue
            entry, fresh = self._entry(p, group)
            scalars: dict[str, Any] = {}
            if self.scalars:
                for name in self.scalars:
                    scalars[name] = entry[name]._array[()]
                scalars["step"] = scalars["step"] + 1
            else:
                scalars["fresh"] = fresh
            c = self.coefficients(group, scalars)
            for name in self.scalars:
                entry[name]._array[...] = scalars[name]
            state = [entry[name] for name in self.arrays(group)]
            self.update(_tensor_math, p, -grad if group["maximize"] else grad, state, c)

    def option(self, group: dict[str, Any], name: str) -> Any:
        """A hyper-parameter as a number; as it is where the step itself is differentiated."""
        value = group[name]
        return value if group["differentiable"] else number(value)

    # ------------------------------------------------------------ state and buckets

    def _entry(self, p: Tensor, group: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The state of a parameter, made if there is none, and whether it was made now."""
        entry = self.state[p]
        fused = group.get("fused")
        if entry:
            for name in self.scalars:  # old checkpoints and programs have Python numbers
                if name in entry and not isinstance(entry[name], Tensor):
                    entry[name] = scalar_state(entry[name], scalar_dtype(fused))
            return entry, False
        for name in self.scalars:
            entry[name] = scalar_state(self.initial(name, group), scalar_dtype(fused))
        for name in self.arrays(group):
            entry[name] = full_like(p, self.initial(name, group))
        return entry, True

    def _still_holds(self, plan: Plan, group: dict[str, Any]) -> bool:
        params = group["params"]
        states = self.state.values()
        if len(params) != len(plan.slots) or len(states) != len(plan.states):
            return False
        # The states are compared in their order: finding them by parameter would cost a hash each.
        if not all(map(is_, states, plan.states)) or self.arrays(group) != plan.entries:
            return False
        if quick.holds is None or quick.holds(params, *plan.columns) is None:
            for p, (known, array) in zip(params, plan.slots, strict=True):
                if p is not known or (None if p._grad is None else p._array) is not array:
                    return False
            try:
                for entry, name, array in plan.held:
                    if entry[name]._array is not array:
                        return False
            except (KeyError, AttributeError):
                return False  # an entry is missing, or no tensor
        for bucket in plan.buckets:
            if len(bucket.params) > 1:
                for values in bucket.numbers.values():
                    if len(set(values.tolist())) != 1:
                        return False
        return True

    def _make_plan(self, group: dict[str, Any]) -> Plan:
        names = self.arrays(group)
        open_buckets: dict[Any, list[Tensor]] = {}
        members: list[tuple[list[Tensor], bool]] = []
        times: dict[Tensor, int] = {}
        for p in group["params"]:
            times[p] = times.get(p, 0) + 1
        for p in times:
            if p._grad is None:
                continue
            self._check(p, group)
            fresh = False
            key: tuple[Any, ...] = (p._array.dtype,)
            if names or self.scalars:
                entry, fresh = self._entry(p, group)
                _check_state(self, p, entry, names)
                key += (
                    fresh,
                    *(
                        (entry[name]._array.item(), entry[name]._array.dtype)
                        for name in self.scalars
                    ),
                )
            # A parameter listed twice is updated twice, so it cannot have mates.
            if _real_size([p._array]) > SMALL or times[p] > 1:
                members.append(([p], fresh))
                continue
            mates = open_buckets.get(key)
            if mates is None or _real_size([q._array for q in (*mates, p)]) > SMALL:
                mates = open_buckets[key] = []
                members.append((mates, fresh))
            mates.append(p)
        maths: dict[np.dtype, ArrayMath] = {}
        buckets = []
        for params, fresh in members:
            real = _real_dtype(params[0]._array.dtype)
            bucket = Bucket(params, maths.setdefault(real, math_for(real)), fresh)
            self._settle(bucket, names)
            buckets.extend([bucket] * times[params[0]])
        _share_scratch(buckets)
        slots = [(p, None if p._grad is None else p._array) for p in group["params"]]
        held = []
        if names or self.scalars:
            for p, array in slots:
                if array is not None:
                    entry = self.state[p]
                    held += [(entry, name, entry[name]._array) for name in (*self.scalars, *names)]
        return Plan(slots, list(self.state.values()), held, names, buckets)

    def _check(self, p: Tensor, group: dict[str, Any]) -> None:
        """The errors of a parameter or gradient that the rule does not take."""
        if p._grad.is_sparse:  # type: ignore[union-attr]
            hint = ", please consider SparseAdam instead" if type(self).__name__ == "Adam" else ""
            raise RuntimeError(f"{type(self).__name__} does not support sparse gradients{hint}")
        if group.get("fused") and not p.is_floating_point():
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors "
                f"of supported devices: ['cpu'] but {p.dtype} and cpu"
            )

    def _settle(self, bucket: Bucket, names: tuple[str, ...]) -> None:
        """Moves the state of the bucket's parameters into flat arrays."""
        entries = [self.state[p] for p in bucket.params] if names or self.scalars else []
        for name in self.scalars:
            tensors = [entry[name] for entry in entries]
            flat = np.array([t._array.item() for t in tensors], tensors[0]._array.dtype)
            for i, tensor in enumerate(tensors):
                _rehome(tensor, flat[i : i + 1].reshape(()))
            bucket.numbers[name] = flat
        for name in names:
            tensors = [entry[name] for entry in entries]
            if bucket.size > SMALL:
                (tensor,) = tensors
                if not tensor._array.flags.c_contiguous:
                    _rehome(tensor, np.ascontiguousarray(tensor._array))
                bucket.flat.append(_reals(tensor._array))
                continue
            flat = np.empty(bucket.size, bucket.math.dtype)
            for tensor, view in zip(tensors, _parts(flat, bucket.arrays), strict=True):
                view[...] = tensor._array
                _rehome(tensor, view)
            bucket.flat.append(flat)

    # ------------------------------------------------------------ copies and files

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._plans = {}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._plans = {}
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("maximize", False),
                ("foreach", None),
                ("capturable", False),
                ("differentiable", False),
            ):
                if name in self.defaults:
                    group.setdefault(name, value)
            # Files of old versions hold plain numbers.
            for p in group["params"]:
                entry: Any = self.state.get(p)
                for name in self.scalars if entry else ():
                    if not isinstance(entry[name], Tensor):
                        entry[name] = scalar_state(
                            float(entry[name]), scalar_dtype(group.get("fused"))
                        )


def full_like(param: Tensor, value: float) -> Tensor:
    """State of a parameter's shape and dtype; in a complex one both parts are `value`."""
    array = param._array
    made = np.zeros_like(array)
    if value:
        made[...] = complex(value, value) if array.dtype.kind == "c" else value
    return wrap(made)


def _real_dtype(dtype: np.dtype) -> np.dtype:
    return dtypes.of(dtype).to_real().numpy


def _real_size(arrays: Sequence[np.ndarray]) -> int:
    """Elements of all arrays, a complex one counted twice."""
    return sum(a.size for a in arrays) * (2 if arrays[0].dtype.kind == "c" else 1)


def _reals(array: np.ndarray) -> np.ndarray:
    """The elements as a flat array of reals: a view if they lie in order, otherwise a copy."""
    flat = array.reshape(-1)
    return flat.view(_real_dtype(array.dtype)) if array.dtype.kind == "c" else flat


def _parts(flat: np.ndarray, arrays: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The parts of a flat array of reals that have the shapes of `arrays`, as views."""
    flat = flat.view(arrays[0].dtype)
    start = 0
    for array in arrays:
        yield flat[start : start + array.size].reshape(array.shape)
        start += array.size


def _rehome(tensor: Tensor, array: np.ndarray) -> None:
    """Lets a state tensor live in `array`, which holds its values."""
    tensor._array = array
    tensor._storage = None
    tensor._base = None
    tensor._view_version = None


def _share_scratch(buckets: list[Bucket]) -> None:
    """Gives the gathering buckets of each dtype one pair of arrays to gather into."""
    largest: dict[np.dtype, int] = {}
    gathering = [b for b in buckets if b.size <= SMALL]
    for b in gathering:
        largest[b.math.dtype] = max(largest.get(b.math.dtype, 0), b.size)
    pairs = {dtype: (np.empty(n, dtype), np.empty(n, dtype)) for dtype, n in largest.items()}
    for b in gathering:
        param, grad = (flat[: b.size].view(b.arrays[0].dtype) for flat in pairs[b.math.dtype])
        b.param, b.grad = param, grad
        b.views = list(_parts(param, b.arrays))


def _check_state(
    optimizer: Optimizer, p: Tensor, entry: dict[str, Any], names: tuple[str, ...]
) -> None:
    for name in names:
        array = entry[name]._array
        if array.shape != p._array.shape:
            raise ShapeError(
                type(optimizer).__name__,
                f"the state entry {name!r} has shape "
                f"{list(array.shape)}, its parameter {list(p._array.shape)}",
            )
        if array.dtype != p._array.dtype:
            raise DtypeError(
                type(optimizer).__name__,
                f"the state entry {name!r} is {dtypes.of(array.dtype)}, its parameter {p.dtype}",
            )
