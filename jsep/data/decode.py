"""Decoding images and bringing them to one size, on the host."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

KEPT = 0.875  # share of the shorter side that the centre crop of the evaluation keeps


def resize(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side to `size` pixels (bilinear) and cut out the central square."""
    height, width, channels = image.shape
    if (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    picture = picture.resize(
        (max(size, round(width * scale)), max(size, round(height * scale))),
        Image.Resampling.BILINEAR,
    )
    return centre(np.asarray(picture).reshape(picture.height, picture.width, channels), size)


def centre(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Cut out the central square of `size` pixels a side, without scaling."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image to 1 or 3 channels at its own size."""
    with Image.open(io.BytesIO(encoded)) as picture:
        return _array(picture, channels)


def centre_crop(encoded: bytes, size: int, channels: int) -> UInt8[np.ndarray, "s s c"]:
    """Decode an image and return its central square: 7/8 of the shorter side, scaled to `size` pixels."""
    return np.ascontiguousarray(centre(resize(decode(encoded, channels), round(size / KEPT)), size))


def random_resized_crop(
    encoded: bytes, size: int, channels: int, rng: np.random.Generator, *, draft: bool = True
) -> UInt8[np.ndarray, "s s c"]:
    """Decode an image and return a random crop of it, as Inception is trained with, scaled to a square (bilinear).

    Args:
        encoded: the encoded image.
        size: side of the square in pixels.
        channels: 1 or 3.
        rng: source of the crop: 8 to 100 % of the area, at an aspect ratio of 3/4 to 4/3.
        draft: decode a JPEG at 1/2, 1/4 or 1/8 of its size where the crop still has at least `size` pixels a side.
    """
    with Image.open(io.BytesIO(encoded)) as picture:
        width, height = picture.size
        left, top, w, h = _window(width, height, rng)
        reduced = next((s for s in (8, 4, 2) if draft and min(w, h) >= s * size), 1)
        picture.draft(None, (width // reduced, height // reduced))
        scale = 1 if picture.size == (width, height) else reduced  # formats other than JPEG ignore it
        right, bottom = min((left + w) / scale, picture.width), min((top + h) / scale, picture.height)
        box = (left / scale, top / scale, right, bottom)
        picture.load()
        mode = _MODES[channels]
        coloured = picture if picture.mode == mode else picture.convert(mode)
        return _array(coloured.resize((size, size), Image.Resampling.BILINEAR, box=box), channels)


_MODES = {1: "L", 3: "RGB"}


def _array(picture: Image.Image, channels: int) -> UInt8[np.ndarray, "h w c"]:
    mode = _MODES[channels]
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return array.reshape(*array.shape[:2], channels)


def _window(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a crop as left, top, width and height; the central square where none of ten draws fits into the image."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return int(left), int(top), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side
