"""torch.fft: values against numpy's and the definition, arguments, derivatives, errors."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import fft
from taper.autograd.gradcheck import gradcheck, gradgradcheck

ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
MANY = ["fftn", "ifftn", "rfftn", "irfftn"]
OF_REAL = ("rfft", "ihfft", "rfftn", "rfft2", "ihfftn", "ihfft2")


def signal(name: str, *shape: int, dtype: type = np.float64) -> np.ndarray:
    generator = np.random.default_rng([len(name), *shape])
    made = generator.standard_normal(shape)
    if name not in OF_REAL:
        made = made + 1j * generator.standard_normal(shape)
    return made.astype(np.result_type(made.dtype.type, dtype) if dtype is np.float64 else dtype)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("n", [None, 1, 4, 5, 9])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_transforms_along_one_dimension_are_numpys(name, n, norm):
    x = signal(name, 3, 6, 2)

    found = getattr(fft, name)(taper.tensor(x), n, 1, norm)

    expected = getattr(np.fft, name)(x, n, 1, norm)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize(
    "s, dim", [(None, None), ((3, 5), (0, 2)), ((-1, 5), (2, 1)), ((4,), (1,))]
)
@pytest.mark.parametrize("norm", [None, "ortho"])
def test_transforms_along_several_dimensions_are_numpys(name, s, dim, norm):
    x = signal(name, 3, 4, 6)

    found = getattr(fft, name)(taper.tensor(x), s, dim, norm)

    if s is not None and -1 in s:
        s = tuple(x.shape[d] if n == -1 else n for n, d in zip(s, dim, strict=True))
    expected = getattr(np.fft, name)(x, s, dim, norm)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-13)


def test_sizes_without_dimensions_are_those_of_the_last_ones():
    x = signal("fftn", 3, 4, 6)

    found = fft.fftn(taper.tensor(x), (2, 3))

    np.testing.assert_allclose(found.numpy(), np.fft.fftn(x, (2, 3), (1, 2)), atol=1e-13)


@pytest.mark.parametrize("name", ["fft2", "ifft2", "rfft2", "irfft2", "hfft2", "ihfft2"])
def test_two_dimensional_transforms_are_those_of_the_last_two_dimensions(name):
    x = taper.tensor(signal(name, 2, 3, 4))

    many = getattr(fft, name.replace("2", "n"))(x, dim=(-2, -1))

    assert taper.equal(getattr(fft, name)(x), many)


@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
def test_hermitian_transforms_invert_each_other(shape):
    x = taper.tensor(signal("rfft", *shape))

    back = fft.hfftn(fft.ihfftn(x), shape)

    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-14)


def test_the_hermitian_transform_of_two_dimensions_is_the_whole_one_of_the_completed_signal():
    """hfftn knows half of a signal along the last dimension; the rest is its conjugate."""
    spectrum = np.random.default_rng(0).standard_normal((3, 6))
    whole = np.fft.ifftn(spectrum)

    found = fft.hfftn(taper.tensor(whole[:, :4]), (3, 6))

    np.testing.assert_allclose(found.numpy(), spectrum, atol=1e-14)


@pytest.mark.parametrize("name", [*ONE, *MANY, "hfftn", "ihfftn"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "complex64"])
def test_the_precision_of_the_input_is_kept_and_integers_become_the_default(name, dtype):
    x = taper.ones(3, 4, dtype=getattr(taper, dtype))
    if x.is_complex() and name in OF_REAL:
        with pytest.raises(RuntimeError, match="ComplexFloat"):
            getattr(fft, name)(x)
        return

    found = getattr(fft, name)(x)

    real = name.startswith(("irfft", "hfft"))
    wide = dtype == "float64"
    expected = (
        ("float64" if wide else "float32") if real else ("complex128" if wide else "complex64")
    )
    assert found.dtype is getattr(taper, expected)


@pytest.mark.parametrize("name", [*ONE, *MANY])
@pytest.mark.parametrize("dtype", [taper.float16, taper.bfloat16])
def test_half_types_are_refused(name, dtype):
    with pytest.raises(RuntimeError, match="Unsupported dtype"):
        getattr(fft, name)(taper.ones(2, 4, dtype=dtype))


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("n", [None, 3, 7])
def test_first_and_second_derivatives(name, n):
    x = taper.tensor(signal(name, 2, 5), requires_grad=True)

    def function(x: taper.Tensor) -> taper.Tensor:
        return getattr(fft, name)(x, n, norm="ortho")

    assert gradcheck(function, [x])
    assert gradgradcheck(function, [x])


@pytest.mark.parametrize("name", [*MANY, "hfftn", "ihfftn"])
def test_derivatives_along_several_dimensions(name):
    x = taper.tensor(signal(name, 3, 4), requires_grad=True)

    assert gradcheck(lambda x: getattr(fft, name)(x, (2, 5)), [x])
    assert gradgradcheck(lambda x: getattr(fft, name)(x, (2, 5)), [x])


def test_the_derivative_of_the_whole_spectrum_of_a_real_signal_is_real():
    x = taper.tensor(signal("rfft", 5), requires_grad=True)

    assert gradcheck(fft.fft, [x])
    assert gradgradcheck(fft.fft, [x])
    assert not taper.autograd.grad(fft.fft(x).abs().sum(), x)[0].is_complex()


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"n": 0}, RuntimeError, r"Invalid number of data points \(0\) specified"),
        ({"n": -1}, RuntimeError, r"Invalid number of data points \(-1\) specified"),
        ({"dim": 2}, IndexError, "Dimension out of range"),
        ({"norm": "bad"}, RuntimeError, 'Invalid normalization mode: "bad"'),
        ({"n": 2.5}, TypeError, r"fft_fft\(\): argument 'n' \(position 2\) must be int, not float"),
    ],
)
def test_wrong_arguments_of_one_dimension_say_what_is_wrong(arguments, error, words):
    with pytest.raises(error, match=words):
        fft.fft(taper.ones(3, 4), **arguments)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"s": (0, 2)}, RuntimeError, "Invalid number of data points"),
        ({"s": (2, 3, 4)}, RuntimeError, "Got shape with 3 values but input tensor only has 2"),
        ({"s": (2,), "dim": (0, 1)}, RuntimeError, "must have the same length"),
        ({"dim": (0, 0)}, RuntimeError, "FFT dims must be unique"),
        ({"dim": (0, 2)}, IndexError, "Dimension out of range"),
        ({"norm": "bad"}, RuntimeError, "Invalid normalization mode"),
    ],
)
def test_wrong_arguments_of_several_dimensions_say_what_is_wrong(arguments, error, words):
    with pytest.raises(error, match=words):
        fft.fftn(taper.ones(3, 4), **arguments)


@pytest.mark.parametrize("name", ["rfftn", "irfftn", "hfftn", "ihfftn"])
def test_transforms_with_a_real_side_need_a_dimension(name):
    with pytest.raises(RuntimeError, match=f"{name} must transform at least one axis"):
        getattr(fft, name)(taper.ones(3, 4), dim=())


def test_a_transform_along_no_dimension_is_the_input_as_complex_numbers():
    assert fft.fftn(taper.ones(3), dim=()).tolist() == [1 + 0j] * 3
    assert fft.fftn(taper.tensor(2.0)).dtype is taper.complex64


def test_a_0_d_tensor_has_no_dimension_to_transform():
    with pytest.raises(IndexError, match="Dimension specified as -1 but tensor has no dimensions"):
        fft.fft(taper.tensor(1.0))


def test_out_takes_the_result_and_must_be_of_its_kind():
    x = taper.ones(4)
    out = taper.empty(3, dtype=taper.complex64)

    assert fft.rfft(x, out=out) is out
    assert out.tolist() == [4, 0, 0]
    with pytest.raises(RuntimeError, match="rfft expects a complex output tensor, but got Float"):
        fft.rfft(x, out=taper.empty(3))
    with pytest.raises(RuntimeError, match="irfft expects a floating point output tensor"):
        fft.irfft(x, out=taper.empty(6, dtype=taper.complex64))


def test_frequencies_are_numpys():
    np.testing.assert_allclose(fft.fftfreq(5, 0.5).numpy(), np.fft.fftfreq(5, 0.5), rtol=1e-6)
    np.testing.assert_allclose(fft.rfftfreq(6, 0.5).numpy(), np.fft.rfftfreq(6, 0.5), rtol=1e-6)
    assert fft.fftfreq(4, dtype=taper.float64, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="fftfreq requires a floating point or complex dtype"):
        fft.fftfreq(5, dtype=taper.int32)
    with pytest.raises(RuntimeError, match="negative dimension"):
        fft.fftfreq(-1)


@pytest.mark.parametrize("dim", [None, 0, (0, 1), -1])
def test_shifts_are_numpys_and_invert_each_other(dim):
    x = np.arange(15.0).reshape(3, 5)

    shifted = fft.fftshift(taper.tensor(x), dim)

    np.testing.assert_array_equal(shifted.numpy(), np.fft.fftshift(x, dim))
    np.testing.assert_array_equal(fft.ifftshift(shifted, dim).numpy(), x)


def test_batches_may_be_empty():
    assert fft.rfft(taper.ones(0, 4)).shape == (0, 3)
