"""Distributions made of others by functions: Weibull, Pareto, relaxed choices, and so on."""

from __future__ import annotations

import math
from typing import Any

import taper
from taper.distributions import constraints
from taper.distributions.continuous import Cauchy, Exponential, Gamma, Uniform
from taper.distributions.discrete import Categorical, _Binary
from taper.distributions.distribution import Distribution
from taper.distributions.transformed import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    TransformedDistribution,
)
from taper.distributions.utils import broadcast_all, clamp_probs, euler_constant
from taper.size import Size
from taper.tensor import Tensor


class Weibull(TransformedDistribution):
    """scale * x ** (1 / concentration) of an exponential number x."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(taper.ones_like(self.scale), validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=self.concentration_reciprocal),
            AffineTransform(loc=0, scale=self.scale),
        ]
        super().__init__(base, transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = Weibull(
            self.scale.expand(batch_shape), self.concentration.expand(batch_shape), False
        )
        made._validate_args = self._validate_args
        return made

    @property
    def mean(self) -> Tensor:
        return self.scale * taper.exp(taper.lgamma(self.concentration_reciprocal + 1))

    @property
    def mode(self) -> Tensor:
        share = (self.concentration - 1) / self.concentration
        return self.scale * share ** self.concentration.reciprocal()

    @property
    def variance(self) -> Tensor:
        first = taper.lgamma(self.concentration_reciprocal + 1)
        second = taper.lgamma(self.concentration_reciprocal * 2 + 1)
        return self.scale.pow(2) * (taper.exp(second) - taper.exp(2 * first))

    def entropy(self) -> Tensor:
        return (
            self.concentration_reciprocal.neg().add(1) * euler_constant
            + taper.log(self.scale * self.concentration_reciprocal)
            + 1
        )


class Pareto(TransformedDistribution):
    """scale * exp(x) of an exponential number x with the rate `alpha`."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args=validate_args)
        transforms = [ExpTransform(), AffineTransform(loc=0, scale=self.scale)]
        super().__init__(base, transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = Pareto(self.scale.expand(batch_shape), self.alpha.expand(batch_shape), False)
        made._validate_args = self._validate_args
        return made

    @property
    def support(self) -> Any:
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self) -> Tensor:
        a = self.alpha.clamp(min=1)  # infinite below
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = self.alpha.clamp(min=2)
        return self.scale.pow(2) * a / ((a - 1).pow(2) * (a - 2))

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + (self.alpha.reciprocal() + 1)


class HalfCauchy(TransformedDistribution):
    """|x| of a Cauchy number x around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, type(self).__new__(type(self)))

    @property
    def scale(self) -> Tensor:
        """The scale of x."""
        found: Tensor = self.base_dist.scale  # type: ignore[attr-defined]
        return found

    @property
    def mean(self) -> Tensor:
        return taper.full(self._extended_shape(), math.inf, dtype=self.scale.dtype)

    @property
    def mode(self) -> Tensor:
        return taper.zeros_like(self.scale)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def log_prob(self, value: Tensor) -> Tensor:
        value = taper.as_tensor(value, dtype=self.scale.dtype)
        if self._validate_args:
            self._validate_sample(value)
        found = self.base_dist.log_prob(value) + math.log(2)
        return taper.where(value >= 0, found, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() - math.log(2)


class InverseGamma(TransformedDistribution):
    """1 / x of a gamma number x."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        base = Gamma(concentration, rate, validate_args=validate_args)
        minus_one = -base.rate.new_ones(())
        super().__init__(base, PowerTransform(minus_one), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, type(self).__new__(type(self)))

    @property
    def concentration(self) -> Tensor:
        """The shape of x."""
        found: Tensor = self.base_dist.concentration  # type: ignore[attr-defined]
        return found

    @property
    def rate(self) -> Tensor:
        """The rate of x."""
        found: Tensor = self.base_dist.rate  # type: ignore[attr-defined]
        return found

    @property
    def mean(self) -> Tensor:
        made = self.rate / (self.concentration - 1)
        return taper.where(self.concentration > 1, made, math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        made = self.rate.square() / ((a - 1).square() * (a - 2))
        return taper.where(a > 2, made, math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (a + 1) * a.digamma()


class Kumaraswamy(TransformedDistribution):
    """(1 - u ** (1 / concentration0)) ** (1 / concentration1) of a uniform number u."""

    arg_constraints = {
        "concentration1": constraints.positive, "concentration0": constraints.positive,
    }  # fmt: skip
    support = constraints.unit_interval

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        one = taper.ones_like(self.concentration0)
        base = Uniform(taper.zeros_like(one), one, validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=self.concentration0.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]
        super().__init__(base, transforms, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        made = Kumaraswamy(
            self.concentration1.expand(batch_shape), self.concentration0.expand(batch_shape), False
        )
        made._validate_args = self._validate_args
        return made

    def _moment(self, n: int) -> Tensor:
        share = self.concentration1.reciprocal() * n + 1
        log_beta = (
            taper.lgamma(share)
            + taper.lgamma(self.concentration0)
            - taper.lgamma(share + self.concentration0)
        )
        return self.concentration0 * taper.exp(log_beta)

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - self.mean.pow(2)

    def entropy(self) -> Tensor:
        share1 = self.concentration1.reciprocal().neg().add(1)
        share0 = self.concentration0.reciprocal().neg().add(1)
        harmonic = taper.digamma(self.concentration0 + 1) + euler_constant
        logs = taper.log(self.concentration1) + taper.log(self.concentration0)
        return share0 + share1 * harmonic - logs


class FisherSnedecor(Distribution):
    """The ratio of two gamma numbers, Fisher's F."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None) -> None:
        self.df1, self.df2 = broadcast_all(df1, df2)
        self._gamma1 = Gamma(self.df1 * 0.5, self.df1)
        self._gamma2 = Gamma(self.df2 * 0.5, self.df2)
        both = not isinstance(df1, Tensor) and not isinstance(df2, Tensor)
        super().__init__(Size() if both else self.df1.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(
            FisherSnedecor, _instance, batch_shape,
            df1=self.df1.expand(batch_shape), df2=self.df2.expand(batch_shape),
            _gamma1=self._gamma1.expand(batch_shape), _gamma2=self._gamma2.expand(batch_shape),
        )  # fmt: skip

    @property
    def mean(self) -> Tensor:
        made = self.df2 / (self.df2 - 2)
        return taper.where(self.df2 > 2, made, math.nan)

    @property
    def mode(self) -> Tensor:
        made = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return taper.where(self.df1 > 2, made, math.nan)

    @property
    def variance(self) -> Tensor:
        wide = self.df2
        made = (
            2 * wide.pow(2) * (self.df1 + wide - 2)
            / (self.df1 * (wide - 2).pow(2) * (wide - 4))
        )  # fmt: skip
        return taper.where(wide > 4, made, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        above = self._gamma1.rsample(sample_shape).view(shape)
        below = self._gamma2.rsample(sample_shape).view(shape)
        below.clamp_(min=taper.finfo(below.dtype).tiny)
        made = above / below
        return made.clamp_(min=taper.finfo(made.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        half1, half2 = self.df1 * 0.5, self.df2 * 0.5
        ratio = self.df1 / self.df2
        return (
            (half1 + half2).lgamma() - half1.lgamma() - half2.lgamma()
            + half1 * ratio.log() + (half1 - 1) * value.log()
            - (half1 + half2) * taper.log1p(ratio * value)
        )  # fmt: skip


class NegativeBinomial(_Binary):
    """How many trials succeed before `total_count` have failed."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        self.total_count, value = broadcast_all(total_count, given)
        self.total_count = self.total_count.type_as(value)
        self._take(value if probs is not None else None, value if probs is None else None,
                   validate_args)  # fmt: skip

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(
            NegativeBinomial, _instance, batch_shape,
            total_count=self.total_count.expand(batch_shape), **self._kept(batch_shape),
        )  # fmt: skip

    @property
    def mean(self) -> Tensor:
        return self.total_count * taper.exp(self.logits)

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / taper.sigmoid(-self.logits)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with taper.no_grad():
            rates = Gamma(self.total_count, taper.exp(-self.logits), validate_args=False)
            return taper.poisson(rates.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_sigmoid = taper.nn.functional.logsigmoid
        kept = self.total_count * log_sigmoid(-self.logits) + value * log_sigmoid(self.logits)
        choices = (
            -taper.lgamma(self.total_count + value)
            + taper.lgamma(value + 1.0)
            + taper.lgamma(self.total_count)
        )
        return kept - choices.masked_fill((self.total_count + value).eq(0.0), 0.0)


class LogitRelaxedBernoulli(_Binary):
    """The logarithm of the odds of a RelaxedBernoulli."""

    support = constraints.real
    has_rsample = True

    def __init__(
        self, temperature: Tensor, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.temperature = temperature
        self._take(probs, logits, validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(
            LogitRelaxedBernoulli, _instance, batch_shape,
            temperature=self.temperature, **self._kept(batch_shape),
        )  # fmt: skip

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        probs = clamp_probs(self.probs.expand(shape))
        u = clamp_probs(taper.rand(shape, dtype=probs.dtype))
        return (u.log() - (-u).log1p() + probs.log() - (-probs).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        off = logits - value.mul(self.temperature)
        return self.temperature.log() + off - 2 * off.exp().log1p()


class RelaxedBernoulli(TransformedDistribution):
    """A number between 0 and 1 near one of them, the nearer the lower the temperature."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    base_dist: LogitRelaxedBernoulli

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, type(self).__new__(type(self)))

    @property
    def temperature(self) -> Tensor:
        """The temperature."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The logarithm of the odds of 1."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probability of 1."""
        return self.base_dist.probs


class ExpRelaxedCategorical(Distribution):
    """The logarithms of a RelaxedOneHotCategorical."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        super().__init__(
            self._categorical.batch_shape,
            self._categorical.param_shape[-1:],
            validate_args=validate_args,
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(
            ExpRelaxedCategorical, _instance, batch_shape, self._event_shape,
            temperature=self.temperature, _categorical=self._categorical.expand(batch_shape),
        )  # fmt: skip

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        u = clamp_probs(taper.rand(shape, dtype=self.logits.dtype))
        gumbels = -((-(u.log())).log())
        scores = (self.logits + gumbels) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self._event_shape[0]
        logits, value = broadcast_all(self.logits, value)
        scale = (k - 1) * taper.as_tensor(self.temperature, dtype=logits.dtype).log()
        scale = scale + math.lgamma(k)
        score = logits - value.mul(self.temperature)
        return (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1) + scale


class RelaxedOneHotCategorical(TransformedDistribution):
    """Numbers that add up to 1, near a vector with a one: the Gumbel softmax."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    base_dist: ExpRelaxedCategorical

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, type(self).__new__(type(self)))

    @property
    def temperature(self) -> Any:
        """The temperature."""
        return self.base_dist.temperature

    @property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return self.base_dist.logits

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self.base_dist.probs
