"""Sums of products over labelled dimensions: einsum, tensordot and inner.

They come down to one op, Contract: two factors whose dimensions are labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Contraction, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.ops.matmul import (
    refuse_bool,
)
from taper.shapes import canonical_dim
from taper.tensor import Tensor

# ---------------------------------------------------------------- labelled dimensions

Labels = tuple[int, ...]


@lru_cache(maxsize=1024)
def _plan(left: Labels, right: Labels, out: Labels) -> tuple[Any, ...]:
    """How to bring two labelled factors into the form (batch, rows, inner) @ (batch, inner,
    columns): the orders of their dimensions, and the order in which the result has them.
    """
    batch = [n for n in left if n in right and n in out]
    inner = [n for n in left if n in right and n not in out]
    rows = [n for n in left if n not in right]
    columns = [n for n in right if n not in left]
    order_left = tuple(left.index(n) for n in batch + rows + inner)
    order_right = tuple(right.index(n) for n in batch + inner + columns)
    made = batch + rows + columns
    order_out = tuple(made.index(n) for n in out)
    return (
        None if order_left == tuple(range(len(left))) else order_left,
        None if order_right == tuple(range(len(right))) else order_right,
        None if order_out == tuple(range(len(out))) else order_out,
        len(batch),
        len(rows),
        len(inner),
    )


def _merged(x: np.ndarray, batch: int, middle: int, last: int) -> np.ndarray:
    """The dimensions after `batch` as two, of which the first takes up `middle`."""
    if middle == 1 and last == 1:
        return x
    lead, shape = x.shape[:batch], x.shape[batch:]
    return x.reshape(*lead, prod(shape[:middle]), prod(shape[middle:]))


@op
class Contract(Contraction):
    """The sum of products over the dimensions whose label is not in `out`.

    `left` and `right` label the dimensions of the factors; every label of one factor must be in
    the other or in `out`.
    """

    name = "einsum"
    node_name = "BmmBackward0"
    saves = ("input", "other")
    needed_for = {"input": "other", "other": "input"}

    def forward(
        self, m: Any, input: Any, other: Any, *, left: Labels, right: Labels, out: Labels
    ) -> Any:
        order_left, order_right, order_out, batch, rows, inner = _plan(left, right, out)
        x = input if order_left is None else input.transpose(order_left)
        y = other if order_right is None else other.transpose(order_right)
        columns = y.ndim - batch - inner
        if inner:
            shape = x.shape[: batch + rows] + y.shape[batch + inner :]
            made = m.matmul(_merged(x, batch, rows, inner), _merged(y, batch, inner, columns))
            made = made.reshape(shape)
        else:  # nothing to sum: broadcasting does it
            made = x.reshape(x.shape + (1,) * columns) * y.reshape(
                y.shape[:batch] + (1,) * rows + y.shape[batch:]
            )
        return made if order_out is None else made.transpose(order_out)

    def vjp(
        self,
        m: Any,
        grad: Any,
        _: Any,
        input: Any,
        other: Any,
        *,
        left: Labels,
        right: Labels,
        out: Labels,
        needs: Any,
    ) -> Any:
        to_input = to_other = None
        if needs[0]:
            to_input = m.call(Contract, grad, conj_of(m, other), left=out, right=right, out=left)
        if needs[1]:
            to_other = m.call(Contract, grad, conj_of(m, input), left=out, right=left, out=right)
        return to_input, to_other


def _contract(one: Tensor, other: Tensor, left: Labels, right: Labels, out: Labels) -> Tensor:
    """Contract with PyTorch's rules for dtypes: a plain product promotes, a sum does not."""
    own = one._array.dtype
    if own is not other._array.dtype or own.kind == "b":
        summed = any(n not in out for n in left if n in right)
        if own != other._array.dtype:
            if summed:
                raise DtypeError(
                    "einsum",
                    f"expected scalar type {dtypes.cpp_name(one.dtype)} "
                    f"but found {dtypes.cpp_name(other.dtype)}",
                )
            wanted = dtypes.of_operands([one._array, other._array])
            one, other = cast(one, wanted), cast(other, wanted)
        elif summed:
            refuse_bool(one, "bmm")
    return apply(Contract, one, other, left=left, right=right, out=out)


# ---------------------------------------------------------------- einsum

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NUMBER = {letter: n for n, letter in enumerate(_LETTERS)}
_ELLIPSIS = -1
_FIRST_OF_ELLIPSIS = len(_LETTERS)  # dimensions under the ellipsis are labelled from here


def _error(text: str) -> ShapeError:
    return ShapeError(f"einsum(): {text}")


@lru_cache(maxsize=1024)
def _parsed(equation: str) -> tuple[tuple[Labels, ...], Labels | None]:
    """The labels of the operands and of the result (None if the equation does not name it)."""
    operands: list[list[int]] = [[]]
    output: list[int] | None = None
    i = 0
    while i < len(equation):
        sign = equation[i]
        current = operands[-1] if output is None else output
        if sign == ".":
            if output is None:
                where, detail = f"operand {len(operands) - 1}", "ellipsis"
                again = f"found '.' for {where} for which an ellipsis was already found"
            else:
                where, detail = "output", "ellipsis (...)"
                again = "found '.' for output but an ellipsis (...) was already found"
            if _ELLIPSIS in current:
                raise _error(again)
            if equation[i : i + 3] != "...":
                raise _error(f"found '.' for {where} that is not part of any {detail}")
            current.append(_ELLIPSIS)
            i += 2
        elif sign == "," and output is None:
            operands.append([])
        elif sign == "-" and output is None and equation[i : i + 2] == "->":
            output = []
            i += 1
        elif sign in _NUMBER:
            current.append(_NUMBER[sign])
        elif sign != " ":
            raise _error(
                f"invalid subscript given at index {i} in the equation string, subscripts must "
                "be in [a-zA-Z]"
            )
        i += 1
    return tuple(map(tuple, operands)), None if output is None else tuple(output)


def _from_lists(args: tuple[Any, ...]) -> tuple[list[Tensor], list[Labels], Labels | None]:
    """The other calling form: operand, its list of labels, ..., and perhaps the result's list."""

    def labels(given: Any) -> Labels:
        found = tuple(_ELLIPSIS if n is Ellipsis else int(n) for n in given)
        for one in found:
            if one != _ELLIPSIS and not 0 <= one < len(_LETTERS):
                raise ValueError(
                    "einsum(): subscript in subscript list is not within the valid range [0, 52)"
                )
        return found

    pairs = len(args) // 2
    operands = list(args[: 2 * pairs : 2])
    terms = [labels(each) for each in args[1 : 2 * pairs : 2]]
    return operands, terms, labels(args[-1]) if len(args) % 2 else None


def _spread(
    shapes: Sequence[tuple[int, ...]], terms: Sequence[Labels], output: Labels | None
) -> tuple[list[Labels], Labels, dict[int, int]]:
    """The terms with a label for every dimension, the result's labels, and their sizes."""
    widest = 0
    for i, (shape, term) in enumerate(zip(shapes, terms, strict=True)):
        named = len(term) - (_ELLIPSIS in term)
        covered = len(shape) - named
        if _ELLIPSIS not in term and covered:
            raise _error(
                f"the number of subscripts in the equation ({named}) does not match the number "
                f"of dimensions ({len(shape)}) for operand {i} and no ellipsis was given"
            )
        if covered < 0:
            raise _error(
                f"the number of subscripts in the equation ({named}) is more than the number of "
                f"dimensions ({len(shape)}) for operand {i}"
            )
        widest = max(widest, covered)
    dots = tuple(range(_FIRST_OF_ELLIPSIS, _FIRST_OF_ELLIPSIS + widest))
    full: list[Labels] = []
    sizes: dict[int, int] = {}
    for i, (shape, term) in enumerate(zip(shapes, terms, strict=True)):
        covered = len(shape) - len(term) + 1
        first = _FIRST_OF_ELLIPSIS + widest - covered
        if _ELLIPSIS in term:
            at = term.index(_ELLIPSIS)
            # Fewer dimensions under the ellipsis are the last ones, as in broadcasting.
            term = term[:at] + dots[widest - covered :] + term[at + 1 :]
        full.append(term)
        own: dict[int, int] = {}
        for label, size in zip(term, shape, strict=True):
            if own.setdefault(label, size) != size:
                raise _error(
                    f"subscript {_LETTERS[label]} is repeated for operand {i} but the sizes don't "
                    f"match, {size} != {own[label]}"
                )
            seen = sizes.setdefault(label, size)
            if size not in (1, seen) and seen != 1:
                if label >= _FIRST_OF_ELLIPSIS:
                    raise _error(
                        f"dimension {label - first} covered by ellipsis in operand "
                        f"{i}has size {size} which does not broadcast with previously seen "
                        f"ellipsis with size {seen} for the respective dimension"
                    )
                raise _error(
                    f"subscript {_LETTERS[label]} has size {size} for operand {i} which does not "
                    f"broadcast with previously seen size {seen}"
                )
            if seen == 1:
                sizes[label] = size
    return full, _output(full, dots, output), sizes


def _output(terms: list[Labels], dots: Labels, output: Labels | None) -> Labels:
    """The labels of the result: as named, or those that appear once, in alphabetical order."""
    every = [n for term in terms for n in term if n < _FIRST_OF_ELLIPSIS]
    if output is None:
        return dots + tuple(sorted(n for n in set(every) if every.count(n) == 1))
    for label in output:
        if label == _ELLIPSIS:
            continue
        if output.count(label) > 1:
            raise _error(f"output subscript {_LETTERS[label]} appears more than once in the output")
        if label not in every:
            raise _error(
                f"output subscript {_LETTERS[label]} does not appear in the equation for any "
                "input operand"
            )
    if _ELLIPSIS not in output:
        return output
    at = output.index(_ELLIPSIS)
    return output[:at] + dots + output[at + 1 :]


def _simplified(x: Tensor, term: Labels, sizes: dict[int, int]) -> tuple[Tensor, Labels]:
    """The operand with each label once, and without dimensions of size 1 that broadcast."""
    labels = list(term)
    for label in set(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = x.diagonal(0, first, second)
            del labels[second], labels[first]
            labels.append(label)
    for i in range(len(labels) - 1, -1, -1):
        if x._array.shape[i] == 1 and sizes[labels[i]] != 1:
            x = x.squeeze(i)
            del labels[i]
    return x, tuple(labels)


def _cheapest(terms: list[Labels], output: Labels, sizes: dict[int, int]) -> tuple[int, int]:
    """The pair of operands whose product adds least to the memory in use."""
    best: tuple[int, int, int] | None = None
    for j in range(1, len(terms)):
        for i in range(j):
            kept = _needed(terms, i, j, output)
            cost = prod(sizes[n] for n in kept)
            cost -= prod(sizes[n] for n in terms[i]) + prod(sizes[n] for n in terms[j])
            if best is None or cost < best[0]:
                best = (cost, i, j)
    assert best is not None
    return best[1], best[2]


def _needed(terms: list[Labels], i: int, j: int, output: Labels) -> Labels:
    """The labels of the product of operands i and j that something else asks for."""
    others = {n for k, term in enumerate(terms) if k not in (i, j) for n in term}
    others.update(output)
    joined = dict.fromkeys(terms[i] + terms[j])
    return tuple(n for n in joined if n in others)


@lru_cache(maxsize=1024)
def _pair(equation: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[Labels, ...] | None:
    """The labels of two factors and their product, if Contract can take the factors as they are."""
    terms, output = _parsed(equation)
    if len(terms) != 2:
        return None
    (left, right), out, sizes = _spread((a, b), terms, output)
    for one, other, shape in ((left, right, a), (right, left, b)):
        if len(set(one)) != len(one) or any(n not in other and n not in out for n in one):
            return None
        if any(k != sizes[n] for n, k in zip(one, shape, strict=True)):
            return None
    return left, right, out


@public()
def einsum(equation: Any, *operands: Any) -> Tensor:
    """The sum of products that `equation` describes, such as "ij,jk->ik".

    Each operand's dimensions are named by letters; letters missing after "->" are summed over. A
    letter repeated within an operand takes its diagonal. "..." stands for the dimensions not
    named, which broadcast. Without "->" the result has the letters that appear once, sorted.
    Lists of numbers may take the place of letters: einsum(x, [0, 1], y, [1, 2], [0, 2]).
    With more than two operands the cheapest pair is multiplied first.

    Raises: RuntimeError where the equation and the operands do not fit.

    >>> einsum("ij,j->i", ones(2, 3), ones(3))
    tensor([3., 3.])
    """
    output: Labels | None
    terms: list[Labels]
    tensors: list[Tensor]
    if not operands:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least "
            "one operand and its subscripts list"
        )
    if isinstance(equation, str):
        if (
            len(operands) == 2
            and isinstance(one := operands[0], Tensor)
            and isinstance(other := operands[1], Tensor)
        ):
            labels = _pair(equation, one._array.shape, other._array.shape)
            if labels is not None:
                return _contract(one, other, *labels)
        parsed, output = _parsed(equation)
        terms = list(parsed)
        tensors = list(
            operands[0]
            if len(operands) == 1 and isinstance(operands[0], (list, tuple))
            else operands
        )
    elif isinstance(equation, Tensor):
        tensors, terms, output = _from_lists((equation, *operands))
    else:
        raise TypeError(
            f"einsum(): argument 'equation' (position 1) must be str, not {type(equation).__name__}"
        )
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 1, but got {type(x).__name__}"
            )
    if len(terms) != len(tensors):
        which = "fewer" if len(tensors) < len(terms) else "more"
        raise _error(f"{which} operands were provided than specified in the equation")
    full, wanted, sizes = _spread([x._array.shape for x in tensors], terms, output)
    for i, x in enumerate(tensors):
        tensors[i], full[i] = _simplified(x, full[i], sizes)
    return _reduced(tensors, full, wanted, sizes)


def _reduced(
    tensors: list[Tensor], terms: list[Labels], output: Labels, sizes: dict[int, int]
) -> Tensor:
    """Sums what only one operand has, then multiplies pair by pair."""
    for i, term in enumerate(terms):
        kept = _needed(terms, i, i, output)
        if len(kept) != len(term):
            tensors[i] = tensors[i].sum([k for k, n in enumerate(term) if n not in kept])
            terms[i] = tuple(n for n in term if n in kept)
    while len(tensors) > 1:
        i, j = (0, 1) if len(tensors) == 2 else _cheapest(terms, output, sizes)
        made = output if len(tensors) == 2 else _needed(terms, i, j, output)
        second, right = tensors.pop(j), terms.pop(j)
        tensors[i] = _contract(tensors[i], second, terms[i], right, made)
        terms[i] = made
    order = tuple(terms[0].index(n) for n in output)
    return tensors[0] if order == tuple(range(len(order))) else tensors[0].permute(order)


# ---------------------------------------------------------------- tensordot, inner


@public(out=True)
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sum of products over dimensions of `a` paired with dimensions of `b`.

    dims: a number n pairs the last n of `a` with the first n of `b`; two lists name the pairs.
    Raises: RuntimeError if paired sizes differ (a size of 1 fits all).
    """
    if isinstance(dims, Tensor):
        dims = dims.item() if dims._array.size == 1 else dims.tolist()
    if isinstance(dims, (list, tuple)):
        first, second = dims
        first = [first] if isinstance(first, int) else list(first)
        second = [second] if isinstance(second, int) else list(second)
    elif isinstance(dims, int):
        if dims < 0:
            raise ShapeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a._array.ndim, b._array.ndim):
            raise ShapeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        first, second = list(range(-dims, 0)), list(range(dims))
    else:
        raise ShapeError(
            "tensordot expects dims to be int or tuple[list[int], list[int]] or list[list[int]] "
            f"containing two lists, but got dims={dims}"
        )
    if len(first) != len(second):
        raise ShapeError("tensordot", "both dimension lists should have same length")
    if a._array.dtype != b._array.dtype:
        raise DtypeError("tensordot", "both inputs should have same dtype")
    refuse_bool(a, "addmm_impl_cpu_")
    left = list(range(a._array.ndim))
    right = list(range(a._array.ndim, a._array.ndim + b._array.ndim))
    for one, other in zip(first, second, strict=True):
        i = canonical_dim(one, a._array.ndim)
        j = canonical_dim(other, b._array.ndim)
        n, k = a._array.shape[i], b._array.shape[j]
        if n != k:
            if n == 1:
                b = b.sum(j, keepdim=True, dtype=b.dtype)
            elif k == 1:
                a = a.sum(i, keepdim=True, dtype=a.dtype)
            else:
                raise ShapeError(
                    "tensordot",
                    f"contracted dimensions need to match, but first has size {n} in dim {one} "
                    f"and second has size {k} in dim {other}",
                )
        right[j] = left[i]
    out = [n for n in left if n not in right] + [n for n in right if n not in left]
    return apply(Contract, a, b, left=tuple(left), right=tuple(right), out=tuple(out))


@public(method=True, out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The sum of products over the last dimensions; with a 0-d tensor, the product.

    Shape: (*, k) and (#, k) to (*, #). Raises: RuntimeError if the last sizes differ.
    """
    a, b = input._array.shape, other._array.shape
    if not a or not b:
        return input * other
    if a[-1] != b[-1]:
        raise ShapeError(
            "inner",
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(a)} and {list(b)}",
        )
    return tensordot(input, other, ([-1], [-1]))
