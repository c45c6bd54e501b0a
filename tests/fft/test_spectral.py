"""stft, istft, and the windows at torch's level and in torch.signal.windows."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import taper
from taper.autograd.gradcheck import gradcheck, gradgradcheck
from taper.ops import spectral
from taper.signal import windows


def noise(*shape: int) -> taper.Tensor:
    return taper.tensor(np.random.default_rng([0, *shape]).standard_normal(shape))


def window(length: int = 8) -> taper.Tensor:
    return taper.hann_window(length, dtype=taper.float64)


def frames_of(x: np.ndarray, w: np.ndarray, hop: int) -> np.ndarray:
    """The definition: a transform for every frame that fits."""
    starts = range(0, len(x) - len(w) + 1, hop)
    return np.stack([np.fft.rfft(x[s : s + len(w)] * w) for s in starts], 1)


def test_stft_is_the_transform_of_every_frame():
    x, w = noise(30), window()

    found = taper.stft(x, 8, 3, window=w, center=False, return_complex=True)

    np.testing.assert_allclose(found.numpy(), frames_of(x.numpy(), w.numpy(), 3), atol=1e-14)


def test_centered_frames_reach_over_the_ends_by_reflection():
    x, w = noise(30), window()
    padded = np.pad(x.numpy(), 4, "reflect")

    found = taper.stft(x, 8, window=w, return_complex=True)

    np.testing.assert_allclose(found.numpy(), frames_of(padded, w.numpy(), 2), atol=1e-14)


def test_a_shorter_window_stands_in_the_middle_of_the_frame():
    x, w = noise(30), window(6)
    middle = np.pad(w.numpy(), 1)

    found = taper.stft(x, 8, 2, 6, w, center=False, return_complex=True)

    np.testing.assert_allclose(found.numpy(), frames_of(x.numpy(), middle, 2), atol=1e-14)


def test_frames_aligned_to_a_shorter_window_begin_with_it():
    x, w = noise(20), window(4)

    found = taper.stft(x, 8, 2, 4, w, center=False, align_to_window=True, return_complex=True)

    assert found.shape == (5, 9)
    expected = frames_of(np.pad(x.numpy(), 2), np.pad(w.numpy(), 2), 2)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


def test_the_other_half_of_the_spectrum_and_the_factor():
    x, w = noise(2, 30), window()

    half = taper.stft(x, 8, window=w, return_complex=True)
    whole = taper.stft(x, 8, window=w, onesided=False, normalized=True, return_complex=True)

    assert half.shape == (2, 5, 16) and whole.shape == (2, 8, 16)
    np.testing.assert_allclose(whole[:, :5].numpy() * np.sqrt(8), half.numpy(), atol=1e-14)


@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("hop, length", [(2, 8), (3, 6), (4, 8)])
def test_istft_inverts_stft(onesided, normalized, hop, length):
    x, w = noise(2, 36), window(length) + 0.1
    options = {"onesided": onesided, "normalized": normalized, "window": w, "win_length": length}
    spectra = taper.stft(x, 8, hop, return_complex=True, **options)

    back = taper.istft(spectra, 8, hop, length=36, **options)

    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-13)


def test_complex_signals_come_back_complex():
    x = taper.complex(noise(30), noise(1, 30)[0])
    spectra = x.stft(8, window=window())

    back = spectra.istft(8, window=window(), onesided=False, length=30, return_complex=True)

    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-13)


def test_derivatives_of_both():
    x, w = noise(14).requires_grad_(), window(4)

    def forth(x: taper.Tensor) -> taper.Tensor:
        return taper.stft(x, 4, 2, window=w, return_complex=True)

    def back(z: taper.Tensor) -> taper.Tensor:
        return taper.istft(z, 4, 2, window=w)

    spectra = forth(x).detach().requires_grad_()
    assert gradcheck(forth, [x]) and gradgradcheck(forth, [x])
    assert gradcheck(back, [spectra]) and gradgradcheck(back, [spectra])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_fft": 0, "center": False}, "expected 0 < n_fft < 20, but got n_fft=0"),
        ({"n_fft": 30, "center": False}, "expected 0 < n_fft < 20, but got n_fft=30"),
        ({"n_fft": 8, "hop_length": 0}, "expected hop_length > 0, but got hop_length=0"),
        ({"n_fft": 8, "win_length": 9}, "expected 0 < win_length <= n_fft, but got win_length=9"),
        (
            {"n_fft": 8, "win_length": 6},
            "expected a 1D window tensor of size equal to win_length=6",
        ),
        ({"n_fft": 8, "align_to_window": True}, "should only be set when center = false"),
        ({"n_fft": 8, "return_complex": None}, "requires the return_complex parameter"),
    ],
)
def test_wrong_arguments_of_stft_say_what_is_wrong(arguments, words):
    with pytest.raises(RuntimeError, match=words):
        taper.stft(noise(20), **{"window": window(), "return_complex": True, **arguments})


def test_half_a_spectrum_of_complex_numbers_is_refused():
    with pytest.raises(RuntimeError, match="Cannot have onesided output if window or input is com"):
        taper.stft(taper.complex(noise(20), noise(20)), 8, window=window(), onesided=True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_fft": 10}, "match n_fft / 2 \\+ 1 when onesided=True, but got 5"),
        ({"onesided": False}, "match n_fft when onesided=False, but got 5"),
        ({"hop_length": 9}, "expected 0 < hop_length <= win_length"),
        ({"win_length": 9}, "expected 0 < win_length <= n_fft"),
        ({"win_length": 6}, "Invalid window shape"),
        ({"center": False}, "window overlap add min: 1"),
        ({"return_complex": True}, "Cannot have onesided output"),
    ],
)
def test_wrong_arguments_of_istft_say_what_is_wrong(arguments, words):
    spectra = taper.stft(noise(20), 8, window=window(), return_complex=True)

    with pytest.raises(RuntimeError, match=words):
        taper.istft(spectra, **{"n_fft": 8, "window": window(), **arguments})


def test_istft_wants_complex_numbers():
    with pytest.raises(RuntimeError, match="istft requires a complex-valued input tensor"):
        taper.istft(taper.ones(5, 4, 2), 8, window=window())


def test_a_signal_shorter_than_asked_for_is_padded_with_a_warning():
    spectra = taper.stft(noise(20), 8, window=window() + 1, return_complex=True)

    with pytest.warns(UserWarning, match="length of signal is shorter than the length parameter"):
        found = taper.istft(spectra, 8, window=window() + 1, length=30)

    assert found.shape == (30,) and found[-4:].tolist() == [0, 0, 0, 0]


def test_a_missing_window_is_mentioned_once():
    spectral._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="A window was not provided"):
        taper.stft(noise(20), 8, return_complex=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taper.stft(noise(20), 8, return_complex=True)


# ---------------------------------------------------------------- windows

NUMPY = {
    "bartlett": np.bartlett,
    "blackman": np.blackman,
    "hamming": np.hamming,
    "hann": np.hanning,
}


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8])
def test_symmetric_windows_are_numpys_and_periodic_ones_are_one_longer(name, length):
    function = getattr(taper, name + "_window")

    symmetric = function(length, periodic=False, dtype=taper.float64)
    periodic = function(length, dtype=taper.float64)

    np.testing.assert_allclose(symmetric.numpy(), NUMPY[name](length), atol=1e-15)
    longer = NUMPY[name](length + 1)[:-1] if length > 1 else np.ones(length)
    np.testing.assert_allclose(periodic.numpy(), longer, atol=1e-15)


@pytest.mark.parametrize("beta", [0.0, 3.0, 12.0, 1000.0])
def test_the_kaiser_window_is_numpys_and_does_not_overflow(beta):
    found = taper.kaiser_window(9, False, beta, dtype=taper.float64)

    assert found.isfinite().all() and found[4].item() == 1
    if beta < 700:
        np.testing.assert_allclose(found.numpy(), np.kaiser(9, beta), rtol=1e-12)


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
def test_windows_refuse_negative_lengths_and_other_dtypes(name):
    function = getattr(taper, name + "_window")

    with pytest.raises(RuntimeError, match=f"{name}_window requires non-negative window_length"):
        function(-1)
    with pytest.raises(RuntimeError, match=f"{name}_window expects floating point dtypes"):
        function(5, dtype=taper.int32)
    with pytest.raises(TypeError, match="argument 'window_length' \\(position 1\\) must be int"):
        function(2.5)
    assert function(5, dtype=taper.float16, requires_grad=True).requires_grad


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_windows_of_signal_are_those_of_torch(name, symmetric):
    found = getattr(windows, name)(9, sym=symmetric, dtype=taper.float64)

    expected = getattr(taper, name + "_window")(9, not symmetric, dtype=taper.float64)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-12)


def test_the_other_windows_by_their_definitions():
    n = np.arange(5)
    double = {"dtype": taper.float64}
    expected = {
        "cosine": np.sin(np.pi * (n + 0.5) / 5),
        "gaussian": np.exp(-((n - 2) ** 2) / 2),
        "exponential": np.exp(-np.abs(n - 2)),
    }

    for name, values in expected.items():
        found = getattr(windows, name)(5, **double)
        np.testing.assert_allclose(found.numpy(), values, atol=1e-15)
    shifted = windows.exponential(5, center=1, sym=False, **double)
    np.testing.assert_allclose(shifted.numpy(), np.exp(-np.abs(n - 1.0)), atol=1e-15)
    general = windows.general_cosine(5, a=[0.46, 0.23, 0.31], **double)
    np.testing.assert_allclose(general.tolist(), [0.54, 0.15, 1.0, 0.15, 0.54], atol=1e-15)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: windows.hann(-1), "requires non-negative window length, got M=-1"),
        (lambda: windows.hann(5, dtype=taper.float16), "expects float32 or float64 dtypes"),
        (lambda: windows.cosine(5, layout=taper.sparse_coo), "strided tensors only"),
        (lambda: windows.exponential(5, tau=0), "Tau must be positive, got: 0 instead"),
        (lambda: windows.exponential(5, center=1), "Center must be None for symmetric windows"),
        (lambda: windows.gaussian(5, std=0), "Standard deviation must be positive"),
        (lambda: windows.kaiser(5, beta=-1), "beta must be non-negative"),
        (lambda: windows.general_cosine(5, a=[]), "Coefficients cannot be empty"),
    ],
)
def test_wrong_arguments_of_windows_say_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("name", windows.__all__)
def test_windows_of_none_and_one_element(name):
    options = {"a": [0.5, 0.5]} if name == "general_cosine" else {}

    assert getattr(windows, name)(0, **options).shape == (0,)
    assert getattr(windows, name)(1, **options).tolist() == [1]
