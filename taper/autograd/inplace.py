"""In-place updates on the tape, views included.

Writing `result` into a tensor is, for the derivative, a change of name: the tensor takes over the
result's node. Writing into a view changes its base: the base becomes "the old base with these
elements taken from result" (CopySlices), and every view of it, when next asked for its grad_fn,
becomes a selection of elements of the new base. Which elements is kept as flat positions within
the base, so any strides will do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from taper.autograd.node import Node
from taper.errors import GradError
from taper.op import Elementwise, Opaque, op
from taper.storage import address, memory_of

if TYPE_CHECKING:
    from taper.tensor import Tensor


@op
class TakeFlat(Opaque):
    """The elements at flat (row-major) positions."""

    node_name = "AsStridedBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, index: Any) -> Any:
        return input.reshape(-1)[index]

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any, *, index: Any) -> Any:
        return m.call(PutFlat, grad, index=index, shape=shape)


@op
class PutFlat(Opaque):
    """Zeros of `shape` with `source` added at flat positions; TakeFlat's adjoint."""

    def forward(self, m: Any, source: Any, *, index: Any, shape: Any) -> Any:
        made = np.zeros(shape, source.dtype)
        np.add.at(made.reshape(-1), index, source)
        return made

    def vjp(self, m: Any, grad: Any, out: Any, source: Any, *, index: Any, shape: Any) -> Any:
        return m.call(TakeFlat, grad, index=index)


@op
class CopySlices(Opaque):
    """`input` with the elements at flat positions replaced by `source`."""

    node_name = "torch::autograd::CopySlices"

    def forward(self, m: Any, input: Any, source: Any, *, index: Any) -> Any:
        made = np.array(input, order="C")
        made.reshape(-1)[index] = source
        return made

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, source: Any, *, index: Any, needs: Any
    ) -> Any:
        rest = None
        if needs[0]:
            rest = m.call(CopySlices, grad, m.zeros((), grad.dtype), index=index)
        return rest, m.call(TakeFlat, grad, index=index) if needs[1] else None


@op
class Copy(Elementwise):
    """`input` overwritten with `source`, which was broadcast and cast."""

    node_name = "torch::autograd::CopyBackwards"

    def formula(self, m: Any, input: Any, source: Any) -> Any:
        return m.where(True, source, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, source: Any) -> Any:
        return m.zeros_like(grad), grad


def positions(view: Tensor, base: Tensor) -> np.ndarray:
    """Flat positions within `base` of the elements of `view`, in the view's shape."""
    whole, part = base._array, view._array
    item = whole.itemsize
    start = (address(part) - address(whole)) // item
    if whole.flags.c_contiguous:
        numbers = np.arange(whole.size)
    else:
        numbers = np.zeros(memory_of(whole).size, np.int64)
        inside = np.lib.stride_tricks.as_strided(
            numbers, whole.shape, tuple(s // item * 8 for s in whole.strides)
        )
        inside[...] = np.arange(whole.size).reshape(whole.shape)
    return np.lib.stride_tricks.as_strided(
        numbers[start:], part.shape, tuple(s // part.itemsize * 8 for s in part.strides)
    )


def _alias(tensor: Tensor) -> Tensor:
    """A tensor with the same memory and place on the tape, for the tape's use."""
    from taper.tensor import wrap

    made = wrap(tensor._array)
    made._storage = tensor._storage
    made._grad_fn = tensor._grad_fn
    made._output_nr = tensor._output_nr
    made._requires_grad = tensor._requires_grad
    return made


def _spare_saved(target: Tensor, function: Any, since: int) -> None:
    """Copies the target's old value where the new nodes saved it: it is about to be lost."""
    from taper.tensor import Tensor

    stack, seen = [function], set()
    while stack:
        node = stack.pop()
        if not isinstance(node, Node) or node.number < since or node in seen:
            continue
        seen.add(node)
        stack.extend(e[0] for e in node.edges if e is not None)
        saved: Any = getattr(node, "saved", None) or ()
        for i, item in enumerate(saved):
            if type(item) is not tuple or not item or not isinstance(item[0], Tensor):
                continue
            if item[0] is target or np.may_share_memory(item[1], target._array):
                copy = _alias(item[0])
                copy._array = item[1].copy()
                copy._storage = None
                saved[i] = (copy, copy._array, 0)


def rebase(target: Tensor, result: Tensor, since: int, copied: bool = False) -> None:
    """Gives `target` the result's place on the tape. Called before the memory is written.

    A result that is `copied` is the user's own tensor and keeps its node to itself.
    """
    from taper.dispatch import record

    base = target._base
    if base is None or target._view_version is None:
        if copied or result._grad_fn is None:
            array = target._array
            node = record(Copy, (_alias(target), result), [], array.dtype, {}, array)
            place(target, node, 0)
            return
    if result._array.shape != target._array.shape:
        result = result.expand(target._array.shape)
    if result._array.dtype != target._array.dtype:
        result = result.to(target.dtype)
    if since:
        _spare_saved(target, result._grad_fn, since)
    if base is None or target._view_version is None:
        place(target, result._grad_fn, result._output_nr)
        return
    index = positions(target, base)
    if not base._requires_grad and not result._requires_grad:
        return
    node = record(CopySlices, (_alias(base), result), [], None, {"index": index})
    place(base, node, 0)
    _reselect(target, base)


def place(tensor: Tensor, node: Any, number: int) -> None:
    """Makes `tensor` the output `number` of `node`. Its retain_grad moves along, its hooks do not:
    they belong to the value it had.
    """
    tensor._grad_fn = node
    tensor._output_nr = number
    tensor._requires_grad = True
    handle = tensor._retain_handle
    if handle is not None:
        keep = handle.hooks_dict_ref().pop(handle.id)
        tensor._retain_handle = node.add_hook(("retain", number), keep)


def _reselect(view: Tensor, base: Tensor) -> None:
    from taper.dispatch import record

    source = _alias(base) if base._grad_fn is not None else base
    place(view, record(TakeFlat, (source,), [], None, {"index": positions(view, base)}), 0)
    view._view_version = view._storage.version  # type: ignore[union-attr]


def current_function(view: Tensor) -> Any:
    """The view's grad_fn, renewed if the memory was written since it was made."""
    base, storage = view._base, view._storage
    assert base is not None and storage is not None
    if storage.version != view._view_version and (base._requires_grad or view._grad_fn is not None):
        if view._view_origin:
            raise view_error(view, "its base or another view of its base has been")
        if base._grad_fn is not None or view._grad_fn is None:
            _reselect(view, base)
        else:
            view._view_version = storage.version
    return view._grad_fn


_MODES = ("no_grad mode", "inference mode")
_WHY = {
    "several views": (
        "This view is the output of a function that returns multiple views. Such functions do not "
        "allow the output views to be modified inplace. You should replace the inplace operation "
        "by an out-of-place one."
    ),
    "custom Function": (
        "This view was created inside a custom Function (or because an input was returned as-is) "
        "and the autograd logic to handle view+inplace would override the custom backward "
        "associated with the custom Function, leading to incorrect gradients. This behavior is "
        "forbidden. You can fix this by cloning the output of the custom Function."
    ),
}


def view_error(view: Tensor, what: str) -> Exception:
    """Why a view of this origin, or its base, cannot be written to: `what` "is being" modified."""
    origin, function = view._view_origin, view._grad_fn
    source = ""
    if function is not None:
        source = f"Output {view._output_nr} of {re.sub('Backward[0-9]*$', '', function.name())}"
    if origin in _MODES or not source:
        begin = f"{source} is a view of a view which was" if source else "A view was"
        inference = origin == "inference mode"
        where = "in normal mode" if inference else "with grad mode enabled"
        text = (
            f"{begin} created in {'inference' if inference else 'no_grad'} mode and {what} "
            f"modified inplace {where}."
        )
    else:
        text = f"{source} is a view and {what} modified inplace."
    block = "inference_mode" if origin == "inference mode" else "no_grad"
    ambiguous = (
        "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify "
        "your code by moving both the view and the inplace either both inside the "
        f"{block} block (if you don't want the inplace to be tracked) or both outside (if you "
        "want the inplace to be tracked)."
    )
    return GradError(f"{text} {_WHY.get(origin, ambiguous)}")
