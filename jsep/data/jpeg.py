"""Decoding the part of a JPEG that is needed, by simplejpeg where it is installed (`pip install jsep[fast]`).

simplejpeg and Pillow call the same decoder, libjpeg-turbo, with the same settings. Their pixels are therefore the same,
but Pillow takes a third longer, and always decodes the whole picture.
"""

import contextlib
import importlib
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def optional(module: str) -> Any:
    """Import a module of the extra jsep[fast]; return None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


simplejpeg = optional("simplejpeg")

_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of a frame: baseline, extended sequential and progressive, with Huffman codes
_OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_EXIF = 0xE1  # marker of an EXIF or XMP block
_MARGIN = 2  # rows below those that are needed, from which colours of half resolution are interpolated


class Header(NamedTuple):
    """The header of a JPEG.

    Attributes:
        width: width in pixels, as stored.
        height: height in pixels, as stored.
        channels: 1 or 3.
        at: where the height stands in the file.
        described: whether there is a block that may say how the picture is turned.
    """

    width: int
    height: int
    channels: int
    at: int
    described: bool


def read_header(encoded: bytes, channels: int) -> Header | None:
    """Read the header of a JPEG; None for whatever is better left to Pillow.

    That is a file of another format, one that is cut off, a picture of 12 bits, of other channels such as CMYK, or so
    large that Pillow warns of it; and any picture where simplejpeg is not installed.

    Args:
        encoded: a file of any format.
        channels: number of channels that the picture is to be decoded to.
    """
    if simplejpeg is None or encoded[:2] != b"\xff\xd8" or b"\xff\xd9" not in encoded[-64:]:
        return None
    at, described = 2, False
    while at + 10 <= len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(encoded[i : i + 2], "big") for i in (at + 5, at + 7))
            fits = 0 < height * width <= (Image.MAX_IMAGE_PIXELS or height * width)
            ordinary = encoded[at + 4] == 8 and encoded[at + 9] == channels
            return Header(width, height, channels, at + 5, described) if fits and ordinary else None
        if marker in _OTHER_FRAMES:
            return None
        described = described or marker == _EXIF
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def decode_rows(encoded: bytes, header: Header, bottom: int, scale: int = 1) -> UInt8[np.ndarray, "h w c"] | None:
    """Decode the upper rows of a JPEG, as it is stored.

    The decoder is told that the picture ends below them, by another height in its header. Rows above a crop cannot be
    left out, since the code of each block continues that of the one before it.

    Args:
        encoded: the file.
        header: its header.
        bottom: number of rows of the picture that are needed.
        scale: 1, 2, 4 or 8: the picture is decoded at that fraction of its size.

    Returns:
        At least the rows that are needed; None if simplejpeg cannot decode the file.
    """
    height = min(header.height, bottom + _MARGIN * scale)
    if height < header.height:
        encoded = b"".join((encoded[: header.at], height.to_bytes(2, "big"), encoded[header.at + 2 :]))
    colours = "GRAY" if header.channels == 1 else "RGB"
    least = {"min_height": -(-height // scale), "min_width": -(-header.width // scale), "min_factor": scale}
    with contextlib.suppress(ValueError):  # of damage that Pillow reports, and of what Pillow can decode all the same
        return simplejpeg.decode_jpeg(encoded, colours, strict=False, **(least if scale > 1 else {}))
    return None
