"""torch.distributions: random values with densities, their logarithms, entropies and divergences.

distribution.py has what all share, continuous.py and discrete.py those of one number,
multivariate.py those of vectors, transformed.py functions of random values and relatives.py what
they make of others, kl.py the divergences.
A sample draws the random words that PyTorch's draws.
"""

from __future__ import annotations

from taper.distributions import constraints, kl, utils
from taper.distributions.continuous import (
    Beta,
    Cauchy,
    Chi2,
    Exponential,
    Gamma,
    Laplace,
    Normal,
    StudentT,
    Uniform,
)
from taper.distributions.discrete import (
    Bernoulli,
    Binomial,
    Categorical,
    Geometric,
    Multinomial,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Poisson,
)
from taper.distributions.distribution import Distribution, ExponentialFamily
from taper.distributions.kl import kl_divergence, register_kl
from taper.distributions.multivariate import (
    Dirichlet,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
)
from taper.distributions.relatives import (
    FisherSnedecor,
    HalfCauchy,
    InverseGamma,
    Kumaraswamy,
    NegativeBinomial,
    Pareto,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Weibull,
)
from taper.distributions.transformed import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    Gumbel,
    HalfNormal,
    LogNormal,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    TransformedDistribution,
)

__all__ = [
    "AbsTransform", "AffineTransform", "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy",
    "Chi2", "ComposeTransform", "Dirichlet", "Distribution", "ExpTransform", "Exponential",
    "ExponentialFamily", "FisherSnedecor", "Gamma", "Geometric", "Gumbel", "HalfCauchy",
    "HalfNormal", "Independent", "InverseGamma", "Kumaraswamy", "Laplace", "LogNormal",
    "MixtureSameFamily", "Multinomial", "MultivariateNormal", "NegativeBinomial", "Normal",
    "OneHotCategorical", "OneHotCategoricalStraightThrough", "Pareto", "Poisson",
    "PowerTransform", "RelaxedBernoulli", "RelaxedOneHotCategorical", "SigmoidTransform",
    "SoftplusTransform", "StudentT", "TanhTransform", "Transform", "TransformedDistribution",
    "Uniform", "Weibull", "constraints", "kl", "kl_divergence", "register_kl", "utils",
]  # fmt: skip
