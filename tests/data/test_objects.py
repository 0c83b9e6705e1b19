"""Objects in pictures: as records hold them, in batches, and of real data sets."""

import pickle
from pathlib import Path
from typing import Any

import annotated_sets as sets
import jax
import numpy as np
import pytest
from test_feed import equal, evaluation, joined, take

from conftest import picture
from jsep.boxes import Objects
from jsep.data import Augmentation, Data, load, load_choice, make_feed
from jsep.data.example import Detected, example_of
from jsep.data.objects import OBJECTS, room_for
from jsep.data.records import Part
from jsep.errors import UserError

TFDS = Path(__file__).parents[3] / "shared" / "tfds"
HOST = Augmentation(iou_crop=True, zoom_out=True)


def part(records, classes=2) -> Part:
    """Records as if TFDS had prepared them."""

    class Source(list):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    return Part(Source(records), Path("sets"), "train", (("a", 0, len(records)),), OBJECTS, classes)


def test_records_of_tfds_hold_boxes_in_pixels():
    found = part(sets.records())
    for record, boxes in zip(found.__getitems__(range(4)), sets.BOXES["train"].values(), strict=True):
        assert record["size"] == (sets.HEIGHT, sets.WIDTH)
        objects = record["objects"]
        np.testing.assert_allclose(objects["boxes"], np.reshape([box[:4] for box in boxes], (-1, 4)), atol=1e-5)
        assert objects["labels"].tolist() == [sets.NAMES.index(box[4]) for box in boxes]
        assert {name: array.dtype.name for name, array in objects.items()} == {
            "boxes": "float32",
            "labels": "int32",
            "crowd": "bool",
            "area": "float32",
        }
    assert found.labels() == [[0, 1], [1], [], [0, 0, 1]]
    np.testing.assert_allclose(found[0]["objects"]["area"], [100, 240], rtol=1e-6)


def test_areas_crowds_and_difficult_objects_are_read():
    record = sets.records()[0]
    record["objects"] |= {"area": [7, 9], "is_crowd": [True, False], "is_difficult": [False, False]}
    objects = part([record])[0]["objects"]
    assert objects["area"].tolist() == [7, 9]
    assert objects["crowd"].tolist() == [True, False]
    record["objects"] |= {"is_difficult": [False, True]}
    assert part([record])[0]["objects"]["crowd"].tolist() == [True, True]


@pytest.mark.parametrize(
    ("chosen", "found"), [(0, 3), (3, 3), (64, 64), (2, "`max_objects`=2: .* 3 objects: give `max_objects`=3")]
)
def test_the_room_for_objects_is_counted(chosen, found):
    parts = [part(sets.records()), part(sets.records()[:1])]
    if isinstance(found, int):
        assert room_for(parts, chosen) == found
    else:
        with pytest.raises(UserError, match=found):
            room_for(parts, chosen)


@pytest.fixture(scope="module")
def boxed(tmp_path_factory) -> Any:
    return load(str(sets.coco(tmp_path_factory.mktemp("coco"))), image_size=16, task="detection")


def test_a_batch_holds_padded_objects_in_pixels_of_the_image(boxed):
    assert (boxed.task, boxed.max_objects, boxed.image_shape) == ("detection", 3, (16, 16, 3))
    ((images, targets), mask), (_, rest) = make_feed(boxed.train, boxed).evaluation(3)
    assert isinstance(targets, Objects)
    assert (images.shape, images.dtype) == ((3, 16, 16, 3), np.uint8)
    scaled = np.array([(2, 3, 12, 13), (10, 8, 30, 20), (0, 0, 0, 0)]) * (0.5, 2 / 3, 0.5, 2 / 3)
    np.testing.assert_allclose(targets.boxes[0], scaled, rtol=1e-6)
    assert targets.labels.tolist() == [[1, 2, 0], [2, 0, 0], [0, 0, 0]]
    assert targets.valid.tolist() == [[True, True, False], [True, False, False], [False] * 3]
    assert (mask.tolist(), rest.tolist()) == ([1, 1, 1], [1, 0, 0])


def test_crowds_are_no_objects_to_learn(tmp_path):
    root = sets.coco(tmp_path)
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace('"iscrowd": 0', '"iscrowd": 1', 1))
    data: Any = load(str(root), image_size=16, task="detection")
    (_, targets), _ = next(make_feed(data.train, data).evaluation(4))
    assert targets.labels[0].tolist() == [2, 0, 0]
    assert data.train[0]["objects"]["crowd"].tolist() == [True, False]


def test_batches_follow_from_seed_and_step_and_their_shares_are_the_whole(boxed):
    feed = make_feed(boxed.train, boxed, how=HOST)
    whole = take(feed, 5, batch_size=2)
    assert equal(take(feed, 3, batch_size=2, first_step=2), whole[2:])
    assert equal(joined([take(feed, 5, batch_size=2, part=(i, 2)) for i in range(2)]), whole)
    assert not equal(whole[0], whole[2])
    for parts in (2, 10):
        found = joined([evaluation(feed, part=(i, parts)) for i in range(parts)])
        assert equal(found, joined([evaluation(feed)]))


@pytest.mark.slow  # each process begins by importing grain
def test_worker_processes_change_no_batch(boxed):
    threads, processes = (make_feed(boxed.train, boxed, workers, HOST) for workers in (0, 2))
    assert equal(take(processes, 4, batch_size=2), take(threads, 4, batch_size=2))


def test_every_object_of_a_changed_picture_has_extent_and_lies_in_it(boxed):
    feed = make_feed(boxed.train, boxed, how=HOST)
    for _, objects in take(feed, 30, batch_size=4):
        boxes = objects.boxes[objects.valid]
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= 16).all()
        assert (objects.boxes[~objects.valid] == 0).all()
        assert (objects.labels[~objects.valid] == 0).all()
        assert (objects.labels[objects.valid] > 0).all()


def test_boxes_that_lose_their_extent_are_dropped(boxed):
    record = boxed.train[0]
    record["objects"]["boxes"] = np.array([[20, 2, 20.002, 9], [4, 4, 9, 9]], np.float32)
    views = [
        Detected(4, 4, 2, Augmentation(zoom_out=True), (0, 0, 0)).training(record, np.random.default_rng(i))
        for i in range(40)
    ]
    found = np.array([objects.valid for _, objects in views]).sum(1)
    assert set(found) <= {1, 2}
    for _, objects in views:
        sides = np.asarray(objects.boxes)[:, 2:] - np.asarray(objects.boxes)[:, :2]
        assert (sides[np.asarray(objects.valid)] > 0).all()


def test_a_part_can_be_sent_to_other_processes(boxed):
    for one in (part(sets.records()).kind, boxed.train, example_of(boxed, HOST)):
        assert pickle.loads(pickle.dumps(one))


def test_a_record_with_more_objects_than_there_is_room_for_is_named(boxed):
    with pytest.raises(UserError, match=r"1\.png has 2 objects, and there is room for 1: give `max_objects`=2"):
        Detected(16, 16, 1, HOST, (0, 0, 0)).evaluation(boxed.train[0])


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({}, "scaled to squares: give an `image_size`, such as 320"),
        ({"image_size": 16, "crop_share": 0.5}, "`crop_share`=0.5: nothing of a picture is cut off"),
        ({"image_size": 16, "interpolation": "bicubic"}, "detection knows bilinear alone"),
        ({"image_size": 16, "max_objects": 2}, "a picture has 3 objects: give `max_objects`=3"),
        ({"image_size": 16, "train_split": "extra"}, "has no such part; it has train, val"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choice, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        load_choice(Data(str(sets.coco(tmp_path)), **choice), "detection")


@pytest.mark.parametrize(
    ("name", "task", "sentence"),
    [
        ("mnist5k", "detection", "it is a data set for classification: give the path of one for detection"),
        ("cifar10", "segmentation", "give the path of one for segmentation"),
        ("mnist5k", "detecting", "`task`=detecting: there is no such task; did you mean detection?"),
    ],
)
def test_named_sets_are_for_classification(name, task, sentence):
    with pytest.raises(UserError, match=sentence):
        load(name, task=task)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_other_sets_are_no_sets_for_the_task(tiny_tfds, tmp_path, task):
    for path in (tiny_tfds, tmp_path):
        with pytest.raises(UserError, match=f"no.* data set for {task}: "):
            load(str(path), image_size=8, task=task)


def test_changes_of_other_tasks_are_refused(boxed):
    with pytest.raises(UserError, match="`crop`=4: detection knows flip, jitter, iou_crop, zoom_out"):
        make_feed(boxed.train, boxed, how=Augmentation(crop=4))


def test_a_picture_that_cannot_be_decoded_is_named_or_left_out(tmp_path):
    root = sets.coco(tmp_path)
    (root / "train2017" / "2.png").write_bytes(picture(sets.pixels("2"), "PNG")[:200])
    data: Any = load(str(root), image_size=16, task="detection")
    with pytest.raises(UserError, match=r"2\.png cannot be decoded"):
        list(make_feed(data.train, data).evaluation(2))
    with pytest.warns(UserWarning, match="1 of 4 to train on"):
        data = load(str(root), image_size=16, task="detection", skip_unreadable=True)
    assert [len(labels) for labels in data.train.labels()] == [2, 0, 3]
    assert "without its broken pictures (1)" in data.note


REAL = {"bccd": (205, 72, 3, 28), "coco_mini": (70, 100, 80, 42)}


@pytest.mark.parametrize("name", REAL)
def test_real_sets(name):
    if not (TFDS / name).is_dir():
        pytest.skip(f"{name} is not beside the project")
    data: Any = load(str(TFDS / name), image_size=64, task="detection")
    assert (len(data.train), len(data.test), len(data.class_names), data.max_objects) == REAL[name]
    feed = make_feed(data.test, data)
    batches = [jax.device_get((*feed.fetch(feed.constants, batch), mask)) for batch, mask in feed.evaluation(32)]
    found = sum(int(objects.valid.sum()) for _, objects, _ in batches)
    records = [data.test[i]["objects"] for i in range(len(data.test))]
    assert found == sum(int((~one["crowd"]).sum()) for one in records) > 100
    assert all((o.boxes[o.valid][:, 2:] > o.boxes[o.valid][:, :2]).all() for _, o, _ in batches)
