"""The linear layer, input @ weight.T + bias, as one op, and the bilinear form."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from taper.dispatch import apply, write_out
from taper.dtypes import cpp_name, of
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.window import widened
from taper.tensor import Tensor


def _check(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> None:
    if x.dtype != w.dtype or (bias is not None and bias.dtype != x.dtype):
        given = [cpp_name(of(a.dtype)) for a in (x, w, bias) if a is not None]
        who = "mat1 and mat2" if given[0] != given[1] else "self and mat2"
        pair = given[:2] if given[0] != given[1] else [given[2], given[1]]
        raise DtypeError(
            "linear",
            f"{who} must have the same dtype, but got {pair[0]} and "
            f"{pair[1]} (input, weight, bias: {', '.join(given)})",
        )
    if x.dtype.kind == "b":
        raise NotImplementedError("linear: \"addmm_impl_cpu_\" not implemented for 'Bool'")
    if x.shape[-1] != w.shape[1]:
        rows = x.size // x.shape[-1] if x.shape[-1] else 0
        raise ShapeError(
            "linear",
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.shape[-1]} and "
            f"{w.shape[1]}x{w.shape[0]}): the input's last size must be {w.shape[1]} "
            f"(in_features), got input {list(x.shape)}",
        )


def _fits(bias: tuple[int, ...], result: tuple[int, ...]) -> bool:
    """Whether the bias broadcasts to the result."""
    return len(bias) <= len(result) and all(
        a in (1, b) for a, b in zip(bias[::-1], result[::-1], strict=False)
    )


def _rows(x: np.ndarray, length: int) -> np.ndarray:
    """All dimensions but the last as one."""
    return x.reshape(x.size // length if length else prod(x.shape[:-1]), length)


class _Linear(Contraction):
    """input @ weight.T + bias. The subclasses differ in the name PyTorch gives the node."""

    name = "linear"
    saves = ("input", "weight", "bias.shape")
    needed_for = {"input": "weight", "weight": "input"}

    def forward(self, m: Any, input: Any, weight: Any, bias: Any) -> Any:
        if (
            input.dtype is not weight.dtype
            or input.shape[-1] != weight.shape[1]
            or input.dtype.kind == "b"
            or (bias is not None and bias.dtype != input.dtype)
        ):
            _check(input, weight, bias)
        rows = input if input.ndim == 2 else _rows(input, weight.shape[1])
        shape = (*input.shape[:-1], weight.shape[0])
        if bias is None or bias.shape == shape[-1:]:
            y = m.linear(rows, weight, bias)
            return y if input.ndim == 2 else y.reshape(shape)
        if not _fits(bias.shape, shape):
            raise ShapeError(
                "linear",
                f"The expanded size of the tensor ({shape[-1]}) must "
                f"match the existing size ({bias.shape[-1]}): the bias has shape "
                f"{list(bias.shape)}, the output {list(shape)}",
            )
        y = m.linear(widened(rows), widened(weight), None).reshape(shape) + widened(bias)
        return m.astype(y, input.dtype)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, weight: Any, bias: Any, *, needs: Any
    ) -> Any:
        to_input = to_weight = to_bias = None
        if m.on_arrays and grad.ndim == 2 and grad.dtype.kind != "c":
            # Every training step comes this way, so it is kept short.
            if needs[0]:
                to_input = m.matmul(grad, weight)
            if needs[1]:
                to_weight = m.matmul(grad.T, input)
            if needs[2]:
                to_bias = m.sum_to(grad, bias)
            return to_input, to_weight, to_bias
        if needs[0]:
            to_input = m.call(Linear, grad, conj_of(m, weight).T, None)
        if needs[1]:
            rows = m.reshape(grad, (-1, weight.shape[0])) if len(grad.shape) != 2 else grad
            seen = m.reshape(input, (-1, weight.shape[1])) if len(grad.shape) != 2 else input
            to_weight = m.call(Linear, rows.T, conj_of(m, seen).T, None)
        if needs[2]:
            to_bias = m.sum_to(grad, tuple(bias))
        return to_input, to_weight, to_bias


@op
class Linear(_Linear):
    """Of a matrix, without bias."""

    built_in = "linear"
    node_name = "MmBackward0"


@op
class LinearBias(_Linear):
    """Of a matrix, with bias."""

    built_in = "linear"
    node_name = "AddmmBackward0"


@op
class LinearBatched(_Linear):
    """Of three and more dimensions, without bias."""

    node_name = "UnsafeViewBackward0"


@op
class LinearBatchedBias(_Linear):
    """Of a vector, or of three and more dimensions, with bias."""

    node_name = "ViewBackward0"


@op
class LinearVector(_Linear):
    """Of a vector, without bias."""

    node_name = "SqueezeBackward4"


@public(namespaces=("nn.functional",))
def linear(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """input @ weight.T + bias.

    Shape: input (*, in_features), weight (out_features, in_features), bias (out_features,);
        result (*, out_features).
    Dtype: all of one; float16 and bfloat16 are summed in float32.
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    if out is not None:  # here, because a wrapper would cost every layer a call
        return write_out("linear", linear, (input, weight, bias), {}, out)
    ndim = input._array.ndim
    if weight._array.ndim != 2 or ndim == 0:
        return _unusual(input, weight, bias)
    if ndim == 2:
        if bias is None:
            return apply(Linear, input, weight, None)
        return apply(LinearBias, input, weight, bias)
    if bias is not None:
        return apply(LinearBatchedBias, input, weight, bias)
    return apply(LinearVector if ndim == 1 else LinearBatched, input, weight, None)


def _unusual(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A weight that is a vector makes the layer a dot product; other shapes are errors."""
    if input.dim() == 0 or weight.dim() == 0:
        raise ShapeError(
            "linear",
            "both arguments to linear need to be at least 1D, but they are "
            f"{input.dim()}D and {weight.dim()}D",
        )
    if weight.dim() > 2:
        raise ShapeError(
            "linear", f"t() expects a tensor with <= 2 dimensions, but self is {weight.dim()}D"
        )
    if bias is not None:
        raise ShapeError("linear", f"mat2 must be a matrix, got {weight.dim()}-D tensor")
    return input.matmul(weight)


@public(namespaces=("torch", "nn.functional"))
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 @ weight[k] @ input2, for every output k, plus bias.

    Shape: input1 (*, in1), input2 (*, in2), weight (outputs, in1, in2); result (*, outputs).
    Raises: RuntimeError where sizes do not fit.
    """
    if input1.dim() != input2.dim():
        raise ShapeError(
            "bilinear",
            f"bilinear(): input dimensions do not match: got {input1.dim()} and {input2.dim()}",
        )
    for i in range(input1.dim() - 1):
        if input1.shape[i] != input2.shape[i]:
            raise ShapeError(
                "bilinear",
                "bilinear(): input batch dimensions do not match at dim "
                f"{i}: got {input1.shape[i]} and {input2.shape[i]}",
            )
    outputs, first, second = weight.shape
    for number, (given, wanted) in enumerate(
        ((input1.shape[-1], first), (input2.shape[-1], second)), 1
    ):
        if given != wanted:
            raise ShapeError(
                "bilinear",
                f"bilinear(): input{number} size does not match weight "
                f"size: got {given} but expected {wanted}",
            )
    if bias is not None and bias.shape[0] != outputs:
        raise ShapeError(
            "bilinear",
            "bilinear(): bias size does not match weight size: got "
            f"{bias.shape[0]} but expected {outputs}",
        )
    matrix = weight.permute(0, 2, 1).reshape(outputs * second, first)
    half = linear(input1, matrix).reshape(*input1.shape[:-1], outputs, second)
    result = (half @ input2.unsqueeze(-1)).squeeze(-1)
    return result if bias is None else result + bias
