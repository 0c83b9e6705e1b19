"""Decoding of pictures: what a viewer shows, brought to one size as torchvision does it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from conftest import picture
from jsep.data import decode
from jsep.data.decode import Unreadable

COARSE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
SMOOTH = np.asarray(COARSE.resize((397, 299)))
COLOURS = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
COLOURS[:, :4] = [200, 30, 90]
GREY, ALPHA = COLOURS[..., 0], COLOURS[..., 1]
BLOCKS = np.kron(COLOURS[:2, 3:5], np.ones((8, 8, 1), np.uint8))  # which a JPEG keeps
THREE = Image.fromarray(COLOURS).quantize(3)


def saved(image: Image.Image | np.ndarray, encoding: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, encoding, **options)
    return file.getvalue()


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write for colours; 1 to 4 channels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], rows)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return share * colours + (1 - share) * 255


def rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, -1)


def transparent(index: int) -> np.ndarray:
    """Return the pixels that a picture of three colours shows if one of them is transparent."""
    shown = np.asarray(THREE.convert("RGB")).copy()
    shown[np.asarray(THREE) == index] = 255
    return shown


WIDE = COLOURS.astype(np.uint16) * 257
CMYK = Image.fromarray(BLOCKS).convert("CMYK")
YCC = Image.fromarray(COLOURS).convert("YCbCr")
# each as a file and as a viewer shows it, with the error that its encoding makes
SHOWN: dict[str, tuple[bytes, np.ndarray, int]] = {
    "1": (saved(Image.fromarray(GREY > 99)), rgb(255 * (GREY > 99)), 0),
    "L": (saved(GREY), rgb(GREY), 0),
    "L with a transparent value": (saved(GREY, transparency=200), rgb(np.where(GREY == 200, 255, GREY)), 0),
    "LA": (saved(np.stack([GREY, ALPHA], -1)), over_white(rgb(GREY), ALPHA), 1),
    "P": (saved(THREE), np.asarray(THREE.convert("RGB")), 0),
    "P with a transparent colour": (saved(THREE, transparency=1), transparent(1), 0),
    "P with alpha": (saved(THREE, transparency=bytes([255, 255, 0])), transparent(2), 0),
    "P in a GIF": (saved(THREE, "GIF", transparency=0), transparent(0), 0),
    "RGB": (saved(COLOURS), COLOURS, 0),
    "RGB with a transparent colour": (
        saved(COLOURS, transparency=(200, 30, 90)),
        np.where((COLOURS == [200, 30, 90]).all(-1, keepdims=True), 255, COLOURS),
        0,
    ),
    "RGBA": (saved(np.dstack([COLOURS, ALPHA])), over_white(COLOURS, ALPHA), 1),
    "RGBA in a WebP": (saved(np.dstack([COLOURS, ALPHA]), "WEBP", lossless=True), over_white(COLOURS, ALPHA), 1),
    "RGB in a WebP": (saved(COLOURS, "WEBP", lossless=True), COLOURS, 0),
    "CMYK in a TIFF": (saved(CMYK, "TIFF"), BLOCKS, 1),
    "CMYK in a JPEG": (saved(CMYK, "JPEG", quality=100), BLOCKS, 4),
    "RGB in a JPEG": (saved(BLOCKS, "JPEG", quality=100, subsampling=0), BLOCKS, 4),
    "L in a JPEG": (saved(BLOCKS[..., 0], "JPEG", quality=100), rgb(BLOCKS[..., 0]), 4),
    "YCbCr in a TIFF": (saved(YCC, "TIFF"), COLOURS, 3),
    "L of 16 bits": (png16(WIDE[..., :1]), rgb(GREY), 0),
    "L of 16 bits with a transparent value": (
        saved(WIDE[..., 0], transparency=200 * 257),
        rgb(np.where(GREY == 200, 255, GREY)),
        0,
    ),
    "LA of 16 bits": (png16(WIDE[..., :2]), over_white(rgb(GREY), ALPHA), 1),
    "RGB of 16 bits": (png16(WIDE), COLOURS, 0),
    "RGBA of 16 bits": (png16(np.dstack([WIDE, WIDE[..., 1:2]])), over_white(COLOURS, ALPHA), 1),
    "I;16B in a TIFF": (saved(WIDE[..., 0].astype(">u2"), "TIFF"), rgb(GREY), 0),
    "I in a TIFF": (saved(WIDE[..., 0].astype(np.int32), "TIFF"), rgb(GREY), 0),
    "F in a TIFF": (saved(GREY.astype(np.float32), "TIFF"), rgb(GREY), 0),
}


def luma(shown: np.ndarray) -> np.ndarray:
    return shown @ [0.299, 0.587, 0.114]


@pytest.mark.parametrize("mode", SHOWN)
def test_a_picture_of_any_mode_is_decoded_as_a_viewer_shows_it(mode):
    encoded, shown, error = SHOWN[mode]
    colours, grey = (decode.decode(encoded, channels) for channels in (3, 1))
    assert colours.dtype == grey.dtype == np.uint8
    assert grey.shape == (*shown.shape[:2], 1)
    assert np.abs(colours.astype(int) - shown).max() <= error
    assert np.abs(grey[..., 0] - luma(shown)).max() <= error + 0.6
    for channels in (1, 3):
        crop = decode.random_resized_crop(encoded, 5, channels, np.random.default_rng(0))
        assert crop.shape == decode.evaluation_view(encoded, 5, channels).shape == (5, 5, channels)


def test_sixteen_bits_are_rounded():
    values = np.array([[[0], [128], [129], [1000], [65406], [65407], [65535]]])
    assert decode.decode(png16(values), 1)[0, :, 0].tolist() == [0, 0, 1, 4, 254, 255, 255]


# by EXIF orientation, where the standard places the first row and the first column of what is stored
STORED = {
    1: COLOURS,  # top, left
    2: COLOURS[:, ::-1],  # top, right
    3: COLOURS[::-1, ::-1],  # bottom, right
    4: COLOURS[::-1],  # bottom, left
    5: COLOURS.swapaxes(0, 1),  # left, top
    6: COLOURS[:, ::-1].swapaxes(0, 1),  # right, top
    7: COLOURS[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: COLOURS[::-1].swapaxes(0, 1),  # left, bottom
}


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    return block


@pytest.mark.parametrize("encoding", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_turned_as_exif_says(orientation, encoding):
    encoded = saved(np.ascontiguousarray(STORED[orientation]), encoding, exif=exif(orientation))
    upright = saved(COLOURS)
    np.testing.assert_array_equal(decode.decode(encoded, 3), COLOURS)
    np.testing.assert_array_equal(decode.evaluation_view(encoded, 5, 3), decode.evaluation_view(upright, 5, 3))
    turned, whole = (decode.random_resized_crop(e, 5, 3, np.random.default_rng(3)) for e in (encoded, upright))
    assert np.abs(turned.astype(int) - whole).max() <= 1


def test_turned_pictures_are_reduced_too():
    stored = saved(np.ascontiguousarray(SMOOTH[:, ::-1].swapaxes(0, 1)), "JPEG", exif=exif(6), quality=95)
    upright = saved(SMOOTH, "JPEG", quality=95)
    for seed in range(4):
        turned, whole = (decode.random_resized_crop(e, 32, 3, np.random.default_rng(seed)) for e in (stored, upright))
        assert np.abs(turned.astype(int) - whole).mean() < 2


def test_a_damaged_exif_block_turns_nothing():
    np.testing.assert_array_equal(decode.decode(saved(COLOURS, exif=b"Exif\0\0no such thing"), 3), COLOURS)


CUT = {encoding: saved(SMOOTH, encoding)[:2000] for encoding in ("PNG", "JPEG", "WEBP")}


FLIPPED = bytearray(saved(SMOOTH))
FLIPPED[20_000] ^= 1


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"", "it is empty"),
        (b"<html>404 Not Found</html>", "not a picture in a format that Pillow knows"),
        (png(60_000, 60_000, 8, 0, b""), "exceeds limit"),
        (bytes(FLIPPED), "broken"),
        *((cut, "truncated|decoder") for cut in CUT.values()),
    ],
)
def test_what_is_no_whole_picture_is_unreadable(encoded, words):
    for decoder in (
        lambda: decode.decode(encoded, 3),
        lambda: decode.evaluation_view(encoded, 8, 3),
        lambda: decode.random_resized_crop(encoded, 8, 3, np.random.default_rng(0)),
    ):
        with pytest.raises(Unreadable, match=words) as error:
            decoder()
        assert str(error.value)
        assert "\n" not in str(error.value)


def test_draft_decodes_fewer_pixels_of_the_same_window():
    encoded = picture(SMOOTH, "jpeg")
    for seed in range(8):
        whole, reduced = (
            decode.random_resized_crop(encoded, 32, 3, np.random.default_rng(seed), draft=draft).astype(int)
            for draft in (False, True)
        )
        assert whole.shape == reduced.shape == (32, 32, 3)
        assert (whole != reduced).any()  # the reduced decoding was used
        assert np.abs(whole - reduced).mean() < 3  # on a scale of 255


@pytest.mark.parametrize("seed", range(6))
def test_a_random_crop_shows_nothing_of_its_surroundings(seed):
    left, top, w, h = decode._window(397, 299, np.random.default_rng(seed))
    white = np.full((299, 397, 3), 255, np.uint8)
    white[top : top + h, left : left + w] = 0
    for size in (32, 224):
        crop = decode.random_resized_crop(saved(white, compress_level=1), size, 3, np.random.default_rng(seed))
        assert crop.max() == 0
    jpeg = saved(white, "JPEG", quality=95, subsampling=0)
    assert decode.random_resized_crop(jpeg, 32, 3, np.random.default_rng(seed)).max() < 8  # what JPEG itself spreads


@pytest.mark.parametrize("least", [0.08, 0.2, 1.0])
def test_a_random_crop_has_its_least_share_of_the_area(least):
    areas = [
        w * h for seed in range(200) for *_, w, h in [decode._window(400, 400, np.random.default_rng(seed), least)]
    ]
    assert (least - 0.01) * 400**2 <= min(areas) <= (least + 0.02) * 400**2


@pytest.mark.parametrize("channels", [1, 3])
def test_a_random_crop_is_cut_out_and_scaled_then(channels):
    rng = np.random.default_rng(0)
    for seed in range(12):
        height, width = map(int, rng.integers(20, 300, 2))
        image = decode._picture(rng.integers(0, 256, (height, width, channels), np.uint8))
        left, top, w, h = decode._window(width, height, np.random.default_rng(seed))
        wanted = image.crop((left, top, left + w, top + h)).resize((64, 64), Image.Resampling.BILINEAR)
        found = decode.random_resized_crop(saved(image), 64, channels, np.random.default_rng(seed))
        assert np.abs(found.astype(int) - decode._array(wanted)).max() <= 1  # cykooz-resizer's rounding


def test_the_central_square_lies_where_torchvision_has_it():
    # width, height, shorter side, size: scaled width and height, left and top
    for (width, height, shorter, size), found in {
        (227, 227, 227, 224): (227, 227, 2, 2),  # 1.5 becomes 2
        (229, 231, 229, 224): (229, 231, 2, 4),  # 2.5 becomes 2, 3.5 becomes 4
        (500, 375, 256, 224): (341, 256, 58, 16),  # of 341.33
        (500, 334, 256, 224): (383, 256, 80, 16),  # of 383.23
        (500, 300, 256, 224): (426, 256, 101, 16),  # of 426.67, which is not rounded up
        (300, 500, 256, 224): (256, 426, 16, 101),
        (100, 100, 342, 299): (342, 342, 22, 22),  # 21.5 becomes 22
        (10, 21, 5, 5): (5, 10, 0, 2),  # 2.5 becomes 2
    }.items():
        assert decode._central(width, height, shorter, size) == found


def test_the_central_square_is_cut_from_those_pixels():
    rows, columns = np.mgrid[:227, :231].astype(np.uint8)
    image = np.stack([rows, columns, 0 * rows], -1)
    found = decode._centre(Image.fromarray(image), 227, 224, "bilinear")
    np.testing.assert_array_equal(found, image[2:226, 4:228])


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_the_evaluation_crop_is_torchvisions(channels):
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, channels), np.uint8)
    for side in range(250, 501):
        for shape in ((side, 500), (500, side)):
            image = decode._picture(np.ascontiguousarray(noise[: shape[0], : shape[1]]))
            wanted = np.asarray(theirs(image)).reshape(224, 224, channels)
            found = decode.evaluation_view(saved(image, "BMP"), 224, channels)
            assert np.abs(found.astype(int) - wanted).max() <= 1, shape


@pytest.mark.slow
def test_random_crops_and_resizing_are_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    rng = np.random.default_rng(0)
    for height, width, size in ((10, 20, 5), (37, 91, 32), (91, 37, 64), (1, 50, 3), (9, 8, 8), (333, 500, 128)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        wanted = transforms.CenterCrop(size)(transforms.Resize(size)(Image.fromarray(image)))
        assert np.abs(decode.resize(image, size).astype(int) - np.asarray(wanted)).max() <= 1
        left, top, w, h = decode._window(width, height, np.random.default_rng(1))
        wanted = transforms.functional.resized_crop(Image.fromarray(image), top, left, h, w, [size, size])
        found = decode.random_resized_crop(saved(image), size, 3, np.random.default_rng(1))
        assert np.abs(found.astype(int) - np.asarray(wanted)).max() <= 1


def test_windows_lie_in_the_image_and_keep_to_area_and_aspect():
    rng = np.random.default_rng(0)
    found = np.array([decode._window(400, 300, rng) for _ in range(500)])
    left, top, w, h = found.T
    assert (found >= 0).all()
    assert (left + w).max() <= 400
    assert (top + h).max() <= 300
    share = w * h / (400 * 300)
    assert 0.07 < share.min() < 0.12
    assert 0.9 < share.max() <= 1
    assert 0.74 < (w / h).min() < (w / h).max() < 1.35
    assert decode._window(1000, 10, rng) == (495, 0, 10, 10)  # nothing fits: the centre
