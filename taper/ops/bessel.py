"""Bessel's functions and Airy's. As in PyTorch, only i0, i0e, i1 and i1e have derivatives."""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.op import Elementwise, op, public
from taper.ops.arguments import refuse
from taper.ops.special import refuse_halves
from taper.tensor import Tensor

# ---------------------------------------------------------------- with derivatives


@op
class I0(Elementwise):
    """Modified Bessel function of the first kind, order 0."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_i0(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * m.call(I1, input)


@op
class I0e(Elementwise):
    """exp(-|input|) times i0."""

    node_name = "SpecialI0EBackward0"
    floating = True
    saves = ("input", "out")

    def formula(self, m: Any, input: Any) -> Any:
        return m.i0e(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.call(I1e, input) - m.sign(input) * out)


@op
class I1(Elementwise):
    """Modified Bessel function of the first kind, order 1."""

    node_name = "SpecialI1Backward0"
    floating = True
    saves = ("input", "out")

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_i1(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        zero = m.equal(input, 0)
        slope = m.call(I0, input) - out / m.where(zero, 1, input)
        return grad * m.where(zero, 0.5, slope)


@op
class I1e(Elementwise):
    """exp(-|input|) times i1."""

    node_name = "SpecialI1EBackward0"
    floating = True
    saves = ("input", "out")

    def formula(self, m: Any, input: Any) -> Any:
        return m.i1e(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        zero = m.equal(input, 0)
        slope = m.call(I0e, input) - out * (m.sign(input) + 1 / m.where(zero, 1, input))
        return grad * m.where(zero, 0.5, slope)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def i0(input: Tensor) -> Tensor:
    """Modified Bessel function of the first kind, of order 0.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "i0_vml_cpu")
    return apply(I0, input)


@public(out=True, namespaces=("special",))
def i0e(input: Tensor) -> Tensor:
    """exp(-|input|) * i0(input), which does not overflow.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "i0e_cpu")
    return apply(I0e, input)


@public(out=True, namespaces=("special",))
def i1(input: Tensor) -> Tensor:
    """Modified Bessel function of the first kind, of order 1.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "i1_cpu")
    return apply(I1, input)


@public(out=True, namespaces=("special",))
def i1e(input: Tensor) -> Tensor:
    """exp(-|input|) * i1(input), which does not overflow.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "i1e_cpu")
    return apply(I1e, input)


# ---------------------------------------------------------------- without


def _plain(kind: Any, input: Tensor) -> Tensor:
    refuse_halves(input, kind.name + "_cpu")
    return apply(kind, input)


@op
class AiryAi(Elementwise):
    """Airy's function Ai."""

    name = "airy_ai"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.airy_ai(input)


@op
class BesselJ0(Elementwise):
    """Bessel function of the first kind, of order 0."""

    name = "bessel_j0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.bessel_j0(input)


@op
class BesselJ1(Elementwise):
    """Bessel function of the first kind, of order 1."""

    name = "bessel_j1"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.bessel_j1(input)


@op
class BesselY0(Elementwise):
    """Bessel function of the second kind, of order 0."""

    name = "bessel_y0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.bessel_y0(input)


@op
class BesselY1(Elementwise):
    """Bessel function of the second kind, of order 1."""

    name = "bessel_y1"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.bessel_y1(input)


@op
class ModifiedBesselI0(Elementwise):
    """Modified Bessel function of the first kind, of order 0."""

    name = "modified_bessel_i0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_i0(input)


@op
class ModifiedBesselI1(Elementwise):
    """Modified Bessel function of the first kind, of order 1."""

    name = "modified_bessel_i1"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_i1(input)


@op
class ModifiedBesselK0(Elementwise):
    """Modified Bessel function of the second kind, of order 0."""

    name = "modified_bessel_k0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_k0(input)


@op
class ModifiedBesselK1(Elementwise):
    """Modified Bessel function of the second kind, of order 1."""

    name = "modified_bessel_k1"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.modified_bessel_k1(input)


@op
class ScaledModifiedBesselK0(Elementwise):
    """exp(input) times modified_bessel_k0."""

    name = "scaled_modified_bessel_k0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.scaled_modified_bessel_k0(input)


@op
class ScaledModifiedBesselK1(Elementwise):
    """exp(input) times modified_bessel_k1."""

    name = "scaled_modified_bessel_k1"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.scaled_modified_bessel_k1(input)


@op
class SphericalBesselJ0(Elementwise):
    """sin(input) / input, the spherical Bessel function of order 0."""

    name = "spherical_bessel_j0"
    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return m.spherical_bessel_j0(input)


@public(out=True, namespaces=("special",))
def airy_ai(input: Tensor) -> Tensor:
    """Airy's function Ai.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(AiryAi, input)


@public(out=True, namespaces=("special",))
def bessel_j0(input: Tensor) -> Tensor:
    """Bessel function of the first kind, of order 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(BesselJ0, input)


@public(out=True, namespaces=("special",))
def bessel_j1(input: Tensor) -> Tensor:
    """Bessel function of the first kind, of order 1.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(BesselJ1, input)


@public(out=True, namespaces=("special",))
def bessel_y0(input: Tensor) -> Tensor:
    """Bessel function of the second kind, of order 0; minus infinity at 0, nan below.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(BesselY0, input)


@public(out=True, namespaces=("special",))
def bessel_y1(input: Tensor) -> Tensor:
    """Bessel function of the second kind, of order 1; minus infinity at 0, nan below.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(BesselY1, input)


@public(out=True, namespaces=("special",))
def modified_bessel_i0(input: Tensor) -> Tensor:
    """Modified Bessel function of the first kind, of order 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ModifiedBesselI0, input)


@public(out=True, namespaces=("special",))
def modified_bessel_i1(input: Tensor) -> Tensor:
    """Modified Bessel function of the first kind, of order 1.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ModifiedBesselI1, input)


@public(out=True, namespaces=("special",))
def modified_bessel_k0(input: Tensor) -> Tensor:
    """Modified Bessel function of the second kind, of order 0; nan below 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ModifiedBesselK0, input)


@public(out=True, namespaces=("special",))
def modified_bessel_k1(input: Tensor) -> Tensor:
    """Modified Bessel function of the second kind, of order 1; nan below 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ModifiedBesselK1, input)


@public(out=True, namespaces=("special",))
def scaled_modified_bessel_k0(input: Tensor) -> Tensor:
    """exp(input) times modified_bessel_k0; nan below 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ScaledModifiedBesselK0, input)


@public(out=True, namespaces=("special",))
def scaled_modified_bessel_k1(input: Tensor) -> Tensor:
    """exp(input) times modified_bessel_k1; nan below 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(ScaledModifiedBesselK1, input)


@public(out=True, namespaces=("special",))
def spherical_bessel_j0(input: Tensor) -> Tensor:
    """sin(input) / input, the spherical Bessel function of order 0.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _plain(SphericalBesselJ0, input)
