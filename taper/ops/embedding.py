"""Rows of a table by index, and sums, means and maxima over bags of rows; one_hot."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode as grad_mode
from taper.autograd.grad_mode import no_grad
from taper.backends.gathering import highest
from taper.dispatch import apply, touch
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, require_tensor, widened
from taper.tensor import Tensor, wrap

_MODES = ("sum", "mean", "max")

# ---------------------------------------------------------------- on arrays


def _starts(bags: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many entries each bag has, the bags with any, and where those begin."""
    sizes = np.bincount(bags, minlength=count)
    filled = np.flatnonzero(sizes)
    return sizes, filled, (np.cumsum(sizes) - sizes)[filled]


def _each_bag(values: np.ndarray, bags: np.ndarray, count: int, ufunc: Any) -> np.ndarray:
    """The reduction of the values (n, D) of every bag; 0 for an empty one. `bags` is sorted."""
    made = np.zeros((count, values.shape[1]), values.dtype)
    if len(bags):
        _, filled, starts = _starts(bags, count)
        made[filled] = ufunc.reduceat(values, starts, axis=0)
    return made


# ---------------------------------------------------------------- the ops


@op
class Embedding(Opaque):
    """weight[indices]. The row `padding` gets no gradient; `by_frequency` divides each row's by
    how often it was looked up.
    """

    name = "embedding"
    saves = ("weight.shape", "indices")

    def forward(
        self, m: Any, weight: Any, indices: Any, *, padding: int, by_frequency: bool
    ) -> Any:
        return m.take_slices(weight, indices)

    def vjp(self, m: Any, grad: Any, out: Any, weight: Any, indices: Any, **attrs: Any) -> Any:
        return m.call(EmbeddingGrad, grad, indices, rows=weight[0], **attrs), None


@op
class EmbeddingGrad(Opaque):
    """The sum, for each of the table's rows, of the gradients of its look-ups: Embedding's
    adjoint.
    """

    name = "embedding"
    saves = ("indices",)

    def forward(
        self, m: Any, grad: Any, indices: Any, *, rows: int, padding: int, by_frequency: bool
    ) -> Any:
        columns = grad.shape[-1]
        flat = indices.reshape(-1)
        values = grad.reshape(flat.size, columns)
        if by_frequency:
            counts = np.bincount(flat, minlength=rows)
            values = values / counts[flat].astype(values.dtype)[:, None]
        made = m.sum_rows(values, flat, rows)
        if padding >= 0:
            made[padding] = 0
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        first: Any,
        indices: Any,
        *,
        rows: int,
        padding: int,
        by_frequency: bool,
    ) -> Any:
        made = m.call(Embedding, grad, indices, padding=-1, by_frequency=False)
        share = m.call(LookupShares, indices, rows=rows, padding=padding, by_frequency=by_frequency)
        return made * m.astype(share, grad.dtype), None


@op
class LookupShares(Opaque):
    """What a look-up's gradient counts for: 0 for the padding row, and 1 or 1 / frequency."""

    name = "embedding"

    def forward(self, m: Any, indices: Any, *, rows: int, padding: int, by_frequency: bool) -> Any:
        share = (indices != padding).astype(np.float64)
        if by_frequency:
            share /= np.bincount(indices.reshape(-1), minlength=rows)[indices]
        return share[..., None]


@op
class EmbeddingBag(Opaque):
    """Sum or mean of the rows of each bag, each times its weight.

    indices, bags and sample_weights have one entry per look-up; bags are sorted and below `count`.
    """

    name = "embedding_bag"
    saves = ("weight", "indices", "bags", "sample_weights")

    def forward(
        self,
        m: Any,
        weight: Any,
        indices: Any,
        bags: Any,
        sample_weights: Any,
        *,
        count: int,
        mean: bool,
        by_frequency: bool,
    ) -> Any:
        rows = widened(m.take_slices(weight, indices))
        if sample_weights is not None:
            rows = rows * widened(sample_weights)[:, None]
        made = _each_bag(rows, bags, count, np.add)
        if mean:
            made /= np.maximum(np.bincount(bags, minlength=count), 1).astype(made.dtype)[:, None]
        return narrowed(made, weight)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        weight: Any,
        indices: Any,
        bags: Any,
        sample_weights: Any,
        *,
        count: int,
        mean: bool,
        by_frequency: bool,
        needs: Any,
    ) -> Any:
        plain = {"padding": -1, "by_frequency": False}
        each = m.call(Embedding, grad, bags, **plain)
        if mean:
            share = m.call(LookupShares, bags, rows=count, padding=-1, by_frequency=True)
            each = each * m.astype(share, grad.dtype)
        to_weight = to_samples = None
        if needs[3]:
            rows = m.call(Embedding, weight, indices, **plain)
            to_samples = m.sum(rows * each, axis=1)
        if needs[0]:
            if sample_weights is not None:
                each = each * sample_weights[:, None]
            to_weight = m.call(
                EmbeddingGrad,
                each,
                indices,
                rows=weight.shape[0],
                padding=-1,
                by_frequency=by_frequency,
            )
        return to_weight, None, None, to_samples


@op
class EmbeddingBagMax(Opaque):
    """Maximum of the rows of each bag, column by column, and whose it was (-1 of an empty bag)."""

    name = "embedding_bag"
    node_name = "EmbeddingBagBackward0"
    saves = ("weight.shape", "out")
    outputs = 2
    differentiable = (True, False)

    def forward(self, m: Any, weight: Any, indices: Any, bags: Any, *, count: int) -> Any:
        rows = weight.take(indices, 0)
        made = _each_bag(rows, bags, count, np.maximum)
        chosen = np.full(made.shape, -1)
        if len(bags):
            _, filled, starts = _starts(bags, count)
            # The first of equals wins, as in PyTorch.
            places = np.where(rows == made[bags], np.arange(len(bags))[:, None], len(bags) - 1)
            chosen[filled] = indices[np.minimum.reduceat(places, starts, axis=0)]
        return made, chosen

    def vjp(
        self, m: Any, grads: Any, out: Any, weight: Any, indices: Any, bags: Any, *, count: int
    ) -> Any:
        return m.call(EmbeddingBagMaxGrad, grads[0], out[1], rows=weight[0]), None, None


@op
class EmbeddingBagMaxGrad(Opaque):
    """Each gradient (bags, D) added to its column of the row that was chosen."""

    name = "embedding_bag"
    saves = ("chosen",)

    def forward(self, m: Any, grad: Any, chosen: Any, *, rows: int) -> Any:
        columns = grad.shape[1]
        filled = chosen[:, 0] >= 0 if columns else np.zeros(len(chosen), bool)
        wide = widened(grad[filled])
        made = np.zeros(rows * columns, wide.dtype)
        flat = chosen[filled] * columns + np.arange(columns)
        np.add.at(made, flat.reshape(-1), wide.reshape(-1))
        return narrowed(made, grad).reshape(rows, columns)

    def vjp(self, m: Any, grad: Any, out: Any, first: Any, chosen: Any, *, rows: int) -> Any:
        made = grad[m.clip(chosen, 0, None), m.arange(chosen.shape[1])]
        return m.where(m.less(chosen, 0), 0, made), None


# ---------------------------------------------------------------- embedding


def _require_indices(indices: Tensor, name: str, argument: str = "#1 'indices'") -> None:
    if indices._array.dtype not in (np.int64, np.int32):
        raise DtypeError(
            f"Expected tensor for argument {argument} to have one of the following scalar types: "
            f"Long, Int; but got torch.{dtypes.cpp_name(indices.dtype)}Tensor instead (while "
            f"checking arguments for {name})"
        )


def _refuse_sparse(weight: Tensor, name: str) -> None:
    """Raises: NotImplementedError if a gradient, which would be sparse, may be asked for."""
    if weight.requires_grad and grad_mode.grad:
        raise NotImplementedError(
            f"{name}: sparse gradients are not available; leave sparse=False for a dense one"
        )


@public(namespaces=("nn.functional",))
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` with the indices `input`.

    The row `padding_idx` gets no gradient. With `max_norm` the rows that are looked up are first
    shortened, in place, to at most that `norm_type`-norm. `scale_grad_by_freq` divides a row's
    gradient by how often the input names it.

    Shape: input (*), weight (rows, D); result (*, D). Dtype: input int32 or int64.
    Raises: IndexError for an index that is no row.
    """
    rows = weight._array.shape[0] if weight.dim() else 0
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding = padding_idx % rows
    if max_norm is not None:
        with no_grad():
            embedding_renorm_(weight, input, max_norm, norm_type)
    return rows_by_index(weight, input, padding, scale_grad_by_freq, sparse)


@public(name="embedding")
def rows_by_index(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """nn.functional.embedding with the table first; -1 is no padding."""
    require_tensor("embedding", "indices", 2, indices)
    if weight._array.ndim != 2:
        raise ShapeError("embedding", "'weight' must be 2-D")
    if indices._array.dtype != np.int64:
        _require_indices(indices, "embedding")
    if sparse:
        _refuse_sparse(weight, "embedding")
    return apply(
        Embedding, weight, indices, padding=padding_idx, by_frequency=bool(scale_grad_by_freq)
    )


@public()
def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Shortens, in place, the rows of `input` at `indices` whose norm exceeds `max_norm`."""
    require_tensor("embedding_renorm_", "indices", 2, indices)
    _require_indices(indices, "embedding_renorm_")
    table = input._array
    if table.ndim != 2:
        raise ShapeError("embedding_renorm_", "'self' must be 2-D")
    if indices._array.size and highest(indices._array) >= table.shape[0]:
        raise IndexError("index out of range in self")
    chosen = np.unique(indices._array)
    rows = widened(table[chosen])
    norms = np.linalg.norm(rows, norm_type, axis=1)
    long = norms > max_norm
    if long.any():
        # PyTorch's guard against a division by zero.
        shorter = rows[long] * (max_norm / (norms[long] + 1e-7))[:, None].astype(rows.dtype)
        table[chosen[long]] = shorter.astype(table.dtype)
        touch(input)
    return input


@public(namespaces=("nn.functional",))
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at each class, 0 elsewhere, in a new last dimension.

    Shape: tensor (*); result (*, num_classes), by default one more than the largest class.
    Dtype: int64 to int64. Raises: RuntimeError for a negative or too large class.
    """
    classes = tensor._array
    if classes.dtype != np.int64:
        raise DtypeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not classes.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    else:
        if classes.min() < 0:
            raise RuntimeError("Class values must be non-negative.")
        if num_classes == -1:
            num_classes = int(classes.max()) + 1
        elif classes.max() >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    made = np.zeros((classes.size, num_classes), np.int64)
    made[np.arange(classes.size), classes.reshape(-1)] = 1
    return wrap(made.reshape(*classes.shape, num_classes))


# ---------------------------------------------------------------- embedding_bag


@public(namespaces=("nn.functional",))
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the rows of `weight` that each bag of indices names.

    A bag is a row of a 2-D input, or runs from one offset to the next of a 1-D input. With
    `include_last_offset` the last offset ends the last bag. `padding_idx` does not count.

    Shape: input (B, n), or (n) with offsets (B); weight (rows, D); result (B, D).
    Raises: ValueError for other shapes, RuntimeError for an index that is no row.
    """
    if weight.dtype is dtypes.int64 and input.dtype.is_floating_point:
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag("
            "weight, input, ...)` is deprecated, and should now be `embedding_bag(input, weight, "
            "...)`.",
            stacklevel=2,
        )
        weight, input = input, weight
    if per_sample_weights is not None and input.size() != per_sample_weights.size():
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({per_sample_weights.shape}) is not None, then "
            f"it must have the same shape as the input ({input.shape})"
        )
    if weight.dim() != 2:
        raise ValueError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}"
        )
    input, offsets, per_sample_weights = _flat_bags(input, offsets, per_sample_weights)
    if mode not in _MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max":
        if scale_grad_by_freq:
            raise ValueError("max mode does not support scaling the gradient by the frequency")
        if sparse:
            raise ValueError("max mode does not support sparse weights")
    if max_norm is not None:
        with no_grad():
            embedding_renorm_(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )
    return bags_of_rows(
        weight,
        input,
        offsets,
        scale_grad_by_freq,
        _MODES.index(mode),
        sparse,
        per_sample_weights,
        include_last_offset,
        padding_idx,
    )[0]


def _flat_bags(
    input: Tensor, offsets: Tensor | None, samples: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The bags as a 1-D input with offsets."""
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                "of fixed length sequences. However, found offsets of type "
                "<class 'torch.Tensor'>"
            )
        bags, each = input.shape
        starts = wrap(np.arange(bags, dtype=input._array.dtype) * each)
        return input.reshape(-1), starts, None if samples is None else samples.reshape(-1)
    if input.dim() != 1:
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    return input, offsets, samples


@public(name="embedding_bag")
def bags_of_rows(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """nn.functional.embedding_bag of a 1-D input, with mode 0, 1, 2 for sum, mean, max.

    Returns the result, each entry's bag, each bag's number of entries that count, and for a
    maximum the index of the row it came from.
    """
    _check_bags(weight, indices, offsets, per_sample_weights)
    if sparse:
        _refuse_sparse(weight, "embedding_bag")
    table = weight._array
    rows = table.shape[0]
    entries = indices._array.astype(np.int64, copy=False)
    bags, count = _bag_of_each(entries, offsets._array, include_last_offset)
    outside = np.flatnonzero((entries < 0) | (entries >= rows))
    if len(outside):
        raise RuntimeError(
            f"Expected i < index_size to be true, but got false. (Index {outside[0]} of input "
            f"takes value {entries[outside[0]]} which is not in the valid range [0, {rows}))"
        )
    placed = bags
    samples = per_sample_weights
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-rows} through "
                f"{rows - 1}, but got {padding_idx}"
            )
        kept = entries != padding_idx % rows
        if not kept.all():
            entries, bags = entries[kept], bags[kept]
            samples = None if samples is None else samples[wrap(kept)]
    sizes = wrap(np.bincount(bags, minlength=count))
    # Without bags no entry belongs to one.
    looked_up, held = wrap(entries[: len(bags)]), wrap(bags)
    if mode == 2:
        made, chosen = apply(EmbeddingBagMax, weight, looked_up, held, count=count)
        return made, wrap(placed), sizes, chosen
    made = apply(
        EmbeddingBag,
        weight,
        looked_up,
        held,
        samples,
        count=count,
        mean=mode == 1,
        by_frequency=bool(scale_grad_by_freq),
    )
    return made, wrap(placed), sizes, sizes.clone()


def _check_bags(weight: Tensor, indices: Tensor, offsets: Tensor, samples: Tensor | None) -> None:
    name = "embedding_bag"
    _require_indices(indices, name)
    _require_indices(offsets, name, "#1 'offsets'")
    if weight._array.dtype.kind not in "fV":
        raise DtypeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: "
            "Half, BFloat16, Float, Double; but got "
            f"torch.{dtypes.cpp_name(weight.dtype)}Tensor instead (while checking arguments for "
            f"{name})"
        )
    if samples is not None and samples._array.dtype != weight._array.dtype:
        raise DtypeError(
            "Expected tensor for argument #1 'weight' to have the same type as tensor for argument "
            f"#1 'per_sample_weights'; but type torch.{dtypes.cpp_name(weight.dtype)}Tensor does "
            f"not equal torch.{dtypes.cpp_name(samples.dtype)}Tensor (while checking arguments for "
            f"{name})"
        )


def _bag_of_each(
    entries: np.ndarray, offsets: np.ndarray, include_last: bool
) -> tuple[np.ndarray, int]:
    """The bag of every entry, and the number of bags."""
    if include_last and not len(offsets):
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if len(offsets):
        if offsets[0] != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start "
                f"from position 0. However, got {offsets[0]}"
            )
        if offsets[-1] > len(entries):
            raise RuntimeError(
                f"offsets[-1] can not be greater than input's length {len(entries)} but got "
                f"offsets[-1] of {offsets[-1]}"
            )
    else:
        return np.zeros(0, np.int64), 0
    ends = offsets[1:] if include_last else np.append(offsets[1:], len(entries))
    count = len(ends)
    sizes = ends - offsets[:count]
    if sizes.size and sizes.min() < 0:
        raise RuntimeError(
            "Expected i < index_size to be true, but got false. (embedding_bag: the offsets are "
            f"not sorted: {offsets.tolist()})"
        )
    return np.repeat(np.arange(count), sizes), count
