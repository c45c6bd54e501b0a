"""Running an optimizer for a while on other parameters and state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taper.optim.optimizer import Optimizer
from taper.tensor import Tensor

_NAME = "swap_in_optimizer_params_and_state"


def _check_state(state: Any) -> dict[Any, Any]:
    if not isinstance(state, dict):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be a dict mapping "
            "packed parameter ids to per-param state dicts, got "
            f"{type(state).__name__}."
        )
    if any(isinstance(key, Tensor) for key in state):
        raise RuntimeError(
            f"{_NAME} requires optimizer.state_dict()-style state keyed by packed parameter ids."
        )
    if any(isinstance(key, int) and not isinstance(v, dict) for key, v in state.items()):
        raise RuntimeError(
            f"{_NAME} requires per-parameter optimizer state entries to be dictionaries."
        )
    return state


def _check_group(i: int, live: dict[str, Any], given: Any) -> list[int]:
    if not isinstance(given, dict):
        raise RuntimeError(f"{_NAME} requires each optimizer param group to be a dictionary.")
    ids = given.get("params")
    if not isinstance(ids, list) or not all(isinstance(n, int) for n in ids):
        raise RuntimeError(
            f"{_NAME} requires optimizer.state_dict()-style "
            "param_groups[*]['params'] entries keyed by packed parameter ids."
        )
    if len(live["params"]) != len(ids):
        raise RuntimeError(
            f"swapin_optim_state param group {i} has a different number of params "
            "than the live optimizer param group."
        )
    beyond = [key for key in given if key not in live]
    lacking = [key for key in live if key not in given]
    if beyond or lacking:
        raise RuntimeError(
            f"{_NAME} requires optimizer.state_dict()-style param group keys to "
            f"exactly match the live optimizer group keys for group {i}. Keys only "
            f"in swap-in: {beyond}. Keys only in live: {lacking}."
        )
    return ids


@contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Lets `optimizer` work on other parameters and state inside a with block.

    `swapin_parameters` come in the order of the optimizer's own; `swapin_optim_state` is shaped
    like state_dict(). Writes into its tensors remain, everything else is as before afterwards.
    Raises: RuntimeError if they do not fit the optimizer.
    """
    if not optimizer.state:
        raise RuntimeError(f"{_NAME} requires initialized optimizer state.")
    if not isinstance(swapin_optim_state, dict):
        raise RuntimeError(f"{_NAME} requires a DCP-style optimizer state_dict.")
    state = _check_state(swapin_optim_state.get("state"))
    groups = swapin_optim_state.get("param_groups")
    if not isinstance(groups, list):
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['param_groups'] to be a list of "
            f"param-group dicts, got {type(groups).__name__}."
        )
    if len(optimizer.param_groups) != len(groups):
        raise RuntimeError(
            "swapin_optim_state has a different number of parameter groups than the live optimizer."
        )
    ids = [
        _check_group(i, live, given)
        for i, (live, given) in enumerate(zip(optimizer.param_groups, groups, strict=True))
    ]
    flat = [n for each in ids for n in each]
    params = list(swapin_parameters.values())
    if len(flat) > len(params):
        raise RuntimeError(
            f"{_NAME} requires the explicit parameter state to match "
            "optimizer.param_groups ordering."
        )
    extra = [key for key in state if key not in set(flat)]
    if extra:
        raise RuntimeError(
            f"{_NAME} requires swapin_optim_state['state'] to be keyed only by "
            "packed parameter ids from param_groups[*]['params']; got extra keys "
            f"{extra!r}."
        )

    before = optimizer.state, [dict(group) for group in optimizer.param_groups]
    swapped: defaultdict[Any, Any] = defaultdict(dict)
    for param, n in zip(params, flat, strict=False):
        swapped[param] = dict(state.get(n, {}))
    try:
        start = 0
        for live, given, numbers in zip(optimizer.param_groups, groups, ids, strict=True):
            live.update((key, value) for key, value in given.items() if key != "params")
            live["params"] = params[start : start + len(numbers)]
            start += len(numbers)
        optimizer.state = swapped
        yield
    finally:
        optimizer.state = before[0]
        for live, snapshot in zip(optimizer.param_groups, before[1], strict=True):
            live.clear()
            live.update(snapshot)
