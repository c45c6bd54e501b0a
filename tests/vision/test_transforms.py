"""Transforms of pictures: pillow's images and tensors, and the random draws of torchvision."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest

import taper as torch
from taper.vision import transforms
from taper.vision.transforms import functional as F
from taper.vision.utils import make_grid, save_image


@pytest.fixture
def photo():
    """A picture of 6 by 4 points in colour, all different."""
    Image = pytest.importorskip("PIL.Image")
    return Image.fromarray(np.arange(72).reshape(4, 6, 3).astype(np.uint8) * 3)


def as_array(picture):
    return np.asarray(picture)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_an_array_becomes_a_tensor_from_0_to_1(shape):
    array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)

    tensor = transforms.ToTensor()(array)

    assert tensor.shape == (shape[2] if len(shape) == 3 else 1, 4, 6)
    assert tensor.is_contiguous() and tensor.dtype is torch.float32
    np.testing.assert_allclose(
        tensor.numpy().transpose(1, 2, 0).reshape(shape) * 255, array, rtol=1e-6
    )


def test_other_numbers_stay_as_they_are():
    assert F.to_tensor(np.ones((2, 2), np.float64) * 300).max() == 300


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "F", "I"])
def test_every_mode_of_pillow_becomes_a_tensor(photo, mode):
    picture = photo.convert(mode)

    tensor = F.to_tensor(picture)

    assert tensor.shape == (len(picture.getbands()), 4, 6)
    if mode in ("L", "RGB", "RGBA", "1"):
        assert tensor.dtype is torch.float32 and 0 <= tensor.min() <= tensor.max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_tensor_becomes_the_picture_it_came_from(photo, mode):
    picture = photo.convert(mode)

    assert F.to_pil_image(F.to_tensor(picture)).tobytes() == picture.tobytes()
    assert F.to_pil_image(F.pil_to_tensor(picture)).mode == mode


def test_bytes_and_floats_are_scaled_to_their_ranges():
    image = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)

    floats = F.convert_image_dtype(image)

    assert floats[0, 0].tolist() == pytest.approx([0, 128 / 255, 1])
    assert F.convert_image_dtype(floats, torch.uint8).tolist() == image.tolist()
    assert F.convert_image_dtype(image, torch.int16)[0, 0].tolist() == [0, 16384, 32640]
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(floats, torch.int64)


def test_normalize_works_on_each_channel():
    image = torch.ones(2, 3, 3)
    change = transforms.Normalize((0.5, 1.0), (0.25, 2.0))

    assert change(image)[:, 0, 0].tolist() == [2.0, 0.0]
    assert repr(change) == "Normalize(mean=(0.5, 1.0), std=(0.25, 2.0))"


@pytest.mark.parametrize(
    ("image", "kind", "words"),
    [
        (np.ones((1, 2, 2)), TypeError, "img should be Tensor Image"),
        (torch.ones(1, 2, 2, dtype=torch.uint8), TypeError, "should be a float tensor"),
        (torch.ones(2, 2), ValueError, "to be a tensor image of size"),
    ],
)
def test_normalize_refuses_what_is_no_float_picture(image, kind, words):
    with pytest.raises(kind, match=words):
        F.normalize(image, (0.5,), (0.5,))


def test_a_std_of_zero_is_refused():
    with pytest.raises(ValueError, match="std evaluated to zero after conversion"):
        F.normalize(torch.ones(1, 2, 2), (0.0,), (0.0,))


GEOMETRY = {
    "hflip": F.hflip,
    "vflip": F.vflip,
    "crop": lambda p: F.crop(p, 1, 2, 2, 3),
    "crop beyond": lambda p: F.crop(p, -1, 4, 3, 5),
    "center_crop": lambda p: F.center_crop(p, (2, 3)),
    "center_crop larger": lambda p: F.center_crop(p, 7),
    "pad": lambda p: F.pad(p, [1, 2], 7),
    "pad four": lambda p: F.pad(p, [1, 2, 0, 3]),
    "pad edge": lambda p: F.pad(p, 2, padding_mode="edge"),
    "pad reflect": lambda p: F.pad(p, [2, 1], padding_mode="reflect"),
    "pad symmetric": lambda p: F.pad(p, [3, 1], padding_mode="symmetric"),
    "resize nearest": lambda p: F.resize(p, (4, 3), transforms.InterpolationMode.NEAREST),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_images_and_tensors_are_changed_alike(photo, name):
    if name == "resize nearest":
        photo = photo.crop((0, 0, 6, 4)).resize((6, 4))
    change = GEOMETRY[name]

    from_image = as_array(change(photo)).transpose(2, 0, 1)
    from_tensor = change(F.pil_to_tensor(photo)).numpy()

    if name == "resize nearest":  # pillow takes the middle of two points, tensors the first
        assert from_image.shape == from_tensor.shape
    else:
        np.testing.assert_array_equal(from_tensor, from_image)


@pytest.mark.parametrize(
    ("size", "options", "wanted"),
    [(8, {}, (8, 12)), ((5, 7), {}, (5, 7)), (8, {"max_size": 9}, (6, 9)), ([4], {}, (4, 6))],
)
def test_one_number_is_the_shorter_side(photo, size, options, wanted):
    for picture in (photo, F.pil_to_tensor(photo)):
        assert F.get_image_size(F.resize(picture, size, **options)) == list(wanted[::-1])


def test_resized_pictures_agree_within_rounding(photo):
    from_image = as_array(transforms.Resize((2, 3))(photo)).transpose(2, 0, 1).astype(int)
    from_tensor = transforms.Resize((2, 3))(F.pil_to_tensor(photo)).numpy().astype(int)

    assert abs(from_image - from_tensor).max() <= 1


def test_brightness_of_colours_is_pillows(photo):
    from_image = as_array(transforms.Grayscale()(photo)).astype(int)
    from_tensor = transforms.Grayscale(3)(F.pil_to_tensor(photo)).numpy().astype(int)

    assert from_tensor.shape == (3, 4, 6)
    assert abs(from_tensor[0] - from_image).max() <= 1


def test_a_random_crop_draws_top_then_left():
    image = torch.arange(64).reshape(1, 8, 8)
    torch.manual_seed(3)
    part = transforms.RandomCrop(3, padding=1)(image)
    torch.manual_seed(3)
    top, left = (torch.randint(0, 8, size=(1,)).item() for _ in range(2))

    assert part.tolist() == F.crop(F.pad(image, 1), top, left, 3, 3).tolist()


def test_a_flip_is_drawn_once_for_each_picture():
    image = torch.arange(2).reshape(1, 1, 2)
    torch.manual_seed(0)
    found = [transforms.RandomHorizontalFlip()(image)[0, 0, 0].item() for _ in range(20)]
    torch.manual_seed(0)

    assert found == [int(torch.rand(1).item() < 0.5) for _ in range(20)]


def test_a_resized_crop_lies_within_the_picture(photo):
    torch.manual_seed(0)
    for _ in range(20):
        top, left, height, width = transforms.RandomResizedCrop.get_params(
            photo, (0.08, 1.0), (0.75, 4 / 3)
        )

        assert 0 <= top <= 4 - height and 0 <= left <= 6 - width
    assert F.get_image_size(transforms.RandomResizedCrop(5)(photo)) == [5, 5]


def test_erasing_overwrites_a_rectangle():
    torch.manual_seed(0)
    image = torch.ones(3, 16, 16)

    changed = transforms.RandomErasing(p=1.0, value=0)(image)

    assert 0 < (changed == 0).sum() < changed.numel()
    assert image.min() == 1
    assert transforms.RandomErasing(p=0.0)(image) is image


def test_colours_are_changed_in_their_ranges(photo):
    torch.manual_seed(0)
    change = transforms.ColorJitter(0.5, (0.5, 1.5), 0.5, 0.1)

    assert change(photo).size == photo.size
    assert change.brightness == (0.5, 1.5) and change.hue == (-0.1, 0.1)
    assert transforms.ColorJitter().contrast is None
    with pytest.raises(ValueError, match="hue values should be between"):
        transforms.ColorJitter(hue=0.7)


def test_a_turned_picture_keeps_its_size(photo):
    torch.manual_seed(0)

    assert transforms.RandomRotation(10)(photo).size == photo.size


def test_composed_transforms_follow_each_other():
    change = transforms.Compose([lambda x: x + 1, transforms.Lambda(lambda x: x * 2)])

    assert change(3) == 8
    assert repr(transforms.Compose([transforms.ToTensor()])) == "Compose(\n    ToTensor()\n)"


def test_transforms_at_random():
    random.seed(0)
    torch.manual_seed(0)
    double, add = (lambda x: x * 2), (lambda x: x + 1)

    assert {transforms.RandomOrder([double, add])(3) for _ in range(30)} == {7, 8}
    assert {transforms.RandomChoice([double, add])(3) for _ in range(30)} == {6, 4}
    assert {transforms.RandomApply([double, add])(3) for _ in range(30)} == {3, 7}


def test_five_parts_of_a_picture(photo):
    parts = transforms.FiveCrop((2, 2))(photo)

    assert [part.size for part in parts] == [(2, 2)] * 5
    with pytest.raises(ValueError, match="is bigger than input size"):
        transforms.FiveCrop(9)(photo)


WRONG = [
    (lambda: F.to_tensor([1]), TypeError, "pic should be PIL Image or ndarray"),
    (lambda: F.to_tensor(np.zeros(3)), ValueError, "2/3 dimensional. Got 1"),
    (lambda: F.hflip(np.zeros((2, 2))), TypeError, "img should be PIL Image or Tensor"),
    (lambda: transforms.Resize("big"), ValueError, "it should have 1 or 2 values"),
    (lambda: transforms.Resize(2.5), TypeError, "Size should be int or sequence"),
    (lambda: transforms.RandomCrop(9)(torch.ones(1, 2, 2)), ValueError, "larger than input image"),
    (lambda: F.pad(torch.ones(1, 2, 2), [1, 2, 3]), ValueError, "1, 2, or 4 element tuple"),
    (lambda: F.pad(torch.ones(1, 2, 2), 1, padding_mode="x"), ValueError, "Padding mode should be"),
    (lambda: transforms.Lambda(3), TypeError, "lambd should be callable"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_arguments_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_a_grid_has_rows_and_margins():
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 3)

    grid = make_grid(images, nrow=3, padding=1, pad_value=9.0)

    assert grid.shape == (3, 7, 13)
    assert grid[0, 1].tolist() == [9, 0, 0, 0, 9, 1, 1, 1, 9, 2, 2, 2, 9]
    assert grid[0, 4].tolist() == [9, 3, 3, 3, 9, 4, 4, 4, 9, 9, 9, 9, 9]
    assert make_grid(images, normalize=True).max() == 1


def test_a_saved_picture_can_be_read(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    save_image(torch.tensor([[[0.0, 0.5, 1.0]]]), file, format="png")
    file.seek(0)

    assert np.asarray(Image.open(file))[0, :, 0].tolist() == [0, 128, 255]
