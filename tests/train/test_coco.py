"""COCO's figures against pycocotools, and the sums that segmentation is measured by."""

import contextlib
import io

import jax.numpy as jnp
import numpy as np
import pytest

from jsep.train.coco import FIGURES, Found, Truth, average_precision, precisions
from jsep.train.segment import confusion, iou_by_class, mean_iou

CLASSES = 4


def scene(seed: int, pictures: int = 12):
    """Random objects, crowds among them, and detections near some of them; some pictures have neither."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for i in range(pictures):
        number = int(rng.integers(0, 8)) if i % 5 else 0
        corner = rng.uniform(0, 200, (number, 2))
        sides = rng.choice([12.0, 50.0, 150.0], (number, 1)) * rng.uniform(0.7, 1.3, (number, 2))
        boxes = np.concatenate([corner, corner + sides], 1)
        labels = rng.integers(0, CLASSES, number)
        truths.append(Truth(boxes.astype(np.float32), labels, rng.uniform(size=number) < 0.1, sides.prod(1)))
        again = rng.integers(0, number, 3 * number) if number else np.zeros(0, int)
        near = boxes[again] + rng.normal(0, 0.08, (len(again), 4)) * sides[again][:, [0, 1, 0, 1]]
        near = np.concatenate([near, np.array([[5.0, 5.0, 60.0, 60.0]])[: i % 3 % 2]])
        guess = np.where(rng.uniform(size=len(near)) < 0.8, np.append(labels[again], [0] * (i % 3 % 2)), 1)
        scores = np.round(rng.uniform(size=len(near)), 1)  # with ties
        found.append(Found(near.astype(np.float32), guess.astype(np.int32), scores.astype(np.float32)))
    return truths, found


def pycocotools(truths, found, classes=CLASSES):
    """The evaluation of pycocotools."""
    coco = pytest.importorskip("pycocotools.coco", reason="the reference is pycocotools")
    from pycocotools.cocoeval import COCOeval

    def sized(box):
        x1, y1, x2, y2 = map(float, box)
        return [x1, y1, x2 - x1, y2 - y1]

    known, answers = coco.COCO(), []
    known.dataset = {
        "images": [{"id": i} for i in range(len(truths))],
        "categories": [{"id": k, "name": str(k)} for k in range(classes)],
        "annotations": [],
        "info": {},
    }
    for i, (truth, own) in enumerate(zip(truths, found, strict=True)):
        for box, label, crowd, area in zip(*truth, strict=True):
            facts = {"area": float(area), "iscrowd": int(crowd), "bbox": sized(box)}
            number = len(known.dataset["annotations"]) + 1
            known.dataset["annotations"].append({"id": number, "image_id": i, "category_id": int(label), **facts})
        for box, label, score in zip(*own, strict=True):
            facts = {"score": float(score), "bbox": sized(box)}
            answers.append({"image_id": i, "category_id": int(label), **facts})
    with contextlib.redirect_stdout(io.StringIO()):
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(answers), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(4))
def test_the_twelve_figures_are_pycocotools(seed):
    truths, found = scene(seed)
    evaluation = pycocotools(truths, found)
    ours = average_precision(truths, found, CLASSES)
    assert tuple(ours) == FIGURES
    np.testing.assert_allclose(list(ours.values()), evaluation.stats, rtol=1e-9)
    assert 0.1 < ours["ap"] < ours["ap50"] < 1


def test_the_figures_of_each_class_are_pycocotools():
    """Six classes are detected. The fifth occurs only as a crowd, and the sixth not at all."""
    truths, found = scene(0)
    truths[1].crowd[:] = True
    truths[1].labels[:], found[1].labels[:], found[2].labels[:1] = 4, 4, 5
    figures, each = precisions(truths, found, CLASSES + 2)
    precision = pycocotools(truths, found, CLASSES + 2).eval["precision"][:, :, :, 0, -1]
    for k in range(CLASSES):
        np.testing.assert_allclose(each["ap"][k], precision[:, :, k].mean(), rtol=1e-9)
        np.testing.assert_allclose(each["ap50"][k], precision[0, :, k].mean(), rtol=1e-9)
    assert (precision[:, :, CLASSES:] == -1).all()
    for name in ("ap", "ap50"):
        assert np.isnan(each[name][CLASSES:]).all()
        assert np.nanmean(each[name]) == pytest.approx(figures[name], rel=1e-9)
        assert len(set(each[name][:CLASSES])) == CLASSES
    known = [label for truth in truths for label in truth.labels[~truth.crowd]]
    assert each["objects"].tolist() == [known.count(k) for k in range(CLASSES)] + [0, 0]


EMPTY = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
NOTHING, SILENCE = Truth(*EMPTY, np.zeros(0, bool), np.zeros(0)), Found(*EMPTY, np.zeros(0))
ONE = np.array([[0.0, 0.0, 40.0, 40.0]]), np.array([0])
THING, SAID = Truth(*ONE, np.array([False]), np.array([1600.0])), Found(*ONE, np.array([0.5]))


@pytest.mark.parametrize(
    ("truths", "found", "figure"),
    [
        ([THING, NOTHING], [SAID, SILENCE], 1),
        ([THING, NOTHING], [SILENCE, SILENCE], 0),
        ([THING, NOTHING], [SILENCE, SAID], 0),
        ([NOTHING, NOTHING], [SAID, SILENCE], np.nan),  # there is nothing to be found
        ([NOTHING], [SILENCE], np.nan),
    ],
)
def test_pictures_without_objects_or_detections(capfd, truths, found, figure):
    figures = average_precision(truths, found, 1)
    assert [figures["ap"], figures["ap_medium"]] == pytest.approx([figure] * 2, nan_ok=True)
    assert precisions(truths, found, 1).by_class["ap"].tolist() == pytest.approx([figure], nan_ok=True)
    assert np.isnan(figures["ap_small"])
    assert capfd.readouterr().out == ""  # the library prints a table


def test_a_confusion_matrix_of_pixels_leaves_ignored_ones_out():
    rng = np.random.default_rng(0)
    found, masks = rng.integers(0, 5, (3, 9, 7)), rng.integers(0, 5, (3, 9, 7))
    masks[:, :2] = 255
    expected = np.zeros((5, 5), int)
    for row, column in zip(masks[:, 2:].ravel(), found[:, 2:].ravel(), strict=True):
        expected[row, column] += 1
    ours = confusion(jnp.asarray(found), jnp.asarray(masks, jnp.int32), 5)
    np.testing.assert_array_equal(ours, expected)


def test_mean_iou_is_over_the_classes_that_occur_or_were_found():
    # class 0: 2 of 2 + 1; class 1: 1 of 1 + 2; class 2 was found but does not occur; class 3 does neither
    matrix = np.array([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(iou_by_class(matrix), [2 / 3, 1 / 3, 0, np.nan])
    assert mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)
    assert np.isnan(mean_iou(np.zeros((2, 2), int)))


@pytest.mark.slow  # for the import of PyTorch
def test_mean_iou_is_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    found, masks = (torch.as_tensor(rng.integers(0, 6, (2, 30, 30))) for _ in range(2))
    masks[masks == 4] = 255
    theirs = functional.multiclass_jaccard_index(found, masks, 6, ignore_index=255)
    matrix = confusion(jnp.asarray(found.numpy()), jnp.asarray(masks.numpy(), jnp.int32), 6)
    assert mean_iou(np.asarray(matrix)) == pytest.approx(float(theirs))
