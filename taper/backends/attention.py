"""Attention on arrays, as numpy computes it: `m.attention` and its derivative.

Arrays are of float32, float64 or wider, in any number of dimensions of which the last two are the
matrices; those before agree. A mask broadcasts to the scores: a bool one is true where a query may see a key,
another one is added.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Array = np.ndarray
Needs = tuple[bool, bool, bool, bool]


@lru_cache(maxsize=16)
def future(queries: int, keys: int, dtype: np.dtype) -> Array:
    """Minus infinity where a key comes after the query, else 0."""
    return np.triu(np.full((queries, keys), -np.inf, dtype), 1)


def _scores(query: Array, key: Array, mask: Array | None, scale: float, causal: bool) -> Array:
    scores = np.matmul(query * scale, key.swapaxes(-1, -2))
    if causal:
        scores += future(*scores.shape[-2:], scores.dtype)
    if mask is not None:
        if mask.dtype.kind == "b":
            np.copyto(scores, -np.inf, where=~mask)
        else:
            scores += mask
    return scores


def attention(
    query: Array, key: Array, value: Array, mask: Array | None, scale: float, causal: bool
) -> tuple[Array, Array]:
    """softmax(query @ key.T * scale + mask) @ value, in the memory order of the query.

    With it, for each query, what makes its weights out of its scores: (top, share), where a weight is
    exp(score - top) * share. A query that a mask lets see no key has weights 0.
    """
    scores = _scores(query, key, mask, scale, causal)
    kept = np.empty((*scores.shape[:-1], 2), scores.dtype)
    if scores.size:
        top = np.maximum.reduce(scores, -1, keepdims=True)
        if mask is not None:
            top[top == -np.inf] = 0
        scores -= top
        np.exp(scores, scores)
        total = np.add.reduce(scores, -1, keepdims=True)
        if mask is not None:
            total[total == 0] = np.inf
        share = 1 / total
        kept[..., :1], kept[..., 1:] = top, share
        scores *= share
    out = np.empty_like(query) if query.shape[-1] == value.shape[-1] else None
    return np.matmul(scores, value, out=out), kept


def attention_grad(
    grad: Array, out: Array, kept: Array, query: Array, key: Array, value: Array, mask: Array | None,
    scale: float, causal: bool, needs: Needs,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of query, key, value and mask (as large as the scores), where they are needed."""
    weights = _scores(query, key, mask, scale, causal)
    weights -= kept[..., :1]
    np.exp(weights, weights)
    weights *= kept[..., 1:]
    to_query = to_key = to_mask = None
    to_value = np.matmul(weights.swapaxes(-1, -2), grad) if needs[2] else None
    if needs[0] or needs[1] or needs[3]:
        to_mask = np.matmul(grad, value.swapaxes(-1, -2))
        to_mask -= np.vecdot(grad, out)[..., None]
        to_mask *= weights
        if needs[0]:
            to_query = np.matmul(to_mask, key) * scale
        if needs[1]:
            to_key = np.matmul(to_mask.swapaxes(-1, -2), query) * scale
    return to_query, to_key, to_value, to_mask if needs[3] else None
