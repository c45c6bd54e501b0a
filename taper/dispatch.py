"""The one road from an op call to its evaluation, and from a result into an existing tensor.

`apply` takes every op call: it finds the common dtype, evaluates, wraps, and records a node if a
derivative may be asked for. `assign` takes every in-place update. Nothing else evaluates ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper import backends, dtypes
from taper.autograd.grad_mode import mode
from taper.autograd.node import UNCHECKED, ManyOutputs, OpNode, next_number, node_class
from taper.backends import reference
from taper.errors import DtypeError, GradError, ShapeError, UnsupportedDtype, warn
from taper.op import SHAPE, VALUE, Op
from taper.storage import Storage, in_order_of, storage_of
from taper.tensor import Tensor, quick, wrap

_new = object.__new__
_array = np.ndarray
_math = backends.math()
_silence, _restore = reference.silence, reference.restore
_FLOATING = "fcV"  # numpy kinds of dtypes that can have a gradient; V is bfloat16


def apply(op: Any, *inputs: Any, **attrs: Any) -> Any:
    """Evaluates `op` on tensors and Python numbers; returns a tensor (or a tuple of them).

    Raises: ShapeError if the shapes do not fit, DtypeError if the op does not take the dtypes.
    """
    arrays = []
    tracked = False
    for x in inputs:
        # Of every operand these two questions; the first is the quicker one and mostly enough.
        if type(x) is Tensor or isinstance(x, Tensor):
            arrays.append(x._array)
            if x._requires_grad or (
                x._view_version is not None and x._base._requires_grad  # type: ignore[union-attr]
            ):
                tracked = True
        else:
            arrays.append(x)
    common = None
    direct = op.direct
    out = None
    if direct is not None:
        out = direct(*arrays, *attrs.values()) if attrs else direct(*arrays)
    if out is None:
        takes = op.takes
        if takes:  # elementwise: the operands must agree on a dtype
            first = arrays[0]
            if type(first) is not _array or (own := first.dtype).kind not in takes:
                arrays, common = _promote(op, arrays)
            else:
                for other in arrays[1:]:
                    if type(other) is _array:
                        if other.dtype is own:
                            continue
                    elif other is None or own.kind in _WEAK.get(type(other), ""):
                        continue
                    arrays, common = _promote(op, arrays)
                    break
        function = op.function
        token = _silence()
        try:
            out = op.run(_math, *arrays, **attrs) if function is None else function(*arrays)
        except OverflowError as error:
            out = _with_wrapped_numbers(op, arrays, attrs, error)
        except (ValueError, TypeError, IndexError) as error:
            raise _explained(op, arrays, error) from error
        finally:
            _restore(token)
        if op.outputs == 1:
            if type(out) is not _array:
                out = np.asarray(out)
            if (takes or op.plain) and not out.flags.c_contiguous:
                if takes:
                    held = [x._array if isinstance(x, Tensor) else x for x in inputs]
                    out = in_order_of(out, held)
                else:
                    out = np.ascontiguousarray(out)
    if op.outputs != 1:
        return _wrap_many(op, inputs, arrays, common, attrs, out, tracked)
    result = quick.wrap(out)
    if op.view:
        join(result, inputs[0])
    if tracked and mode.grad and op.vjp is not None and out.dtype.kind in _FLOATING:
        node = result._grad_fn = record(op, inputs, arrays, common, attrs, out)
        result._requires_grad = True
        if op.saves_out:
            storage = result._storage
            if storage is None:
                storage = result._storage = _new(Storage)
                storage.owner, storage.version = out, 0
            node.out = (out, storage, storage.version)
        if mode.saved_hooks:
            _pack(node)
    return result


def look(op: Any, source: Tensor, **attrs: Any) -> Tensor:
    """`apply` for an op that gives one view of one tensor."""
    array = source._array
    try:
        array = op.run(_math, array, **attrs)
    except (ValueError, TypeError, IndexError) as error:
        raise _explained(op, [array], error) from error
    return looked(op, source, array, attrs)


def looked(op: Any, source: Tensor, array: np.ndarray, attrs: dict[str, Any]) -> Tensor:
    """The view of `source` that is its `array` as `op` makes it with these attributes."""
    grad = mode.grad
    result = _quick_view(array, source) if grad else None
    if result is None:
        result = quick.wrap(array)
        join(result, source)
    if (
        (
            source._requires_grad
            or (source._view_version is not None and source._base._requires_grad)  # type: ignore[union-attr]
        )
        and grad
        and array.dtype.kind in _FLOATING
    ):
        node = result._grad_fn = record(op, (source,), (), None, attrs)
        result._requires_grad = True
        if mode.saved_hooks:
            _pack(node)
    return result


def _pack(node: OpNode) -> None:
    from taper.autograd.saved_hooks import pack

    pack(node)


def join(view: Tensor, source: Tensor) -> None:
    """Makes `view` a view of `source`'s memory."""
    base = source._base
    storage = source._storage
    if storage is None:
        storage = source._storage = _new(Storage)
        storage.owner, storage.version = source._array, 0
    view._base = source if base is None else base
    view._storage = storage
    if base is None or source._view_version is not None:
        view._view_version = storage.version
        if mode.grad:
            if source._view_origin:
                view._view_origin = source._view_origin
        else:
            view._view_origin = "inference mode" if mode.inference else "no_grad mode"


def _wrap_many(
    op: Op, inputs: Any, arrays: Any, common: Any, attrs: Any, outs: Any, tracked: bool
) -> tuple[Tensor, ...]:
    if op.plain:
        outs = [np.asarray(o, order="C") for o in outs]
    results = tuple([quick.wrap(o if type(o) is _array else np.asarray(o)) for o in outs])
    if op.view:
        source = inputs[0]
        for result in results:
            join(result, source)
            if mode.grad:
                result._view_origin = "several views"
    if tracked and mode.grad and op.vjp is not None:
        node = record(op, inputs, arrays, common, attrs)
        node.output_count = len(results)
        flags = op.differentiable
        for number, result in enumerate(results):
            if flags is not None and not flags[number]:
                continue
            if result._array.dtype.kind not in _FLOATING:
                continue
            result._grad_fn = node
            result._output_nr = number
            result._requires_grad = True
        if op.saves_out:
            kept = []
            for result in results[op.saved_from :]:
                storage = storage_of(result)
                kept.append((result._array, storage, storage.version))
            node.out = ManyOutputs(kept)
        if mode.saved_hooks:
            _pack(node)
    return results


def _load_built_ins() -> None:
    """Fetches the backend's built-ins, if it has them, when a first result, view or record is made."""
    global _quick_record, _quick_view
    from taper.nn.parameter import Parameter

    made = _math.tape(Tensor, Parameter, Storage, OpNode, next_number, UNCHECKED)
    if made is None:
        quick.wrap, _quick_view, _quick_record = wrap, _unable, _unable
    else:
        quick.wrap, _quick_view, _quick_record, quick.deliver, quick.finish, quick.holds = made


def _unable(*arguments: Any) -> None:
    """Leaves it to `join`, or to `record`."""


def _first_wrap(array: np.ndarray) -> Tensor:
    _load_built_ins()
    return quick.wrap(array)


def _first_view(array: np.ndarray, source: Tensor) -> Any:
    _load_built_ins()
    return _quick_view(array, source)


def _first_record(*arguments: Any) -> Any:
    _load_built_ins()
    return _quick_record(*arguments)


quick.wrap = _first_wrap
# (array, source) -> the view, or None where `join` must make it one.
_quick_view: Callable[..., Any] = _first_view
# (node class, its plan, inputs, result, attrs) -> the node, or None where `record` must make it.
_quick_record: Callable[..., Any] = _first_record


def record(
    op: Any,
    inputs: tuple[Any, ...],
    arrays: Any,
    common: Any,
    attrs: dict[str, Any],
    result: Any = None,
) -> OpNode:
    """Puts the call on the tape; `result` is its array, for elementwise ops."""
    kind = op.node_class or node_class(op)
    if common is None and kind.plan is not None and not mode.anomaly:
        made = _quick_record(kind, kind.plan, inputs, result, attrs)
        if made is not None:
            return made
    node: OpNode = _new(kind)
    edges: list[Any] = []
    saved: list[Any] = []
    plan = op.plan
    if op.variadic:
        plan = plan[:-1] + plan[-1:] * (len(inputs) - len(plan) + 1)
    for x, kind in zip(inputs, plan):  # noqa: B905 - a keyword would cost as much as the call
        if type(x) is Tensor or isinstance(x, Tensor):
            function = x._grad_fn if x._view_version is None else x.grad_fn
            if function is not None:
                edges.append((function, x._output_nr))
            elif x._requires_grad:
                edges.append((x, 0))
            else:
                edges.append(None)
            if kind == VALUE:
                storage = x._storage
                saved.append((x, x._array, 0 if storage is None else storage.version))
            else:
                saved.append(x._array.shape if kind == SHAPE else None)
        else:
            edges.append(None)
            saved.append(() if kind == SHAPE else x if kind == VALUE else None)
    for kept, reader in op.spared:
        item = saved[kept]
        if edges[reader] is None and type(item) is tuple:
            saved[kept] = None if op.elementwise else (item[0], item[1], UNCHECKED)
    node.edges = tuple(edges)
    node.saved = saved
    node.number = next_number()
    node.attrs = attrs
    node.out = None
    node.output_count = 1
    if common is not None:
        node.common = common
        node.dtypes = [x._array.dtype if isinstance(x, Tensor) else None for x in inputs]
    if op.elementwise and len(inputs) > 1:
        for x in inputs:
            if isinstance(x, Tensor) and x._array.shape != result.shape:
                node.shapes = [x._array.shape if isinstance(x, Tensor) else None for x in inputs]
                break
    if mode.anomaly:
        from taper.autograd.anomaly import trace_here

        node.trace = trace_here()
    return node


# Python numbers that leave the dtype of a tensor alone, by the kinds of dtype.
_WEAK = {float: "fc", int: "fciu", bool: "fciub"}


def _promote(op: Op, arrays: list[Any]) -> tuple[list[Any], Any]:
    skip = getattr(op, "unpromoted", 0)
    if skip and all(a is None or type(a) is _array for a in arrays[:skip]):
        rest, common = _promote_all(op, arrays[skip:])
        return arrays[:skip] + rest, common
    return _promote_all(op, arrays)


def _promote_all(op: Op, arrays: list[Any]) -> tuple[list[Any], Any]:
    wanted = dtypes.of_operands(arrays)
    if op.floating and wanted.category < dtypes.FLOAT:
        wanted = dtypes.get_default_dtype()
    common = wanted.numpy
    if len(arrays) == 1 and type(arrays[0]) is not _array:
        raise TypeError(
            f"{op.name}(): argument 'input' (position 1) must be Tensor, not "
            f"{type(arrays[0]).__name__}"
        )
    made: list[Any] = []
    for a in arrays:
        if a is None:
            made.append(a)
        elif type(a) is _array:
            made.append(a if a.dtype == common else a.astype(common))
        else:
            try:
                made.append(as_array(a, common))
            except RuntimeError:
                made.append(_wrapped(a, common))
    return made, common


def _wrapped(value: int, numpy_dtype: np.dtype) -> np.ndarray:
    """An integer operand that does not fit its dtype, modulo 2 to its bits, as C casts it."""
    if not -(2**63) <= value < 2**64:
        raise OverflowError("int too big to convert")
    return np.array(value % 2**64, np.uint64).astype(numpy_dtype)


def _with_wrapped_numbers(op: Op, arrays: list[Any], attrs: Any, error: OverflowError) -> Any:
    """The result where numpy refused a Python integer that is too large for the arrays' dtype."""
    common = next(a.dtype for a in arrays if type(a) is _array)
    made = [_wrapped(a, common) if type(a) is int else a for a in arrays]
    try:
        return op.run(_math, *made, **attrs)
    except OverflowError:
        raise RuntimeError(
            f"value cannot be converted to type {dtypes.of(common).name}_t without overflow"
        ) from error


def as_array(value: Any, numpy_dtype: np.dtype) -> np.ndarray:
    """A Python number as a 0-d array, with PyTorch's error where an integer does not fit.

    A negative number becomes an unsigned one modulo 2 to its bits, if its size would fit.
    """
    try:
        token = _silence()
        try:
            return np.asarray(value, numpy_dtype)
        finally:
            _restore(token)
    except OverflowError:
        if numpy_dtype.kind == "u" and -np.iinfo(numpy_dtype).max <= value < 0:
            return _wrapped(value, numpy_dtype)
        name = dtypes.of(numpy_dtype).name
        raise RuntimeError(f"value cannot be converted to type {name}_t without overflow") from None
    except TypeError:
        return np.asarray(value).astype(numpy_dtype)


def _explained(op: Op, arrays: list[Any], error: Exception) -> Exception:
    """numpy's complaint as taper's, with the op, shapes and dtypes."""
    from taper.errors import TaperError

    if isinstance(error, TaperError):
        return error
    held = [a for a in arrays if type(a) is _array]
    if op.elementwise:
        for i, one in enumerate(held):
            for other in held[i + 1 :]:
                clash = _clash(one.shape, other.shape)
                if clash is not None:
                    return ShapeError(op.name, clash)
        names = ", ".join(dtypes.of(a.dtype).name for a in held)
        if isinstance(error, TypeError):
            return UnsupportedDtype(op.name, f"not implemented for {names}")
    shapes = ", ".join(f"{dtypes.of(a.dtype).name}{list(a.shape)}" for a in held)
    text = f"{error} (inputs: {shapes})"
    if isinstance(error, IndexError):
        from taper.errors import DimError

        return DimError(op.name, text)
    if isinstance(error, TypeError):
        return DtypeError(op.name, text)
    return ShapeError(op.name, text)


def _clash(one: tuple[int, ...], other: tuple[int, ...]) -> str | None:
    """Why two shapes do not broadcast, in PyTorch's words."""
    for back in range(1, min(len(one), len(other)) + 1):
        a, b = one[-back], other[-back]
        if a != b and a != 1 and b != 1:
            dim = max(len(one), len(other)) - back
            return (
                f"The size of tensor a ({a}) must match the size of tensor b ({b}) at "
                f"non-singleton dimension {dim} (shapes {list(one)} and {list(other)})"
            )
    return None


# ---------------------------------------------------------------- writing into tensors


def touch(tensor: Tensor) -> None:
    """Counts a write to the tensor's memory."""
    storage_of(tensor).version += 1


def check_history(tensor: Tensor) -> None:
    """The errors of a recorded write in place: into a leaf, or a view with a history of its own."""
    if tensor._view_version is not None:
        if tensor._view_origin:
            from taper.autograd.inplace import view_error

            raise view_error(tensor, "is being")
        base: Any = tensor._base
        if base._grad_fn is None and tensor.requires_grad:
            raise GradError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation."
            )
    if tensor.requires_grad and tensor.grad_fn is None:
        raise GradError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )


def check_writable(tensor: Tensor, name: str, taped: bool) -> None:
    """The errors of writing in place: what the tape forbids, overlapping memory."""
    if taped and mode.grad:
        check_history(tensor)
    array = tensor._array
    if array.ndim and 0 in array.strides and array.size > 1 and name != "fill_":
        for extent, stride in zip(array.shape, array.strides, strict=True):
            if stride == 0 and extent > 1:
                if name in ("index_put_", "index_fill_", "masked_fill_"):
                    example = "[indices] = tensor" if name == "index_put_" else "[mask] = scalar"
                    warn(
                        f"Use of {name} on expanded tensors is deprecated. Please clone() the "
                        "tensor before performing this operation. This also applies to advanced "
                        f"indexing e.g. tensor{example}"
                    )
                    return
                raise RuntimeError(
                    "unsupported operation: more than one element of the written-to tensor refers "
                    "to a single memory location. Please clone() the tensor before performing the "
                    "operation."
                )


_BROADCASTING = ("copy_", "fill_")  # write what broadcasts to the target, cast to its dtype


def assign(target: Tensor, result: Any, name: str = "copy_", since: int = 0) -> Tensor:
    """Writes `result` into `target`'s memory: the second half of every in-place op.

    The result must have the target's shape (it may broadcast to it) and a dtype whose category
    fits. The target takes over the result's place on the tape; if it is a view, its base does.
    `since` is the sequence number at which the computation of the result began.
    """
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: the written-to argument must be a Tensor")
    source = result._array
    array = target._array
    if (
        source.dtype is array.dtype
        and source.shape == array.shape
        and array.flags.c_contiguous
        and result._storage is None
        and not (mode.grad and (result._requires_grad or target._requires_grad))
        and (target._view_version is None or not mode.grad)
        and result is not target
    ):  # the usual update, of nothing that is recorded
        array[...] = source
        touch(target)
        return target
    taped = (
        mode.grad
        and (result._requires_grad or target.requires_grad)
        and array.dtype.kind in _FLOATING
    )
    check_writable(target, name, taped)
    if source.shape != array.shape:
        if name not in _BROADCASTING or not _fits(source.shape, array.shape):
            clash = _clash(array.shape, source.shape) if name in _BROADCASTING else None
            raise ShapeError(
                name,
                clash
                or f"output with shape {list(array.shape)} doesn't match the broadcast shape "
                f"{list(source.shape)}",
            )
    if source.dtype != array.dtype and name not in _BROADCASTING:
        given, held = dtypes.of(source.dtype), dtypes.of(array.dtype)
        if not dtypes.can_cast(given, held):
            raise DtypeError(
                name,
                f"result type {dtypes.cpp_name(given)} can't be cast to the desired output type "
                f"{dtypes.cpp_name(held)}",
            )
    if result is target:
        touch(target)
        return target
    if result._storage is not None and result._storage is target._storage:
        check_overlap(name, target, (result,))
    if taped:
        from taper.autograd.inplace import rebase

        rebase(target, result, since, name == "copy_")
    store(array, source)
    touch(target)
    if taped and target._view_version is not None:
        target._view_version = target._storage.version  # type: ignore[union-attr]
    return target


def update(ufunc: np.ufunc, target: Any, other: Any) -> bool:
    """target = ufunc(target, other) where it lies; False, with nothing done, if that is not plain.

    Plain is a contiguous float tensor, and a number or a tensor of its dtype that shares no memory
    with it, of which nothing is to be recorded.
    """
    if type(target) is not Tensor or (
        mode.grad and (target._requires_grad or target._view_version is not None)
    ):
        return False
    array = target._array
    dtype = array.dtype
    given: Any = other
    if isinstance(other, Tensor):
        given = other._array
        if (
            given.dtype is not dtype
            or (other._storage is not None and other._storage is target._storage)
            or (mode.grad and (other._requires_grad or other._view_version is not None))
        ):
            return False
    elif type(other) is not float and type(other) is not int:
        return False
    if dtype.char not in "fd" or not array.flags.c_contiguous:
        return False
    token = _silence()
    try:
        ufunc(array, given, array)
    except (ValueError, OverflowError):
        return False  # shapes or numbers that do not fit: the general way says so
    finally:
        _restore(token)
    storage = target._storage
    if storage is None:
        storage = storage_of(target)
    storage.version += 1
    return True


def store(array: np.ndarray, source: np.ndarray) -> None:
    """array[...] = source with PyTorch's casts."""
    if source.dtype.kind == "c" and array.dtype.kind != "c":
        source = source.astype(bool) if array.dtype.kind == "b" else source.real
    token = _silence()
    try:
        np.copyto(array, source, casting="unsafe")
    finally:
        _restore(token)


def _fits(source: tuple[int, ...], target: tuple[int, ...]) -> bool:
    if len(source) > len(target):
        return False
    return all(a in (1, b) for a, b in zip(source[::-1], target[::-1], strict=False))


def write_out(name: str, function: Callable[..., Any], args: Any, kwargs: Any, out: Any) -> Any:
    """Runs a function and stores its result in `out`, resizing it if it has another shape."""
    result = function(*args, **kwargs)
    if isinstance(out, Tensor):
        _store_out(name, out, result, (*args, *kwargs.values()))
        return out
    results = tuple(result)
    if len(out) != len(results):
        raise TypeError(
            f"{name}(): expected a tuple of {len(results)} tensors for out, got {len(out)}"
        )
    for each, value in zip(out, results, strict=True):
        _store_out(name, each, value, (*args, *kwargs.values()))
    return type(result)(out) if type(result) is not tuple else tuple(out)


# Functions that read inputs after they have begun to write: the output may not be an input.
READ_LATE = frozenset(
    (
        "cat", "gather", "index_add", "index_copy", "index_fill", "index_put_", "index_reduce",
        "index_select", "kthvalue", "masked_select", "put", "scatter", "scatter_add",
        "scatter_reduce", "take",
    )
)  # fmt: skip


_MATCHING = (
    "Expected the dtype for input and out to match, but got {0} for input's dtype and {1} for "
    "out's dtype."
)
# Functions whose output must have the very dtype of the result, and what they say otherwise.
_SAME_DTYPE = {
    "amax": _MATCHING,
    "amin": _MATCHING,
    "gather": "Expected out tensor to have dtype {2}, but got {3} instead",
}


def _same_elements(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether both are the same look at the same memory."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.shape == other.shape
        and all(
            n == 1 or a == b for n, a, b in zip(one.shape, one.strides, other.strides, strict=True)
        )
    )


def check_overlap(name: str, out: Tensor, args: Any) -> None:
    """Raises: RuntimeError if `out` shares memory with an input other than being that input."""
    array = out._array
    for given in args:
        if isinstance(given, (list, tuple)):
            check_overlap(name, out, given)
        if not isinstance(given, Tensor) or not given._array.size:
            continue
        other = given._array
        if not (array.flags.forc and other.flags.forc and np.may_share_memory(array, other)):
            continue
        if not _same_elements(array, other) or name in READ_LATE:
            raise RuntimeError(
                "unsupported operation: some elements of the input tensor and the written-to "
                "tensor refer to a single memory location. Please clone() the tensor before "
                "performing the operation."
            )


def _store_out(name: str, out: Tensor, result: Tensor, args: Any) -> None:
    if mode.grad and (
        out.requires_grad or any(isinstance(a, Tensor) and a.requires_grad for a in args)
    ):
        raise GradError(
            f"{name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    given, held = result.dtype, out.dtype
    if given is not held and name in _SAME_DTYPE:
        raise DtypeError(
            _SAME_DTYPE[name].format(dtypes.cpp_name(given), dtypes.cpp_name(held), given, held)
        )
    if given is not held and not dtypes.can_cast(given, held):
        raise DtypeError(
            f"result type {dtypes.cpp_name(given)} can't be cast to the desired output "
            f"type {dtypes.cpp_name(held)}"
        )
    check_writable(out, name, False)
    check_overlap(name, out, args)
    if out._array.shape != result._array.shape:
        if any(a is out for a in args):
            raise ShapeError(
                name,
                f"output with shape {list(out.shape)} doesn't match the broadcast shape "
                f"{list(result.shape)}",
            )
        if out._array.size:
            import warnings

            warnings.warn(
                f"An output with one or more elements was resized since it had shape "
                f"{list(out._array.shape)}, which does not match the required output shape "
                f"{list(result._array.shape)}. This behavior is deprecated, and in a future "
                "PyTorch release outputs will not be resized unless they have zero elements. You "
                "can explicitly reuse an out tensor t by resizing it, inplace, to zero elements "
                "with t.resize_(0).",
                UserWarning,
                stacklevel=4,
            )
        out.resize_(result._array.shape)
    store(out._array, result._array)
    touch(out)
