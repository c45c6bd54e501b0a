"""softmax, log_softmax and what is made of them: shares along a dimension."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.shapes import canonical_dim
from taper.tensor import Tensor


@op
class Softmax(Opaque):
    """exp(input), divided by its sum along `axis`."""

    built_in = "softmax"
    plain = True
    saves = ("out",)

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        if input.ndim == 0:
            return m.softmax(input.reshape(1), 0).reshape(())
        return narrowed(m.softmax(widened(input), axis), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        return m.call(SoftmaxGrad, grad, out, axis=axis)


@op
class SoftmaxGrad(Opaque):
    """out * (grad - sum(grad * out))."""

    node_name = "SoftmaxBackwardBackward0"
    saves = ("grad", "out_")

    def forward(self, m: Any, grad: Any, out_: Any, *, axis: int) -> Any:
        if grad.ndim == 0:
            return np.zeros_like(grad)
        return narrowed(m.softmax_grad(widened(grad), widened(out_), axis), grad)

    def vjp(self, m: Any, grad: Any, result: Any, g: Any, out_: Any, *, axis: int) -> Any:
        # The map grad -> result is symmetric; what remains is its derivative in out.
        if not len(grad.shape):
            return grad * 0, grad * 0
        one = m.sum(g * out_, (axis,), keepdims=True)
        two = m.sum(grad * out_, (axis,), keepdims=True)
        return (
            m.call(SoftmaxGrad, grad, out_, axis=axis),
            grad * (g - one) - g * two,
        )


@op
class LogSoftmax(Opaque):
    """input - log(sum(exp(input)))."""

    built_in = "log_softmax"
    plain = True
    saves = ("out",)

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        if input.ndim == 0:
            return m.log_softmax(input.reshape(1), 0).reshape(())
        return narrowed(m.log_softmax(widened(input), axis), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        return m.call(LogSoftmaxGrad, grad, out, axis=axis)


@op
class LogSoftmaxGrad(Opaque):
    """grad - exp(out) * sum(grad)."""

    node_name = "LogSoftmaxBackwardBackward0"
    saves = ("grad", "out_")

    def forward(self, m: Any, grad: Any, out_: Any, *, axis: int) -> Any:
        if grad.ndim == 0:
            return np.zeros_like(grad)
        return narrowed(m.log_softmax_grad(widened(grad), widened(out_), axis), grad)

    def vjp(self, m: Any, grad: Any, result: Any, g: Any, out_: Any, *, axis: int) -> Any:
        if not len(grad.shape):
            return grad * 0, grad * 0
        shares = m.exp(out_)
        seen = grad * shares
        return (
            grad - m.sum(seen, (axis,), keepdims=True),
            seen * -m.sum(g, (axis,), keepdims=True),
        )


# ---------------------------------------------------------------- public functions


def _along(kind: Any, name: str, input: Tensor, dim: Any, dtype: Any) -> Tensor:
    if dtype is not None and dtype is not input.dtype:
        input = input.to(dtype)
    array = input._array
    axis = canonical_dim(dim, array.ndim, name)
    if array.dtype.kind in "ciub":
        refuse(input, "ciub", f"{name}{'_lastdim' if axis >= array.ndim - 1 else ''}_kernel_impl")
    return apply(kind, input, axis=axis)


@public(method=True, out=True, namespaces=("torch", "special"))
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(input), divided by its sum along `dim`: shares that add up to 1.

    Dtype: floating, that of the input or `dtype`.
    Raises: IndexError for a dim out of range, NotImplementedError for other dtypes.
    """
    return _along(Softmax, "softmax", input, dim, dtype)


@public(method=True, out=True, namespaces=("torch", "special"))
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of softmax along `dim`, exact where the shares are too small for their dtype.

    Dtype: floating, that of the input or `dtype`.
    Raises: IndexError for a dim out of range, NotImplementedError for other dtypes.
    """
    return _along(LogSoftmax, "log_softmax", input, dim, dtype)


def _get_softmax_dim(name: str, ndim: int, stacklevel: int) -> int:
    """The dimension that PyTorch takes, with a warning, where none is given."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. "
        "Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


@public(namespaces=("nn.functional",), name="softmax")
def softmax_layer(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(input), divided by its sum along `dim`. Raises: as torch.softmax."""
    if dim is None:
        dim = _get_softmax_dim("softmax", input.dim(), _stacklevel)
    return _along(Softmax, "softmax", input, dim, dtype)


@public(namespaces=("nn.functional",), name="log_softmax")
def log_softmax_layer(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of softmax along `dim`. Raises: as torch.log_softmax."""
    if dim is None:
        dim = _get_softmax_dim("log_softmax", input.dim(), _stacklevel)
    return _along(LogSoftmax, "log_softmax", input, dim, dtype)


@public(namespaces=("nn.functional",))
def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax of -input: the smallest element has the largest share. Raises: as torch.softmax."""
    if dim is None:
        dim = _get_softmax_dim("softmin", input.dim(), _stacklevel)
    return _along(Softmax, "softmax", -input, dim, dtype)


@public(namespaces=("nn.functional",))
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Random shares along `dim` whose largest follows softmax(logits); tau makes them even.

    With `hard` the result is one-hot, and its derivative is that of the shares.
    Source: Jang et al., Categorical reparameterization with Gumbel-softmax, 2016.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    from taper.op import NAMESPACES

    noise = -NAMESPACES["torch"]["empty_like"](logits).exponential_().log()
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = NAMESPACES["torch"]["zeros_like"](logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
