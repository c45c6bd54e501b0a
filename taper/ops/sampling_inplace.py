"""Methods that fill a tensor with random numbers: uniform_, normal_, random_ and their kin.

A tensor is filled in the order of its memory. What it held before no longer counts, so its
gradient is zero: that is the op of each of these methods, used only where a gradient is recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode
from taper.autograd.node import next_number
from taper.dispatch import apply, assign, check_writable, touch
from taper.errors import UnsupportedDtype
from taper.generator import Generator, fills
from taper.generator.order import dimensions, lay, shaped_like
from taper.op import Opaque, op, public
from taper.ops.sampling_checks import (
    check_positive,
    check_probability,
    check_std,
    check_uniform,
    checked_integer,
    cpp_type,
    generator_of,
    integer_span,
    require_real_or_complex,
    span_from,
)
from taper.tensor import Tensor, wrap


class Overwrite(Opaque):
    """Values in the place of the input, which gets a gradient of zero."""

    def forward(self, m: Any, input: Any, values: Any) -> Any:
        return values.copy(order="K")

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, values: Any) -> Any:
        return m.zeros(grad.shape, grad.dtype), grad


@op
class Uniform(Overwrite):
    """By uniform_."""


@op
class Normal(Overwrite):
    """By normal_."""


@op
class Random(Overwrite):
    """By random_."""


@op
class Bernoulli(Overwrite):
    """By bernoulli_(number) and bernoulli()."""


@op
class BernoulliEach(Overwrite):
    """By bernoulli_(tensor)."""

    node_name = "BernoulliBackward1"


@op
class Exponential(Overwrite):
    """By exponential_."""


@op
class Geometric(Overwrite):
    """By geometric_."""


@op
class Cauchy(Overwrite):
    """By cauchy_."""


@op
class LogNormal(Overwrite):
    """By log_normal_."""


def _fill(input: Tensor, name: str, overwrite: Any, values: Any) -> Tensor:
    """The second half of every fill: `values` go into the tensor."""
    if mode.grad and input.requires_grad:
        since = next_number()
        made = wrap(shaped_like(input._array, values))
        return assign(input, apply(overwrite, input, made), name, since)
    lay(input._array, values)
    touch(input)
    return input


def _begin(input: Tensor, name: str, generator: Any) -> Generator:
    """The first half: nothing may be drawn if the tensor cannot be written to."""
    source = generator_of(name, generator)
    check_writable(input, name, input.requires_grad)
    return source


def _from(name: str, value: Any, named: dict[str, Any]) -> Any:
    """The argument that PyTorch calls `from`, a word Python keeps for itself."""
    for each in named:
        if each != "from":
            raise TypeError(f"{name}() got an unexpected keyword argument '{each}'")
    return named.get("from", value)


def _method(function: Any) -> Any:
    return public(method=True, namespaces=())(function)


# ---------------------------------------------------------------- continuous


@_method
def uniform_(
    input: Tensor,
    start: float = 0.0,
    to: float = 1.0,
    *,
    generator: Generator | None = None,
    **named: Any,
) -> Tensor:
    """Fills the tensor with numbers drawn uniformly from [from, to).

    Raises: RuntimeError for an empty or too long range, NotImplementedError for integer dtypes.
    """
    low, high = float(_from("uniform_", start, named)), float(to)
    source = _begin(input, "uniform_", generator)
    array = input._array
    require_real_or_complex("check_uniform_bounds", array.dtype)
    check_uniform(low, high, array.dtype)
    values = fills.uniform(source, array.size, low, high, array.dtype)
    return _fill(input, "uniform_", Uniform, values)


@_method
def normal_(
    input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills the tensor with normal numbers.

    Raises: RuntimeError for a negative `std`, NotImplementedError for integer dtypes.
    """
    source = _begin(input, "normal_", generator)
    array = input._array
    check_std(std)
    require_real_or_complex("normal_kernel_cpu", array.dtype)
    dense = bool(array.flags.c_contiguous)
    values = fills.normal(source, array.size, float(mean), float(std), array.dtype, dense)
    return _fill(input, "normal_", Normal, values)


@_method
def log_normal_(
    input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills the tensor with numbers whose logarithms are normal with this mean and std.

    Raises: RuntimeError unless std > 0, NotImplementedError for dtypes that are not floating.
    """
    source = _begin(input, "log_normal_", generator)
    check_positive("log_normal_", "std", std)
    array = input._array
    _require_floating("log_normal_cpu", array.dtype)
    values = fills.log_normal(source, array.size, float(mean), float(std), array.dtype)
    return _fill(input, "log_normal_", LogNormal, values)


def _require_floating(kernel: str, dtype: np.dtype) -> None:
    if dtype.kind not in "fV":
        name = dtypes.cpp_name(dtypes.of(dtype))
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{name}'")


@_method
def exponential_(
    input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills the tensor with exponential numbers of the rate `lambd`.

    Raises: RuntimeError unless lambd > 0 and the dtype is floating.
    """
    source = _begin(input, "exponential_", generator)
    array = input._array
    if array.dtype.kind not in "fV":
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {dtypes.cpp_name(input.dtype)}"
        )
    check_positive("exponential_", "lambd", lambd)
    values = fills.exponential(source, array.size, float(lambd), array.dtype)
    return _fill(input, "exponential_", Exponential, values)


@_method
def cauchy_(
    input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fills the tensor with numbers of the Cauchy distribution.

    Raises: RuntimeError unless sigma > 0 and the dtype is floating.
    """
    source = _begin(input, "cauchy_", generator)
    check_positive("cauchy_", "sigma", sigma)
    array = input._array
    if array.dtype.kind not in "fV":
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {cpp_type(array.dtype)}"
        )
    values = fills.cauchy(source, array.size, float(median), float(sigma), array.dtype)
    return _fill(input, "cauchy_", Cauchy, values)


# ---------------------------------------------------------------- discrete


@_method
def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fills the tensor with numbers of trials up to the first success.

    Raises: RuntimeError unless 0 < p < 1, NotImplementedError for bool and complex dtypes.
    """
    source = _begin(input, "geometric_", generator)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    array = input._array
    _refuse("geometric_cpu", array.dtype, "bc")
    values = fills.geometric(source, array.size, float(p), array.dtype)
    return _fill(input, "geometric_", Geometric, values)


def _refuse(kernel: str, dtype: np.dtype, kinds: str) -> None:
    """Raises: NotImplementedError for dtypes of the kinds, and for the wide unsigned integers."""
    if dtype.kind in kinds or (dtype.kind == "u" and dtype.itemsize > 1):
        name = dtypes.cpp_name(dtypes.of(dtype))
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{name}'")


@_method
def random_(input: Tensor, *args: Any, generator: Generator | None = None, **named: Any) -> Tensor:
    """Fills the tensor with integers: random_(), random_(to), random_(from, to).

    Without `to` (or with None), up to the greatest integer that the dtype holds exactly.
    Raises: RuntimeError if from >= to or if a bound does not fit the dtype.
    """
    low, high, bounded = _bounds(args, named)
    source = _begin(input, "random_", generator)
    array = input._array
    if not bounded:
        _refuse("random_kernel_cpu", array.dtype, "c")
        values = fills.any_integer(source, array.size, array.dtype)
    else:
        if high is None:
            start, span = span_from(low, array.dtype)
        else:
            start, span = integer_span(low, high, array.dtype)
        values = fills.integers(source, array.size, start, span, array.dtype)
    return _fill(input, "random_", Random, values)


def _bounds(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[int, int | None, bool]:
    """from, to and whether there is either."""
    given = dict(named)
    names = ("to",) if len(args) == 1 and "to" not in named else ("from", "to")
    given.update(zip(names, args, strict=False))
    if len(args) > 2 or set(given) - {"from", "to"}:
        raise TypeError("random_() received an invalid combination of arguments")
    if not given:
        return 0, None, False
    for name, value in given.items():
        if value is not None and not hasattr(value, "__index__"):
            raise TypeError(
                f"random_() received an invalid combination of arguments - got "
                f"({type(value).__name__} {name}), but expected one of: (*, torch.Generator "
                "generator = None), (int from, int to, *, torch.Generator generator = None), (int "
                "to, *, torch.Generator generator = None)"
            )
    high = given.get("to")
    return (
        checked_integer("random_", "from", 1, given.get("from", 0)),
        None if high is None else checked_integer("random_", "to", 2, high),
        True,
    )


@_method
def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fills the tensor with ones of probability p, a number or a tensor, and zeros.

    Raises: RuntimeError unless 0 <= p <= 1, NotImplementedError for complex dtypes.
    """
    source = _begin(input, "bernoulli_", generator)
    array = input._array
    if not isinstance(p, Tensor):
        check_probability(p)
        _refuse("bernoulli_scalar_cpu_", array.dtype, "c")
        hits = fills.below(source, array.size, float(p))
        return _fill(input, "bernoulli_", Bernoulli, hits.astype(array.dtype))
    _refuse("bernoulli_tensor_cpu_self_", array.dtype, "c")
    chances = _checked_chances(p)
    if chances.shape != array.shape:
        chances = p.detach().expand(array.shape)._array
    ordered = chances.transpose(dimensions(array)).reshape(-1)
    hits = fills.below_each(source, ordered)
    return _fill(input, "bernoulli_", BernoulliEach, hits.astype(array.dtype))


def _checked_chances(p: Tensor) -> np.ndarray:
    """The array of probabilities. Raises: RuntimeError unless all lie in [0, 1]."""
    chances = p._array
    _require_floating("bernoulli_tensor_cpu_p_", chances.dtype)
    if not ((chances >= 0) & (chances <= 1)).all():
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message "
            "be improved?  If so, please report an enhancement request to PyTorch.)"
        )
    return chances


@public(method=True)
def bernoulli(
    input: Tensor,
    p: float | None = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Ones with the probabilities in `input`, and zeros; or all of probability p.

    Shape: that of input. Dtype: that of input, or of `out`.
    Raises: RuntimeError unless the probabilities lie in [0, 1].
    """
    source = generator_of("bernoulli", generator)
    array = input._array
    if p is not None:
        return bernoulli_(wrap(np.empty(array.shape, array.dtype)), p, generator=source)
    if out is not None:
        from taper.ops.sampling import destination

        destination("bernoulli", out, array.shape, None)
        return bernoulli_(out, input.detach(), generator=source)
    _refuse("bernoulli_tensor_cpu_self_", array.dtype, "c")
    hits = fills.below_each(source, _checked_chances(input).reshape(-1))
    values = wrap(hits.astype(array.dtype).reshape(array.shape))
    if mode.grad and input.requires_grad:
        return apply(Bernoulli, input, values)
    return values
