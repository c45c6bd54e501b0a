"""The functions of `m` that have kernels: reference.py's namespace with these in the place of numpy's.

Each file here holds a family of functions on arrays with the names and arguments of the reference.
One looks at dtypes, sizes and strides, and either calls a kernel or hands over to the reference; the
rule depends on nothing else, so a program gives the same bits each time it runs. A family is loaded
when one of its functions is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from taper.backends import reference

FAMILIES: dict[str, str] = {
    "attention": "attention attention_grad",
    "gemm": "linear matmul",
    "pointwise": "exp exp2 expm1 log log2 log1p tanh sigmoid erf sin cos fused evaluate",
    "rows": "softmax log_softmax softmax_grad log_softmax_grad softmax_loss softmax_loss_grad normalize_rows normalize_rows_grad",
    "fold": "row_sums column_sums sum sum_to mean max min prod squares spread",
    "channels": "normalize_channels normalize_channels_grad",
    "conv": "convolution convolution_transposed convolution_weight_grad convolution_gradients",
    "pool": "max_pool max_pool_grad avg_pool avg_pool_grad",
    "pool_uneven": "max_index pick uneven_max_index uneven_mean uneven_mean_grad",
    "rnn": "gru_forward gru_backward lstm_forward lstm_backward rnn_forward rnn_backward",
    "update": "update_rule update_together",
    "gather": "add_slices gather scatter_add sum_rows take_slices",
    "order": "order first_in_order",
    "scan": "running_product running_sum running_extreme",
    "draw": "draws",
    "cast": "astype",
    "join": "concatenate stack",
    "transpose": "row_major_copy",
}
# Built-ins that dispatch calls, by the ops' names for them; `directly` in the family gives them.
BUILT_INS: dict[str, str] = {
    "gemm": "linear matmul",
    "rows": "softmax log_softmax",
    "fold": "sum mean prod max min sum_over mean_over max_over min_over",
    "join": "concatenate stack",
}


def _by_name(families: dict[str, str]) -> dict[str, str]:
    return {name: family for family, names in families.items() for name in names.split()}


_HOMES, _BUILT_IN_HOMES = _by_name(FAMILIES), _by_name(BUILT_INS)


class LlvmMath(reference.Math):
    """The namespace."""

    def __getattr__(self, name: str) -> Any:
        family = _HOMES.get(name)
        if family is None:
            found = getattr(reference.math, name)
        else:
            found = getattr(importlib.import_module(f"{__name__}.{family}"), name)
        self.__dict__[name] = found
        return found

    def ufunc(self, name: str) -> Any:
        """None: each op decides with every call whether a kernel runs, or numpy (fusing.py)."""
        return None

    def fuse(self, op: Any) -> None:
        """Lets an op run on arrays as one kernel: see fusing.py."""
        from taper.backends.llvm.functions.fusing import fuse

        fuse(op)

    def built_in(self, op: Any) -> Any:
        """Stands in for the op's built-in until the first call, which fetches it."""

        def first(*operands: Any) -> Any:
            family = importlib.import_module(f"{__name__}.{_BUILT_IN_HOMES[op.built_in]}")
            op.direct = family.directly(op.built_in)
            return op.direct(*operands)

        return first

    def tape(self, *classes: Any) -> Any:
        """Built-ins that make tensors and nodes, of tape.py; None where it cannot have them."""
        from taper.backends.llvm.tape import built_ins

        return built_ins(*classes)

    def call(self, op: Any, *inputs: Any, **attrs: Any) -> Any:
        """Runs another op on arrays."""
        out = op.run(self, *inputs, **attrs)
        return out if op.outputs > 1 or type(out) is np.ndarray else np.asarray(out)
