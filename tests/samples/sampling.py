"""Samples of the ops of random fills: the values come from outside, so they can be differentiated."""

from __future__ import annotations

from collections.abc import Callable

from op_samples import Sample, number


def _values(*shapes: tuple[int, ...]) -> Callable[[], list[Sample]]:
    """A sample with one array of each shape."""
    return lambda: [([number(*shape, seed=i) for i, shape in enumerate(shapes)], {})]


_FILLS = (
    "Uniform",
    "Normal",
    "Random",
    "Bernoulli",
    "BernoulliEach",
    "Exponential",
    "Geometric",
    "Cauchy",
    "LogNormal",
    "NormalOfMean",
    "NormalOfStd",
    "Poisson",
)

SAMPLES = {
    **{name: _values((3, 4), (3, 4)) for name in _FILLS},
    "NormalOfBoth": _values((3, 1), (1, 4), (3, 4)),
    "Binomial": _values((3, 4), (3, 4), (3, 4)),
    "SampleDirichlet": _values((3, 4), (3, 4)),
}
NO_DERIVATIVE = {"Binomial", "SampleDirichlet"}
