"""Folders of pictures with boxes: COCO's and VOC's layouts give the same data set."""

import json
import shutil
from typing import Any

import annotated_sets as sets
import numpy as np
import pytest

from jsep.data import load
from jsep.data.objects import Boxed

LAYOUTS = {"coco": sets.coco, "voc": sets.voc}


def opened(root, **choice) -> Any:
    return load(str(root), image_size=16, task="detection", **choice)


def shown(part) -> list[tuple]:
    """Names, boxes and classes of the pictures of a part."""
    records = [part[index] for index in range(len(part))]
    names = [record["place"].rsplit("/", 1)[1].partition(".")[0] for record in records]
    objects = [record["objects"] for record in records]
    return [(name, one["boxes"].tolist(), one["labels"].tolist()) for name, one in zip(names, objects, strict=True)]


WANTED = {
    part: [
        (name, [list(box[:4]) for box in boxes], [sets.NAMES.index(box[4]) for box in boxes])
        for name, boxes in some.items()
    ]
    for part, some in sets.BOXES.items()
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, tmp_path):
    data = opened(LAYOUTS[layout](tmp_path))
    assert data.class_names == sets.NAMES
    assert (shown(data.train), shown(data.test)) == (WANTED["train"], WANTED["val"])
    assert isinstance(data.train, Boxed)
    assert data.train.labels() == [[0, 1], [1], [], [0, 0, 1]]
    assert data.shared == 0
    swapped = opened(tmp_path, train_split="val", eval_split="train")
    assert (shown(swapped.train), shown(swapped.test)) == (WANTED["val"], WANTED["train"])
    assert opened(tmp_path, eval_split="train").shared == 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_moved_set_is_the_same_and_another_box_makes_another(layout, tmp_path):
    first = opened(LAYOUTS[layout](tmp_path / "a")).fingerprint
    assert opened(LAYOUTS[layout](tmp_path / "b")).fingerprint == first
    name = "annotations/instances_val2017.json" if layout == "coco" else "Annotations/6.xml"
    before, after = ('"bbox": [4', '"bbox": [3') if layout == "coco" else ("<xmin>4<", "<xmin>3<")
    file = tmp_path / "b" / name
    file.write_text(file.read_text().replace(before, after))
    assert opened(tmp_path / "b").fingerprint != first


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_share_is_held_out_where_there_is_no_part_for_it(layout, tmp_path):
    root = LAYOUTS[layout](tmp_path)
    for file in (*root.glob("*/instances_val*"), *root.glob("*/*/val.txt")):
        file.unlink()
    data, again = opened(root), opened(root)
    assert sorted(shown(data.train) + shown(data.test)) == WANTED["train"]
    assert len(data.test) == 1
    assert shown(data.test) == shown(again.test)
    assert any(shown(opened(root, split_seed=seed).test) != shown(data.test) for seed in range(1, 9))
    assert len(opened(root, holdout=0.5).test) == 2
    assert sorted(shown(opened(root, eval_split="all").test)) == WANTED["train"]


def test_lists_are_not_needed(tmp_path):
    shutil.rmtree(sets.voc(tmp_path) / "ImageSets")
    data = opened(tmp_path)
    assert len(data.train) == 5
    assert len(data.test) == 1


@pytest.mark.parametrize("place", ["train2017", "images/train2017", "images", ""])
def test_pictures_lie_in_any_of_the_usual_folders(place, tmp_path):
    for part in ("train2017", "val2017"):
        (sets.coco(tmp_path / "old") / part).rename(tmp_path / part)
        target = tmp_path / "new" / place.replace("train2017", part)
        target.mkdir(parents=True, exist_ok=True)
        for file in (tmp_path / part).iterdir():
            shutil.copy(file, target)
        shutil.rmtree(tmp_path / part)
    for file in (tmp_path / "old" / "annotations").iterdir():
        shutil.copy(file, tmp_path / "new")
    data = opened(tmp_path / "new")
    assert (shown(data.train), shown(data.test)) == (WANTED["train"], WANTED["val"])


def test_two_years_are_told_apart_by_their_whole_names(tmp_path):
    root = sets.coco(tmp_path)
    for part in ("train", "val"):
        shutil.copy(root / "annotations" / f"instances_{part}2017.json", root / f"instances_{part}2014.json")
        shutil.copytree(root / f"{part}2017", root / f"{part}2014")
    data = opened(root, train_split="train2014", eval_split="val2017")
    assert (shown(data.train), shown(data.test)) == (WANTED["train"], WANTED["val"])
    assert "train2014" in data.train[0]["place"]


def test_areas_crowds_and_difficult_objects_are_read(tmp_path):
    content = sets.instances("train")
    content["annotations"][0] |= {"area": 7.5, "iscrowd": 1}
    del content["annotations"][1]["area"], content["annotations"][1]["iscrowd"]
    sets.write(sets.coco(tmp_path / "coco") / "annotations" / "instances_train2017.json", json.dumps(content))
    objects = opened(tmp_path / "coco").train[0]["objects"]
    assert objects["area"].tolist() == [7.5, 240]
    assert objects["crowd"].tolist() == [True, False]
    file = sets.voc(tmp_path / "voc") / "Annotations" / "1.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1", 1))
    objects = opened(tmp_path / "voc").train[0]["objects"]
    assert objects["area"].tolist() == [100, 240]
    assert objects["crowd"].tolist() == [True, False]


def test_boxes_are_cut_to_their_pictures_where_they_reach_a_pixel_beyond(tmp_path):
    content = sets.instances("train")
    content["annotations"][0]["bbox"] = [-0.5, 0, 33, 24.4]
    sets.write(sets.coco(tmp_path) / "annotations" / "instances_train2017.json", json.dumps(content))
    np.testing.assert_array_equal(opened(tmp_path).train[0]["objects"]["boxes"][0], [0, 0, 32, 24])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_with_wrong_boxes_can_be_left_out(layout, tmp_path):
    root = LAYOUTS[layout](tmp_path)
    if layout == "coco":
        content = sets.instances("train")
        content["annotations"][1]["bbox"] = [10, 8, 0, 12]
        sets.write(root / "annotations" / "instances_train2017.json", json.dumps(content))
    else:
        sets.write(root / "Annotations" / "1.xml", sets.xml([(10, 8, 10, 20, "dog")]))
    with pytest.warns(UserWarning, match=r"with wrong boxes are left out: 1 \(.*1\.png\)"):
        data = opened(root, skip_unreadable=True)
    assert shown(data.train) == WANTED["train"][1:]
    assert "without its pictures with wrong boxes (1): its figures do not compare" in data.note
