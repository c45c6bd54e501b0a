"""Interpolation and sampling by a grid: golden values, adjoints, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.autograd.gradcheck import gradcheck, gradgradcheck

SIGNAL = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)


def close(tensor, expected):
    np.testing.assert_allclose(tensor.detach().flatten().tolist(), expected, rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- values, by PyTorch 2.13


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("nearest", {"size": 5}, [1, 1, 4, 4, 2]),
        ("nearest-exact", {"size": 5}, [1, 1, 4, 2, 2]),
        ("linear", {"size": 5}, [1, 2.2, 4, 2.8, 2]),
        ("linear", {"scale_factor": 1.7}, [1, 2.1470588235, 3.9117647059, 2.8823529412, 2]),
        ("linear", {"scale_factor": 1.7, "recompute_scale_factor": True}, [1, 2.2, 4, 2.8, 2]),
        ("linear", {"size": 5, "align_corners": True}, [1, 2.5, 4, 3, 2]),
        ("area", {"size": 7}, [1, 1, 2.5, 4, 3, 2, 2]),
        ("area", {"size": 2}, [2.5, 3]),
    ],
)
def test_signals_have_pytorchs_values(mode, options, expected):
    close(F.interpolate(SIGNAL.reshape(1, 1, 3), mode=mode, **options), expected)


@pytest.mark.parametrize(
    ("mode", "corners", "antialias", "larger", "smaller"),
    [
        ("bilinear", True, False, [1, 2.5, 4, 3, 2], [1, 2]),
        ("bilinear", True, True, [1, 1.75, 3.25, 3.5, 2.5], [2.4285714286, 2.5]),
        ("bilinear", False, False, [1, 2.2, 4, 2.8, 2], [1.75, 2.5]),
        ("bilinear", False, True, [1, 2.2, 4, 2.8, 2], [2.125, 2.75]),
        ("bicubic", True, False, [1, 2.6875, 4, 3.28125, 2], [1, 2]),
        ("bicubic", False, False, [0.712, 2.308, 4, 2.992, 1.808], [1.75, 2.55859375]),
        ("bicubic", False, True, [0.7735849057, 2.1417910448, 4, 2.8358208955, 1.8490566038],
         [2.1300160514, 2.8202247191]),
        ("lanczos", None, True, None, [2.1828966759, 2.9089461038]),
    ],
)  # fmt: skip
def test_images_have_pytorchs_values(mode, corners, antialias, larger, smaller):
    image = SIGNAL.reshape(1, 1, 1, 3)
    how = {"mode": mode, "align_corners": corners, "antialias": antialias}

    if larger:
        close(F.interpolate(image, (1, 5), **how), larger)
    close(F.interpolate(image, (1, 2), **how), smaller)


def test_bytes_are_rounded_to_bytes():
    image = torch.tensor([0, 255, 10, 200], dtype=torch.uint8).reshape(1, 1, 1, 4)

    linear = F.interpolate(image, (1, 6), mode="bilinear")
    cubic = F.interpolate(image, (1, 6), mode="bicubic")

    assert linear.flatten().tolist() == [0, 128, 214, 51, 105, 200]
    assert cubic.flatten().tolist() == [0, 150, 239, 33, 82, 216]


def test_nearest_copies_what_is_not_finite():
    x = torch.tensor([float("inf"), 1.0, float("nan")]).reshape(1, 1, 3)

    y = F.interpolate(x, scale_factor=2).flatten()

    assert y[:4].tolist() == [float("inf"), float("inf"), 1, 1] and y[4:].isnan().all()


def test_what_is_not_finite_does_not_spread_beyond_its_neighbours():
    x = torch.ones(1, 1, 9)
    x[0, 0, 0] = float("inf")

    y = F.interpolate(x, scale_factor=2, mode="linear").flatten()

    assert y[3:].tolist() == [1.0] * 15


def test_the_same_size_gives_a_copy():
    x = torch.randn(1, 2, 3, 3)
    for mode in ("nearest", "bilinear"):
        y = F.interpolate(x, (3, 3), mode=mode)
        y.zero_()

    assert x.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype):
    x = torch.randn(1, 1, 4, 4).to(dtype).requires_grad_()

    y = F.interpolate(x, scale_factor=2, mode="bilinear")
    y.sum().backward()

    assert y.dtype is x.grad.dtype is dtype


def test_upsample_layers_call_interpolate():
    x = torch.randn(1, 2, 3, 3)

    assert nn.Upsample(scale_factor=2)(x).shape == (1, 2, 6, 6)
    one = nn.UpsamplingBilinear2d(scale_factor=2)(x)
    other = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    assert one.tolist() == other.tolist()


def test_a_kept_sum_is_the_gradient_of_every_mode():
    """Weights sum to one, so a gradient of ones is spread without loss."""
    for mode, shape in (("linear", (5,)), ("bicubic", (5, 4)), ("trilinear", (3, 4, 2))):
        x = torch.randn(1, 1, *shape, dtype=torch.float64, requires_grad=True)
        y = F.interpolate(x, scale_factor=1.6, mode=mode)

        y.sum().backward()

        assert abs(float(x.grad.sum()) - y.numel()) < 1e-9


@pytest.mark.parametrize("name", ["upsample", "upsample_nearest", "upsample_bilinear"])
def test_the_old_names_warn(name):
    with pytest.warns(UserWarning, match=f"`nn.functional.{name}` is deprecated"):
        y = getattr(F, name)(torch.zeros(1, 1, 2, 2), scale_factor=2)

    assert y.shape == (1, 1, 4, 4)


image = torch.ones(2, 4, 3, 3)
ERRORS = [
    (ValueError, "either size or scale_factor should be defined", (image,), {}),
    (ValueError, "only one of size or scale_factor", (image, 4, 2), {}),
    (ValueError, r"spatial dimensions of \[3, 3\] and output size of \(4, 4, 4\)",
     (image, (4, 4, 4)), {}),
    (ValueError, r"scale_factor of shape \(2, 2, 2\)", (image,), {"scale_factor": (2, 2, 2)}),
    (ValueError, "recompute_scale_factor is not meaningful", (image, 4),
     {"recompute_scale_factor": True}),
    (ValueError, "align_corners option can only be set", (image, 4), {"align_corners": True}),
    (ValueError, "Anti-alias option is restricted", (image, 4), {"antialias": True}),
    (ValueError, "Lanczos mode requires antialias=True", (image, 4), {"mode": "lanczos"}),
    (NotImplementedError, "Got 4D input, but linear mode needs 3D input", (image, 4),
     {"mode": "linear"}),
    (NotImplementedError, "Only 3D, 4D and 5D input Tensors supported", (image[0, 0], 4), {}),
    (NotImplementedError, "got bad", (image, 4), {"mode": "bad"}),
    (NotImplementedError, "not implemented for 'Long'", (image.long(), 4), {}),
    (RuntimeError, r"greater than 0, but got input \(H: 3, W: 3\) output \(H: 0, W: 0\)",
     (image, 0), {}),
    (RuntimeError, "Non-empty 4D data tensor expected", (image[:, :0], 4), {}),
    (TypeError, "expected size to be one of int", (image, [4, 5.5]), {}),
    (TypeError, "invalid combination of arguments", (image, 4.5), {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "given", "options"), ERRORS, ids=lambda v: str(v)[:30])
def test_mistakes_are_told_in_pytorchs_words(kind, words, given, options):
    with pytest.raises(kind, match=words):
        F.interpolate(*given, **options)


# ---------------------------------------------------------------- grids

# Along a row of the image 1 2 3 / 4 5 6 / 7 8 9, at x = 0, 1, -1, 1.5, 3.7, -8.2 and y = 0.1.
GRID_GOLDEN = {
    ("bilinear", "zeros", True): [5.3, 6.3, 4.3, 3.15, 0, 0],
    ("bilinear", "zeros", False): [5.45, 3.225, 2.225, 0, 0, 0],
    ("bilinear", "border", True): [5.3, 6.3, 4.3, 6.3, 6.3, 4.3],
    ("bilinear", "border", False): [5.45, 6.45, 4.45, 6.45, 6.45, 4.45],
    ("bilinear", "reflection", True): [5.3, 6.3, 4.3, 5.8, 5, 5.1],
    ("bilinear", "reflection", False): [5.45, 6.45, 4.45, 6.2, 5, 5.15],
    ("nearest", "zeros", True): [5, 6, 4, 6, 0, 0],
    ("nearest", "zeros", False): [5, 6, 4, 0, 0, 0],
    ("nearest", "border", True): [5, 6, 4, 6, 6, 4],
    ("nearest", "reflection", False): [5, 6, 4, 6, 5, 5],
    ("bicubic", "zeros", True): [5.48225, 6.489, 4.4755, 3.338883, 0, 0],
    ("bicubic", "zeros", False): [5.741656, 3.473095, 2.268562, -0.712547, 0, 0],
    ("bicubic", "border", False): [5.626906, 6.720656, 4.533156, 6.626906, 6.626906, 4.626906],
    ("bicubic", "reflection", True): [5.4485, 6.4485, 4.4485, 6.136, 5.012, 5.1525],
    ("bicubic", "reflection", False): [5.626906, 6.814406, 4.439406, 6.4355, 5.081, 5.237657],
}


@pytest.mark.parametrize("case", GRID_GOLDEN, ids=str)
def test_samples_have_pytorchs_values(case):
    mode, padding, corners = case
    image = torch.arange(1, 10, dtype=torch.float64).reshape(1, 1, 3, 3)
    points = [[x, 0.1] for x in (0, 1, -1, 1.5, 3.7, -8.2)]
    grid = torch.tensor(points, dtype=torch.float64).reshape(1, -1, 1, 2)

    close(F.grid_sample(image, grid, mode, padding, corners), GRID_GOLDEN[case])


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_gradients_of_samples_agree_with_differences_twice(rank, padding):
    torch.manual_seed(rank)
    image = torch.randn(1, 2, *(3, 2, 4)[:rank], dtype=torch.float64, requires_grad=True)
    grid = torch.rand(1, *(2, 1, 2)[:rank], rank, dtype=torch.float64) * 2.6 - 1.3
    grid.requires_grad_()
    modes = ("bilinear", "bicubic") if rank == 2 else ("bilinear",)
    for mode in modes:

        def sampled(x, g, mode=mode):
            return F.grid_sample(x, g, mode, padding, align_corners=False)

        assert gradcheck(sampled, (image, grid))
        assert gradgradcheck(sampled, (image, grid))


def test_a_sample_outside_does_not_see_what_is_not_finite():
    image = torch.full((1, 1, 3, 3), float("inf"))

    y = F.grid_sample(image, torch.tensor([[[[-5.0, 0.0]]]]), align_corners=True)

    assert y.item() == 0


def test_nearest_samples_have_a_zero_gradient_for_the_grid():
    grid = torch.zeros(1, 1, 1, 2, requires_grad=True)

    F.grid_sample(torch.ones(1, 1, 2, 2), grid, "nearest", align_corners=True).sum().backward()

    assert grid.grad.tolist() == [[[[0, 0]]]]


def test_the_identity_map_samples_the_image_itself():
    image = torch.randn(2, 3, 4, 5)
    theta = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(2, 2, 3)

    for corners in (False, True):
        grid = F.affine_grid(theta, image.shape, align_corners=corners)

        y = F.grid_sample(image, grid, align_corners=corners)

        np.testing.assert_allclose(y.tolist(), image.tolist(), atol=1e-5)


def test_affine_grids_of_volumes_are_differentiable():
    theta = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)

    assert gradcheck(lambda t: F.affine_grid(t, (1, 1, 2, 3, 2), align_corners=False), theta)


def test_the_default_of_align_corners_warns():
    with pytest.warns(UserWarning, match="Default grid_sample and affine_grid behavior"):
        F.grid_sample(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 1, 2))


grid = torch.zeros(2, 5, 5, 2)
GRID_ERRORS = [
    (ValueError, "expected mode to be 'bilinear', 'nearest' or 'bicubic'",
     lambda: F.grid_sample(image, grid, "bad")),
    (ValueError, "expected padding_mode to be", lambda: F.grid_sample(image, grid, padding_mode="x")),
    (RuntimeError, "same batch size", lambda: torch.grid_sampler(image, grid[:1], 0, 0, True)),
    (RuntimeError, "size 2 in last dimension",
     lambda: torch.grid_sampler(image, grid[..., :1], 0, 0, True)),
    (RuntimeError, "non-empty spatial dimensions",
     lambda: torch.grid_sampler(image[:, :, :0], grid, 0, 0, True)),
    (RuntimeError, "bicubic interpolation only supports 4D input",
     lambda: torch.grid_sampler(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 2, 2, 2, 3), 2, 0, True)),
    (RuntimeError, "expected scalar type Float but found Double",
     lambda: torch.grid_sampler(image, grid.double(), 0, 0, True)),
    (ValueError, "Expected a batch of 2D affine matrices",
     lambda: F.affine_grid(torch.ones(2, 3), (2, 1, 3, 3), False)),
    (NotImplementedError, "only supports 4D and 5D sizes",
     lambda: F.affine_grid(torch.ones(2, 2, 3), (2, 1, 3), False)),
    (ValueError, "floating point type",
     lambda: F.affine_grid(torch.ones(2, 2, 3).long(), (2, 1, 3, 3), False)),
    (ValueError, "non-zero, positive output size",
     lambda: F.affine_grid(torch.ones(2, 2, 3), (2, 1, 0, 3), False)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "words", "call"), GRID_ERRORS)
def test_mistakes_with_grids_are_told_in_pytorchs_words(kind, words, call):
    with pytest.raises(kind, match=words):
        call()


# ---------------------------------------------------------------- against PyTorch


def test_every_size_is_that_of_pytorch():
    reference = pytest.importorskip("torch")
    for before in (1, 2, 3, 5, 8, 13):
        signal = np.arange(before, dtype=np.float32).reshape(1, 1, before)
        for after in (1, 2, 3, 4, 7, 16, 21):
            for mode in ("nearest", "linear"):
                ours = F.interpolate(torch.tensor(signal), after, mode=mode)
                theirs = reference.nn.functional.interpolate(
                    reference.tensor(signal), after, mode=mode
                )
                close(ours, theirs.flatten().tolist())
