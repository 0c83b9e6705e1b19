"""Masks of pictures: their values, sizes and scales, in batches and of real data sets."""

import io
from pathlib import Path
from typing import Any

import annotated_sets as sets
import numpy as np
import pytest
from PIL import Image
from test_feed import equal, evaluation, joined, take

from conftest import picture
from jsep.data import Augmentation, load, make_feed
from jsep.data.decode import Unreadable
from jsep.data.example import Segmented
from jsep.data.masks import decode_mask
from jsep.errors import UserError

TFDS = Path(__file__).parents[3] / "shared" / "tfds"
VALUES = np.array([[0, 1, 2], [3, 20, 255]], np.uint8)


def palette() -> Image.Image:
    image = Image.new("P", (3, 2))
    image.putdata(VALUES.ravel().tolist())
    image.putpalette([7, 7, 7] * 256)
    return image


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(VALUES),
        palette(),
        Image.fromarray(np.repeat(VALUES[..., None], 3, -1)),
        Image.fromarray(VALUES.astype(np.uint16)),
        Image.fromarray(VALUES.astype(np.int32)),
    ],
    ids=["grey", "palette", "grey as colours", "16 bits", "32 bits"],
)
def test_masks_of_every_kind_hold_their_values(image):
    file = io.BytesIO()
    image.save(file, "PNG" if image.mode != "I" else "TIFF")
    np.testing.assert_array_equal(decode_mask(file.getvalue()), VALUES)


def test_a_mask_of_two_values_is_black_and_white():
    file = io.BytesIO()
    Image.fromarray(VALUES > 2).save(file, "PNG")
    np.testing.assert_array_equal(decode_mask(file.getvalue()), VALUES > 2)


@pytest.mark.parametrize("values", [sets.pixels("a"), VALUES.astype(np.float32)])
def test_colours_and_fractions_are_no_classes(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    with pytest.raises(Unreadable, match="those of a mask are the numbers of classes"):
        decode_mask(file.getvalue())


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return load(str(sets.masks(tmp_path_factory.mktemp("masks"))), image_size=16, task="segmentation")


def test_classes_are_the_values_that_masks_hold(masked):
    assert (masked.task, masked.class_names, masked.void) == ("segmentation", ("0", "1", "2", "3"), 255)
    assert masked.test[0]["size"] == (sets.HEIGHT, sets.WIDTH)
    np.testing.assert_array_equal(decode_mask(masked.test[0]["mask"]), sets.mask("5"))


def test_values_from_void_on_are_of_no_class(tmp_path):
    data = load(str(sets.masks(tmp_path)), image_size=16, task="segmentation", void=3)
    assert data.class_names == ("0", "1", "2")
    (_, seen), _ = next(make_feed(data.test, data).evaluation(2))
    assert set(np.unique(seen)) == {0, 1, 2, 255}


def test_names_of_classes_lie_beside_the_data(tmp_path):
    sets.write(sets.masks(tmp_path) / "classes.txt", "sky\nroad\n\ncar\n")
    data = load(str(tmp_path), image_size=16, task="segmentation")
    assert data.class_names == ("sky", "road", "car")
    (_, seen), _ = next(make_feed(data.test, data).evaluation(2))
    assert set(np.unique(seen)) == {0, 1, 2, 255}


def test_evaluation_is_by_the_nearest_pixel(masked):
    (images, targets), mask = next(make_feed(masked.test, masked).evaluation(3))
    assert (images.shape, targets.shape, targets.dtype) == ((3, 16, 16, 3), (3, 16, 16), np.uint8)
    nearest = sets.mask("5")[((np.arange(16) + 0.5) * 1.5).astype(int)][:, ((np.arange(16) + 0.5) * 2).astype(int)]
    np.testing.assert_array_equal(targets[0], nearest)
    smooth = np.asarray(Image.fromarray(sets.pixels("5")).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(images[0].astype(int), smooth, atol=2)
    assert mask.tolist() == [1, 1, 0]


def record(size: int) -> dict:
    """A picture whose colour says its mask."""
    values = np.random.default_rng(0).integers(0, 4, (size, size), np.uint8)
    image = np.repeat(values[..., None] * 60, 3, -1)
    return {"image": picture(image, "PNG"), "mask": picture(values, "PNG"), "place": "here", "size": (size, size)}


@pytest.mark.parametrize(("scale", "block"), [((1.0, 1.0), 1), ((2.0, 2.0), 2), ((0.5, 0.5), 0)])
def test_pictures_are_scaled_and_cut_or_framed_with_their_masks(scale, block):
    rng, frame = np.random.default_rng(1), (100, 110, 120)
    example, held = Segmented(16, 16, 4, scale, frame), record(16)
    views = [example.training(held, rng) for _ in range(20)]
    for image, mask in views:
        assert (image.shape, mask.shape, mask.dtype) == ((16, 16, 3), (16, 16), np.uint8)
        outside = mask == 255
        if block:
            assert not outside.any()
        else:
            assert (~outside).sum() == 64
            rows, columns = (np.flatnonzero((~outside).any(axis)) for axis in (1, 0))
            assert (np.ptp(rows), np.ptp(columns)) == (7, 7)
        assert (image[outside] == frame).all()
        if block == 1:
            np.testing.assert_array_equal(image[..., 0], mask * 60)
    assert (len({mask.tobytes() for _, mask in views}) > 5) == (block != 1)


def test_batches_follow_from_seed_and_step_and_their_shares_are_the_whole(masked):
    feed = make_feed(masked.train, masked, how=Augmentation(scale=(0.5, 2)))
    whole = take(feed, 5, batch_size=2)
    assert equal(take(feed, 3, batch_size=2, first_step=2), whole[2:])
    assert equal(joined([take(feed, 5, batch_size=2, part=(i, 2)) for i in range(2)]), whole)
    assert equal(joined([evaluation(feed, part=(i, 10)) for i in range(10)]), joined([evaluation(feed)]))


@pytest.mark.parametrize("layout", ["parts", "held out", "voc", "voc without lists"])
def test_layouts(layout, tmp_path):
    sets.masks(tmp_path)
    if layout == "held out":
        for kind in ("images", "masks"):
            for file in (tmp_path / kind).glob("*/*"):
                file.rename(tmp_path / kind / file.name)
            for part in sets.BOXES:
                (tmp_path / kind / part).rmdir()
    if layout.startswith("voc"):
        for kind, name in (("images", "JPEGImages"), ("masks", "SegmentationClass")):
            (tmp_path / name).mkdir()
            for file in (tmp_path / kind).glob("*/*"):
                file.rename(tmp_path / name / file.name)
        if layout == "voc":
            for part, names in sets.BOXES.items():
                sets.write(tmp_path / "ImageSets" / "Segmentation" / f"{part}.txt", "\n".join(names))
    data: Any = load(str(tmp_path), image_size=16, task="segmentation")
    found = [[Path(part[i]["place"]).stem for i in range(len(part))] for part in (data.train, data.test)]
    if layout in ("parts", "voc"):
        assert found == [["1", "2", "3", "4"], ["5", "6"]]
    else:
        assert len(found[1]) == 1
        assert sorted(found[0] + found[1]) == list("123456")


REAL = {"coco_mini": (70, 100, 21, 255), "camvid_jpeg": (367, 233, 11, 11)}


@pytest.mark.parametrize("name", REAL)
def test_real_sets(name):
    if not (TFDS / name).is_dir():
        pytest.skip(f"{name} is not beside the project")
    train, test, classes, void = REAL[name]
    data = load(str(TFDS / name), image_size=64, task="segmentation", void=void)
    assert (len(data.train), len(data.test), len(data.class_names)) == (train, test, classes)
    (_, targets), _ = next(make_feed(data.test, data).evaluation(32))
    assert set(np.unique(targets)) <= {*range(classes), 255}


def test_a_mask_that_cannot_be_decoded_is_named_or_left_out(tmp_path):
    sets.write(sets.masks(tmp_path) / "classes.txt", "a\nb\nc\nd")
    file = tmp_path / "masks" / "train" / "2.png"
    file.write_bytes(file.read_bytes()[:100])
    data = load(str(tmp_path), image_size=16, task="segmentation")
    with pytest.raises(UserError, match=r"mask of the picture in .*2\.png cannot be used"):
        list(make_feed(data.train, data).evaluation(2))
    with pytest.warns(UserWarning, match="1 of 4 to train on"):
        assert len(load(str(tmp_path), image_size=16, task="segmentation", skip_unreadable=True).train) == 3
