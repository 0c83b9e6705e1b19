"""Folders of images and CSV files as data sets: parts, classes, held-out shares, damaged files."""

import contextlib
import hashlib
import itertools
import pickle
import shutil
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import pytest
from test_decode import SHOWN

from conftest import picture
from jsep.data import Split, catalog, folders, listing, load, make_feed
from jsep.data.folders import Pictures
from jsep.errors import UserError

TWO = "a/1.png b/1.png"


def pixels(name: str, shape: tuple[int, ...] = (8, 8, 3)) -> np.ndarray:
    """Pixels that follow from a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make(root: Path, names: str, contents: Mapping[str, bytes | str] = MappingProxyType({})) -> Path:
    """Write a picture at each path, and files with other contents."""
    files: dict[str, Any] = dict.fromkeys(names.split()) | dict(contents)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        content = picture(pixels(unicodedata.normalize("NFC", name)), "PNG") if content is None else content
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def opened(path: Path, **choice: Any) -> tuple[str, str, tuple[str, ...]]:
    """The files of both parts with their labels, and the classes."""
    data = load(str(path), stream=True, **choice)
    shown = []
    for part in (data.train, data.test):
        assert isinstance(part, Pictures)
        shown.append(" ".join(f"{name.decode()}={label}" for name, label in zip(part.paths, part.classes, strict=True)))
    return shown[0], shown[1], data.class_names


PARTS = "train/a/2.png train/a/1.png train/b/1.png val/b/5.png val/a/4.png"
LABELS = "path,label\n"
THREE = "x/1.png x/2.png x/3.png x/4.png"
LAYOUTS: dict[str, tuple[str, dict[str, str], dict[str, Any], tuple[str, str, str]]] = {
    "parts": (PARTS, {}, {}, ("train/a/1.png=0 train/a/2.png=0 train/b/1.png=1", "val/a/4.png=0 val/b/5.png=1", "ab")),
    "test": (f"{PARTS} test/b/6.png", {}, {"eval_split": "test"}, ("", "test/b/6.png=1", "ab")),
    "another word": (PARTS, {}, {"eval_split": "validation"}, ("", "val/a/4.png=0 val/b/5.png=1", "ab")),
    "validation before test": (
        "Training/a/1.png Training/b/1.png test/a/1.png Valid/b/1.png",
        {},
        {},
        ("", "Valid/b/1.png=1", "ab"),
    ),
    "a chosen part": (
        f"{PARTS} more/a/1.png more/b/2.png",
        {},
        {"train_split": "more"},
        ("more/a/1.png=0 more/b/2.png=1", "", "ab"),
    ),
    "no other part": (
        "train/a/1.png train/a/2.png train/b/1.png",
        {},
        {},
        ("train/a/1.png=0 train/b/1.png=1", "train/a/2.png=0", "ab"),
    ),
    "test without labels": (
        "train/a/1.png train/a/2.png train/b/1.png test/1.png",
        {},
        {},
        ("", "train/a/2.png=0", "ab"),
    ),
    "classes alone": ("a/1.png a/2.png b/1.png b/2.png", {}, {}, ("a/2.png=0 b/1.png=1", "a/1.png=0 b/2.png=1", "ab")),
    "everything": (
        "a/1.png a/2.png b/1.png b/2.png",
        {},
        {"eval_split": "all"},
        ("", "a/1.png=0 a/2.png=0 b/1.png=1 b/2.png=1", "ab"),
    ),
    "folders in classes": (
        "a/x/y/1.png a/2.png b/x/1.png b/2.png",
        {},
        {"eval_split": "all"},
        ("", "a/2.png=0 a/x/y/1.png=0 b/2.png=1 b/x/1.png=1", "ab"),
    ),
    "what is hidden": (
        f"{TWO} .c/1.png a/.1.png a/Thumbs.db __MACOSX/1.png",
        {},
        {"eval_split": "all"},
        ("", "a/1.png=0 b/1.png=1", "ab"),
    ),
    "a class called train": (
        "a/1.png train/1.png",
        {},
        {"eval_split": "all"},
        ("", "a/1.png=0 train/1.png=1", "a train"),
    ),
    "suffixes": (
        "a/1.JPEG a/2.Webp b/3.tif b/4.GIF",
        {},
        {"eval_split": "all"},
        ("", "a/1.JPEG=0 a/2.Webp=0 b/3.tif=1 b/4.GIF=1", "ab"),
    ),
    "csv": (
        THREE,
        {"s.csv": "path,label\nx/1.png,b\n./x/2.png,a\nx/3.png,a\nx/4.png,b\n"},
        {"eval_split": "all"},
        ("", "x/2.png=0 x/3.png=0 x/1.png=1 x/4.png=1", "ab"),
    ),
    "csv with parts": (
        THREE,
        {"s.csv": "\ufeffSplit; Filename ;Class\n\ntrain;x/1.png;b\ntrain;x/2.png;a\nvalid;x/3.png;a\n"},
        {},
        ("x/2.png=0 x/1.png=1", "x/3.png=0", "ab"),
    ),
    "csv of numbers": (
        THREE,
        {"s.csv": "id\timage\ttarget\n7\tx/1.png\t10\n8\tx/2.png\t9\n"},
        {"eval_split": "all"},
        ("", "x/2.png=0 x/1.png=1", "9 10"),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case, tmp_path):
    names, files, choice, (train, test, classes) = LAYOUTS[case]
    root = make(tmp_path, names, files)
    found = opened(next(root.glob("*.csv"), root), **choice)
    assert train in ("", found[0])
    assert test in ("", found[1])
    assert found[2] == tuple(classes.split() if " " in classes else classes)


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "nothing": ("", {}, {}, "holds neither pictures nor folders of them: put each picture into"),
    "no class folders": ("1.png 2.png", {}, {}, "holds 2 pictures but no class folders: .* or give a .csv"),
    "loose val": (
        "train/a/1.png train/b/1.png val/1.png val/2.png",
        {},
        {},
        "val holds 2 pictures but no class folders: .*ImageNet",
    ),
    "loose parts": ("train/1.png test/1.png", {}, {}, "train holds 1 picture but no class folders"),
    "one class": (
        "a/1.png a/2.png",
        {},
        {},
        "a single class with pictures, a, in its part .* one folder for each class",
    ),
    "only test": ("test/a/1.png test/b/1.png", {}, {}, "`train_split`=train: .* has no such part; it has test: give"),
    "an unknown part": (
        PARTS,
        {},
        {"eval_split": "dev"},
        "`eval_split`=dev: .* has no such part; it has train, val: give",
    ),
    "a piece": (
        PARTS,
        {},
        {"train_split": "train[:90%]"},
        r"`train_split`=train\[:90%\]: .* no sums or pieces .*`holdout`",
    ),
    "a part beside the held-out": (
        f"{TWO} a/2.png",
        {},
        {"eval_split": "test"},
        "has no such part; it has all, train, validation:",
    ),
    "a class in val only": (f"{PARTS} val/c/1.png", {}, {}, "'val' of .* has the class c, unlike 'train': add"),
    "another case": (
        f"{PARTS} val/B/1.png",
        {},
        {},
        "'val' of .* has the class B, unlike 'train', which calls it b: give it one",
    ),
    "an empty part": ("train/a/1.png train/b/1.png val/a/x.txt", {}, {}, "'val' of .* has no pictures"),
    "too few to hold out": (TWO, {}, {}, "'validation' of .* has no pictures"),
    "damaged heads": (
        "a/1.png b/1.png a/2.png",
        {"a/3.png": b"", "b/3.png": b"<html>"},
        {},
        r"a/3.png cannot be decoded \(it is empty\), nor can that in .*b/3.png: .*`skip_unreadable`$",
    ),
    "all damaged": (
        "",
        {"a/1.png": b"", "a/2.png": b"", "b/1.png": b""},
        {"skip_unreadable": True},
        "nor can 2 others",
    ),
    "another kind of file": ("", {"s.txt": "x"}, {}, "s.txt is a file: give a folder of images, or a .csv"),
    "csv without headings": (
        THREE,
        {"s.csv": "x/1.png,a\n"},
        {},
        r"no column of paths among its headings \(x/1.png, a\): call one path or image",
    ),
    "csv without labels": (THREE, {"s.csv": "path,kind\n"}, {}, "no column of labels"),
    "csv without rows": (THREE, {"s.csv": LABELS}, {}, "lists no pictures"),
    "csv with nothing": (THREE, {"s.csv": ""}, {}, r"no column of paths among its headings \(none\)"),
    "csv with a short line": (THREE, {"s.csv": f"{LABELS}x/1.png,a\nx/2.png\n"}, {}, "Line 3 of .*s.csv has no label"),
    "csv with two labels": (
        THREE,
        {"s.csv": f"{LABELS}x/1.png,a\nx/1.png,b\n"},
        {},
        r"lists x/1.png as a \(line 2\) and as b \(line 3\)",
    ),
    "csv in another encoding": (THREE, {"s.csv": f"{LABELS}x/1.png,é".encode("latin-1")}, {}, "is not in UTF-8"),
    "csv of missing files": (
        THREE,
        {"s.csv": f"{LABELS}x/1.png,a\nx/2.png,b\nx/9.png,b\n"},
        {},
        r"x/9.png is listed in .*s.csv, and there is no such file: correct the path there, or delete the line",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused(case, tmp_path):
    names, files, choice, sentence = REFUSED[case]
    root = make(tmp_path, names, files)
    for stream in (False, True):
        with pytest.raises(UserError, match=sentence):
            load(str(next(root.glob("s.*"), root)), stream=stream, **choice)


SAID: dict[str, tuple[str, dict[str, str], dict[str, Any], str]] = {
    "other files": (
        PARTS,
        {"train/a/x.txt": "", "train/a/y.xml": "", "train/b/z": ""},
        {},
        r"Left out of .*train: 3 files other than pictures \(.txt, .xml, no suffix\)$",
    ),
    "loose pictures": (f"{PARTS} train/1.png", {}, {}, "Left out of .*train: 1 picture outside class folders$"),
    "an empty class": (PARTS, {"train/c/.x": ""}, {}, "Folders of .* without pictures, which are no classes: c$"),
    "a class that is not evaluated": (
        f"{PARTS} train/c/1.png",
        {},
        {},
        "Classes of .* without pictures to evaluate on: c$",
    ),
    "a single picture": (f"{TWO} a/2.png", {}, {}, "Classes of .* without pictures to evaluate on: b$"),
    "a share that is not held out": (PARTS, {}, {"holdout": 0.5}, "has a part to evaluate on, so none is held out"),
    "repeated lines": (
        THREE,
        {"s.csv": f"{LABELS}x/1.png,a\nx/1.png,a\nx/2.png,a\nx/3.png,b\nx/4.png,b\n"},
        {},
        "Left out of .*: 1 line like earlier ones",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_left_out_is_said_in_one_line(case, tmp_path):
    names, files, choice, sentence = SAID[case]
    root = make(tmp_path, names, files)
    with pytest.warns(UserWarning, match=sentence) as said:
        load(str(next(root.glob("s.*"), root)), **choice)
    assert len(said) == 1


def test_a_share_is_not_held_out_of_a_set_that_has_parts(tiny_tfds):
    for name in ("mnist5k", str(tiny_tfds)):
        with pytest.warns(UserWarning, match="has a part to evaluate on, so none is held out"):
            load(name, split_seed=1)


def classes(**sizes: int) -> dict[str, list[str]]:
    return {name: [f"{name}/{i:03}.png" for i in range(size)] for name, size in sizes.items()}


def test_each_class_keeps_its_share():
    for share, wanted in ((0.2, [20, 2, 1, 0]), (0.5, [50, 6, 1, 0]), (0.99, [99, 11, 1, 0])):
        kept, held = folders._held_out(classes(a=100, b=12, c=2, d=1), share, 0)
        assert [len(names) for names in held.values()] == wanted
        assert [len(kept[name]) + len(held[name]) for name in kept] == [100, 12, 2, 1]


def test_the_same_pictures_are_held_out_everywhere():
    names = classes(a=10, b=10)
    turned = {label: [unicodedata.normalize("NFD", one) for one in files[::-1]] for label, files in names.items()}
    held = [folders._held_out(one, 0.3, 0)[1] for one in (names, turned)]
    assert (
        held[0]
        == held[1]
        == {
            "a": ["a/001.png", "a/004.png", "a/003.png"],
            "b": ["b/005.png", "b/008.png", "b/003.png"],
        }
    )
    accents = {"ü": [f"ü/é{i}.png" for i in range(20)]}
    apart = {"ü": [unicodedata.normalize("NFD", one) for one in accents["ü"]]}
    found = [folders._held_out(one, 0.3, 0)[1]["ü"] for one in (accents, apart)]
    assert found[0] == [unicodedata.normalize("NFC", one) for one in found[1]]
    assert folders._held_out(names, 0.3, 1)[1] != held[0]


@pytest.mark.filterwarnings("ignore")
def test_names_of_macos_are_the_same_set(tmp_path):
    apart = unicodedata.normalize("NFD", "é/ü.png é/a.png z/1.png z/2.png")
    one, other = (make(tmp_path / n, unicodedata.normalize(n, apart)) for n in ("NFC", "NFD"))
    sets = [load(str(folder), stream=True) for folder in (one, other)]
    assert sets[0].class_names == sets[1].class_names == ("z", "é")
    assert sets[0].fingerprint == sets[1].fingerprint


@pytest.mark.parametrize("stream", [False, True])
def test_pictures_of_any_mode_come_out_as_a_viewer_shows_them(stream, tmp_path):
    known = [(encoded, shown) for encoded, shown, _ in SHOWN.values() if shown.shape == (6, 8, 3)]
    for part, label, number in (("train", "a", len(known)), ("train", "b", 1), ("val", "a", 1)):
        for i, (encoded, _) in enumerate(known[:number]):
            make(tmp_path, "", {f"{part}/{label}/{i:02}.png": encoded})
    with warnings.catch_warnings(action="ignore"):
        data = load(str(tmp_path), image_size=6, stream=stream)
    feed = make_feed(data.train, data)
    found = np.concatenate([feed.fetch(feed.constants, batch)[0] for batch, _ in feed.evaluation(len(known) + 1)])
    wanted = np.stack([shown[:, 1:7] for _, shown in known])
    assert np.abs(found[:-1].astype(int) - wanted).max() <= 3


def sized(root: Path, *shapes: tuple[int, ...]) -> Path:
    for i, shape in enumerate(shapes):
        for label in "ab":
            make(root, "", {f"{label}/{i}.png": picture(pixels(f"{label}{i}", shape), "PNG")})
    return root


def test_sizes(tmp_path):
    grey = sized(tmp_path / "grey", (6, 6), (6, 6))
    assert load(str(grey)).image_shape == (6, 6, 3)
    assert load(str(grey), image_size=4).image_shape == (4, 4, 3)
    assert load(str(sized(tmp_path / "wide", (6, 9, 3), (6, 9, 3)))).image_shape == (6, 9, 3)
    mixed = str(sized(tmp_path / "mixed", (6, 9, 3), (9, 6, 3)))
    with pytest.raises(UserError, match="mixed differ in size: give an `image_size`, such as 224"):
        load(mixed)
    assert load(mixed, image_size=5).image_shape == (5, 5, 3)
    assert [load(mixed, image_size=5, stream=stream).ragged for stream in (False, True)] == [False, True]


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder with one cut file in each part, whose heads are whole, and an empty one."""
    cut = picture(pixels("cut", (64, 64, 3)), "PNG")[:6000]
    names = " ".join(f"{part}/{label}/{i}.png" for part in ("train", "val") for label in "ab" for i in range(4))
    return make(tmp_path / "set", names, {"train/a/8.png": cut, "val/b/8.png": cut, "train/b/9.png": b""})


def test_damaged_pictures_are_counted_and_left_out_on_request(broken):
    with pytest.raises(UserError, match=r"b/9.png cannot be decoded \(it is empty\): repair"):
        load(str(broken), image_size=8, stream=True)
    for stream in (False, True):
        sentence = r"left out: 2 of 10 to train on, 1 of 9 to evaluate on \(.*a/8.png, .*b/9.png, .*b/8.png\)$"
        with pytest.warns(UserWarning, match=sentence):
            data = load(str(broken), image_size=8, stream=stream, skip_unreadable=True)
        assert (len(data.train), len(data.test)) == (8, 8)
    (broken / "train/b/9.png").unlink()
    make(broken, "", {"train/b/7.png": (broken / "train/a/8.png").read_bytes()})
    with pytest.raises(UserError, match=r"a/8.png cannot be decoded \(.*\), nor can that in .*train/b/7.png"):
        load(str(broken), image_size=8)


def test_only_so_many_heads_are_read(broken, monkeypatch):
    monkeypatch.setattr(folders, "HEADS", 2)
    monkeypatch.setattr(catalog, "STATISTICS_SAMPLE", 1)
    data = load(str(broken), image_size=8, stream=True)
    with pytest.raises(UserError, match=r"train/a/8.png cannot be decoded"):
        list(make_feed(data.train, data).evaluation(4))


def test_links(tmp_path):
    root = make(tmp_path / "set", "a/1.png a/2.png")
    (root / "b").symlink_to(make(tmp_path / "elsewhere", "1.png 2.png"))
    assert load(str(root)).class_names == ("a", "b")
    (root / "a/3.png").symlink_to(root / "nowhere")
    with pytest.raises(UserError, match=r"a/3.png cannot be read \(No such file or directory\): make it"):
        load(str(root))
    (root / "a/3.png").unlink()
    (root / "a/again").symlink_to(root)
    with pytest.raises(UserError, match="a/again is a link to a folder that holds it: delete the link"):
        load(str(root))


@pytest.mark.parametrize(
    "change",
    [
        lambda root: make(root, "a/9.png"),
        lambda root: (root / "a/1.png").rename(root / "a/9.png"),
        lambda root: (root / "a").rename(root / "c"),
        lambda root: make(root, "", {"a/1.png": picture(pixels("other"), "PNG")}),
    ],
    ids=["added", "renamed", "class renamed", "replaced"],
)
def test_a_moved_set_is_the_same_and_a_changed_one_is_another(change, tmp_path):
    root = make(tmp_path / "one", "a/1.png a/2.png a/3.png b/1.png b/2.png b/3.png")
    one = load(str(root))
    moved = shutil.copytree(root, tmp_path / "two")
    assert load(str(moved)).fingerprint == load(str(moved), stream=True).fingerprint == one.fingerprint
    change(moved)
    assert load(str(moved)).fingerprint != one.fingerprint
    assert load(str(root), holdout=0.6).fingerprint != one.fingerprint


def test_pictures_in_both_parts_are_counted(tmp_path):
    root = make(tmp_path, PARTS)
    assert load(str(root)).shared == 0
    shutil.copy(root / "train/a/1.png", root / "val/a/9.png")
    shutil.copy(root / "train/b/1.png", root / "val/b/9.png")
    assert load(str(root)).shared == 2
    assert load(str(root), eval_split="train").shared == 3


def test_flat_pictures_of_one_size_are_not_the_same(tmp_path):
    for name in ("train/a/1", "train/b/1", "val/a/1", "val/b/1"):
        image = np.full((64, 64, 3), 255, np.uint8)
        image[0] = pixels(name, (64, 3))
        make(tmp_path, "", {f"{name}.bmp": picture(image, "BMP")})
    assert load(str(tmp_path)).shared == 0


def test_records_travel_to_workers(tmp_path):
    part = load(str(make(tmp_path, PARTS)), stream=True).train
    copy = pickle.loads(pickle.dumps(part))
    assert [copy[i] for i in range(3)] == copy.__getitems__([0, 1, 2]) == [part[i] for i in range(3)]  # type: ignore
    assert copy[0]["place"] == str(tmp_path / "train/a/1.png")
    assert [record["path"] for record in copy.__getitems__(range(3))] == ["a/1.png", "a/2.png", "b/1.png"]  # type: ignore


def batches(folder: Path, number: int, first_step: int = 0, workers: int = 0, **part: Any) -> list[Any]:
    data = load(str(folder), image_size=6, stream=True)
    with contextlib.closing(make_feed(data.train, data, workers).training(4, 0, first_step, **part)) as feed:
        return [jax.device_get(batch) for batch in itertools.islice(feed, number)]


def equal(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches_are_resumed_exactly_and_shared_by_hosts(workers, tmp_path):
    root = sized(tmp_path, *[(7 + i, 9, 3) for i in range(6)])
    whole = batches(root, 5)
    assert equal(batches(root, 2, 3, workers), whole[3:])
    halves = [batches(root, 5, part=(i, 2)) for i in range(2)]
    assert equal([jax.tree.map(lambda *rows: np.concatenate(rows), *pair) for pair in zip(*halves, strict=True)], whole)


def test_what_takes_long_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "PATIENCE", -1)
    root = make(tmp_path, PARTS)
    with pytest.warns(UserWarning, match="Listing the class folders of .*train takes a while: 1 of 2 so far$") as said:
        listing.listed(root, root / "train")
    assert len(said) == 1
    with pytest.warns(UserWarning, match="takes a while") as said:
        load(str(root))
    assert [f"Reading the heads of pictures in {root} takes a while: 1 of {n} so far" for n in (3, 2)] == [
        str(one.message) for one in said if "heads" in str(one.message)
    ]


def test_resident_and_streamed_pictures_are_the_same(tmp_path):
    root = make(tmp_path, PARTS)
    resident, streamed = (load(str(root), stream=stream) for stream in (False, True))
    assert isinstance(resident.train, Split)
    assert resident.mean == streamed.mean
    images = [batch[0] for batch, _ in make_feed(streamed.train, streamed).evaluation(3)]
    np.testing.assert_array_equal(images[0], resident.train.images)
    np.testing.assert_array_equal(resident.train.images[0], pixels("train/a/1.png"))
    assert resident.train.paths == ("a/1.png", "a/2.png", "b/1.png")
