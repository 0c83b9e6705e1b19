"""Resized copies of data sets: same labels, classes and order, smaller pictures, and nothing half made."""

import io

import numpy as np
import pytest
from PIL import Image
from test_decode import SMOOTH, exif, saved
from test_pictures import WHOLE, prepared

from conftest import CLASSES
from jsep.data import load
from jsep.data.decode import decode
from jsep.data.shrink import shrink, shrunk
from jsep.errors import UserError


@pytest.mark.parametrize("encoding", ["PNG", "JPEG"])
def test_the_shorter_side_gets_that_length(encoding):
    small = shrunk(saved(SMOOTH, encoding), 100, 95)
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (132, 100))  # of 132.78
    wanted = np.asarray(Image.fromarray(SMOOTH).resize((132, 100), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(decode(small, 3) - wanted).mean() < 3
    assert len(shrunk(saved(SMOOTH, encoding), 100, 50)) < len(small)


def test_a_turned_picture_is_stored_upright():
    turned = saved(np.ascontiguousarray(SMOOTH[:, ::-1].swapaxes(0, 1)), exif=exif(6))
    upright, wanted = (decode(shrunk(one, 100, 95), 3) for one in (turned, saved(SMOOTH)))
    np.testing.assert_array_equal(upright, wanted)


def test_a_small_picture_keeps_its_size_and_a_small_jpeg_its_bytes():
    small = saved(SMOOTH, "JPEG", exif=exif(6))
    assert shrunk(small, 300, 50) == small
    for short_side in (299, 400):
        assert decode(shrunk(saved(SMOOTH), short_side, 90), 3).shape == SMOOTH.shape
    assert decode(shrunk(saved(SMOOTH[..., 0]), 100, 90, 1), 1).shape == (100, 132, 1)


def test_a_copy_has_the_same_labels_classes_and_parts(jpeg_tfds, tmp_path, capfd):
    whole = load(str(jpeg_tfds), image_size=8, stream=True)
    reports = []
    copy = shrink(str(jpeg_tfds), 48, 80, tmp_path, report=lambda *numbers: reports.append(numbers))
    assert reports == [(done, 68) for done in range(69)]
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny_jpeg_48_q80"]  # no empty downloads
    assert copy.folder == tmp_path / "tiny_jpeg_48_q80" / "1.0.0"
    assert copy.images == 68
    assert 0 < copy.after < copy.before
    data = load(str(copy.folder), image_size=8, stream=True)
    assert data.class_names == CLASSES
    assert "shorter side of 48 pixels, as JPEG of quality 80" in data.note
    assert "quality 80" in (copy.folder / "dataset_info.json").read_text()
    assert (data.test.split, len(data.test)) == ("validation", 20)  # type: ignore[union-attr]
    for small, large in zip(data.train.__getitems__(range(48)), whole.train.__getitems__(range(48)), strict=True):  # type: ignore[union-attr]
        assert small["label"] == large["label"]
        assert small["image"] == shrunk(large["image"], 48, 80)
    assert shrink(str(jpeg_tfds), 48, 80, tmp_path) == (copy.folder, 68, 0, 0)  # it is there already


def test_a_broken_picture_ends_it_and_leaves_nothing(tmp_path):
    rows = [*WHOLE, (WHOLE[0][0][:500], 1)]
    path, home = prepared(tmp_path / "from", (None, None, 3), train=rows, test=WHOLE), tmp_path / "to"
    home.mkdir()
    with pytest.raises(UserError, match=r"The picture in record \d+ of split 'train' of .* cannot be decoded"):
        shrink(path, 16, data_dir=home)
    assert not list(home.rglob("*.*"))
    with pytest.warns(UserWarning, match="left out"):
        assert shrink(path, 16, data_dir=home, skip_unreadable=True).images == 22


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("mnist5k", {}, "mnist5k is part of jsep"),
        ("cifar10", {"short_side": 0}, "`short_side`=0: it must be at least 1"),
        ("cifar10", {"quality": 101}, "`quality`=101: it must be from 1 to 100"),
    ],
)
def test_wrong_values_are_refused(name, values, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        shrink(name, **{"short_side": 320, **values}, data_dir=tmp_path)
