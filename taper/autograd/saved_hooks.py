"""Saved-tensor hooks: what an op keeps for its derivative, in a form of the user's choice.

`pack_hook(tensor)` may give anything (a half-precision copy, the name of a file); `unpack_hook` makes
a tensor of it again when the derivative is computed. While no hooks are set, none of this is reached.
"""

from __future__ import annotations

from typing import Any

from taper.autograd.grad_mode import mode
from taper.autograd.node import UNCHECKED, ManyOutputs, OpNode
from taper.storage import storage_of
from taper.tensor import Tensor, wrap


class Packed:
    """A tensor in the form that the hook gave it, and its place on the tape."""

    __slots__ = ("_form", "_grad_fn", "_leaf", "_output_nr", "_unpack")

    def __init__(self, tensor: Tensor, leaf: Tensor | None) -> None:
        pack, self._unpack = mode.saved_hooks[-1]
        self._grad_fn, self._output_nr = tensor._grad_fn, tensor._output_nr
        self._leaf = leaf
        given = wrap(tensor._array) if leaf is None else tensor
        given._storage = storage_of(tensor)
        version = given._version
        self._form = _quietly(pack, given)
        if given._version != version:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook can not be modified by in-place operations as this can lead "
                "to unexpected side-effects. Please open an issue if you need to perform in-place "
                "operations on the input to a pack hook."
            )

    def tensor(self, recorded: bool) -> Tensor:
        """The tensor again. `recorded`: for a derivative that is itself recorded."""
        made = _quietly(self._unpack, self._form)
        if not isinstance(made, Tensor):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got "
                            f"result of type {type(made).__name__}")  # fmt: skip
        if recorded and self._leaf is not None:
            return self._leaf  # what depends on it must lead there
        again = wrap(made._array)
        again._storage = storage_of(made)
        again._grad_fn, again._output_nr = self._grad_fn, self._output_nr
        again._requires_grad = self._grad_fn is not None
        return again


def _quietly(hook: Any, value: Any) -> Any:
    """Calls a hook: what it computes is neither recorded nor packed in turn."""
    grad, hooks = mode.grad, mode.saved_hooks
    mode.grad, mode.saved_hooks = False, ()
    try:
        return hook(value)
    finally:
        mode.grad, mode.saved_hooks = grad, hooks


def packed(tensor: Tensor) -> Packed:
    """A tensor that is being saved, packed."""
    is_leaf = tensor._requires_grad and tensor._grad_fn is None
    return Packed(tensor, tensor if is_leaf else None)


def pack(node: OpNode) -> None:
    """Packs all that a node has saved."""
    assert node.saved is not None
    for place, item in enumerate(node.saved):
        if type(item) is tuple and item and isinstance(item[0], Tensor):
            node.saved[place] = packed(item[0])
    if type(node.out) is ManyOutputs:
        node.out = ManyOutputs(_packed_output(out) for out in node.out)
    elif node.out is not None:
        node.out = _packed_output(node.out)
    node.is_packed = True


def _packed_output(out: Any) -> Packed:
    held = wrap(out[0])
    held._storage = out[1]
    return Packed(held, None)


def unpack(node: OpNode, recorded: bool) -> tuple[list[Any], Any]:
    """What the node saved, and its saved output, in the form of a node without hooks."""
    assert node.saved is not None
    saved = [_item(each, recorded) for each in node.saved]
    out = node.out
    if type(out) is ManyOutputs:
        out = ManyOutputs(_output(each) for each in out)
    elif out is not None:
        out = _output(out)
    return saved, out


def _item(item: Any, recorded: bool) -> Any:
    if type(item) is not Packed:
        return item
    tensor = item.tensor(recorded)
    return tensor, tensor._array, UNCHECKED


def _output(item: Any) -> Any:
    tensor = item.tensor(False)
    storage = storage_of(tensor)
    return tensor._array, storage, storage.version
