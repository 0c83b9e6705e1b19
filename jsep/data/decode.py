"""Decoding pictures and bringing them to one size, on the host: one way for data in memory and for streams.

A decoded picture is what a viewer shows. It is turned as its EXIF orientation says, palettes and CMYK are resolved, and
transparent pixels show a white `BACKGROUND`. 16 bits are divided by 257, so that white stays white (Pillow itself takes
the upper byte of colours of 16 bits, which is the same to one level).
"""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from jsep.errors import first_line

KEPT = 0.875  # share of the shorter side that the centre crop of the evaluation keeps
BACKGROUND = (255, 255, 255)  # what transparent pixels show

_MODES = {1: "L", 3: "RGB"}
_TURNS = {  # by EXIF orientation: how the stored picture becomes upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations that exchange height and width


class Unreadable(ValueError):
    """Bytes that cannot be decoded as a picture. The message says why."""


def decode(encoded: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture to 1 or 3 channels at its own size.

    Args:
        encoded: a file of any format that Pillow reads.
        channels: 3, where grey is the same in each, or 1, where colours become their luma (ITU-R 601).

    Returns:
        The picture as a viewer shows it, see the module.

    Raises:
        Unreadable: the file is damaged, or holds no picture.
    """
    with _opened(encoded) as picture:
        return _array(_converted(_turned(picture, _orientation(picture)), channels))


def resize(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side to `size` pixels (bilinear with antialiasing) and cut out the central square."""
    if image.shape[:2] == (size, size):
        return image
    return _centre(_picture(image), size, size)


def centre_crop(encoded: bytes, size: int, channels: int) -> UInt8[np.ndarray, "s s c"]:
    """Decode a picture and return its central square: 7/8 of the shorter side, scaled to `size` pixels.

    The pixels are those of torchvision's `Resize(round(size / 0.875))` and `CenterCrop(size)` to one level of 255.

    Raises:
        Unreadable: see `decode`.
    """
    with _opened(encoded) as picture:
        return _centre(_converted(_turned(picture, _orientation(picture)), channels), round(size / KEPT), size)


def evaluation_view(
    encoded: bytes, size: int, channels: int, crop_share: float = 0.0, interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "s s c"]:
    """Decode a picture and return its central square, as a network sees it in the evaluation.

    Args:
        encoded: a file of any format that Pillow reads.
        size: side of the square in pixels.
        channels: 1 or 3, see `decode`.
        crop_share: share of the shorter side that the square keeps; 0 stands for 7/8.
        interpolation: "bilinear".

    Raises:
        Unreadable: see `decode`.
    """
    return resize(decode(encoded, channels), size) if crop_share == 1 else centre_crop(encoded, size, channels)


def random_resized_crop(
    encoded: bytes, size: int, channels: int, rng: np.random.Generator, *, draft: bool = True
) -> UInt8[np.ndarray, "s s c"]:
    """Decode a picture and return a random crop of it, as Inception is trained with, scaled to a square.

    The crop is cut out first and scaled then (bilinear with antialiasing), so no pixel outside it has an influence.

    Args:
        encoded: a file of any format that Pillow reads.
        size: side of the square in pixels.
        channels: 1 or 3, see `decode`.
        rng: source of the crop: 8 to 100 % of the area, at an aspect ratio of 3/4 to 4/3.
        draft: decode a JPEG at 1/2, 1/4 or 1/8 of its size where the crop still has at least `size` pixels a side.

    Raises:
        Unreadable: see `decode`.
    """
    with _opened(encoded) as picture:
        orientation, stored = _orientation(picture), picture.size
        width, height = stored[::-1] if orientation in _ON_ITS_SIDE else stored
        window = _as_stored(_window(width, height, rng), width, height, orientation)
        for scale in (8, 4, 2, 1):
            left, top, right, bottom = _reduced(window, scale)
            if scale == 1 or (draft and min(right - left, bottom - top) >= size):
                break
        picture.draft(None, (stored[0] // scale, stored[1] // scale))
        if picture.size == stored:  # formats other than JPEG take no notice of a draft
            cut, box = picture.crop(_reduced(window, 1)), None
        else:
            cut = _edged(picture, (left, top, right, bottom))
            x, y, w, h = (side / scale for side in window)
            box = (x - left + 1, y - top + 1, x - left + 1 + w, y - top + 1 + h)
        square = _converted(cut, channels).resize((size, size), Image.Resampling.BILINEAR, box=box)
        return _array(_turned(square, orientation))


@contextlib.contextmanager
def _opened(encoded: bytes) -> Iterator[Image.Image]:
    """Open a picture, and raise `Unreadable` for whatever Pillow raises while it is used."""
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            yield picture
    except UnidentifiedImageError as error:
        raise Unreadable("it is not a picture in a format that Pillow knows" if encoded else "it is empty") from error
    except Exception as error:  # a damaged file raises any of a dozen kinds
        raise Unreadable(first_line(error)) from error


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation of a picture, 1 (upright) where there is none."""
    if picture.format == "TIFF":
        return 1  # Pillow itself turns these
    if picture.format == "PNG":
        picture.load()  # as `getexif` does; damage to the pixels is no damage to the EXIF block
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block in a picture that is whole; viewers ignore it, too
        return 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    """Return a picture upright."""
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def _converted(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture in mode L or RGB: 8 bits a channel, without transparency."""
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture)
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, BACKGROUND), coloured)
    mode = _MODES[channels]
    return picture if picture.mode == mode else picture.convert(mode)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Return a grey picture of integers from 0 to 65535, or of floating-point numbers from 0 to 255, in 8 bits."""
    values = np.asarray(picture)
    levels = np.nan_to_num(values) if picture.mode == "F" else values / 257
    grey = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    if "transparency" in picture.info:  # the one grey value that is transparent
        grey.putalpha(Image.fromarray(np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)))
    return grey


def _centre(picture: Image.Image, shorter: int, size: int) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side of a picture to `shorter` pixels, and return the central square of `size` pixels.

    Nothing but that square is computed.
    """
    width, height = picture.size
    wide, high, left, top = _central(width, height, shorter, size)
    x, y = width / wide, height / high
    box = (left * x, top * y, min((left + size) * x, width), min((top + size) * y, height))
    return _array(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))


def _central(width: int, height: int, shorter: int, size: int) -> tuple[int, int, int, int]:
    """Return width and height of a scaled picture, and left and top of its central square, by torchvision's rules.

    `Resize` cuts the fraction off the longer side, and `CenterCrop` rounds half a pixel to an even number.

    >>> _central(500, 300, 256, 224)  # 426 2/3 pixels wide
    (426, 256, 101, 16)
    >>> _central(227, 229, 227, 224)  # 1 1/2 pixels from the left, 2 1/2 from the top
    (227, 229, 2, 2)
    """
    wide, high = (shorter * side // min(width, height) for side in (width, height))
    return wide, high, round((wide - size) / 2), round((high - size) / 2)


def _picture(image: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _array(picture: Image.Image) -> UInt8[np.ndarray, "h w c"]:
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array


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


def _as_stored(
    window: tuple[int, int, int, int], width: int, height: int, orientation: int
) -> tuple[int, int, int, int]:
    """Return where a window (left, top, width, height) of an upright picture lies in the stored one.

    >>> _as_stored((10, 20, 30, 40), 100, 200, orientation=6)
    (20, 60, 40, 30)
    """
    left, top, w, h = window
    if orientation in (2, 3, 6, 7):
        left = width - left - w
    if orientation in (3, 4, 7, 8):
        top = height - top - h
    return (top, left, h, w) if orientation in _ON_ITS_SIDE else (left, top, w, h)


def _reduced(window: tuple[int, int, int, int], scale: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the pixels of a reduced picture that lie in a window wholly.

    >>> _reduced((3, 8, 20, 16), 4)
    (1, 2, 5, 6)
    """
    left, top, width, height = window
    return -(-left // scale), -(-top // scale), (left + width) // scale, (top + height) // scale


def _edged(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Cut out a box, and put pixels of its edge around it.

    They stand for the pixels of a reduced picture that a crop has in common with its surroundings.
    """
    cut = picture.crop(box)
    edged = cut.resize((cut.width + 2, cut.height + 2), Image.Resampling.NEAREST)
    edged.paste(cut, (1, 1))
    return edged
