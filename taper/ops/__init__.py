"""The op families. Importing this package defines nothing; `load` defines the ops of a group.

The group "core" is loaded with taper and holds what nearly every program uses. The others are
loaded when one of their names is first looked up, because importing taper must be instant.
"""

from __future__ import annotations

import importlib

GROUPS: dict[str, tuple[str, ...]] = {
    "core": (
        "arithmetic", "from_data", "create", "convert", "view", "parts", "complex_parts",
        "metadata", "index", "reduce", "matmul", "pointwise",
        "trigonometry", "rounding", "choose", "combine", "compare", "logic", "statistics",
        "cumulative", "sort", "join", "gather", "scatter", "index_write", "masks", "rearrange", "addmm", "contract",
        "products", "sampling",
        "sampling_inplace", "sampling_tensor",
    ),
    "nn": (
        "activation", "smooth_activation", "softmax", "linear", "linear_cross_entropy", "conv", "pool", "pool_index", "norm", "group_norm", "layer_norm", "rnn", "packing", "cross_entropy",
        "loss", "likelihood_loss", "margin_loss", "numbered_loss", "ctc", "embedding", "distance", "interpolate", "grid", "padding",
        "attention", "fold", "dropout",
    ),
    "rest": (
        "differences", "search", "view_copies", "elements", "layouts", "order_statistics",
        "histogram", "solve", "cholesky", "reflections", "decompose",
        "factor", "matrix_functions", "linalg", "least_squares", "lobpcg", "fft", "fft_dimensions", "spectral", "special",
        "gamma", "bessel", "orthogonal_polynomials",
    ),
}  # fmt: skip
_loaded: set[str] = set()


def load(group: str) -> bool:
    """Imports the families of a group and gives Tensor their methods; False if that was done."""
    if group in _loaded:
        return False
    _loaded.add(group)
    from taper.op import METHODS
    from taper.tensor import Tensor

    for family in GROUPS[group]:
        importlib.import_module("taper.ops." + family)
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
    return True


def load_all() -> bool:
    """Imports every family; False if that was done before."""
    return any([load(group) for group in GROUPS])  # noqa: C419 - every group must be loaded
