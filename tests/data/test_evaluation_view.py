"""Evaluated images have the pixels of torchvision's and timm's evaluation transforms."""

import io
import math

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from test_decode import over_white, saved

from jsep.data import Data, Split, StreamFeed, catalog, decode, load_choice, make_feed
from jsep.errors import UserError

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# share, size and scaled side that packages publish
TIMM = [(0.875, 224, 256), (0.9, 224, 248), (0.95, 224, 235), (0.96, 224, 233), (0.875, 299, 341), (0.8975, 299, 333)]
TIMM += [(0.904, 300, 331), (0.922, 380, 412), (0.934, 456, 488), (0.95, 160, 168), (0.965, 224, 232), (1.0, 288, 288)]
TORCHVISION = [(224, 232), (224, 238), (224, 246), (299, 342), (240, 255), (300, 320), (380, 384), (456, 456)]


def test_the_scaled_side_is_that_which_packages_publish():
    for share, size, side in [*TIMM, *((crop / side, crop, side) for crop, side in TORCHVISION)]:
        assert decode.scaled_side(size, share) == side


def test_a_share_of_two_whole_numbers_gives_the_second_one_back():
    for size in range(1, 300, 7):
        for side in range(size, 400):
            assert decode.scaled_side(size, size / side) == side
        assert decode.scaled_side(size, decode.usual_share(size)) == round(size / 0.875)


@pytest.mark.slow
def test_the_scaled_side_is_that_of_every_published_configuration():
    models = pytest.importorskip("timm.models", reason="timm is not installed")
    vision = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    for name in models.list_pretrained():
        known = models.get_pretrained_cfg(name)
        for shape, share in (
            (known.input_size, known.crop_pct),
            (known.test_input_size or known.input_size, known.test_crop_pct or known.crop_pct),
        ):
            assert decode.scaled_side(shape[-1], share) == math.floor(shape[-1] / share), name
    weights = [one for name in vision.list_models(vision) for one in vision.get_model_weights(name)]
    for how in (one.transforms() for one in weights):
        (size,), (side,) = how.crop_size, how.resize_size
        assert decode.scaled_side(size, size / side) == side


def odd_picture(number: int) -> tuple[bytes, Image.Image]:
    """Return a picture of an odd size, mode and orientation as a file, and as packages get it: upright, in RGB."""
    rng = np.random.default_rng(number)
    height, width = (int(side) for side in np.exp(rng.uniform(np.log(40), np.log(700), 2)))
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 4), np.uint8)
    image = Image.fromarray(np.clip(np.asarray(Image.fromarray(coarse).resize((width, height))), 0, 255))
    mode = ("RGB", "L", "P", "CMYK", "RGBA", "16 bits")[number % 6]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = int(rng.integers(1, 9))
    if mode == "16 bits":
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        shown, encoded = image.convert("L"), saved(Image.fromarray(wide), exif=exif)
    elif mode == "RGBA":
        pixels = np.asarray(image)
        shown = Image.fromarray(np.rint(over_white(pixels[..., :3], pixels[..., 3])).astype(np.uint8))
        encoded = saved(image, exif=exif)
    else:
        shown = image.convert("RGB").quantize(64) if mode == "P" else image.convert(mode)
        encoding = {"P": "PNG", "CMYK": "JPEG"}.get(mode, ("PNG", "JPEG", "WEBP", "BMP")[number % 4])
        encoded = saved(shown, encoding, **({} if encoding == "BMP" else {"exif": exif}))
        shown = Image.open(io.BytesIO(encoded))
        shown.load()
    if "exif" not in shown.info:
        shown.info["exif"] = exif.tobytes() if mode in ("16 bits", "RGBA") else b""
    return encoded, ImageOps.exif_transpose(shown).convert("RGB")


CHOICES = [(size, share, how) for size, share in ((224, 0.95), (96, 0.875), (160, 1.0)) for how in FILTERS]


def furthest(found: np.ndarray, wanted: Image.Image | np.ndarray) -> int:
    return int(np.abs(found.astype(int) - np.asarray(wanted)).max())


@pytest.mark.parametrize("number", range(6))
def test_a_picture_is_scaled_whole_and_its_centre_cut_out(number):
    encoded, upright = odd_picture(number)
    width, height = upright.size
    for size, share, how in CHOICES[number % 2 :: 2]:
        side = math.floor(size / share)
        wide, high = (int(side * edge / min(width, height)) for edge in (width, height))
        left, top = round((wide - size) / 2), round((high - size) / 2)
        wanted = upright.resize((wide, high), FILTERS[how]).crop((left, top, left + size, top + size))
        assert furthest(decode.evaluation_view(encoded, size, 3, share, how), wanted) <= (number % 6 == 4)


@pytest.mark.slow
def test_evaluated_pictures_are_those_of_torchvision_and_timm():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    data = pytest.importorskip("timm.data", reason="timm is not installed")
    for number in range(200):
        encoded, upright = odd_picture(number)
        size, share, how = CHOICES[number % len(CHOICES)]
        theirs = data.create_transform(size, crop_pct=share, interpolation=how, is_training=False, normalize=False)
        found = decode.evaluation_view(encoded, size, 3, share, how)
        allowed = int(number % 6 == 4)  # what is transparent is laid over white, with rounding of its own
        assert furthest(found, np.moveaxis(theirs(upright).numpy(), 0, -1)) <= allowed, number
        side = size + number % 40  # torchvision says what the shorter side is scaled to
        mode = transforms.InterpolationMode(how)
        theirs = transforms.Compose([transforms.Resize(side, mode), transforms.CenterCrop(size)])
        assert furthest(decode.evaluation_view(encoded, size, 3, size / side, how), theirs(upright)) <= allowed, number


def test_a_set_in_memory_is_tested_at_a_size_and_share_of_its_own(tiny_tfds):
    whole = load_choice(Data(str(tiny_tfds)))
    for path in (str(tiny_tfds), "mnist5k"):
        usual, data = (load_choice(Data(path, **how)) for how in ({}, {"eval_size": 12, "crop_share": 0.75}))
        assert (usual.image_shape, usual.crop_share) == (usual.eval_shape, 1.0)
        assert data.eval_shape == (12, 12, usual.image_shape[-1])
        assert data.image_shape == usual.image_shape
        assert isinstance(data.train, Split)
        assert isinstance(data.test, Split)
        assert isinstance(usual.train, Split)
        assert isinstance(usual.test, Split)
        np.testing.assert_array_equal(data.train.images, usual.train.images)
        wanted = [decode.resize(image, 12, 0.75) for image in usual.test.images[:9]]
        np.testing.assert_array_equal(data.test.images[:9], wanted)
    assert whole.mean == load_choice(Data(str(tiny_tfds), eval_size=12)).mean


@pytest.mark.parametrize(
    ("how", "size", "share"),
    [
        ({}, 28, 7 / 8),
        ({"eval_size": 14, "crop_share": 0.5, "interpolation": "bicubic"}, 14, 0.5),
        pytest.param({"eval_size": 14}, 14, 7 / 8, marks=pytest.mark.slow),
    ],
)
def test_streamed_pictures_are_evaluated_at_a_size_and_share_of_their_own(how, size, share, jpeg_tfds):
    data = load_choice(Data(str(jpeg_tfds), image_size=28, stream=True, **how))
    assert data.eval_shape == (size, size, 3)
    assert data.crop_share == share
    feed = make_feed(data.test, data)
    assert isinstance(feed, StreamFeed)
    (images, _), _ = next(iter(feed.evaluation(4)))
    encoded = [record["image"] for record in data.test.__getitems__(range(4))]  # type: ignore[union-attr]
    wanted = [decode.evaluation_view(one, size, 3, share, data.interpolation) for one in encoded]
    np.testing.assert_array_equal(images, wanted)
    in_memory = load_choice(Data(str(jpeg_tfds), image_size=28, **{**how, "crop_share": share})).test
    assert isinstance(in_memory, Split)
    np.testing.assert_array_equal(in_memory.images[:4], wanted)


def test_random_crops_are_scaled_by_the_interpolation_that_is_chosen():
    noise = saved(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for how, kind in FILTERS.items():
        left, top, w, h = decode._window(50, 40, np.random.default_rng(0))
        wanted = Image.open(io.BytesIO(noise)).crop((left, top, left + w, top + h)).resize((64, 64), kind)
        found = decode.random_resized_crop(noise, 64, 3, np.random.default_rng(0), how)
        assert furthest(found, wanted) <= (how == "bilinear")  # cykooz-resizer's rounding


def test_a_share_of_images_that_are_no_squares_is_refused():
    choice = Data("wide", crop_share=0.9)
    with pytest.raises(UserError, match=r"`crop_share`=0\.9: the images of wide are 20x24, .*: give an `eval_size`"):
        catalog._crop_share("wide", choice, (20, 24, 3), usual=False)
