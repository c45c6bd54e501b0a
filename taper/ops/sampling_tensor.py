"""Random tensors whose parameters are tensors: normal, multinomial, poisson, binomial and gamma.

A draw does not depend smoothly on the parameters of normal and poisson, whose gradients are zero
as in PyTorch; gamma draws have the derivative of implicit reparameterization.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.function import Function
from taper.autograd.grad_mode import mode
from taper.dispatch import _clash, apply, write_out
from taper.errors import DtypeError, MissingFeature, ShapeError, UnsupportedDtype
from taper.generator import Generator, fills
from taper.generator.choice import multinomial as choose
from taper.op import Opaque, op, public
from taper.ops.combine import no_derivative
from taper.ops.sampling import destination, into
from taper.ops.sampling_checks import check_std, generator_of, require_real_or_complex
from taper.ops.sampling_inplace import Overwrite
from taper.shapes import checked_sizes
from taper.tensor import Tensor, wrap


@op
class NormalOfMean(Overwrite):
    """By normal(tensor, number)."""

    node_name = "NormalBackward1"


@op
class NormalOfStd(Overwrite):
    """By normal(number, tensor)."""

    node_name = "NormalBackward2"


@op
class NormalOfBoth(Opaque):
    """By normal(tensor, tensor): values instead of both, whose gradients are zero."""

    node_name = "NormalBackward3"
    saves = ("mean.shape", "std.shape")

    def forward(self, m: Any, mean: Any, std: Any, values: Any) -> Any:
        return values.copy(order="K")

    def vjp(self, m: Any, grad: Any, out: Any, mean: Any, std: Any, values: Any) -> Any:
        return m.zeros(mean, grad.dtype), m.zeros(std, grad.dtype), grad


@op
class Poisson(Overwrite):
    """By poisson."""


@op
class Binomial(Opaque):
    """By binomial, which has no derivative."""

    def forward(self, m: Any, count: Any, prob: Any, values: Any) -> Any:
        return values.copy(order="K")

    def vjp(self, m: Any, grad: Any, out: Any, count: Any, prob: Any, values: Any) -> Any:
        raise no_derivative("binomial")


@op
class SampleDirichlet(Opaque):
    """By _sample_dirichlet, which has no derivative."""

    def forward(self, m: Any, input: Any, values: Any) -> Any:
        return values.copy(order="K")

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, values: Any) -> Any:
        raise no_derivative("_sample_dirichlet")


def _instead(overwrite: Any, values: np.ndarray, *given: Tensor) -> Tensor:
    """The values as a tensor, recorded if one of the parameters requires a gradient."""
    made = wrap(values)
    if mode.grad and any(each.requires_grad for each in given):
        return apply(overwrite, *given, made)
    return made


def _require(kernel: str, input: Tensor, names: tuple[str, ...]) -> None:
    """Raises: NotImplementedError for a dtype that is not among the names."""
    if input.dtype.name not in names:
        name = dtypes.cpp_name(input.dtype)
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{name}'")


_FULL = ("float32", "float64")
_FLOATING = (*_FULL, "float16", "bfloat16")


# ---------------------------------------------------------------- normal


@public()
def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers. `mean` and `std` are tensors that broadcast together, or one is a number, or
    both are and `size` says how many are wanted.

    Raises: RuntimeError for a negative `std`, NotImplementedError for integer dtypes.
    """
    source = generator_of("normal", generator)
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        if size is not None:
            raise TypeError("normal(): `size` is for numbers; tensors have their own")
        return _normal_around(mean, std, source, out)
    if size is None:
        raise TypeError(
            "normal() received an invalid combination of arguments - got "
            f"({type(mean).__name__}, {type(std).__name__}), but expected one of: (Tensor mean, "
            "Tensor std, ...), (Tensor mean, float std = 1, ...), (float mean, Tensor std, ...), "
            "(float mean, float std, tuple of ints size, ...)"
        )
    from taper.ops.create import empty

    shape = checked_sizes((size,), "normal")
    check_std(std)
    if out is not None:
        destination("normal", out, shape, dtype)
        return out.normal_(mean, std, generator=source)
    made = empty(shape, dtype=dtype, layout=layout, device=device)
    made.normal_(mean, std, generator=source)
    return made.requires_grad_(requires_grad)


def _normal_around(mean: Any, std: Any, source: Generator, out: Tensor | None) -> Tensor:
    """mean + std * draw, rounded after each step, as one of them is a tensor."""
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if isinstance(std, Tensor):
        _check_std_tensor(std)
    else:
        check_std(std)
    shape = given[0]._array.shape
    if len(given) == 2 and given[1]._array.shape != shape:
        shape = _broadcast("normal", *given)
    # The draw has the dtype of the mean, if that is a tensor.
    chosen = given[0]._array.dtype
    require_real_or_complex("normal_kernel_cpu", chosen)
    count = int(np.prod(shape))
    spread = 1.0 if isinstance(std, Tensor) else float(std)
    values = fills.normal(source, count, 0.0, spread, chosen).reshape(shape)
    if isinstance(std, Tensor):
        values = fills.cast(values * std._array, chosen)
    if isinstance(mean, Tensor):
        values = fills.cast(values + mean._array, chosen)
    else:
        values = fills.cast(values + chosen.type(mean), chosen)
    if out is not None:
        destination("normal", out, shape, None)
        return write_out("normal", wrap, (values,), {}, out)
    if len(given) == 2:
        return _instead(NormalOfBoth, values, *given)
    return _instead(NormalOfMean if given[0] is mean else NormalOfStd, values, *given)


def _check_std_tensor(std: Tensor) -> None:
    array = std._array
    if array.dtype.kind == "c":
        raise RuntimeError("normal expects standard deviation to be non-complex")
    if array.size and not array.min() >= 0:
        raise RuntimeError("normal expects all elements of std >= 0.0")


def _broadcast(name: str, one: Tensor, other: Tensor) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(one._array.shape, other._array.shape)
    except ValueError:
        raise ShapeError(name, str(_clash(one._array.shape, other._array.shape))) from None


# ---------------------------------------------------------------- multinomial


@public(method=True)
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """`num_samples` indices from every row of weights, drawn in proportion to them.

    Shape: input (categories,) or (rows, categories); result (num_samples,) or (rows, num_samples).
    Dtype: floating weights; int64 result.
    Raises: RuntimeError if weights are negative, infinite, nan or all zero, or if more samples
        are wanted than there are categories without `replacement`.
    """
    source = generator_of("multinomial", generator)
    weights = input._array
    _check_weights(input, num_samples, replacement)
    if out is not None and out.dtype is not dtypes.int64:
        raise RuntimeError(
            f"multinomial expects Long tensor out, got: {dtypes.cpp_name(out.dtype)}"
        )
    shape = (*weights.shape[:-1], num_samples)
    if weights.size == 0:
        chosen = np.empty(shape, np.int64)
    else:
        rows = weights.reshape(-1, weights.shape[-1])
        chosen = choose(source, rows, num_samples, replacement).reshape(shape)
    if out is None:
        return wrap(chosen)
    destination("multinomial", out, shape, None)
    return into(out, chosen.reshape(-1))


def _check_weights(input: Tensor, num_samples: int, replacement: bool) -> None:
    weights = input._array
    if not hasattr(num_samples, "__index__"):
        raise TypeError(
            "multinomial(): argument 'num_samples' (position 2) must be int, not "
            f"{type(num_samples).__name__}"
        )
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if weights.dtype.kind not in "fV":
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{dtypes.cpp_name(input.dtype)}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    if weights.shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    alone = num_samples == 1 or not replacement
    if not weights.size and not (weights.ndim == 1 or weights.shape[0]):
        return
    negative = not (weights >= 0).all()  # or nan
    if not negative and np.isfinite(weights).all():
        if weights.shape[-1] and (weights > 0).any(-1).all():
            return
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if alone:
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if negative:
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    raise RuntimeError(
        "invalid multinomial distribution (encountering probability entry = infinity or NaN)"
    )


# ---------------------------------------------------------------- counts


@public()
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """A count drawn from the Poisson distribution of every rate in `input`.

    Raises: RuntimeError for negative rates, NotImplementedError for dtypes that are not floating.
    """
    source = generator_of("poisson", generator)
    _require("poisson_cpu", input, _FLOATING)
    rates = input._array
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    from taper.generator.rejection import poisson as draw

    values = draw(source, rates.reshape(-1)).reshape(rates.shape)
    return _instead(Poisson, values, input)


@public()
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Successes among `count` trials of chance `prob`, elementwise with broadcasting.

    Dtype: float32 or float64, the same for both.
    """
    source = generator_of("binomial", generator)
    for name, position, value in (("count", 1, count), ("prob", 2, prob)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"binomial(): argument '{name}' (position {position}) must be Tensor, not "
                f"{type(value).__name__}"
            )
    for name, value in (("count", count), ("prob", prob)):
        if not value.dtype.is_floating_point:
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: "
                f"{dtypes.cpp_name(value.dtype)}"
            )
    if count.dtype is not prob.dtype:
        raise DtypeError(
            "binomial",
            f"Found dtype {dtypes.cpp_name(prob.dtype)} but expected "
            f"{dtypes.cpp_name(count.dtype)}",
        )
    _require("binomial_cpu", count, _FULL)
    from taper.generator.rejection import binomial as draw

    shape = _broadcast("binomial", count, prob)
    trials, chances = (np.broadcast_to(x._array, shape).reshape(-1) for x in (count, prob))
    return _instead(Binomial, draw(source, trials, chances).reshape(shape), count, prob)


# ---------------------------------------------------------------- gamma, Dirichlet


class StandardGamma(Function):
    """A gamma draw; its gradient follows the draw at a fixed level of the distribution."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, source: Generator) -> Tensor:
        """The draw."""
        from taper.generator.rejection import standard_gamma

        shapes = input._array
        drawn = wrap(standard_gamma(source, shapes.reshape(-1)).reshape(shapes.shape))
        ctx.save_for_backward(input, drawn)
        return drawn

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """The gradient of the shape parameter."""
        input, drawn = ctx.saved_tensors
        return grad_outputs[0] * _standard_gamma_grad(input, drawn), None


class StandardGammaGrad(Function):
    """The slope of a gamma draw, which is not differentiated again."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, output: Tensor) -> Tensor:
        """The slope."""
        from taper.generator.slopes import gamma_slope

        return _slope_of(gamma_slope, input, output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """Raises: NotImplementedError."""
        raise MissingFeature("the derivative for '_standard_gamma_grad' is not implemented.")


class DirichletGrad(Function):
    """The slope of a component of a Dirichlet draw, which is not differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
        """The slope."""
        from taper.generator.slopes import beta_slope

        return _slope_of(beta_slope, x, alpha, total)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """Raises: RuntimeError."""
        raise no_derivative("_dirichlet_grad")


def _slope_of(slope: Any, *parameters: Tensor) -> Tensor:
    """A function of flat float64 arrays on tensors of one shape."""
    arrays = np.broadcast_arrays(*(x._array for x in parameters))
    values = slope(*(a.astype(np.float64).reshape(-1) for a in arrays))
    return wrap(values.astype(arrays[0].dtype).reshape(arrays[0].shape))


@public()
def _standard_gamma(input: Tensor, generator: Generator | None = None) -> Tensor:
    """A gamma number of scale 1 for every shape parameter in `input`.

    Dtype: float32 or float64. The gradient is that of implicit reparameterization.
    """
    source = generator_of("_standard_gamma", generator)
    _require("gamma_cpu", input, _FULL)
    return StandardGamma.apply(input, source)


@public()
def _standard_gamma_grad(input: Tensor, output: Tensor) -> Tensor:
    """How the gamma draw `output` moves with its shape parameter `input`."""
    _require("_standard_gamma_grad_cpu", input, _FULL)
    return StandardGammaGrad.apply(input, output)


@public()
def _sample_dirichlet(input: Tensor, generator: Generator | None = None) -> Tensor:
    """A point of the simplex for every concentration, a vector in the last dimension.

    Dtype: float32 or float64. No derivative; distributions.Dirichlet has one.
    """
    source = generator_of("_sample_dirichlet", generator)
    _require("dirichlet", input, _FULL)
    from taper.generator.rejection import dirichlet

    array = input._array
    rows = array.reshape(1) if array.ndim == 0 else array
    return _instead(SampleDirichlet, dirichlet(source, rows).reshape(array.shape), input)


@public()
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """How a Dirichlet component x moves with its concentration `alpha`, the sum of all being
    `total`, divided by 1 - x.
    """
    _require("_dirichlet_grad_cpu", x, _FULL)
    return DirichletGrad.apply(x, alpha, total)
