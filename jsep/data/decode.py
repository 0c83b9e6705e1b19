"""Decoding pictures and bringing them to one size, on the host: one way for data in memory and for streams.

A decoded picture is what a viewer shows. It is turned as its EXIF orientation says, palettes and CMYK are resolved, and
transparent pixels show a white `BACKGROUND`. 16 bits are divided by 257, so that white stays white (Pillow itself takes
the upper byte of colours of 16 bits, which is the same to one level).
"""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from jsep.data.jpeg import Header, decode_rows, optional, read_header
from jsep.errors import first_line

cykooz = optional("cykooz_resizer")

CROP_AREA = 0.08  # usual least share of the area that a random crop of the training keeps
KEPT = 0.875  # usual share of the shorter side that the centre crop of the evaluation keeps
BACKGROUND = (255, 255, 255)  # what transparent pixels show

_MODES = {1: "L", 3: "RGB"}
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
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
    header = read_header(encoded, channels)
    if header and (whole := decode_rows(encoded, header, header.height)) is not None:
        return _upright(whole, _described_orientation(encoded, header))
    with opened(encoded) as picture:
        return _array(_converted(_turned(picture, _orientation(picture)), channels))


def measure(file: BinaryIO) -> tuple[int, int]:
    """Return height and width of a picture as a viewer shows it, from the head of its file.

    A PNG may be turned by what follows its pixels, which is not looked at.

    Raises:
        Unreadable: the head is damaged, or the file holds no picture.
    """
    with opened(file) as picture:
        width, height = picture.size
        turned = picture.format != "PNG" and _orientation(picture) in _ON_ITS_SIDE
        return (width, height) if turned else (height, width)


def resize(
    image: UInt8[np.ndarray, "h w c"], size: int, crop_share: float = 1.0, interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "s s c"]:
    """Cut the central square out of a decoded picture and scale it, as `evaluation_view` does."""
    shorter = scaled_side(size, crop_share)
    if image.shape[:2] == (shorter, shorter) == (size, size):
        return image
    return _centre(_picture(image), shorter, size, interpolation)


def evaluation_view(
    encoded: bytes, size: int, channels: int, crop_share: float = 0.0, interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "s s c"]:
    """Decode a picture and return its central square, as a network sees it in the evaluation.

    The pixels are those of torchvision's `Resize(scaled_side(size, crop_share))` and `CenterCrop(size)`, and of timm's
    evaluation transform in its mode `center`, to one level of 255.

    Args:
        encoded: a file of any format that Pillow reads.
        size: side of the square in pixels.
        channels: 1 or 3, see `decode`.
        crop_share: share of the shorter side that the square keeps; 0 stands for `usual_share`.
        interpolation: "bilinear" or "bicubic", both with antialiasing.

    Raises:
        Unreadable: see `decode`.
    """
    return resize(decode(encoded, channels), size, crop_share or usual_share(size), interpolation)


def scaled(
    image: UInt8[np.ndarray, "h w c"],
    size: int,
    interpolation: str,
    box: tuple[float, float, float, float] | None = None,
) -> UInt8[np.ndarray, "s s c"]:
    """Scale a picture, or a box of it, to a square, whatever its aspect ratio.

    Where cykooz-resizer is installed, it scales whole pictures by the bilinear filter. Its pixels are Pillow's to one
    or two levels of 255, at four times the speed.
    """
    if cykooz is None or interpolation != "bilinear" or box:
        return _array(_picture(image).resize((size, size), FILTERS[interpolation], box=box))
    height, width, channels = image.shape
    kind = cykooz.PixelType.U8 if channels == 1 else cykooz.PixelType.U8x3
    square = cykooz.ImageData(size, size, kind)
    bilinear = cykooz.ResizeAlg.convolution(cykooz.FilterType.bilinear)
    given = cykooz.ImageData(width, height, kind, image.tobytes())
    cykooz.Resizer().resize(given, square, cykooz.ResizeOptions(resize_alg=bilinear))
    return np.frombuffer(square.get_buffer(), np.uint8).reshape(size, size, channels)


def scaled_side(size: int, crop_share: float) -> int:
    """Return the length in pixels that the shorter side of a picture is scaled to, before a square is cut out of it.

    That is the whole part of size / crop_share, as in timm. The division of two whole numbers, such as torchvision's
    crop and resize sizes, is undone exactly.

    >>> scaled_side(224, 0.95), scaled_side(299, 299 / 342)
    (235, 342)
    """
    return math.floor(size / crop_share + 1e-6)  # 1e-6 makes up for rounding: 299 / (299 / 342) may lie below 342


def usual_share(size: int) -> float:
    """Return the share of the shorter side that a centre crop keeps by custom: 7/8, to the nearest pixel."""
    return size / round(size / KEPT)


def random_resized_crop(
    encoded: bytes,
    size: int,
    channels: int,
    rng: np.random.Generator,
    interpolation: str = "bilinear",
    least: float = CROP_AREA,
    *,
    draft: bool = True,
) -> UInt8[np.ndarray, "s s c"]:
    """Decode a picture and return a random crop of it, as Inception is trained with, scaled to a square.

    The crop is cut out first and scaled then, with antialiasing, so no pixel outside it has an influence.

    Args:
        encoded: a file of any format that Pillow reads.
        size: side of the square in pixels.
        channels: 1 or 3, see `decode`.
        rng: source of the crop, which has an aspect ratio of 3/4 to 4/3.
        interpolation: "bilinear" or "bicubic".
        least: least share of the area that is cut out.
        draft: decode a JPEG at 1/2, 1/4 or 1/8 of its size where the crop still has at least `size` pixels a side.

    Raises:
        Unreadable: see `decode`.
    """
    header = read_header(encoded, channels)
    if header:
        orientation = _described_orientation(encoded, header)
        window, scale = _draw(header.width, header.height, orientation, size, rng, least, draft=draft)
        rows = decode_rows(encoded, header, window[1] + window[3], scale)
        if rows is None:
            with opened(encoded) as picture:
                rows, scale = _array(_converted(picture, channels)), 1
        left, top, right, bottom = _reduced(window, scale)
        cut = rows[top:bottom, left:right]
    else:
        with opened(encoded) as picture:
            orientation, stored = _orientation(picture), picture.size
            window, scale = _draw(*stored, orientation, size, rng, least, draft=draft)
            picture.draft(None, (stored[0] // scale, stored[1] // scale))
            scale = 1 if picture.size == stored else scale  # formats other than JPEG take no notice of a draft
            left, top, right, bottom = _reduced(window, scale)
            cut = _array(_converted(picture.crop((left, top, right, bottom)), channels))
    box = None
    if scale > 1:  # pixels of the edge stand for those that the crop has in common with its surroundings
        cut = np.pad(cut, ((1, 1), (1, 1), (0, 0)), "edge")
        x, y, w, h = (side / scale for side in window)
        box = (x - left + 1, y - top + 1, x - left + 1 + w, y - top + 1 + h)
    return _upright(scaled(cut, size, interpolation, box), orientation)


@contextlib.contextmanager
def opened(encoded: bytes | BinaryIO) -> Iterator[Image.Image]:
    """Open a picture, and raise `Unreadable` for whatever Pillow raises while it is used."""
    file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    try:
        with Image.open(file) as picture:
            yield picture
    except UnidentifiedImageError as error:
        size = file.seek(0, io.SEEK_END)
        raise Unreadable("it is not a picture in a format that Pillow knows" if size else "it is empty") from error
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


def _described_orientation(encoded: bytes, header: Header) -> int:
    """Return the EXIF orientation of a JPEG, which only Pillow reads."""
    if not header.described:
        return 1
    with opened(encoded) as picture:
        return _orientation(picture)


def _upright(image: UInt8[np.ndarray, "h w c"], orientation: int) -> UInt8[np.ndarray, "h w c"]:
    """Return a decoded picture upright."""
    return _array(_turned(_picture(image), orientation)) if orientation in _TURNS else image


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


def _centre(picture: Image.Image, shorter: int, size: int, interpolation: str) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side of a picture to `shorter` pixels, and return the central square of `size` pixels.

    The whole picture is scaled, as in other packages. Scaling only the part that is kept would give other rounding:
    Pillow 13 chooses by the sizes which axis comes first, and rounds and clips in between.
    """
    wide, high, left, top = _central(*picture.size, shorter, size)
    scaled = picture.resize((wide, high), FILTERS[interpolation])
    return _array(scaled.crop((left, top, left + size, top + size)))


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


def _window(width: int, height: int, rng: np.random.Generator, least: float = CROP_AREA) -> tuple[int, int, int, int]:
    """Draw a crop as left, top, width and height; the central square where none of ten draws fits into the image."""
    for _ in range(10):
        area = height * width * rng.uniform(least, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return int(left), int(top), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def _draw(
    width: int, height: int, orientation: int, size: int, rng: np.random.Generator, least: float, *, draft: bool
) -> tuple[tuple[int, int, int, int], int]:
    """Draw a crop of a picture.

    Args:
        width: width of the picture, as it is stored.
        height: height of the picture, likewise.
        orientation: its EXIF orientation.
        size: side in pixels that the crop is scaled to.
        rng: source of the crop.
        least: least share of the area that is cut out.
        draft: whether the picture may be decoded at a fraction of its size.

    Returns:
        The crop as left, top, width and height in the stored picture, and the 1, 2, 4 or 8 that it is decoded at.
    """
    upright = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
    window = _as_stored(_window(*upright, rng, least), *upright, orientation)
    for scale in (8, 4, 2) if draft else ():
        left, top, right, bottom = _reduced(window, scale)
        if min(right - left, bottom - top) >= size:
            return window, scale
    return window, 1


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
