"""Anomaly mode: remembers where each op was called, and stops at the first nan gradient."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import numpy as np

from taper.autograd.grad_mode import mode


def trace_here() -> str:
    """The stack of the caller, for the warning."""
    return "".join(traceback.format_stack()[:-3])


def run_watched(lane: Any, node: Any, grads: list[Any], needs: Any) -> Any:
    """Runs the node; on an error or a nan tells which forward call it belongs to."""
    try:
        results = node.run(lane, grads, needs)
    except Exception:
        _tell(node)
        raise
    if mode.check_nan:
        wanted = node.wanted(needs)
        for i, grad in enumerate(results):
            if grad is None or not wanted[i]:
                continue
            array = lane.outward(grad)._array
            if array.dtype.kind in "fc" and np.isnan(array).any():
                _tell(node)
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {i}th output."
                )
    return results


def _tell(node: Any) -> None:
    trace = (
        node.trace
        or "No forward pass information available. Enable detect anomaly during "
        "forward pass for more information."
    )
    warnings.warn(
        f"Error detected in {node.name()}. Traceback of forward call that caused the "
        f"error:\n{trace}",
        UserWarning,
        stacklevel=5,
    )


class set_detect_anomaly:
    """Turns anomaly detection on or off, as a function or a context manager."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = is_anomaly_enabled(), is_anomaly_check_nan_enabled()
        _set(mode, check_nan)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        _set(*self.prev)


class detect_anomaly:
    """Context manager: anomaly detection inside the block (slow; for debugging)."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and "
            "should only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.prev = is_anomaly_enabled(), is_anomaly_check_nan_enabled()
        _set(True, self.check_nan)

    def __exit__(self, *error: object) -> None:
        _set(*self.prev)


def _set(on: bool, check_nan: bool) -> None:
    # On the class: for all threads, as in PyTorch.
    type(mode).anomaly, type(mode).check_nan = on, check_nan


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return mode.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode looks for nan."""
    return mode.check_nan
