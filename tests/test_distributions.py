"""torch.distributions: densities against closed forms, samples against PyTorch's, and the checks."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper
from taper import distributions as D
from taper import tensor

CASES = {
    "Normal": lambda d, t: d.Normal(t([0.0, 1.0]), t([1.0, 2.0])),
    "Laplace": lambda d, t: d.Laplace(t([0.0, 1.0]), t([1.0, 2.0])),
    "Cauchy": lambda d, t: d.Cauchy(t([0.0, 1.0]), t([1.0, 2.0])),
    "Uniform": lambda d, t: d.Uniform(t([0.0, 1.0]), t([1.0, 3.0])),
    "Exponential": lambda d, t: d.Exponential(t([0.5, 2.0])),
    "Gamma": lambda d, t: d.Gamma(t([1.5, 3.0]), t([1.0, 3.0])),
    "Chi2": lambda d, t: d.Chi2(t([2.5, 3.0])),
    "Beta": lambda d, t: d.Beta(t([1.5, 2.0]), t([2.0, 3.0])),
    "StudentT": lambda d, t: d.StudentT(t([3.5, 5.0])),
    "LogNormal": lambda d, t: d.LogNormal(t([0.0, 0.5]), t([1.0, 0.5])),
    "HalfNormal": lambda d, t: d.HalfNormal(t([1.0, 0.5])),
    "Gumbel": lambda d, t: d.Gumbel(t([0.0, 0.5]), t([1.0, 0.5])),
    "Weibull": lambda d, t: d.Weibull(t([1.0, 0.5]), t([1.5, 2.0])),
    "Pareto": lambda d, t: d.Pareto(t([1.0, 0.5]), t([2.5, 3.0])),
    "HalfCauchy": lambda d, t: d.HalfCauchy(t([1.0, 0.5])),
    "InverseGamma": lambda d, t: d.InverseGamma(t([2.5, 3.0]), t([1.0, 0.5])),
    "Kumaraswamy": lambda d, t: d.Kumaraswamy(t([1.5, 3.0]), t([1.0, 0.5])),
    "FisherSnedecor": lambda d, t: d.FisherSnedecor(t([1.5, 3.0]), t([5.0, 6.0])),
    "NegativeBinomial": lambda d, t: d.NegativeBinomial(5, t([0.3, 0.6])),
    "RelaxedBernoulli": lambda d, t: d.RelaxedBernoulli(t(0.5), t([0.3, 0.6])),
    "RelaxedOneHotCategorical": lambda d, t: d.RelaxedOneHotCategorical(t(0.5), t([0.3, 0.6, 0.1])),
    "Bernoulli": lambda d, t: d.Bernoulli(t([0.3, 0.8])),
    "Geometric": lambda d, t: d.Geometric(t([0.3, 0.8])),
    "Binomial": lambda d, t: d.Binomial(5, logits=t([0.3, -0.8])),
    "Poisson": lambda d, t: d.Poisson(t([0.3, 4.0])),
    "Categorical": lambda d, t: d.Categorical(t([[0.3, 0.8, 0.1], [1.0, 2.0, 3.0]])),
    "OneHotCategorical": lambda d, t: d.OneHotCategorical(logits=t([0.3, 0.8, 0.1])),
    "Multinomial": lambda d, t: d.Multinomial(7, t([0.3, 0.8, 0.1])),
    "Dirichlet": lambda d, t: d.Dirichlet(t([[0.5, 0.8, 1.1], [1.0, 2.0, 3.0]])),
    "MultivariateNormal": lambda d, t: d.MultivariateNormal(
        t([0.0, 1.0]), t([[2.0, 0.5], [0.5, 1.0]])
    ),
    "Independent": lambda d, t: d.Independent(d.Normal(t([[0.0, 1.0]]), t([[1.0, 2.0]])), 1),
    "MixtureSameFamily": lambda d, t: d.MixtureSameFamily(
        d.Categorical(t([0.3, 0.7])), d.Normal(t([0.0, 3.0]), t([1.0, 0.5]))
    ),
    "TransformedDistribution": lambda d, t: d.TransformedDistribution(
        d.Normal(t([0.0, 0.5]), t([1.0, 0.5])), [d.AffineTransform(1.0, -2.0), d.TanhTransform()]
    ),
}
CONTINUOUS = [
    "Normal", "Laplace", "Cauchy", "Uniform", "Exponential", "Gamma", "LogNormal", "HalfNormal",
    "Gumbel", "TransformedDistribution", "Weibull", "Pareto", "HalfCauchy", "Kumaraswamy",
]  # fmt: skip


def made(name: str) -> D.Distribution:
    return CASES[name](D, tensor)


@pytest.mark.parametrize("name", CASES)
def test_samples_and_densities_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    found, expected = made(name), CASES[name](torch.distributions, torch.tensor)
    taper.manual_seed(3)
    torch.manual_seed(3)

    samples, theirs = found.sample((4,)), expected.sample((4,))

    np.testing.assert_allclose(samples.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(
        found.log_prob(samples).numpy(), expected.log_prob(theirs).numpy(), rtol=2e-4, atol=2e-5
    )
    assert repr(found) == repr(expected)
    assert repr(found.support) == repr(expected.support)
    for what in ("mean", "variance"):
        try:
            wanted = getattr(expected, what)
        except NotImplementedError:
            continue
        np.testing.assert_allclose(getattr(found, what).numpy(), wanted.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_density_is_the_slope_of_the_distribution_function(name):
    found = made(name)
    taper.manual_seed(0)
    x = found.sample((20,)).double()
    double = CASES[name](D, lambda values: tensor(values, dtype=taper.float64))
    x.requires_grad_()

    (slope,) = taper.autograd.grad(double.cdf(x).sum(), x)

    if name == "TransformedDistribution":  # its last function turns the order of the numbers
        slope = slope.abs()
    np.testing.assert_allclose(
        slope.numpy(), double.log_prob(x.detach()).exp().numpy(), rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("name", ["Bernoulli", "Binomial", "Categorical", "OneHotCategorical"])
def test_probabilities_of_all_values_add_up_to_one(name):
    found = made(name)

    total = found.log_prob(found.enumerate_support()).exp().sum(0)

    np.testing.assert_allclose(total.numpy(), 1, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_an_expanded_distribution_gives_the_same_densities(name):
    found = made(name)
    x = found.sample()

    wide = found.expand((3, *found.batch_shape))

    assert wide.batch_shape == (3, *found.batch_shape)
    each = found.log_prob(x)
    np.testing.assert_allclose(wide.log_prob(x).numpy(), each.expand(3, *each.shape).numpy())
    assert wide.sample().shape == (3, *x.shape)


def test_a_random_value_of_a_normal_distribution_is_differentiable():
    mean, spread = (tensor(v, requires_grad=True) for v in (1.0, 2.0))
    taper.manual_seed(0)
    noise = taper.randn(5)
    taper.manual_seed(0)

    D.Normal(mean, spread).rsample((5,)).sum().backward()

    assert mean.grad.item() == 5
    assert spread.grad.item() == pytest.approx(noise.sum().item(), rel=1e-5)


def test_the_gradient_of_a_chosen_action_is_that_of_the_logarithm():
    """As in REINFORCE: one minus the probability at the choice, minus the others' elsewhere."""
    logits = tensor([0.1, 0.2, 0.3], requires_grad=True)

    D.Categorical(logits=logits).log_prob(tensor(1)).backward()

    expected = np.eye(3)[1] - logits.detach().softmax(0).numpy()
    np.testing.assert_allclose(logits.grad.numpy(), expected, rtol=1e-5)


KL = [
    ("Normal", lambda d, t: d.Normal(0.5, 3.0)),
    ("Laplace", lambda d, t: d.Laplace(1.0, 2.0)),
    ("Exponential", lambda d, t: d.Exponential(3.0)),
    ("Gamma", lambda d, t: d.Gamma(t([1.0, 0.4]), 2.0)),
    ("Bernoulli", lambda d, t: d.Bernoulli(0.5)),
    ("Categorical", lambda d, t: d.Categorical(t([0.2, 0.2, 0.6]))),
    ("Poisson", lambda d, t: d.Poisson(2.0)),
    ("MultivariateNormal", lambda d, t: d.MultivariateNormal(t([1.0, 1.0]), t([[1.0, 0], [0, 1]]))),
    ("LogNormal", lambda d, t: d.LogNormal(1.0, 2.0)),
]


@pytest.mark.parametrize("name, other", KL, ids=[name for name, _ in KL])
def test_a_divergence_is_the_mean_of_the_difference_of_logarithms(name, other):
    p, q = made(name), other(D, tensor)
    taper.manual_seed(1)
    x = p.sample((20000,))

    estimate = (p.log_prob(x) - q.log_prob(x)).mean(0)

    np.testing.assert_allclose(D.kl_divergence(p, q).numpy(), estimate.numpy(), rtol=0.1, atol=0.02)


def test_values_outside_have_infinite_divergence_and_unknown_pairs_are_refused():
    assert D.kl_divergence(made("Normal"), D.Uniform(0.0, 1.0)).tolist() == [math.inf, math.inf]
    with pytest.raises(NotImplementedError, match=r"No KL\(p \|\| q\) is implemented for p type"):
        D.kl_divergence(made("Cauchy"), made("Normal"))


def test_parameters_and_values_are_checked():
    with pytest.raises(
        ValueError, match=r"Expected parameter scale .* constraint GreaterThan\(low"
    ):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="Either `probs` or `logits` must be specified"):
        D.Categorical()
    with pytest.raises(ValueError, match=r"Expected value argument .* within the support \(Real"):
        D.Normal(0.0, 1.0).log_prob(tensor(math.nan))
    with pytest.raises(ValueError, match="Value is not broadcastable"):
        made("Normal").log_prob(taper.ones(7))
    assert math.isnan(D.Normal(0.0, -1.0, validate_args=False).log_prob(tensor(0.0)).item())


def test_a_cached_transform_gives_back_the_very_argument():
    tanh = D.TanhTransform(cache_size=1)
    x = tensor([20.0])  # whose tanh rounds to 1

    assert tanh.inv(tanh(x)) is x
    assert D.TanhTransform() == D.TanhTransform()
    assert D.AffineTransform(1.0, 2.0) != D.AffineTransform(1.0, 3.0)


def test_the_divergence_of_a_new_class_can_be_registered():
    class Mine(D.Normal):
        pass

    @D.register_kl(Mine, D.Normal)
    def _mine(p, q):
        return tensor(42.0)

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 42
    assert D.kl_divergence(D.Normal(0.0, 1.0), Mine(0.0, 1.0)).item() == 0
