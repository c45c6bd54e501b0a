"""Averages of a model over its training: SWA, and exponential moving averages.

AveragedModel holds the average, SWALR is the learning rate that goes with it, update_bn puts the
averaged model's batch statistics right.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import taper
from taper.autograd.grad_mode import no_grad
from taper.nn.modules.batchnorm import _BatchNorm
from taper.nn.modules.module import Module
from taper.optim.lr_scheduler.base import LRScheduler, per_group
from taper.optim.optimizer import Optimizer, number
from taper.tensor import Tensor

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

_Average = Callable[[Tensor, Tensor, Any], Tensor]
_MultiAverage = Callable[[Any, Any, Any], None]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _move(averages: Any, currents: Any, share: float) -> None:
    """Moves each average towards the current value by a share; integers are truncated."""
    for average, current in zip(averages, currents, strict=True):
        if average.is_floating_point() or average.is_complex():
            average.lerp_(current, share)
        else:
            average.copy_(average * (1 - share) + current * share)


def get_ema_multi_avg_fn(decay: float = 0.999) -> _MultiAverage:
    """multi_avg_fn for an exponential moving average."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list: Any, current_param_list: Any, _: Any) -> None:
        _move(ema_param_list, current_param_list, 1 - decay)

    return ema_update


def get_swa_multi_avg_fn() -> _MultiAverage:
    """multi_avg_fn for the mean of all values so far."""

    @no_grad()
    def swa_update(averaged_param_list: Any, current_param_list: Any, num_averaged: Any) -> None:
        count = number(num_averaged)
        for average, current in zip(averaged_param_list, current_param_list, strict=True):
            if average.is_floating_point() or average.is_complex():
                average.lerp_(current, 1 / (count + 1))
            else:
                average.copy_(average + (current - average) / (count + 1))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> _Average:
    """avg_fn for an exponential moving average."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return ema_param * decay + current_param * (1 - decay)

    return ema_update


def get_swa_avg_fn() -> _Average:
    """avg_fn for the mean of all values so far."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are the average over all update_parameters(model).

    `avg_fn` averages a tensor, `multi_avg_fn` lists of them; without both it is the mean. With
    `use_buffers` buffers are averaged, otherwise copied.
    Raises: AssertionError if both functions are given.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: _Average | None = None,
        multi_avg_fn: _MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", taper.zeros((), dtype=taper.int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def _averaged(self, model: Module) -> list[Tensor]:
        found = [model.parameters(), model.buffers()] if self.use_buffers else [model.parameters()]
        return [tensor.detach() for tensor in itertools.chain(*found)]

    def update_parameters(self, model: Module) -> None:
        """Takes the model as it is now into the average; the first time it is copied."""
        averages, currents = self._averaged(self.module), self._averaged(model)
        if self.n_averaged.item() == 0:
            for average, current in zip(averages, currents, strict=False):
                average.copy_(current)
        elif self.avg_fn is not None:
            for average, current in zip(averages, currents, strict=True):
                average.copy_(self.avg_fn(average, current, self.n_averaged))
        else:
            average_all = self.multi_avg_fn or get_swa_multi_avg_fn()
            for pairs in _by_dtype(averages, currents):
                average_all(*pairs, self.n_averaged)
        if not self.use_buffers:
            for average, current in zip(self.module.buffers(), model.buffers(), strict=True):
                average.detach().copy_(current.detach())
        self.n_averaged += 1


def _by_dtype(averages: list[Tensor], currents: list[Tensor]) -> list[tuple[Any, Any]]:
    """Both lists divided by the dtype of the average."""
    groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for average, current in zip(averages, currents, strict=True):
        mine, theirs = groups.setdefault(average.dtype, ([], []))
        mine.append(average)
        theirs.append(current)
    return list(groups.values())


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Computes the statistics of all batch norms anew, as means over one pass of `loader`.

    A batch may be a list or tuple, whose first entry is the model's input.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches instead of a moving average
    for batch in loader:
        data = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(data if device is None else data.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """The learning rate goes to `swa_lr` in `anneal_epochs` epochs, and stays there.

    Raises: ValueError for an unknown strategy or a negative number of epochs.
    """

    anneal_func: Callable[[float], float]

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = per_group("swa_lr", optimizer, swa_lr)
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._set_anneal_func(anneal_strategy)
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _set_anneal_func(self, strategy: str) -> None:
        self._anneal_strategy = strategy
        self.anneal_func = _cosine if strategy == "cos" else float

    def _share(self, step: int) -> float:
        """How much of the way is done after a number of steps."""
        return self.anneal_func(max(0, min(1, step / max(1, self.anneal_epochs))))

    def get_lr(self) -> list[Any]:
        """The learning rates for the next step, from those set now."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            rate, goal = group["lr"], group["swa_lr"]
            # Where the way began, so that other schedulers may have moved the rate in between.
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates

    def state_dict(self) -> dict[str, Any]:
        """All attributes but the optimizer and the function."""
        return self._attributes_without("optimizer", "anneal_func")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what state_dict() of another SWALR gave."""
        self.__dict__.update(state_dict)
        self._set_anneal_func(self._anneal_strategy)


def _cosine(share: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2
