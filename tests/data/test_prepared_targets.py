"""Prepared TFDS directories with objects and with masks: which features are read, and which parts."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import annotated_sets as sets
import numpy as np
import pytest

from conftest import picture
from jsep.data import load, make_feed
from jsep.data.masks import decode_mask
from jsep.errors import UserError


@pytest.fixture(scope="module")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Prepare some of `annotated_sets.records` in each part, with objects and masks."""
    import tensorflow_datasets as tfds

    kinds: Any = tfds.features

    def make(parts: Mapping[str, Sequence[int]], label: Any = None, box: Any = None, name: str = "boxed") -> Path:
        folder = tmp_path_factory.mktemp("sets")
        objects = {"bbox": box or kinds.BBoxFeature(), "label": label or kinds.ClassLabel(names=list(sets.NAMES))}
        features = {
            "image": kinds.Image(shape=(None, None, 3), encoding_format="png"),
            "objects": kinds.Sequence({**objects, "is_crowd": np.bool_}),
            "segmentation_mask": kinds.Image(shape=(None, None, 1), encoding_format="png"),
            "name": kinds.Text(),
        }
        held, names = sets.records(), list(sets.BOXES["train"])

        class Boxed(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            pkg_dir_path = tfds.core.Path(folder)
            VERSION = tfds.core.Version("1.0.0")

            def _info(self) -> tfds.core.DatasetInfo:
                kept = kinds.FeaturesDict(features)
                return tfds.core.DatasetInfo(builder=self, features=kept, disable_shuffling=True)

            def _split_generators(self, dl_manager: Any) -> Any:
                return {part: self._generate_examples(which) for part, which in parts.items()}

            def _generate_examples(self, which: Sequence[int]) -> Any:  # type: ignore[override]
                for key, number in enumerate(which):
                    given = held[number]["objects"]
                    objects = [
                        {"bbox": kinds.BBox(*map(float, one)), "label": label, "is_crowd": False}
                        for one, label in zip(given["bbox"], given["label"], strict=True)
                    ]
                    image, mask = (picture(one(names[number]), "PNG") for one in (sets.pixels, sets.mask))
                    yield (
                        key,
                        {
                            "image": io.BytesIO(image),
                            "objects": objects,
                            "segmentation_mask": io.BytesIO(mask),
                            "name": names[number],
                        },
                    )

        Boxed.name = name
        Boxed(data_dir=str(folder), file_format="array_record").download_and_prepare()
        return folder / name / "1.0.0"

    return make


def test_objects_and_masks_are_read_from_one_set(make_set):
    folder = str(make_set({"train": [0, 1, 2, 3], "validation": [3, 0]}))
    data: Any = load(folder, image_size=16, task="detection")
    assert (data.name, data.class_names, data.max_objects) == ("boxed", sets.NAMES, 3)
    assert data.train.labels() == [[0, 1], [1], [], [0, 0, 1]]
    assert set(data.train[0]) == {"image", "objects", "size", "place"}
    boxes = np.array([box[:4] for box in sets.BOXES["train"]["4"]])
    np.testing.assert_allclose(data.test[0]["objects"]["boxes"], boxes, atol=1e-5)
    masked: Any = load(folder, image_size=16, task="segmentation")
    assert masked.class_names == ("0", "1", "2", "3")
    assert set(masked.train[0]) == {"image", "mask", "size", "place"}
    np.testing.assert_array_equal(decode_mask(masked.test[1]["mask"]), sets.mask("1"))
    assert len({data.fingerprint, masked.fingerprint}) == 2
    for one in (data, masked):
        images, _ = next(make_feed(one.train, one).training(4, 0, 0))
        assert images.shape == (4, 16, 16, 3)


def test_a_part_without_objects_is_not_evaluated_on_by_itself(make_set):
    folder = make_set({"train": [0, 1], "validation": [2], "test": [3]})
    data: Any = load(str(folder), image_size=16, task="detection")
    assert data.test.labels() == [[0, 0, 1]]
    assert load(str(folder), image_size=16, task="detection", eval_split="validation").test
    assert (
        load(str(folder), image_size=16, task="detection", train_split="test[:1]", eval_split="train+test").shared == 1
    )


def test_classes_without_names_are_numbered(make_set):
    folder = make_set({"train": [0, 2], "test": [3]}, label=np.int64)
    assert load(str(folder), image_size=16, task="detection").class_names == ("0", "1")


def test_names_of_mask_values_lie_beside_the_set(make_set):
    folder = make_set({"train": [0, 2], "test": [3]})
    (folder / "classes.txt").write_text("a\nb\nc\nd\n")
    assert load(str(folder), image_size=16, task="segmentation").class_names == ("a", "b", "c", "d")


def test_boxes_of_another_kind_are_refused(make_set):
    import tensorflow_datasets as tfds

    kinds: Any = tfds.features
    four = kinds.Tensor(shape=(4,), dtype=np.float32)
    with pytest.raises(UserError, match="not a data set for detection: choose one with the features image"):
        load(str(make_set({"train": [2], "test": [2]}, box=four)), image_size=16, task="detection")
    absolute = kinds.BBoxFeature(bbox_format="XYXY")
    with pytest.raises(UserError, match="in the format XYXY: prepare it again with REL_YXYX"):
        load(str(make_set({"train": [2], "test": [2]}, box=absolute)), image_size=16, task="detection")
