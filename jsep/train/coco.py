"""The average precision of detections, as COCO defines it. The only file that knows hotcoco."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jsep.errors import UserError

FIGURES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


class Truth(NamedTuple):
    """The objects of a picture.

    Attributes:
        boxes: boxes in pixels of the picture.
        labels: their classes, from 0.
        crowd: which of them are crowds, in which any number of detections counts as neither right nor wrong.
        area: their areas in square pixels, which say whether an object is small, medium or large.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]


class Found(NamedTuple):
    """The detections in a picture.

    Attributes:
        boxes: boxes in pixels of the picture.
        labels: their classes, from 0.
        scores: their scores.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]


class Precisions(NamedTuple):
    """How well objects were found.

    Attributes:
        figures: COCO's twelve figures, see `average_precision`.
        by_class: "ap" and "ap50" of each class, NaN where it has no object to be found, and "objects", their number
            without crowds.
    """

    figures: dict[str, float]
    by_class: dict[str, np.ndarray]


def import_hotcoco() -> Any:
    """Return the module of hotcoco. Raises `UserError` if that extra is not installed."""
    try:
        import hotcoco
    except ImportError as error:
        raise UserError("Detectors are measured by hotcoco: pip install 'jsep[detection]'") from error
    return hotcoco


def average_precision(truths: Sequence[Truth], found: Sequence[Found], classes: int) -> dict[str, float]:
    """Return COCO's twelve figures, from 0 to 1; NaN where there is no object to be found.

    "ap" is the average precision, a mean over all classes and over the IoU thresholds 0.5, 0.55 ... 0.95; "ap50" and
    "ap75" are that of one threshold; "ar1", "ar10" and "ar100" are the recall with so many detections of a picture. Of
    small objects (under 32 x 32 square pixels), medium and large ones (over 96 x 96) there are those of their own.

    Args:
        truths: the objects of each picture.
        found: the detections in each picture, in the same order.
        classes: number of classes.

    >>> box = np.array([[0.0, 0.0, 40.0, 40.0]])
    >>> truth = Truth(box, np.array([0]), np.array([False]), np.array([1600.0]))
    >>> found = Found(box + 4, np.array([0]), np.array([0.5]))
    >>> figures = average_precision([truth], [found], classes=1)
    >>> [round(figures[name], 3) for name in ("ap", "ap50", "ap_small")]
    [0.4, 1.0, nan]
    """
    return precisions(truths, found, classes).figures


def precisions(truths: Sequence[Truth], found: Sequence[Found], classes: int) -> Precisions:
    """Return COCO's figures over all classes, and of each class. The arguments are those of `average_precision`."""
    hotcoco = import_hotcoco()
    numbers = np.repeat(np.arange(len(truths)), [len(one.labels) for one in truths])
    boxes, labels, crowd, area = (np.concatenate(column) for column in zip(*truths, strict=True))
    objects = np.bincount(labels[~crowd], minlength=classes)
    known = hotcoco.COCO.from_arrays(
        [{"id": number} for number in range(len(truths))],
        [{"id": label, "name": str(label)} for label in range(classes)],
        numbers,
        labels,
        _by_size(boxes),
        area=area.astype(np.float64),
        iscrowd=crowd,
    )
    numbers = np.repeat(np.arange(len(found)), [len(one.labels) for one in found])
    boxes, labels, scores = (np.concatenate(column).astype(np.float64) for column in zip(*found, strict=True))
    rows = np.column_stack([numbers, _by_size(boxes), scores, labels])
    evaluation = hotcoco.COCOeval(known, known.load_res(rows), "bbox")
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its table
        evaluation.run()
    stats = np.asarray(evaluation.stats, np.float64)
    # thresholds of IoU, levels of recall, classes, sizes of objects (all first), numbers of detections (100 last)
    kept = np.asarray(evaluation.eval["precision"], np.float64)[:, :, :, 0, -1].mean(1)
    kept = np.where(kept < 0, np.nan, kept)
    return Precisions(
        dict(zip(FIGURES, np.where(stats < 0, np.nan, stats).tolist(), strict=True)),
        {"ap": kept.mean(0), "ap50": kept[0], "objects": objects},
    )


def _by_size(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """Return boxes as (x1, y1, width, height)."""
    corner, other = np.split(boxes.astype(np.float64), 2, -1)
    return np.concatenate([corner, other - corner], -1)
