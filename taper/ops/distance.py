"""Distances and similarities of vectors: in pairs, all against all, and within one collection.

torch.dist, the norm of one difference, is with the norms in statistics.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import FLOATING, narrowed, refuse, widened
from taper.ops.statistics import vector_norm
from taper.ops.view import broadcast_tensors
from taper.shapes import canonical_dim
from taper.tensor import Tensor

# Differences of all pairs are formed for as many rows at a time as fit in this many elements, so
# that they stay in the cache.
_BLOCK = 1 << 16

# ---------------------------------------------------------------- on arrays


def _norm(gap: np.ndarray, p: float) -> np.ndarray:
    """p-norm over the last dimension; `gap` may be overwritten."""
    if p == 2:
        return np.sqrt(np.einsum("...i,...i->...", gap, gap))
    if p == 0:
        return np.asarray(np.count_nonzero(gap, axis=-1)).astype(gap.dtype)
    size = np.abs(gap, out=gap)
    if p == 1:
        return np.asarray(size.sum(-1))
    if p == math.inf:
        return np.asarray(size.max(-1, initial=0))
    return np.asarray(np.power(np.power(size, p, out=size).sum(-1), 1 / p))


def _slope(m: Any, gap: Any, norm: Any, p: float) -> Any:
    """The derivative of the p-norm by each of the differences; zero where they all are zero."""
    if p == 0:
        return m.zeros_like(gap)
    if p == 1:
        return m.sign(gap)
    zero = m.equal(norm, 0)
    if p == 2:
        return m.where(zero, 0, gap / m.where(zero, 1, norm))
    size = m.absolute(gap)
    if p == math.inf:
        return m.where(m.equal(size, norm) & ~zero, m.sign(gap), 0)
    level = m.where(m.equal(size, 0), 1, size)
    share = m.power(level / m.where(zero, 1, norm), p - 1)
    return m.where(m.equal(size, 0), 0, m.sign(gap) * share)


def _rows_at_a_time(x2: np.ndarray) -> int:
    return max(1, _BLOCK // max(1, x2.shape[-2] * x2.shape[-1]))


def _between_all(x1: np.ndarray, x2: np.ndarray, p: float) -> np.ndarray:
    """Distances of all rows of x1 (batch, P, M) from all of x2 (batch, R, M)."""
    made = np.empty((*x1.shape[:-1], x2.shape[-2]), x1.dtype)
    step = _rows_at_a_time(x2)
    for one, other, into in zip(x1, x2, made, strict=True):
        for i in range(0, len(one), step):
            into[i : i + step] = _norm(one[i : i + step, None] - other, p)
    return made


def _pulls(
    grad: np.ndarray, x1: np.ndarray, x2: np.ndarray, norm: np.ndarray, p: float
) -> np.ndarray:
    """Gradient of x1 from those of the distances: the sum of grad * slope over the rows of x2."""
    made = np.empty(x1.shape, x1.dtype)
    step = _rows_at_a_time(x2)
    from taper.backends.reference import math as m

    for g, one, other, size, into in zip(grad, x1, x2, norm, made, strict=True):
        for i in range(0, len(one), step):
            part = slice(i, i + step)
            slope = _slope(m, one[part, None] - other, size[part, :, None], p)
            into[part] = np.einsum("pr,prm->pm", g[part], slope)
    return made


def _euclidean_by_product(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """2-norms by a matrix product, |x|^2 - 2 x.y + |y|^2: fast, but what is near cancels."""
    made = np.matmul(x1, np.swapaxes(x2, -1, -2))
    made *= -2
    made += np.einsum("...i,...i->...", x1, x1)[..., None]
    made += np.einsum("...i,...i->...", x2, x2)[..., None, :]
    return np.sqrt(np.maximum(made, 0, out=made), out=made)


# ---------------------------------------------------------------- the ops


@op
class Cdist(Opaque):
    """p-norm distances of all rows of x1 (batch, P, M) from all of x2 (batch, R, M)."""

    name = "cdist"
    saves = ("x1", "x2", "out")

    def forward(self, m: Any, x1: Any, x2: Any, *, p: float, product: bool) -> Any:
        return _euclidean_by_product(x1, x2) if product else _between_all(x1, x2, p)

    def vjp(
        self, m: Any, grad: Any, out: Any, x1: Any, x2: Any, *, p: float, product: bool, needs: Any
    ) -> Any:
        if product:
            return self._by_product(m, grad, out, x1, x2, needs)
        back = m.swapaxes(grad, -1, -2), m.swapaxes(out, -1, -2)
        if m.on_arrays:
            return (
                _pulls(grad, x1, x2, out, p) if needs[0] else None,
                _pulls(back[0], x2, x1, back[1], p) if needs[1] else None,
            )
        gap = x1[:, :, None] - x2[:, None]
        pull = _slope(m, gap, out[..., None], p) * grad[..., None]
        return m.sum(pull, 2), -m.sum(pull, 1)

    @staticmethod
    def _by_product(m: Any, grad: Any, out: Any, x1: Any, x2: Any, needs: Any) -> Any:
        zero = m.equal(out, 0)
        share = m.where(zero, 0, grad / m.where(zero, 1, out))
        to_x1 = to_x2 = None
        if needs[0]:
            to_x1 = m.sum(share, -1, keepdims=True) * x1 - m.matmul(share, x2)
        if needs[1]:
            share = m.swapaxes(share, -1, -2)
            to_x2 = m.sum(share, -1, keepdims=True) * x2 - m.matmul(share, x1)
        return to_x1, to_x2


@op
class Pdist(Opaque):
    """p-norm distances of every pair of rows, in the order (0, 1), (0, 2), ..., (1, 2), ..."""

    name = "pdist"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, p: float) -> Any:
        made = [_norm(row - input[i:], p) for i, row in enumerate(input, 1)]
        return np.concatenate(made) if made else np.zeros(0, input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, p: float) -> Any:
        rows = input.shape[0]
        first, second = np.triu_indices(rows, 1)
        if m.on_arrays:
            pair = np.zeros((2, 1, rows, rows), input.dtype)
            for square, values in zip(pair[:, 0], (grad, out), strict=True):
                square[first, second] = values
                square[second, first] = values
            return _pulls(pair[0], input[None], input[None], pair[1], p)[0]
        one, other = m.constant(first), m.constant(second)
        pull = _slope(m, input[one] - input[other], out[:, None], p) * grad[:, None]
        zeros = m.zeros_like(input)
        return zeros.index_add(0, one, pull) - zeros.index_add(0, other, pull)


@op
class CosineSimilarity(Opaque):
    """x1 . x2 / (max(|x1|, eps) * max(|x2|, eps)) along `axis`; x1 and x2 have one shape."""

    name = "cosine_similarity"
    node_name = "SumBackward1"
    saves = ("x1", "x2", "out")

    def forward(self, m: Any, x1: Any, x2: Any, *, axis: int, eps: float) -> Any:
        a, b = widened(x1), widened(x2)
        made = np.asarray((a * b).sum(axis))
        for x in (a, b):
            made = made / np.maximum(np.sqrt((x * x).sum(axis)), eps)
        return narrowed(np.asarray(made), x1)

    def vjp(
        self, m: Any, grad: Any, out: Any, x1: Any, x2: Any, *, axis: int, eps: float, needs: Any
    ) -> Any:
        grad, out = m.expand_dims(grad, axis), m.expand_dims(out, axis)
        lengths, inverse = [], []
        for x in (x1, x2):
            square = m.sum(x * x, axis, keepdims=True)
            zero = m.equal(square, 0)
            length = m.where(zero, 0, m.sqrt(m.where(zero, 1, square)))
            inverse.append(m.where(zero, 0, 1 / m.where(zero, 1, length)))
            lengths.append(m.clip(length, eps, None))
        product = lengths[0] * lengths[1]
        return tuple(
            grad * (other / product - out * x * inverse[i] / lengths[i]) if needs[i] else None
            for i, (x, other) in enumerate(((x1, x2), (x2, x1)))
        )


# ---------------------------------------------------------------- pairs


@public(namespaces=("torch", "nn.functional"))
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """p-norm of x1 - x2 + eps over the last dimension.

    Shape: x1 and x2 broadcast; the result lacks the last dimension, or has 1 there with `keepdim`.
    """
    gap = x1 - x2 + eps
    return vector_norm(gap, p, gap.dim() - 1 if gap.dim() else None, keepdim)


@public(namespaces=("torch", "nn.functional"))
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between x1 and x2 along `dim`; lengths below `eps` count as eps.

    Shape: x1 and x2 broadcast; the result lacks `dim`.
    Dtype: floating, promoted. Raises: RuntimeError for integers, IndexError for a wrong `dim`.
    """
    if eps < 0:
        raise RuntimeError(f"eps must be non-negative, got: {eps:g}")
    common = dtypes.of_operands([x1._array, x2._array])
    if not common.is_floating_point:
        raise DtypeError(
            "expected common dtype to be floating point, yet common dtype is "
            f"{dtypes.cpp_name(common)}"
        )
    if x1._array.shape != x2._array.shape:
        x1, x2 = broadcast_tensors(x1, x2)
    axis = canonical_dim(dim, x1.dim())
    if x1.dim() == 0:
        x1, x2 = x1.unsqueeze(0), x2.unsqueeze(0)
    return apply(CosineSimilarity, x1.to(common), x2.to(common), axis=axis, eps=eps)


# ---------------------------------------------------------------- all against all

_MODES = (
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)
# From this many rows on the matrix product is used, unless the mode forbids it.
_MANY_ROWS = 25


@public()
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> Tensor:
    """p-norm distances of all rows of x1 from all rows of x2.

    The mode says whether 2-norms are found by a matrix product: by default if one side has more
    than 25 rows. It is faster; distances much smaller than the rows lose digits.

    Shape: x1 (*, P, M), x2 (*, R, M), whose leading dimensions broadcast; result (*, P, R).
    Dtype: float32 or float64. Raises: RuntimeError for negative p.
    """
    for number, x in enumerate((x1, x2), 1):
        if x._array.dtype.kind not in "fV":
            raise DtypeError(
                f"cdist only supports floating-point dtypes, X{number} got: "
                f"{dtypes.cpp_name(x.dtype)}"
            )
    for number, x in enumerate((x1, x2), 1):
        if x.dim() < 2:
            raise ShapeError(f"cdist only supports at least 2D tensors, X{number} got: {x.dim()}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if x1._array.dtype != x2._array.dtype:
        raise DtypeError(
            f"expected scalar type {dtypes.cpp_name(x1.dtype)} but found "
            f"{dtypes.cpp_name(x2.dtype)}"
        )
    if x1._array.dtype.itemsize == 2:
        refuse(x1, FLOATING, "cdist")
    rows, columns, features = x1.shape[-2], x2.shape[-2], x1.shape[-1]
    before = _common_batch(x1, x2)
    batch = math.prod(before)
    flat1 = x1.expand(*before, rows, features).reshape(batch, rows, features)
    flat2 = x2.expand(*before, columns, features).reshape(batch, columns, features)
    many = rows > _MANY_ROWS or columns > _MANY_ROWS
    product = p == 2 and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and many))
    made = apply(Cdist, flat1, flat2, p=float(p), product=product)
    return made.reshape(*before, rows, columns)


def _common_batch(x1: Tensor, x2: Tensor) -> tuple[int, ...]:
    """The common shape of the leading dimensions."""
    from taper.dispatch import _clash

    one, other = x1._array.shape[:-2], x2._array.shape[:-2]
    clash = _clash(one, other)
    if clash is not None:
        raise ShapeError("cdist", clash)
    return np.broadcast_shapes(one, other)


@public(namespaces=("torch", "nn.functional"))
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """p-norm distances of every pair of rows, the upper triangle of `cdist(input, input)`.

    Shape: input (N, M); result (N * (N - 1) / 2). Dtype: float32 or float64.
    """
    if input.dim() != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if input._array.dtype.kind not in "fV":
        raise DtypeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    if input._array.dtype.itemsize == 2:
        refuse(input, FLOATING, "pdist")
    return apply(Pdist, input, p=float(p))
