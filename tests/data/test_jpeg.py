"""Decoding of the rows of a JPEG that a crop needs: the pixels of Pillow, which decodes all of them."""

import io

import numpy as np
import pytest
from PIL import Image
from test_decode import CMYK, CUT, SMOOTH, exif, saved

from jsep.data import decode, jpeg
from jsep.data.jpeg import decode_rows, read_header

pytestmark = pytest.mark.skipif(jpeg.simplejpeg is None, reason="simplejpeg is not installed")

GREY = np.asarray(Image.fromarray(SMOOTH).convert("L"))
WHOLE = saved(SMOOTH, "JPEG", quality=92)
KINDS = {
    "4:2:0": WHOLE,
    "4:2:2": saved(SMOOTH, "JPEG", quality=92, subsampling=1),
    "4:4:4": saved(SMOOTH, "JPEG", quality=92, subsampling=0),
    "progressive": saved(SMOOTH, "JPEG", quality=92, progressive=True),
    "restart markers": saved(SMOOTH, "JPEG", quality=92, restart_marker_rows=1),
    "described": saved(SMOOTH, "JPEG", quality=92, exif=exif(6)),
    "grey": saved(GREY, "JPEG", quality=92),
}


def by_pillow(encoded: bytes, scale: int = 1) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.draft(None, (picture.width // scale, picture.height // scale))
        return decode._array(picture)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_whole_picture(kind):
    encoded = KINDS[kind]
    header = read_header(encoded, 1 if kind == "grey" else 3)
    assert header is not None
    assert (header.width, header.height, header.described) == (397, 299, kind == "described")
    for bottom in (1, 16, 101, 150, 298, 299):
        for scale in (1, 2, 4, 8):
            rows = decode_rows(encoded, header, bottom, scale)
            assert rows is not None
            assert len(rows) == -(-min(299, bottom + 2 * scale) // scale)  # no more are decoded
            kept = bottom // scale
            np.testing.assert_array_equal(rows[:kept], by_pillow(encoded, scale)[:kept])


def test_a_picture_is_decoded_as_by_pillow(monkeypatch):
    quick = {kind: decode.decode(encoded, 1 if kind == "grey" else 3) for kind, encoded in KINDS.items()}
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    for kind, found in quick.items():
        np.testing.assert_array_equal(found, decode.decode(KINDS[kind], found.shape[-1]))


@pytest.mark.parametrize("size", [32, 224])
def test_random_crops_are_those_of_pillow_to_two_levels(size, monkeypatch):
    def crops() -> list[np.ndarray]:
        rngs = [np.random.default_rng(seed) for seed in range(3)]
        return [
            decode.random_resized_crop(KINDS[kind], size, 3, rng) for kind in ("4:2:0", "described") for rng in rngs
        ]

    quick = crops()
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    monkeypatch.setattr(decode, "cykooz", None)
    for found, wanted in zip(quick, crops(), strict=True):
        assert np.abs(found.astype(int) - wanted).max() <= 2


def test_what_simplejpeg_cannot_decode_is_left_to_pillow(monkeypatch):
    crop, whole = decode.random_resized_crop(WHOLE, 224, 3, np.random.default_rng(0)), decode.decode(WHOLE, 3)

    def refuse(*_, **__):
        raise ValueError

    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", refuse)
    np.testing.assert_array_equal(decode.random_resized_crop(WHOLE, 224, 3, np.random.default_rng(0)), crop)
    np.testing.assert_array_equal(decode.decode(WHOLE, 3), whole)


def with_precision(encoded: bytes, bits: int) -> bytes:
    header = read_header(encoded, 3)
    assert header
    return encoded[: header.at - 1] + bytes([bits]) + encoded[header.at :]


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        saved(SMOOTH),
        CUT["JPEG"],
        WHOLE[:-2],
        WHOLE[:10] + b"\xff\xd9",
        with_precision(WHOLE, 12),
        saved(CMYK, "JPEG"),
        KINDS["grey"],
    ],
    ids=["empty", "PNG", "cut off", "without an end", "without a frame", "12 bits", "CMYK", "grey in colour"],
)
def test_what_is_no_ordinary_jpeg_is_left_to_pillow(encoded):
    assert read_header(encoded, 3) is None


def test_a_picture_that_pillow_warns_of_is_left_to_it(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 397 * 299 - 1)
    assert read_header(WHOLE, 3) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 397 * 299)
    assert read_header(WHOLE, 3)
