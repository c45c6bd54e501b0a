"""Ready-made parametrizations: orthogonal matrices, weight norm, spectral norm."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import taper
from taper.nn import functional as F
from taper.nn.modules.module import Module
from taper.nn.utils import parametrize
from taper.nn.utils.spectral_norm import output_dim
from taper.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


# ---------------------------------------------------------------- orthogonal matrices


class _OrthMaps(Enum):
    """How an orthogonal matrix is made from any matrix."""

    matrix_exp = auto()
    cayley = auto()
    householder = auto()


def _is_orthogonal(matrix: Tensor) -> bool:
    rows, columns = matrix.size(-2), matrix.size(-1)
    identity = taper.eye(columns, dtype=matrix.dtype)
    tolerance = 10 * rows * taper.finfo(matrix.dtype).eps
    return bool(taper.allclose(matrix.mH @ matrix, identity, atol=tolerance))


def _make_orthogonal(matrix: Tensor) -> Tensor:
    """The orthogonal factor of the matrix, with the signs that make R's diagonal positive."""
    packed, tau = taper.geqrf(matrix)
    orthogonal_factor = taper.linalg.householder_product(packed, tau)
    signs = packed.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return orthogonal_factor * signs


class _Orthogonal(Module):
    """Maps a matrix to one with orthonormal columns (rows, if it is wide).

    With trivialization the result is `base` times the mapped matrix, so that any orthogonal matrix
    can be assigned: it becomes the base.
    """

    base: Any  # None until it is known

    def __init__(
        self, weight: Tensor, orthogonal_map: _OrthMaps, *, use_trivialization: bool = True
    ) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map is _OrthMaps.householder:
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Any:
        """The orthogonal matrix."""
        wide = X.size(-2) < X.size(-1)
        if wide:
            X = X.mT
        if self.orthogonal_map is _OrthMaps.householder:
            made = self._reflected(X)
        else:
            made = self._rotated(X)
        if hasattr(self, "base"):
            made = self.base @ made
        return made.mT if wide else made

    def _rotated(self, X: Tensor) -> Tensor:
        """The exponential, or Cayley's map, of a skew-symmetric matrix made of the lower triangle."""
        rows, columns = X.size(-2), X.size(-1)
        X = X.tril()
        if rows != columns:
            rest = X.new_zeros(rows, rows - columns).expand(*X.shape[:-2], -1, -1)
            X = taper.cat([X, rest], dim=-1)
        skew = X - X.mH
        if self.orthogonal_map is _OrthMaps.matrix_exp:
            made = taper.matrix_exp(skew)
        else:
            identity = taper.eye(rows, dtype=skew.dtype)
            made = taper.linalg.solve(identity - skew / 2, identity + skew / 2)
        return made[..., :columns] if rows != columns else made

    def _reflected(self, X: Tensor) -> Tensor:
        """A product of Householder reflections, whose vectors are the columns below the diagonal;
        the diagonal holds the signs.
        """
        vectors = X.tril(diagonal=-1)
        tau = 2.0 / (1.0 + (vectors * vectors).sum(dim=-2))
        made = taper.linalg.householder_product(vectors, tau)
        return made * X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)

    def right_inverse(self, Q: Tensor) -> Tensor:
        """What is mapped to Q, or, with trivialization, minus the identity, Q being the base then.

        Raises: ValueError for another shape, NotImplementedError for the exponential and Cayley's
            map without trivialization.
        """
        with taper.no_grad():
            if Q.shape != self.shape:
                raise ValueError(
                    f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor "
                    f"of shape {Q.shape}."
                )
            wide = Q.size(-2) < Q.size(-1)
            tall = Q.mT if wide else Q
            if hasattr(self, "base"):
                self.base = self._completed(tall)
                start = taper.zeros_like(Q)
                start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
                return start
            if self.orthogonal_map is not _OrthMaps.householder:
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            packed, tau = taper.geqrf(tall)
            diagonal = packed.diagonal(dim1=-2, dim2=-1)
            diagonal.sign_()
            # Where tau is 0 there is no reflection, and LAPACK's sign is the other one.
            diagonal[tau == 0.0] *= -1
            return packed.mT if wide else packed

    @staticmethod
    def _completed(tall: Tensor) -> Tensor:
        """A square orthogonal matrix whose first columns span those of `tall`."""
        rows, columns = tall.size(-2), tall.size(-1)
        if rows == columns:
            return tall.clone() if _is_orthogonal(tall) else _make_orthogonal(tall)
        more = taper.randn(*tall.size()[:-2], rows, rows - columns, dtype=tall.dtype)
        return _make_orthogonal(taper.cat([tall, more], dim=-1))


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Makes a matrix parameter orthogonal (orthonormal columns, or rows if it is wide).

    orthogonal_map: matrix_exp or cayley of a skew-symmetric matrix, or a product of householder
    reflections; the first for square and complex matrices if it is not given, else the last. With
    use_trivialization any orthogonal matrix can be assigned to the parameter.

    Raises: ValueError if there is no such parameter, for fewer than two dimensions, or another map.
    Source: Lezcano-Casado, Trivializations for gradient-based optimization on manifolds, 2019.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions."
        )
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _OrthMaps.__members__:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    made = _Orthogonal(weight, _OrthMaps[orthogonal_map], use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)


# ---------------------------------------------------------------- weight norm


class _WeightNorm(Module):
    """g * v / |v| of magnitude and direction."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Any:
        """The weight."""
        return taper._weight_norm(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and direction."""
        return taper.norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    """Splits a parameter into magnitude and direction; returns the module.

    They are parametrizations.NAME.original0 and original1 of the module. Every slice along `dim`
    has a magnitude of its own, with None the whole parameter has one. States saved with the older
    nn.utils.weight_norm can be loaded.

    Source: Salimans and Kingma, Weight normalization, 2016.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_older_state(state_dict: Any, prefix: str, *rest: Any) -> None:
        older = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in older):
            for i, key in enumerate(older):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(take_older_state)
    return module


# ---------------------------------------------------------------- spectral norm


class _SpectralNorm(Module):
    """The weight divided by an estimate of its largest singular value."""

    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but "
                f"got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._reshape_weight_to_matrix(weight)
            for buffer, size in zip(("_u", "_v"), matrix.size(), strict=True):
                drawn = matrix.new_empty(size).normal_(0, 1)
                self.register_buffer(buffer, drawn)
            self._u, self._v = (F.normalize(x, dim=0, eps=eps) for x in (self._u, self._v))
            # A random start needs some steps until the estimate means something.
            self._power_method(matrix, 15)

    def _reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        if self.dim != 0:
            weight = weight.permute(self.dim, *(d for d in range(weight.dim()) if d != self.dim))
        return weight.flatten(1)

    def _power_method(self, matrix: Tensor, steps: int) -> None:
        with taper.no_grad():
            for _ in range(steps):
                # In place, so that replicas which share the buffers see them.
                self._u.copy_(F.normalize(taper.mv(matrix, self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(taper.mv(matrix.H, self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Any:
        """The divided weight; in training the singular vectors are improved first."""
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._reshape_weight_to_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # The derivative must find these values even if the next forward comes first.
        u, v = self._u.clone(), self._v.clone()
        return weight / taper.vdot(u, taper.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: it is assumed to have spectral norm 1 or to be divided next time."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a parameter by its largest singular value; returns the module.

    The singular vectors are improved by n_power_iterations whenever the parameter is read in
    training. `dim` counts the outputs: 0, or 1 for transposed convolutions.

    Raises: ValueError if there is no such parameter, IndexError for a dimension that is not there.
    Source: Miyato et al., Spectral normalization for generative adversarial networks, 2018.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    dim = output_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, made)
