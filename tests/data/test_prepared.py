"""Opening prepared TFDS directories: the choice of parts, labels, and damaged files."""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import picture
from jsep.data import catalog, load, make_feed
from jsep.data.prepared import LABELS as KIND
from jsep.data.records import Part
from jsep.errors import UserError

Sets = Callable[..., Path]


@pytest.fixture(scope="session")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """Prepare a set of pictures whose grey tells their place: labels by part, and what TFDS calls the labels."""
    import tensorflow_datasets as tfds

    def make(parts: Mapping[str, Sequence[float]], label: Any = None, name: str = "small") -> Path:
        folder = tmp_path_factory.mktemp("sets")
        features: dict[str, Any] = {"image": tfds.features.Image(shape=(4, 4, 3), encoding_format="png")}
        if label is not False:
            features["label"] = label or tfds.features.ClassLabel(names=["dark", "bright"])

        class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            pkg_dir_path = tfds.core.Path(folder)
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> tfds.core.DatasetInfo:
                kept = tfds.features.FeaturesDict(features)
                return tfds.core.DatasetInfo(builder=self, features=kept, disable_shuffling=True)

            def _split_generators(self, dl_manager: Any) -> Any:
                return {part: self._generate_examples(labels) for part, labels in parts.items()}

            def _generate_examples(self, labels: Sequence[float]) -> Any:  # type: ignore[override]
                for i, value in enumerate(labels):
                    image = io.BytesIO(picture(np.full((4, 4, 3), i, np.uint8), "PNG"))
                    yield i, {"image": image, "label": value} if "label" in features else {"image": image}

        Small.name = name
        Small(data_dir=str(folder), file_format="array_record").download_and_prepare()
        return folder / name / "1.0.0"

    return make


LABELS = (0, 1, 0, 1)


@pytest.mark.parametrize(
    ("parts", "chosen", "sizes"),
    [
        ({"train": LABELS, "validation": LABELS[:3], "test": LABELS[:2]}, {}, (4, 3)),
        ({"train": LABELS, "validation": LABELS[:3], "test": [-1, -1]}, {}, (4, 3)),
        ({"train": LABELS, "validation": [-1, -1], "test": LABELS[:1]}, {}, (4, 1)),
        ({"train": LABELS, "test": LABELS[:2], "extra": LABELS}, {"train_split": "train+extra"}, (8, 2)),
        ({"train": LABELS}, {"train_split": "train[:75%]", "eval_split": "train[75%:]"}, (3, 1)),
        ({"one": LABELS, "two": LABELS[:3]}, {"train_split": "one", "eval_split": "two[1:]"}, (4, 2)),
    ],
)
def test_parts_with_labels_are_chosen(make_set, parts, chosen, sizes):
    folder = make_set(parts)
    for stream in (False, True):
        data = load(str(folder), stream=stream, **chosen)
        assert (len(data.train), len(data.test)) == sizes
        assert data.shared == 0


def test_a_named_set_takes_the_part_of_the_catalogue(make_set, monkeypatch):
    folder = make_set({"train": LABELS, "validation": LABELS[:3], "test": LABELS[:2]})
    monkeypatch.setitem(catalog.CATALOG, "known", catalog.CatalogEntry("small"))
    assert len(load("known", data_dir=folder.parent.parent).test) == 2


@pytest.mark.parametrize(
    ("parts", "chosen", "sentence"),
    [
        ({"train": LABELS}, {}, r"no part to evaluate on beside 'train': .*`train_split`='train\[:90%\]'"),
        ({"train": LABELS, "test": [-1, -1]}, {}, r"no part to evaluate on .*\(test: without labels\)"),
        ({"test": LABELS}, {}, "has no split 'train'; it has test: .*with `train_split`"),
        ({"train": LABELS, "test": LABELS}, {"eval_split": "dev"}, "has no split 'dev'; it has test, train"),
        ({"train": LABELS, "test": LABELS}, {"eval_split": "test[9"}, r"has no split 'test\[9'"),
        ({"train": LABELS, "test": LABELS}, {"train_split": "train[:0%]"}, r"'train\[:0%\]' of .* is empty"),
        ({"train": LABELS, "test": [0, -1]}, {}, "Record 1 of split 'test' of .* the label -1, .*from 0 to 1"),
        ({"train": LABELS, "test": [-1, -1]}, {"eval_split": "test"}, "Record 0 of split 'test' of .* the label -1"),
    ],
)
def test_parts_that_cannot_be_used_are_refused(make_set, parts, chosen, sentence):
    folder = make_set(parts)
    for stream in (False, True):
        with pytest.raises(UserError, match=sentence):
            load(str(folder), stream=stream, **chosen)


def test_images_in_both_parts_are_counted(make_set):
    folder = make_set({"train": LABELS})
    assert load(str(folder), eval_split="train[50%:]").shared == 2


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_labels_without_names_are_numbered(make_set, kind):
    import tensorflow_datasets as tfds

    folder = make_set({"train": [0, 1, 1], "test": [0, 3]}, tfds.features.Scalar(kind))
    for stream in (False, True):
        data = load(str(folder), stream=stream)
        assert data.class_names == ("0", "1", "2", "3")
        feed = make_feed(data.test, data)
        _, labels = feed.fetch(feed.constants, next(iter(feed.evaluation(2)))[0])
        assert sorted(labels.tolist()) == [0, 3]


@pytest.mark.parametrize(
    ("labels", "named", "sentence"),
    [
        ([0, 1, 0.5], False, "Record 2 of split 'train' of .* has the label 0.5"),
        ([0, float("nan"), 1], False, "Record 1 of split 'train' of .* has the label nan"),
        ([0, -1, 1], False, "Record 1 of split 'train' of .* has the label -1"),
        ([0, 1, 10**9], False, "Record 2 of split 'train' of .* has the label 1000000000"),
        ([0, 2, 1], True, "Record 1 of split 'train' of .* has the label 2.* from 0 to 1"),
        (None, True, "Record 0 of split 'train' of .* has no label"),
    ],
)
def test_wrong_labels_are_named_by_their_record(make_set, labels, named, sentence):
    import tensorflow_datasets as tfds

    scalar = tfds.features.Scalar(np.float64 if labels and isinstance(sum(labels), float) else np.int64)
    folder = make_set({"train": labels or LABELS, "test": [0, 1]}, scalar if labels else False)
    if named:  # as if the classes had been counted wrongly
        two = tfds.features.ClassLabel(names=["dark", "bright"])
        image = tfds.features.Image(shape=(4, 4, 3), encoding_format="png")
        tfds.features.FeaturesDict({"image": image, "label": two}).save_config(str(folder))
    for stream in (False, True):
        with pytest.raises(UserError, match=sentence):
            load(str(folder), stream=stream)


def test_the_labels_of_a_long_stream_are_checked_as_they_come(make_set, monkeypatch):
    folder = make_set({"train": [0, 1, 0, -1], "test": [0]})
    for name in ("catalog.STATISTICS_SAMPLE", "records.SAMPLED"):  # which read labels, too
        monkeypatch.setattr(f"jsep.data.{name}", 2)
    sentence = r"Record 3 of split 'train' of .* has the label -1"
    with pytest.raises(UserError, match=sentence):
        load(str(folder), stream=True)
    monkeypatch.setattr(catalog, "LABELS_AT_OPENING", 2)
    data = load(str(folder), stream=True)
    with pytest.raises(UserError, match=sentence):
        list(make_feed(data.train, data).evaluation(2))


def edited(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def shards(folder: Path, number: str) -> None:
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"4"', number, 1))


def records(folder: Path) -> Path:
    return next(folder.glob("*train.array_record*"))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: records(f).unlink(), "train.array_record-.* is missing or damaged"),
        (lambda f: records(f).write_bytes(b""), "train.array_record-.* is missing or damaged"),
        (lambda f: records(f).write_bytes(records(f).read_bytes()[:70_000]), "train.array_record-.* is missing or dam"),
        (lambda f: shards(f, '"7"'), "holds 4 records, where dataset_info.json beside it says 7"),
        (lambda f: shards(f, '"3"'), "holds 4 records, where dataset_info.json beside it says 3"),
        (lambda f: shards(f, '"0"'), "Split 'train' of .* is empty"),
        (lambda f: (f / "dataset_info.json").write_text("{"), "dataset_info.json is missing or damaged"),
        (lambda f: (f / "dataset_info.json").write_text("[]"), "dataset_info.json is missing or damaged"),
        (lambda f: (f / "dataset_info.json").write_bytes(b"\xff{}"), "dataset_info.json is missing or damaged"),
        (lambda f: edited(f / "dataset_info.json", name=""), "dataset_info.json is missing or damaged"),
        (lambda f: edited(f / "dataset_info.json", splits=[]), "has no split 'train'; it has none"),
        (lambda f: (f / "features.json").unlink(), "features.json is missing or damaged"),
        (lambda f: (f / "features.json").write_text("{"), "features.json is missing or damaged"),
        (lambda f: edited(f / "features.json", pythonClassName="no.Feature"), "features.json is missing or damaged"),
        (lambda f: edited(f / "features.json", featuresDict={"features": {}}), "not a data set for image classif"),
    ],
)
def test_damaged_files_are_named(make_set, tmp_path, damage, sentence):
    folder = shutil.copytree(make_set({"train": LABELS, "test": LABELS[:2]}), tmp_path / "small" / "1.0.0")
    damage(folder)
    with pytest.raises(UserError, match=sentence) as error:
        load(str(folder))
    assert str(folder) in str(error.value)


class Broken:
    """A source whose third record cannot be read, as if its bytes had been changed on the disk."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == 2:
            raise RuntimeError("hash mismatch")
        return {"image": b"", "label": 0}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]


def test_a_record_that_cannot_be_read_is_named():
    part = Part(Broken(), Path("sets"), "train", (("a", 0, 1), ("b", 5, 3)), KIND)
    with pytest.raises(UserError, match=r"b is damaged: record 2 of split 'train' .*\(hash mismatch\)"):
        part.labels()
