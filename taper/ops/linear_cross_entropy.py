"""Cross entropy of a linear layer's output: the head of a language model and its loss as one."""

from __future__ import annotations

from typing import Any

from taper.errors import DtypeError, ShapeError
from taper.op import public
from taper.ops.linear import linear
from taper.tensor import Tensor

_NAME = "linear_cross_entropy"


def _check(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if input.dim() not in (1, 2):
        raise ShapeError(_NAME, f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if weight.dim() < 2:
        raise ShapeError(
            _NAME, f"expected linear_weight with dimensionality at least 2, got {weight.dim()}"
        )
    if input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            _NAME,
            "expected equal input and linear_weight last dimensions (in_features), got "
            f"{input.shape[-1]} and {weight.shape[-1]}, respectively",
        )
    if weight.dim() > 2 and input.dim() == 1:
        raise ShapeError(
            _NAME,
            f"K-dimensional loss defined by linear_weight shape {tuple(weight.shape)} requires "
            f"batched input, (N, {weight.shape[-1]}), got unbatched input with shape "
            f"{tuple(input.shape)}",
        )
    if input.dtype is not weight.dtype:
        raise DtypeError(
            _NAME,
            "expected m1 and m2 to have the same dtype, but got: "
            f"{input.dtype.name} != {weight.dtype.name}",
        )
    if bias is not None and bias.shape != weight.shape[:-1]:
        raise ShapeError(
            _NAME,
            f"expected linear_bias shape {tuple(weight.shape[:-1])}, got {tuple(bias.shape)}",
        )


@public(namespaces=("nn.functional",))
def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target).

    `options` says how PyTorch would save memory by going through the batch in pieces. Here the
    loss is computed at once, with the same result.
    Shape: input (in_features,) or (batch, in_features), linear_weight (classes, *sizes,
        in_features), linear_bias (classes, *sizes); target as for cross_entropy of an input
        (batch, classes, *sizes).
    Raises: RuntimeError where shapes or dtypes do not fit.
    """
    from taper.ops.cross_entropy import cross_entropy

    _check(input, linear_weight, linear_bias)
    if target.is_floating_point():
        if target.dim() == input.dim() - 1 and linear_weight.dim() == 2:
            raise DtypeError(
                _NAME, f"expected target dtype to be Long or Byte, but got {_kind(target)}"
            )
        if ignore_index is not None:
            raise DtypeError(
                _NAME, "ignore_index cannot be specified when target contains probabilities"
            )
    sizes = tuple(linear_weight.shape[:-1])
    flat_bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight.reshape(-1, linear_weight.shape[-1]), flat_bias)
    if len(sizes) > 1:
        logits = logits.reshape(input.shape[0], *sizes)
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def _kind(tensor: Tensor) -> str:
    from taper.dtypes import cpp_name

    return cpp_name(tensor.dtype)
