"""LRScheduler: what all learning-rate schedulers share."""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import Any

from taper.optim.optimizer import Optimizer, number
from taper.tensor import Tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where "
    "possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if "
    "epoch is different from None, the closed form is used instead of the new chainable form, "
    "where available. Please open an issue if you are unable to replicate your use case: "
    "https://github.com/pytorch/pytorch/issues/new/choose."
)
_ORDER = (
    "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
)


def per_group(name: str, optimizer: Optimizer, given: Any) -> list[Any]:
    """One value for each parameter group, from a list of them or from one for all.

    Raises: ValueError for a list of another length.
    """
    groups = optimizer.param_groups
    if not isinstance(given, (list, tuple)):
        given = [given] * len(groups)
    elif len(given) != len(groups):
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has "
            f"{len(given)} values, param_groups has {len(groups)}."
        )
    return [own(value) for value in given]


def own(value: Any) -> Any:
    """The value, a copy if it is a tensor: a rate kept by an optimizer as one changes in place."""
    return value.clone() if isinstance(value, Tensor) else value


def set_option(group: dict[str, Any], key: str, value: Any) -> None:
    """Changes an option of a parameter group; a tensor is written into."""
    if isinstance(group[key], Tensor):
        group[key].fill_(number(value))
    else:
        group[key] = value


def check_optimizer(optimizer: Any) -> None:
    """TypeError for what is no optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


class LRScheduler:
    """Base of the schedulers: a subclass defines `get_lr`, from `last_epoch` and the groups.

    The first learning rate is set when the scheduler is made; `step()` sets the next one and is
    called after the optimizer's. `last_epoch` other than -1 resumes from optimizer groups that
    hold an initial_lr.
    Raises: TypeError for what is no optimizer, KeyError if there is nothing to resume from.
    """

    optimizer: Optimizer
    base_lrs: list[Any]
    last_epoch: int
    _last_lr: list[Any]
    _step_count: int
    _get_lr_called_within_step = False
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", own(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "scheduler with last_epoch >= 0.\nThis typically happens when:\n"
                    "1. You're trying to resume training from a checkpoint but haven't properly "
                    "loaded the optimizer state\n"
                    "2. You're using last_epoch >= 0 for a fresh training run (not recommended)"
                )
        self.base_lrs = self._options("initial_lr")
        self.last_epoch = last_epoch
        _watch_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def _options(self, key: str) -> list[Any]:
        """An option of all groups."""
        return [own(group[key]) for group in self.optimizer.param_groups]

    def _rates(self) -> list[Any]:
        """The learning rates as they are."""
        return self._options("lr")

    def _scaled(self, factor: float) -> list[Any]:
        """The learning rates times `factor`."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer."""
        return self._attributes_without("optimizer")

    def _attributes_without(self, *names: str) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what state_dict() of another scheduler of this class gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The learning rates that are set now, one for each group."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The learning rates for `last_epoch`; for step() alone."""
        raise NotImplementedError

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use "
                "`get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def step(self, epoch: int | None = None) -> None:
        """Sets the next learning rates."""
        if self._step_count == 1:
            self._check_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _check_order(self) -> None:
        """Warns, once, if the optimizer has not made a step yet."""
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler "
                "initialization. Please, make sure to call `optimizer.step()` before "
                "`lr_scheduler.step()`. " + _ORDER,
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch "
                "1.1.0 and later, you should call them in the opposite order: `optimizer.step()` "
                "before `lr_scheduler.step()`.  Failure to do this will result in PyTorch skipping "
                "the first value of the learning rate schedule. " + _ORDER,
                UserWarning,
                stacklevel=3,
            )

    def _update_lr(self, epoch: int | None = None) -> None:
        compute = self.get_lr
        if epoch is None:
            self.last_epoch += 1
        else:
            self.last_epoch = epoch
            compute = getattr(self, "_get_closed_form_lr", compute)
        self._get_lr_called_within_step = True
        try:
            rates = compute()
        finally:
            self._get_lr_called_within_step = False
        self._set_rates(rates)

    def _set_rates(self, rates: list[Any]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_option(group, "lr", rate)
        self._last_lr = self._rates()


class _LRScheduler(LRScheduler):
    """The old name of LRScheduler, from which programs still derive."""


def _watch_steps(optimizer: Any) -> None:
    """Lets the optimizer remember that it has made a step."""
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return
    step = optimizer.step.__func__
    # A strong reference would keep the optimizer, and all parameters, alive in a cycle.
    refer = weakref.ref(optimizer)

    @functools.wraps(step)
    def watched(*args: Any, **kwargs: Any) -> Any:
        owner: Any = refer()
        owner._opt_called = True
        return step(owner, *args, **kwargs)

    watched._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = watched
