"""Padding: constant, reflected, replicated and circular.

The last three read every output position from an input position, dimension by dimension; the
gradient adds what the copies received to their originals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.window import Sizes
from taper.tensor import Tensor

Pairs = tuple[tuple[int, int], ...]


# ---------------------------------------------------------------- on arrays


def constant_pad(x: np.ndarray, pairs: Pairs, value: Any) -> np.ndarray:
    """The array with (before, after) elements of `value` around every dimension; negative numbers
    cut off instead.
    """
    kept = tuple(
        slice(max(0, -a), n - max(0, -b)) for (a, b), n in zip(pairs, x.shape, strict=True)
    )
    x = x[kept]
    grown = [(max(0, a), max(0, b)) for a, b in pairs]
    shape = tuple(a + n + b for (a, b), n in zip(grown, x.shape, strict=True))
    if value == 0:
        made = np.zeros(shape, x.dtype)
    else:
        made = np.empty(shape, x.dtype)
        # As PyTorch converts: 2.5 in an integer tensor is 2.
        made[...] = np.asarray(value).astype(x.dtype)
    made[tuple(slice(a, a + n) for (a, _), n in zip(grown, x.shape, strict=True))] = x
    return made


def _sources(mode: str, size: int, before: int, after: int) -> np.ndarray:
    """For each output position of a dimension, the input position it copies."""
    if mode == "circular":  # what is cut off does not come back on the other side
        start, kept = max(0, -before), size + min(0, before) + min(0, after)
        return np.arange(-max(0, before), kept + max(0, after)) % max(kept, 1) + start
    at = np.arange(-before, size + after)
    if mode == "replicate":
        return np.clip(at, 0, size - 1)
    # reflect: the edge itself is not repeated
    at = np.abs(at)
    return np.where(at >= size, 2 * (size - 1) - at, at)


def edge_pad(x: np.ndarray, pads: Pairs, mode: str) -> np.ndarray:
    """The array with its last len(pads) dimensions padded by copies of its own elements."""
    rank = len(pads)
    for axis in range(-rank, 0):
        x = np.take(x, _sources(mode, x.shape[axis], *pads[axis]), x.ndim + axis)
    return x


def edge_pad_grad(grad: Any, pads: Pairs, mode: str) -> np.ndarray:
    """Adjoint of `edge_pad`: the gradient of every copy, added to that of its original."""
    for axis in range(-len(pads), 0):
        before, after = pads[axis]
        length = grad.shape[axis]
        size = length - before - after
        rest: tuple[Any, ...] = (slice(None),) * (-axis - 1)
        if before < 0 or after < 0:
            total = np.zeros(
                (*grad.shape[:axis], size, *grad.shape[grad.ndim + axis + 1 :]), grad.dtype
            )
        else:
            total = grad[(..., slice(before, before + size), *rest)].copy()
        sources = _sources(mode, size, before, after)
        own = range(before, before + size) if before >= 0 and after >= 0 else range(0)
        for place in range(length):
            if place in own:
                continue
            source = int(sources[place])
            total[(..., slice(source, source + 1), *rest)] += grad[
                (..., slice(place, place + 1), *rest)
            ]
        grad = total
    return grad


# ---------------------------------------------------------------- the ops


@op
class ConstantPad(Opaque):
    """x with a border of one value."""

    node_name = "ConstantPadNdBackward0"

    def forward(self, m: Any, input: Any, *, pairs: Any, value: Any) -> Any:
        return constant_pad(input, pairs, value)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, pairs: Any, value: Any) -> Any:
        return m.call(ConstantPad, grad, pairs=tuple((-a, -b) for a, b in pairs), value=0)


class _EdgePad(Opaque):
    """The input is saved because PyTorch's tape has it in the derivative, with zeros for its own."""

    name = "pad"
    saves: tuple[str, ...] = ("input",)

    def forward(self, m: Any, input: Any, *, pads: Any, mode: Any) -> Any:
        return edge_pad(input, pads, mode)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, pads: Any, mode: Any) -> Any:
        return m.call(EdgePadGrad, grad, input, pads=pads, mode=mode)


@op
class CircularPad(_EdgePad):
    """Copies from the opposite end."""

    node_name = "CopySlices"
    saves = ()


@op
class ReflectionPad1d(_EdgePad):
    """A signal mirrored at its ends."""

    node_name = "ReflectionPad1DBackward0"


@op
class ReflectionPad2d(_EdgePad):
    """An image mirrored at its edges."""

    node_name = "ReflectionPad2DBackward0"


@op
class ReflectionPad3d(_EdgePad):
    """A volume mirrored at its faces."""

    node_name = "ReflectionPad3DBackward0"


@op
class ReplicationPad1d(_EdgePad):
    """A signal with its ends repeated."""

    node_name = "ReplicationPad1DBackward0"


@op
class ReplicationPad2d(_EdgePad):
    """An image with its edges repeated."""

    node_name = "ReplicationPad2DBackward0"


@op
class ReplicationPad3d(_EdgePad):
    """A volume with its faces repeated."""

    node_name = "ReplicationPad3DBackward0"


@op
class EdgePadGrad(Opaque):
    """Adjoint of the pads that copy."""

    node_name = "EdgePadBackwardBackward0"

    def forward(self, m: Any, grad: Any, input: Any, *, pads: Any, mode: Any) -> Any:
        return edge_pad_grad(grad, pads, mode)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        g: Any,
        input: Any,
        *,
        pads: Any,
        mode: Any,
        needs: Any,
    ) -> Any:
        again = m.call(_EDGES[mode, len(pads)], grad, pads=pads, mode=mode)
        return again, m.zeros_like(grad) if needs[1] else None


_EDGES: dict[tuple[str, int], Any] = {
    ("reflect", 1): ReflectionPad1d,
    ("reflect", 2): ReflectionPad2d,
    ("reflect", 3): ReflectionPad3d,
    ("replicate", 1): ReplicationPad1d,
    ("replicate", 2): ReplicationPad2d,
    ("replicate", 3): ReplicationPad3d,
    ("circular", 1): CircularPad,
    ("circular", 2): CircularPad,
    ("circular", 3): CircularPad,
}


# ---------------------------------------------------------------- the public functions


def _pad_sizes(pad: Any) -> Sizes:
    sizes = []
    for i, n in enumerate(pad):
        if not hasattr(n, "__index__"):
            raise TypeError(
                f"pad(): argument 'pad' (position 2) must be tuple of ints, but found "
                f"element of type {type(n).__name__} at pos {i}"
            )
        sizes.append(int(n.__index__()))
    if len(sizes) % 2:
        raise ShapeError("pad", f"Padding length must be divisible by 2, got {len(sizes)}")
    return tuple(sizes)


def _pairs(pad: Sizes) -> Pairs:
    """(before, after) of the padded dimensions, in the order of the dimensions."""
    return tuple((pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2))


@public()
def constant_pad_nd(input: Tensor, pad: Any, value: Any = 0) -> Tensor:
    """`nn.functional.pad` with mode "constant"."""
    sizes = _pad_sizes(pad)
    ndim = input.dim()
    if len(sizes) > 2 * ndim:
        raise ShapeError(
            "pad",
            "Padding length should be less than or equal to two times the "
            f"input dimension but got padding length {len(sizes)} and input of "
            f"dimension {ndim}",
        )
    pairs = ((0, 0),) * (ndim - len(sizes) // 2) + _pairs(sizes)
    for (a, b), n in zip(pairs, input.shape, strict=True):
        if a + n + b < 0 or n + min(a, 0) + min(b, 0) < 0:
            raise ShapeError(
                "pad",
                f"narrow(): length must be non-negative: padding ({a}, {b}) "
                f"of a dimension of size {n}",
            )
    return apply(ConstantPad, input, pairs=pairs, value=value)


@public(namespaces=("nn.functional",))
def pad(input: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """The input with elements added around its last dimensions.

    `pad` is (before last, after last, before the one in front of it, ...); negative numbers cut
    off. Modes: "constant" (value, 0 by default), "reflect", "replicate", "circular".
    Raises: RuntimeError where the sizes do not fit, NotImplementedError for unknown modes.
    """
    if mode == "constant":
        return constant_pad_nd(input, pad, 0 if value is None else value)
    sizes = _pad_sizes(pad)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value:
        raise ShapeError("pad", f'Padding mode "{mode}" doesn\'t take in value argument')
    rank = len(sizes) // 2
    if rank not in (1, 2, 3) or input.dim() not in (rank + 1, rank + 2):
        raise NotImplementedError(
            f"Padding size {len(sizes)} is not supported for {input.dim()}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    pads = _pairs(sizes)
    _check_edges(input, pads, mode)
    return apply(_EDGES[mode, rank], input, pads=pads, mode=mode)


def _check_edges(input: Tensor, pads: Pairs, mode: str) -> None:
    shape = tuple(input.shape)
    rank = len(pads)
    if mode != "circular" and 0 in shape[len(shape) - rank - 1 :]:
        raise ShapeError(
            "pad",
            f"Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with "
            "possibly 0 batch size and other non-zero dimensions for input, but got: "
            f"{list(shape)}",
        )
    for axis in range(-1, -rank - 1, -1):
        (before, after), n = pads[axis], shape[axis]
        if mode == "circular":
            if before > n or after > n or n == 0:
                raise ShapeError(
                    "pad",
                    "Padding value causes wrapping around more than once: "
                    f"({before}, {after}) of {n} elements",
                )
            if before + n + after < 0:
                raise ShapeError("pad", "Negative padding value is resulting in an empty dimension")
            continue
        if mode == "reflect" and (before >= n or after >= n):
            raise ShapeError(
                "pad",
                "Argument #4: Padding size should be less than the "
                f"corresponding input dimension, but got: padding ({before}, "
                f"{after}) at dimension {len(shape) + axis} of input {list(shape)}",
            )
        if before + n + after < 1:
            letter = "WHD"[-axis - 1]
            raise ShapeError(
                "pad",
                f"input ({letter}: {n}) is too small. Calculated output "
                f"{letter}: {before + n + after}",
            )
