"""Attention: every query's mean of the values, weighted by how well the keys fit the query.

`scaled_dot_product_attention` is one op where it can be, which keeps two numbers of each query for
its derivative, never the weights. `multi_head_attention_forward` is the layer
around it, with its projections and masks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends.attention import future
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arguments import narrowed, widened
from taper.ops.join import cat
from taper.ops.matmul import c_name
from taper.ops.padding import pad
from taper.ops.softmax import SoftmaxGrad
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- one op


class _Attention(Contraction):
    """softmax(query @ key.T * scale + mask) @ value, and what its derivative needs of the softmax."""

    name = "scaled_dot_product_attention"
    outputs = 2
    differentiable = (True, False)
    saves = ("query", "key", "value", "mask", "out")

    def forward(
        self, m: Any, query: Any, key: Any, value: Any, mask: Any, *, scale: float, causal: bool
    ) -> Any:
        out, kept = m.attention(widened(query), widened(key), widened(value), mask, scale, causal)
        return narrowed(out, query), kept

    def vjp(
        self, m: Any, grads: Any, out: Any, query: Any, key: Any, value: Any, mask: Any,
        *, scale: float, causal: bool, needs: Any,
    ) -> Any:  # fmt: skip
        grad, kept = grads[0], out[1]
        if m.on_arrays:
            wide = (widened(x) for x in (grad, out[0]))
            given = (widened(x) for x in (query, key, value))
            made = m.attention_grad(*wide, kept, *given, mask, scale, causal, needs)
            made = [g if g is None else narrowed(g, grad) for g in made]
            if needs[3]:
                made[3] = m.sum_to(made[3], mask.shape).astype(mask.dtype, copy=False)
            return tuple(made)
        # What was kept is a constant; weights made anew are differentiable.
        weights = _weights(query, key, mask, scale, causal)
        to_value = m.matmul(m.swapaxes(weights, -1, -2), grad) if needs[2] else None
        to_query = to_key = to_mask = None
        if needs[0] or needs[1] or needs[3]:
            along = len(weights.shape) - 1
            spread = m.matmul(grad, m.swapaxes(value, -1, -2))
            to_scores = m.call(SoftmaxGrad, spread, weights, axis=along)
            to_query = m.matmul(to_scores, key) * scale if needs[0] else None
            to_key = m.matmul(m.swapaxes(to_scores, -1, -2), query) * scale if needs[1] else None
            to_mask = m.sum_to(to_scores, tuple(mask.shape)) if needs[3] else None
        return to_query, to_key, to_value, to_mask


@op
class Attention(_Attention):
    """Of several heads, in four dimensions."""

    node_name = "ScaledDotProductFlashAttentionForCpuBackward0"


@op
class AttentionComposite(_Attention):
    """In other dimensions, which PyTorch computes step by step."""

    node_name = "UnsafeViewBackward0"


# ---------------------------------------------------------------- scaled dot product attention


def _weights(query: Tensor, key: Tensor, mask: Any, scale: float, causal: bool) -> Tensor:
    """The weights, step by step."""
    scores = (query * scale).matmul(key.transpose(-2, -1))
    if causal:
        scores = scores + wrap(future(scores.shape[-2], scores.shape[-1], scores._array.dtype))
    if mask is None:
        return scores.softmax(-1)
    if mask._array.dtype.kind == "b":
        scores = scores.masked_fill(~mask, -math.inf)
    else:
        scores = scores + mask
    blind = scores.detach().eq(-math.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(blind, 0.0)


def _check(query: Tensor, key: Tensor, value: Tensor, mask: Any, causal: bool) -> None:
    name = "scaled_dot_product_attention"

    if not query.dtype is key.dtype is value.dtype:
        raise DtypeError(
            name,
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{c_name(query)} key.dtype: {c_name(key)} and value.dtype: {c_name(value)} instead.",
        )
    if min(query.dim(), key.dim(), value.dim()) < 2:
        raise ShapeError(
            name,
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{query.dim()} key.dim: {key.dim()} and value.dim: {value.dim()} instead.",
        )
    if query._array.dtype.kind not in "fVc":
        raise DtypeError(name, f"expected scalar type Float but found {query.dtype.name}")
    if mask is None:
        return
    kind = mask.dtype
    if mask._array.dtype.kind != "b" and kind is not query.dtype and kind.name != "float32":
        raise DtypeError(
            name,
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got "
            f"attn_mask.dtype: {c_name(mask)} and  query.dtype: {c_name(query)} instead.",
        )
    if causal:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True"
        )


def _repeated_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values repeated so that every head of the query has its own."""
    heads = query.shape[-3]
    if heads % key.shape[-3] or heads % value.shape[-3]:
        raise ShapeError(
            "scaled_dot_product_attention",
            "Number of heads in key and value must divide the number of heads in query",
        )
    return (
        key.repeat_interleave(heads // key.shape[-3], -3),
        value.repeat_interleave(heads // value.shape[-3], -3),
    )


def _is_regular(query: Any, key: Any, value: Any, mask: Any) -> bool:
    """Whether the arrays need no broadcasting, except of the mask."""
    lead = query.shape[:-2]
    if key.shape[:-2] != lead or value.shape[:-2] != lead or query.dtype.kind == "c":
        return False
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        return False
    if mask is None:
        return True
    scores = (*lead, query.shape[-2], key.shape[-2])
    return mask.ndim <= len(scores) and all(
        n in (1, full) for n, full in zip(mask.shape[::-1], scores[::-1], strict=False)
    )


@public(namespaces=("nn.functional",))
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query @ key.T * scale + mask) @ value: a mean of the values for every query.

    A bool mask is true where a query may see a key, another one is added to the scores; is_causal
    lets a query see the keys up to its own position. `scale` is 1 / sqrt(size) if not given. With
    enable_gqa several heads of the query share a head of key and value.

    Shape: query (*, queries, size), key (*, keys, size), value (*, keys, out); result
        (*, queries, out).
    Edges: a query that may see no key gets zeros.
    Raises: RuntimeError where shapes or dtypes do not fit, or for a mask besides is_causal.
    Source: Vaswani et al., Attention is all you need, 2017.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa and query.dim() > 2:
        key, value = _repeated_heads(query, key, value)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    mask = None if attn_mask is None else attn_mask._array
    if dropout_p == 0 and _is_regular(query._array, key._array, value._array, mask):
        learned = attn_mask is not None and attn_mask.requires_grad
        kind = Attention if query.dim() == 4 and not learned else AttentionComposite
        return apply(kind, query, key, value, attn_mask, scale=scale, causal=is_causal)[0]
    dtype = query.dtype
    if dtype.itemsize == 2:  # of several steps the last one rounds
        query, key, value = query.float(), key.float(), value.float()
    weights = _weights(query, key, attn_mask, scale, is_causal)
    if dropout_p:
        from taper.ops.dropout import dropout

        weights = dropout(weights, dropout_p, True)
    return weights.matmul(value).to(dtype)


# ---------------------------------------------------------------- masks and shapes of the layer


def _sides(tensor: Tensor) -> str:
    return f"{tensor.dim()}-D"


@public(namespaces=("nn.functional",))
def _mha_shape_check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether the query has a batch. Raises: AssertionError for dimensions that do not fit."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{query.dim()}-D query tensor"
        )
    ndim = query.dim()
    which = f"For {'batched' if ndim == 3 else 'unbatched'} ({ndim}-D) `query`, expected"
    if key.dim() != ndim or value.dim() != ndim:
        raise AssertionError(
            f"{which} `key` and `value` to be {ndim}-D but found {_sides(key)} and "
            f"{_sides(value)} tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != ndim - 1:
        raise AssertionError(
            f"{which} `key_padding_mask` to be `None` or {ndim - 1}-D but found "
            f"{_sides(key_padding_mask)} tensor instead"
        )
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"{which} `attn_mask` to be `None`, 2-D or 3-D but found {_sides(attn_mask)} "
                "tensor instead"
            )
        if ndim == 2 and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            if tuple(attn_mask.shape) != expected:
                raise AssertionError(
                    f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}"
                )
    return ndim == 3


@public(namespaces=("nn.functional",))
def _none_or_dtype(input: Tensor | None) -> Any:
    """The dtype of a tensor that may be missing. Raises: RuntimeError for anything else."""
    if input is None:
        return None
    if isinstance(input, Tensor):
        return input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


@public(namespaces=("nn.functional",))
def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask to add to the scores, from one that is true where a key is hidden.

    Raises: AssertionError unless the mask is bool or floating.
    """
    if mask is None:
        return None
    floating = mask.is_floating_point()
    if not floating and mask._array.dtype.kind != "b":
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype is not other_type:
        import warnings

        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type "
            "for both instead.",
            stacklevel=3,
        )
    if floating:
        return mask
    hidden = np.where(mask._array, -np.inf, 0)
    return wrap(hidden.astype(target_type.numpy))


def _merged(
    attn_mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, keys: int
) -> Tensor | None:
    """The two masks as one that can be added to scores of shape (batch * heads, queries, keys)."""
    if padding is None:
        return attn_mask
    if tuple(padding.shape) != (batch, keys):
        raise AssertionError(
            f"expecting key_padding_mask shape of {(batch, keys)}, but got {padding.shape}"
        )
    spread = padding.reshape(batch, 1, 1, keys).expand(-1, heads, -1, -1)
    spread = spread.reshape(batch * heads, 1, keys)
    return spread if attn_mask is None else attn_mask + spread


def _checked_mask(mask: Tensor, batch: int, heads: int, queries: int, keys: int) -> Tensor:
    """The mask in three dimensions. Raises: RuntimeError for one of another shape."""
    if mask.dim() not in (2, 3):
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    expected = (queries, keys) if mask.dim() == 2 else (batch * heads, queries, keys)
    if tuple(mask.shape) != expected:
        raise RuntimeError(
            f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}."
        )
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


# ---------------------------------------------------------------- projections


@public(namespaces=("nn.functional",))
def _in_projection_packed(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None
) -> list[Tensor]:
    """Projections of query, key and value by the three blocks of one weight.

    What is the same tensor is projected by one product.
    """
    from taper.ops.linear import linear

    size = q.shape[-1]
    if q is k and k is v:
        projected = linear(q, w, b)
        return list(projected.unflatten(-1, (3, size)).unsqueeze(0).transpose(0, -2).squeeze(-2))
    if k is v:
        w_q, w_kv = w.split([size, size * 2])
        b_q, b_kv = (None, None) if b is None else b.split([size, size * 2])
        pair = linear(k, w_kv, b_kv).unflatten(-1, (2, size)).unsqueeze(0)
        return [linear(q, w_q, b_q), *pair.transpose(0, -2).squeeze(-2)]
    biases = (None, None, None) if b is None else b.chunk(3)
    return [linear(x, part, c) for x, part, c in zip((q, k, v), w.chunk(3), biases, strict=True)]


@public(namespaces=("nn.functional",))
def _in_projection(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    b_q: Tensor | None = None,
    b_k: Tensor | None = None,
    b_v: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Projections of query, key and value, each by a weight of its own.

    Raises: AssertionError where a weight or bias does not fit.
    """
    from taper.ops.linear import linear

    size = q.shape[-1]
    made = []
    for name, x, weight, bias in (
        ("query", q, w_q, b_q),
        ("key", k, w_k, b_k),
        ("value", v, w_v, b_v),
    ):
        expected = (size, x.shape[-1])
        if tuple(weight.shape) != expected:
            raise AssertionError(
                f"expecting {name} weights shape of {expected}, but got {weight.shape}"
            )
        if bias is not None and tuple(bias.shape) != (size,):
            raise AssertionError(f"expecting {name} bias shape of {(size,)}, but got {bias.shape}")
        made.append(linear(x, weight, bias))
    return made[0], made[1], made[2]


# ---------------------------------------------------------------- the layer


def _in_heads(x: Tensor, batch: int, heads: int, head_size: int) -> Tensor:
    """(positions, batch, features) as (batch * heads, positions, head_size)."""
    return x.reshape(x.shape[0], batch * heads, head_size).transpose(0, 1)


def _static(name: str, given: Tensor, rows: int, size: int) -> Tensor:
    for dim, expected in ((0, rows), (2, size)):
        if given.shape[dim] != expected:
            raise AssertionError(
                f"expecting {name}.size({dim}) of {expected}, but got {given.shape[dim]}"
            )
    return given


def _check_sizes(
    query: Tensor, key: Tensor, value: Tensor, expected: int, heads: int, separate: bool
) -> int:
    """The size of a head. Raises: AssertionError where sizes do not fit."""
    size = query.shape[-1]
    if size != expected:
        raise AssertionError(f"was expecting embedding dimension of {expected}, but got {size}")
    if size // heads * heads != size:
        raise AssertionError(f"embed_dim {size} not divisible by num_heads {heads}")
    if separate:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(
                f"key's sequence and batch dims {key.shape[:2]} do not match value's "
                f"{value.shape[:2]}"
            )
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    return size // heads


@public(namespaces=("nn.functional",))
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in several heads: what nn.MultiheadAttention computes, and the weights if wanted.

    Shape: query (queries, batch, embed), key and value (keys, batch, embed); without batch two
        dimensions. The weights are (batch, queries, keys), or (batch, heads, queries, keys) if not
        averaged.
    Raises: AssertionError, RuntimeError where shapes or masks do not fit.
    """
    batched = _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _with_batch(query, key, value)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    queries, batch, embed = query.shape
    keys = key.shape[0]
    padding = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and padding is None and not need_weights:
        attn_mask = None  # the hint says all that the mask would
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        if padding is not None:
            is_causal = False
    head_size = _check_sizes(
        query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight
    )
    if use_separate_proj_weight:
        for name, weight in (
            ("q_proj_weight", q_proj_weight),
            ("k_proj_weight", k_proj_weight),
            ("v_proj_weight", v_proj_weight),
        ):
            if weight is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name} is None")
        biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
        q, k, v = _in_projection(
            query,
            key,
            value,
            q_proj_weight,
            k_proj_weight,
            v_proj_weight,
            *biases,
        )
    else:
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _in_projection_packed(query, key, value, in_proj_weight, in_proj_bias)
    if attn_mask is not None:
        attn_mask = _checked_mask(attn_mask, batch, num_heads, queries, keys)
    added = 0
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            which = "key" if static_k is not None else "value"
            raise AssertionError(f"bias cannot be added to static {which}.")
        k = cat([k, bias_k.repeat(1, batch, 1)])
        v = cat([v, bias_v.repeat(1, batch, 1)])
        added += 1
    elif bias_k is not None or bias_v is not None:
        raise AssertionError("bias_k and bias_v must both be given, or both be None")
    rows = batch * num_heads
    q = _in_heads(q, batch, num_heads, head_size)
    k = (
        _in_heads(k, batch, num_heads, head_size)
        if static_k is None
        else _static("static_k", static_k, rows, head_size)
    )
    v = (
        _in_heads(v, batch, num_heads, head_size)
        if static_v is None
        else _static("static_v", static_v, rows, head_size)
    )
    if add_zero_attn:
        k = cat([k, k.new_zeros(rows, 1, head_size)], 1)
        v = cat([v, v.new_zeros(rows, 1, head_size)], 1)
        added += 1
    if added:  # the added keys are seen by all
        attn_mask = None if attn_mask is None else pad(attn_mask, (0, added))
        padding = None if padding is None else pad(padding, (0, added))
    keys = k.shape[1]
    mask = _merged(attn_mask, padding, batch, num_heads, keys)
    dropout_p = dropout_p if training else 0.0
    if need_weights:
        if is_causal and mask is None:
            raise AssertionError("is_causal is not implemented for need_weights")
        result, weights = _attend_with_weights(q, k, v, mask, dropout_p)
        weights = weights.reshape(batch, num_heads, queries, keys)
        if average_attn_weights:
            weights = weights.mean(dim=1)
    else:
        result = _attend(q, k, v, mask, dropout_p, is_causal, batch)
        weights = None
    from taper.ops.linear import linear

    result = linear(
        result.transpose(0, 1).reshape(queries * batch, embed), out_proj_weight, out_proj_bias
    )
    result = result.reshape(queries, batch, result.shape[1])
    if batched:
        return result, weights
    return result.squeeze(1), None if weights is None else weights.squeeze(0)


def _with_batch(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three with a batch of one; what was one tensor stays one."""
    wide_query = query.unsqueeze(1)
    wide_key = wide_query if key is query else key.unsqueeze(1)
    wide_value = wide_key if value is key else value.unsqueeze(1)
    return wide_query, wide_key, wide_value


def _attend_with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float
) -> tuple[Tensor, Tensor]:
    """Attention step by step, for the weights; a query that sees no key gets nan, as in PyTorch."""
    scores = (q * math.sqrt(1.0 / q.shape[-1])).matmul(k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)
    if dropout_p > 0:
        from taper.ops.dropout import dropout

        weights = dropout(weights, dropout_p, True)
    return weights.matmul(v), weights


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    batch: int,
) -> Tensor:
    """Attention as one op, in the form (batch, heads, positions, size)."""
    if mask is not None:
        is_causal = False
        mask = mask.unsqueeze(0) if mask.shape[0] == 1 else _split_rows(mask, batch)
    q, k, v = (_split_rows(x, batch) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal).flatten(0, 1)


def _split_rows(x: Tensor, batch: int) -> Tensor:
    return x.unflatten(0, (batch, x.shape[0] // batch))
