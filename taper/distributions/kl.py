"""kl_divergence(p, q), by formulas for pairs of distributions; register_kl adds one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import taper
from taper.distributions.continuous import (
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    Laplace,
    Normal,
    Uniform,
)
from taper.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    OneHotCategorical,
    Poisson,
)
from taper.distributions.distribution import Distribution
from taper.distributions.multivariate import (
    Dirichlet,
    Independent,
    MultivariateNormal,
    batch_mahalanobis,
)
from taper.distributions.transformed import (
    Gumbel,
    HalfNormal,
    LogNormal,
    TransformedDistribution,
)
from taper.distributions.utils import broadcast_all, euler_constant, sum_rightmost
from taper.tensor import Tensor

_FORMULAS: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """A decorator for the function that computes kl_divergence(p, q) of two classes."""
    for number, kind in ((1, type_p), (2, type_q)):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(
                f"Expected type_{'pq'[number - 1]} to be a Distribution subclass but got {kind}"
            )

    def enter(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
        _FORMULAS[type_p, type_q] = function
        return function

    return enter


def _formula(type_p: type, type_q: type) -> Callable[[Any, Any], Tensor]:
    """The formula of the nearest pair of base classes."""
    ranked = [
        (type_p.__mro__.index(a) + type_q.__mro__.index(b), number, function)
        for number, ((a, b), function) in enumerate(_FORMULAS.items())
        if issubclass(type_p, a) and issubclass(type_q, b)
    ]
    if not ranked:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type_p.__name__} and q type "
            f"{type_q.__name__}"
        )
    return min(ranked)[2]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expected value under p of log p - log q.

    Raises: NotImplementedError for a pair of classes without a formula.
    """
    return _formula(type(p), type(q))(p, q)


def _where_p_goes(outside: Tensor, found: Tensor) -> Tensor:
    """`found`, but infinite where p has values that q has not."""
    return taper.where(outside, math.inf, found)


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).pow(2)
    off = ((p.loc - q.loc) / q.scale).pow(2)
    return 0.5 * (ratio + off - 1 - ratio.log())


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    softplus = taper.nn.functional.softplus
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    ones = taper.where(q.probs == 0, math.inf, ones)
    ones = taper.where(p.probs == 0, 0, ones)
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    zeros = taper.where(q.probs == 1, math.inf, zeros)
    zeros = taper.where(p.probs == 1, 0, zeros)
    return ones + zeros


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    found = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p()
                             - (-q.probs).log1p())  # fmt: skip
    return _where_p_goes((p.total_count > q.total_count).expand(found.shape), found)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    each = p.probs * (p.logits - q.logits)
    each = taper.where((q.probs == 0).expand_as(each), math.inf, each)
    each = taper.where((p.probs == 0).expand_as(each), 0, each)
    return each.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - taper.log1p(-q.probs) / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio = p.scale / q.scale
    off = (p.loc - q.loc).abs()
    return -ratio.log() + off / q.scale + ratio * taper.exp(-off / p.scale) - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    spread = ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log()
    return spread - (4 * p.scale * q.scale).log()


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return _where_p_goes((q.low > p.low) | (q.high < p.high), found)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    normalizer = (math.sqrt(math.pi * 2) * q.scale / width).log()
    spread = (width).pow(2) / 12
    off = ((p.high + p.low - 2 * q.loc) / 2).pow(2)
    return normalizer + 0.5 * (spread + off) / q.scale.pow(2)


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    return (
        q.concentration * (p.rate / q.rate).log()
        + taper.lgamma(q.concentration)
        - taper.lgamma(p.concentration)
        + (p.concentration - q.concentration) * taper.digamma(p.concentration)
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    p_total = p.concentration1 + p.concentration0
    q_total = q.concentration1 + q.concentration0
    logs = (
        q.concentration1.lgamma() + q.concentration0.lgamma() + p_total.lgamma()
        - p.concentration1.lgamma() - p.concentration0.lgamma() - q_total.lgamma()
    )  # fmt: skip
    return (
        logs
        + (p.concentration1 - q.concentration1) * taper.digamma(p.concentration1)
        + (p.concentration0 - q.concentration0) * taper.digamma(p.concentration0)
        + (q_total - p_total) * taper.digamma(p_total)
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    p_total, q_total = p.concentration.sum(-1), q.concentration.sum(-1)
    logs = (q.concentration.lgamma() - p.concentration.lgamma()).sum(-1)
    weights = p.concentration - q.concentration
    slopes = p.concentration.digamma() - p_total.digamma().unsqueeze(-1)
    return p_total.lgamma() - q_total.lgamma() + logs + (weights * slopes).sum(-1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be "
            "computed"
        )
    own, other = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    logs = [factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) for factor in (other, own)]
    batch = taper.broadcast_shapes(own.shape[:-2], other.shape[:-2])
    n = p.event_shape[0]
    scaled = taper.linalg.solve_triangular(
        other.expand((*batch, n, n)), own.expand((*batch, n, n)), upper=False
    )
    trace = scaled.pow(2).sum((-2, -1))
    off = batch_mahalanobis(other, q.loc - p.loc)
    return (logs[0] - logs[1]) + 0.5 * (trace + off - n)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio = p.scale / q.scale
    shift, own = q.loc / q.scale, p.loc / q.scale
    return (
        -ratio.log() - shift + own + ratio * euler_constant
        + taper.exp(shift + (ratio + 1).lgamma() - own) - (1 + euler_constant)
    )  # fmt: skip


@register_kl(LogNormal, LogNormal)
def _log_normal(p: LogNormal, q: LogNormal) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


def _infinite(p: Distribution, q: Distribution) -> Tensor:
    """p has values that q cannot have."""
    values = [value for d in (p, q) for value in (getattr(d, n) for n in d.arg_constraints)]
    return taper.full_like(broadcast_all(*values)[0], math.inf)


_NARROWER: dict[type, tuple[type, ...]] = {
    Normal: (Beta, Exponential, Gamma, Uniform),
    Laplace: (Beta, Exponential, Gamma, Uniform),
    Exponential: (Beta, Uniform),
    Gamma: (Beta, Uniform),
    Poisson: (Bernoulli, Binomial),
}
for _wide, _narrow in _NARROWER.items():
    for _each in _narrow:
        register_kl(_wide, _each)(_infinite)
