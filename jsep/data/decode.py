"""Encoded images to arrays of one size, on the host."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

KEPT = 0.875  # of the shorter side, what the centre crop of the evaluation shows


def resize(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side to `size` (bilinear) and cut the centre."""
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
    """The centre of an image, unscaled."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """As it is."""
    with Image.open(io.BytesIO(encoded)) as picture:
        return _array(picture, channels)


def centre_crop(encoded: bytes, size: int, channels: int) -> UInt8[np.ndarray, "s s c"]:
    """The shorter side scaled, and the inner 7/8 of it cut."""
    return np.ascontiguousarray(centre(resize(decode(encoded, channels), round(size / KEPT)), size))


def random_resized_crop(
    encoded: bytes, size: int, channels: int, rng: np.random.Generator, *, draft: bool = True
) -> UInt8[np.ndarray, "s s c"]:
    """Inception's crop: 8 to 100 % of the area, aspect 3/4 to 4/3, scaled to a square (bilinear).

    draft: decode a JPEG at 1/2, 1/4 or 1/8 where the crop then still is no smaller than the square.
    """
    with Image.open(io.BytesIO(encoded)) as picture:
        width, height = picture.size
        left, top, w, h = _window(width, height, rng)
        reduced = next((s for s in (8, 4, 2) if draft and min(w, h) >= s * size), 1)
        picture.draft(None, (width // reduced, height // reduced))
        scale = 1 if picture.size == (width, height) else reduced  # no format but JPEG heeds it
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
    """Left, top, width and height; the square in the centre, where ten draws do not fit into the image."""
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return int(left), int(top), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side
