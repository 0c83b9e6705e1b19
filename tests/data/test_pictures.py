"""Pictures of prepared data sets: the same in memory and streamed, and named or left out where they are broken."""

import contextlib
import io
import itertools
import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from test_decode import SHOWN, WIDE, png, png16, saved

from jsep.data import Split, StreamFeed, catalog, load, make_feed
from jsep.data.example import Classified
from jsep.data.prepared import _shape
from jsep.errors import UserError

Rows = list[tuple[bytes, int]]  # encoded pictures with their labels
COLOURED = np.random.default_rng(2).integers(0, 256, (20, 24, 3), np.uint8)
WHOLE = [(saved(np.roll(COLOURED, i, 0), "JPEG", quality=90), i % 2) for i in range(11)]
BROKEN = {
    "cut": WHOLE[0][0][:500],
    "empty": b"",
    "text": b"<html>404 Not Found</html>",
    "huge": png(60_000, 60_000, 8, 0, b""),
}


def prepared(folder: Path, shape: tuple[int | None, ...], dtype: Any = np.uint8, **splits: Rows) -> str:
    """Prepare a data set, and return the path of its version."""

    class Pictured(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        pkg_dir_path = tfds.core.Path(folder)
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            image = tfds.features.Image(shape=shape, dtype=dtype)
            features = tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel(num_classes=2)})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):  # type: ignore[no-untyped-def]
            return {split: self._generate_examples(rows) for split, rows in splits.items()}

        def _generate_examples(self, rows: Rows):  # type: ignore[no-untyped-def]
            for i, (image, label) in enumerate(rows):
                yield i, {"image": io.BytesIO(image), "label": label}

    Pictured(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return str(folder / "pictured" / "1.0.0")


def images_of(path: str, stream: bool, size: int) -> np.ndarray:
    """The training images, in order."""
    data = load(path, image_size=size, stream=stream)
    if isinstance(data.train, Split):
        return data.train.images
    feed = make_feed(data.train, data)
    return np.concatenate([np.asarray(images)[mask == 1] for (images, _), mask in feed.evaluation(8)])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("declared", "channels"), [(1, 1), (3, 3)])
def test_pictures_of_any_mode_are_the_same_in_memory_and_streamed(declared, channels, stream, tmp_path):
    rows = [(encoded, 0) for encoded, shown, _ in SHOWN.values() if shown.shape == (6, 8, 3)]
    path = prepared(tmp_path, (6, 6, declared), train=rows, test=rows[:1])
    found = images_of(path, stream, 6).astype(int)
    assert found.shape == (len(rows), 6, 6, channels)
    wanted = np.stack([shown[:, 1:7] for _, shown, _ in SHOWN.values() if shown.shape == (6, 8, 3)])
    if channels == 1:
        wanted = wanted @ [[0.299], [0.587], [0.114]]
    # TFDS keeps another order
    distance = np.abs(found[:, None] - wanted[None]).max((2, 3, 4))
    assert distance.min(0).max() <= 3
    assert distance.min(1).max() <= 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("declared", "channels", "dtype", "encoded"),
    [
        (2, 1, np.uint8, SHOWN["LA"][0]),
        (4, 3, np.uint8, SHOWN["RGBA"][0]),
        (4, 3, np.uint16, SHOWN["RGBA of 16 bits"][0]),
        (1, 1, np.uint16, png16(WIDE[..., :1])),
        (3, 3, np.uint16, png16(WIDE)),
    ],
)
def test_declared_channels_become_one_or_three(declared, channels, dtype, encoded, stream, tmp_path):
    path = prepared(tmp_path, (None, None, declared), dtype, train=[(encoded, 0)], test=[(encoded, 1)])
    data = load(path, image_size=6, stream=stream)
    assert data.image_shape == (6, 6, channels)
    assert len(data.mean) == channels
    assert images_of(path, stream, 6).shape == (1, 6, 6, channels)


def test_a_picture_of_another_size_than_declared_is_named(tmp_path):
    rows = [(saved(COLOURED), 0), (saved(COLOURED[:, :20]), 1)]
    path = prepared(tmp_path, (20, 24, 3), train=rows, test=rows[:1])
    with pytest.raises(UserError, match=r"record \d of split 'train' of .* is 20x20, .* says 20x24: give an `image_s"):
        load(path)
    assert load(path, image_size=16).image_shape == (16, 16, 3)


def test_features_that_are_no_pictures_are_refused(tmp_path):
    values = np.zeros((4, 4, 1), np.float32)
    with pytest.raises(UserError, match="holds no pictures: choose"):
        _shape(tfds.features.Image(shape=(4, 4, 1), dtype=np.float32), tmp_path)
    with pytest.raises(UserError, match="holds no pictures: choose"):
        _shape(tfds.features.Tensor(shape=values.shape, dtype=np.float32), tmp_path)


LATER = [pytest.param(kind, marks=pytest.mark.slow) for kind in list(BROKEN)[1:]]


@pytest.fixture(scope="module", params=["cut", *LATER])
def broken(request, tmp_path_factory):
    """The folder of a set with one broken picture in each split."""
    bad = (BROKEN[request.param], 1)
    splits = {"train": [*WHOLE, bad], "test": [bad, *WHOLE[:5]]}
    return prepared(tmp_path_factory.mktemp(request.param), (None, None, 3), **splits)


def first_batches(feed, number, first_step=0):
    with contextlib.closing(feed.training(3, 0, first_step)) as batches:
        return [jax.device_get(feed.fetch(feed.constants, batch)) for batch in itertools.islice(batches, number)]


def test_a_broken_picture_is_named(broken):
    sentence = (
        r"^The picture in record \d+ of split '{}' of .*pictured/1.0.0 cannot be decoded \(.+\): .*skip_unreadable`$"
    )
    with pytest.raises(UserError, match=sentence.format("train")):
        load(broken, image_size=8)
    data = load(broken, image_size=8, stream=True)
    for crops in (True, False):
        training, testing = (StreamFeed(part, Classified((8, 8, 3), crops)) for part in (data.train, data.test))  # type: ignore
        with pytest.raises(UserError, match=sentence.format("train")):
            first_batches(training, 4)
        with pytest.raises(UserError, match=sentence.format("test")):
            list(testing.evaluation(2))


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["cut"], indirect=True)
def test_a_broken_picture_is_named_by_worker_processes(broken):
    data = load(broken, image_size=8, stream=True)
    with pytest.raises(UserError, match=r"^The picture in record \d+ of split 'train'") as error:
        first_batches(make_feed(data.train, data, workers=1), 4)
    assert error.value.__context__ is None  # it would hold memory that grain shares until the exit
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("broken", ["cut"], indirect=True)
def test_a_broken_picture_among_those_that_statistics_are_made_of_is_named(broken):
    records = load(broken, image_size=8, stream=True).train
    assert not isinstance(records, Split)
    with pytest.raises(UserError, match=r"record \d+ of split 'train'"):
        catalog._sample(records, (8, 8, 3))


@pytest.mark.parametrize("stream", [False, True])
def test_broken_pictures_are_left_out_and_counted(broken, stream):
    sentence = (
        r"^Pictures of pictured that .* left out: 1 of 12 to train on, 1 of 6 to evaluate on \(record .*, rec.*\)$"
    )
    with pytest.warns(UserWarning, match=sentence) as said:
        data = load(broken, image_size=8, stream=stream, skip_unreadable=True)
    assert len(said) == 1
    assert data.note.startswith("pictured without its broken pictures (2): ")
    assert (len(data.train), len(data.test)) == (11, 5)
    feed = make_feed(data.train, data)
    batches = first_batches(feed, 7)  # three make a pass
    labels = np.concatenate([labels for _, labels in batches])
    assert np.all(np.abs(np.bincount(labels[:9]) - [5, 4]) <= 1)
    again = first_batches(feed, 4, first_step=3)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(batches[3:])))
    tested = [mask.sum() for _, mask in make_feed(data.test, data).evaluation(3)]
    assert tested == [3, 2]  # each that is whole, once


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["cut"], indirect=True)
def test_workers_leave_out_the_same_pictures(broken):
    with warnings.catch_warnings(action="ignore"):
        data = load(broken, image_size=8, stream=True, skip_unreadable=True)
    threads, processes = (first_batches(make_feed(data.train, data, workers), 4) for workers in (0, 1))
    assert all(map(np.array_equal, jax.tree.leaves(threads), jax.tree.leaves(processes)))


def test_a_set_without_broken_pictures_is_as_it_was(jpeg_tfds):
    with warnings.catch_warnings(action="error"):
        checked = load(str(jpeg_tfds), image_size=8, skip_unreadable=True)
    assert isinstance(checked.train, Split)
    np.testing.assert_array_equal(checked.train.images, images_of(str(jpeg_tfds), False, 8))
    assert checked.note == load(str(jpeg_tfds), image_size=8).note


def test_a_split_with_broken_pictures_only_is_refused(tmp_path):
    path = prepared(tmp_path, (None, None, 3), train=[(b"", 0), (b"x", 1)], test=WHOLE)
    with pytest.raises(UserError, match=r"No picture of split 'train' of .* can be decoded"):
        load(path, image_size=8, skip_unreadable=True)
