"""The transforms as functions, on pillow's images and on tensors (..., channels, height, width)."""

from __future__ import annotations

import enum
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

import taper
from taper.tensor import Tensor
from taper.vision.pictures import is_picture, pillow


class InterpolationMode(enum.Enum):
    """How new points are made of the old ones."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


_PILLOW_MODES = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.LANCZOS: 1,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
}
# Weights of red, green and blue in brightness (ITU-R 601-2), as pillow's.
_LUMA = (0.2989, 0.587, 0.114)


def _check(img: Any) -> None:
    """TypeError for what is neither a tensor nor an image."""
    if not isinstance(img, Tensor) and not is_picture(img):
        raise TypeError(f"img should be PIL Image or Tensor. Got {type(img)}")


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, (list, tuple)):
        return (int(size[0]), int(size[-1]))
    return (int(size), int(size))


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width] of a picture."""
    if isinstance(img, np.ndarray):
        return [1 if img.ndim == 2 else img.shape[2], *img.shape[:2]]
    _check(img)
    if isinstance(img, Tensor):
        if img.ndim < 2:
            raise TypeError("Tensor is not a torch image.")
        return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]
    return [len(img.getbands()), img.height, img.width]


def get_image_size(img: Any) -> list[int]:
    """[width, height] of a picture."""
    _, height, width = get_dimensions(img)
    return [width, height]


def get_image_num_channels(img: Any) -> int:
    """Number of channels of a picture."""
    return get_dimensions(img)[0]


# ---------------------------------------------------------------- between kinds


def to_tensor(pic: Any) -> Tensor:
    """A picture or an array (height, width[, channels]) as a tensor (channels, height, width).

    Bytes become floats from 0 to 1; other numbers stay as they are.
    Raises: TypeError for other things, ValueError for arrays with another number of dimensions.
    """
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        tensor = _channels_first(pic)
        return tensor / 255 if pic.dtype == np.uint8 else tensor
    if not is_picture(pic):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    tensor = pil_to_tensor(pic)
    if pic.mode == "1":
        return tensor.to(taper.get_default_dtype())
    if tensor.dtype is taper.uint8:
        return tensor.to(taper.get_default_dtype()) / 255
    return tensor


def pil_to_tensor(pic: Any) -> Tensor:
    """An image of pillow's as a tensor (channels, height, width) of its own numbers."""
    if not is_picture(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    kinds = {"I": np.int32, "I;16": np.int16, "F": np.float32}
    return _channels_first(np.array(pic, kinds.get(pic.mode, np.uint8), copy=True))


def _channels_first(array: np.ndarray) -> Tensor:
    array = array[:, :, np.newaxis] if array.ndim == 2 else array
    return taper.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def convert_image_dtype(image: Tensor, dtype: Any = None) -> Tensor:
    """The picture in another dtype: floats go from 0 to 1, integers from 0 to their largest.

    Raises: RuntimeError where float32 cannot tell the integers apart.
    """
    dtype = taper.float32 if dtype is None else dtype
    if image.dtype is dtype:
        return image
    if image.is_floating_point():
        if dtype.is_floating_point:
            return image.to(dtype)
        if (image.dtype is taper.float32 and dtype in (taper.int32, taper.int64)) or (
            image.dtype is taper.float64 and dtype is taper.int64
        ):
            raise RuntimeError(
                f"The cast from {image.dtype} to {dtype} cannot be performed safely."
            )
        # Just below the next integer, so that every value gets an equal share of [0, 1].
        return (image * (_largest(dtype) + 1.0 - 1e-3)).to(dtype)
    most = _largest(image.dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / most
    other = _largest(dtype)
    if most > other:
        factor = (most + 1) // (other + 1)
        return taper.div(image, factor, rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((other + 1) // (most + 1))


def _largest(dtype: Any) -> int:
    return 1 if dtype is taper.bool else int(taper.iinfo(dtype).max)


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (channels, height, width) or an array (height, width, channels) as pillow's image.

    Floats are taken to go from 0 to 1.
    Raises: TypeError, ValueError for what cannot be an image; ImportError without pillow.
    """
    if isinstance(pic, Tensor):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pic = pic.unsqueeze(0) if pic.ndim == 2 else pic
        if pic.shape[0] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {pic.shape[0]} channels.")
        if pic.is_floating_point() and mode != "F":
            pic = (pic * 255).to(taper.uint8)
        array = pic.detach().numpy().transpose(1, 2, 0)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[:, :, np.newaxis] if pic.ndim == 2 else pic
        if array.shape[2] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {array.shape[2]} channels.")
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    image = pillow("to_pil_image")
    channels = array.shape[2]
    if channels == 1:
        array = array[:, :, 0]
    kinds = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}
    own = {2: "LA", 3: "RGB", 4: "RGBA"}.get(channels) or kinds.get(array.dtype.name)
    if own is None or (channels > 1 and array.dtype != np.uint8):
        raise TypeError(f"Input type {array.dtype} is not supported")
    made = image.fromarray(np.ascontiguousarray(array))
    return made if mode is None or mode == made.mode else made.convert(mode)


def normalize(tensor: Tensor, mean: Any, std: Any, inplace: bool = False) -> Tensor:
    """(tensor - mean) / std for each channel.

    Raises: TypeError for other things than float tensors, ValueError for a std of 0.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not tensor.is_floating_point():
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = "
            f"{tensor.size()}"
        )
    plain = all(isinstance(v, (list, tuple)) for v in (mean, std))
    if plain:
        means, stds = _statistics(tuple(mean), tuple(std), tensor.dtype)
    else:
        means, stds = _statistics.__wrapped__(mean, std, tensor.dtype)
    if inplace:
        return tensor.sub_(means).div_(stds)
    return (tensor - means) / stds


@functools.lru_cache(64)
def _statistics(mean: Any, std: Any, dtype: Any) -> tuple[Tensor, Tensor]:
    """Means and deviations in the shape of a picture; kept, for they are the same each time."""
    means, stds = (taper.as_tensor(values, dtype=dtype) for values in (mean, std))
    if (stds == 0).any():
        raise ValueError(
            f"std evaluated to zero after conversion to {dtype}, leading to division by zero."
        )
    means, stds = (t.view(-1, 1, 1) if t.ndim == 1 else t for t in (means, stds))
    return means, stds


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The brightness of a picture in colour, in one channel or three equal ones."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    _check(img)
    if not isinstance(img, Tensor):
        gray = img.convert("L")
        return gray if num_output_channels == 1 else gray.convert("RGB")
    if img.shape[-3] == 3:
        red, green, blue = img.unbind(-3)
        gray = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
        img = gray.to(img.dtype).unsqueeze(-3)
    return img if num_output_channels == 1 else img.expand(*img.shape[:-3], 3, *img.shape[-2:])


to_grayscale = rgb_to_grayscale


# ---------------------------------------------------------------- geometry


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    _check(img)
    return img.flip(-1) if isinstance(img, Tensor) else img.transpose(0)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    _check(img)
    return img.flip(-2) if isinstance(img, Tensor) else img.transpose(1)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part of the picture; what lies outside of it is 0."""
    _check(img)
    if not isinstance(img, Tensor):
        return img.crop((left, top, left + width, top + height))
    own_height, own_width = img.shape[-2:]
    inside = img[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    outside = [
        max(-left, 0),
        max(left + width - own_width, 0),
        max(-top, 0),
        max(top + height - own_height, 0),
    ]
    return taper.nn.functional.pad(inside, outside) if any(outside) else inside


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of the picture, with a margin of 0 where it is too small."""
    height, width = _pair(output_size)
    _, own_height, own_width = get_dimensions(img)
    if width > own_width or height > own_height:
        left, top = max(width - own_width, 0), max(height - own_height, 0)
        img = pad(img, [left // 2, top // 2, (left + 1) // 2, (top + 1) // 2])
        _, own_height, own_width = get_dimensions(img)
    top, left = round((own_height - height) / 2.0), round((own_width - width) / 2.0)
    return crop(img, top, left, height, width)


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """The picture with a margin: one width, (left and right, top and bottom), or all four.

    Modes: constant (`fill`), edge, reflect, symmetric.
    Raises: ValueError for other modes or numbers of widths.
    """
    _check(img)
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    widths = [padding] if isinstance(padding, int) else list(padding)
    if len(widths) not in (1, 2, 4):
        raise ValueError(
            "Padding must be an int or a 1, 2, or 4 element tuple, not a "
            f"{len(widths)} element tuple"
        )
    left, top, right, bottom = (widths * 4)[:4] if len(widths) < 4 else widths
    if not isinstance(img, Tensor):
        return _pad_picture(img, (left, top, right, bottom), fill, padding_mode)
    if padding_mode == "symmetric":
        rows = _mirrored(img.shape[-2], top, bottom)
        columns = _mirrored(img.shape[-1], left, right)
        return img.index_select(-2, rows).index_select(-1, columns)
    if padding_mode == "constant":
        value = fill[0] if isinstance(fill, (list, tuple)) else fill
        return taper.nn.functional.pad(img, [left, right, top, bottom], value=value)
    # The two modes want a batch of pictures, and floats.
    flat = img.reshape(-1, *img.shape[-3:]) if img.ndim != 4 else img
    wide = flat if flat.is_floating_point() else flat.to(taper.float64)
    mode = "replicate" if padding_mode == "edge" else "reflect"
    made = taper.nn.functional.pad(wide, [left, right, top, bottom], mode=mode)
    return made.to(img.dtype).reshape(*img.shape[:-2], *made.shape[-2:])


def _mirrored(size: int, before: int, after: int) -> Tensor:
    """Indices that mirror a dimension at its ends, the last element included."""
    return taper.from_numpy(np.pad(np.arange(size), (before, after), mode="symmetric"))


def _pad_picture(img: Any, widths: tuple[int, int, int, int], fill: Any, mode: str) -> Any:
    left, top, right, bottom = widths
    if mode == "constant":
        from PIL import ImageOps

        value = tuple(fill) if isinstance(fill, list) else fill
        if isinstance(value, (int, float)) and len(img.getbands()) > 1:
            value = (value,) * len(img.getbands())
        return ImageOps.expand(img, widths, value)
    array = np.asarray(img)
    margins = ((top, bottom), (left, right), (0, 0))[: array.ndim]
    return pillow("pad").fromarray(np.pad(array, margins, mode=mode))  # type: ignore[call-overload]


def resize(
    img: Any,
    size: Any,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The picture in another size: (height, width), or one number for the shorter side.

    Raises: ValueError if `max_size` does not fit `size`.
    """
    _check(img)
    _, height, width = get_dimensions(img)
    if isinstance(size, (list, tuple)) and len(size) == 2:
        if max_size is not None:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, "
                "i.e. size should be an int or a sequence of length 1 in torchscript mode."
            )
        wanted = _pair(size)
    else:
        wanted = _by_shorter_side(height, width, _pair(size)[0], max_size)
    if wanted == (height, width):
        return img
    if not isinstance(img, Tensor):
        return img.resize(wanted[::-1], _PILLOW_MODES[interpolation])
    if interpolation.value not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        raise ValueError(
            "This Interpolation mode is unsupported with Tensor input: " + interpolation.value
        )
    flat = img.reshape(-1, *img.shape[-3:]) if img.ndim != 4 else img
    wide = flat if flat.is_floating_point() else flat.to(taper.float32)
    options: dict[str, Any] = {"mode": interpolation.value}
    if interpolation.value.startswith("bi"):
        options.update(align_corners=False, antialias=bool(antialias))
    made = taper.nn.functional.interpolate(wide, size=list(wanted), **options)
    if not img.is_floating_point():
        made = made.round()
        if img.dtype is taper.uint8:
            made = made.clamp(0, 255)
    return made.to(img.dtype).reshape(*img.shape[:-2], *wanted)


def _by_shorter_side(height: int, width: int, size: int, most: int | None) -> tuple[int, int]:
    short, long = sorted((height, width))
    new_short, new_long = size, int(size * long / short)
    if most is not None:
        if most <= size:
            raise ValueError(
                f"max_size = {most} must be strictly greater than the requested size for the "
                f"smaller edge size = {size}"
            )
        if new_long > most:
            new_short, new_long = int(most * new_short / new_long), most
    return (new_short, new_long) if height <= width else (new_long, new_short)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Any,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """A part of the picture in another size."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[int] | None = None,
    fill: Any = None,
) -> Any:
    """A picture of pillow's turned counter-clockwise by an angle in degrees.

    Raises: NotImplementedError for tensors.
    """
    _check(img)
    if isinstance(img, Tensor):
        raise NotImplementedError("rotate takes pillow's images; convert with to_pil_image first")
    value = tuple(fill) if isinstance(fill, list) else fill
    return img.rotate(angle, _PILLOW_MODES[interpolation], expand, center, fillcolor=value)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Tensor:
    """A tensor picture with the values `v` in a rectangle."""
    if not isinstance(img, Tensor):
        raise TypeError(f"Tensor is expected. Got {type(img)}")
    img = img if inplace else img.clone()
    img[..., i : i + h, j : j + w] = v
    return img


# ---------------------------------------------------------------- colour


def _blend(one: Tensor, other: Any, ratio: float) -> Tensor:
    bound = 1.0 if one.is_floating_point() else 255
    return (one * ratio + other * (1.0 - ratio)).clamp(0, bound).to(one.dtype)


def _enhanced(img: Any, kind: str, factor: float) -> Any:
    from PIL import ImageEnhance

    return getattr(ImageEnhance, kind)(img).enhance(factor)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """The picture with its brightness multiplied: 0 is black, 1 the picture itself."""
    _check(img)
    if not isinstance(img, Tensor):
        return _enhanced(img, "Brightness", brightness_factor)
    return _blend(img, 0, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """The picture with its contrast multiplied: 0 is plain gray, 1 the picture itself."""
    _check(img)
    if not isinstance(img, Tensor):
        return _enhanced(img, "Contrast", contrast_factor)
    gray = rgb_to_grayscale(img)
    wide = gray if gray.is_floating_point() else gray.to(taper.float32)
    return _blend(img, wide.mean(dim=(-3, -2, -1), keepdim=True), contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """The picture with its colours multiplied: 0 is black and white, 1 the picture itself."""
    _check(img)
    if not isinstance(img, Tensor):
        return _enhanced(img, "Color", saturation_factor)
    return _blend(img, rgb_to_grayscale(img), saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """A picture of pillow's with its hues turned by the share `hue_factor` of the circle.

    Raises: ValueError outside [-0.5, 0.5], NotImplementedError for tensors.
    """
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    _check(img)
    if isinstance(img, Tensor):
        raise NotImplementedError(
            "adjust_hue takes pillow's images; convert with to_pil_image first"
        )
    if img.mode in ("L", "1", "I", "F"):
        return img
    hue, saturation, value = img.convert("HSV").split()
    turned = np.asarray(hue, np.uint8) + np.array(hue_factor * 255).astype(np.int32).astype(
        np.uint8
    )
    image = pillow("adjust_hue")
    return image.merge("HSV", (image.fromarray(turned), saturation, value)).convert(img.mode)
