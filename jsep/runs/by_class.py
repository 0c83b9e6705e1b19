"""A close look at a network on its test images: figures by class, the confusion matrix and the worst mistakes."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jsep.data import Split, make_feed
from jsep.data.class_names import readable_names
from jsep.data.pictures import Subset
from jsep.errors import counted
from jsep.files import write_atomically, writing
from jsep.report.confusion import save_confusion
from jsep.report.sheet import Captioned, save_sheet
from jsep.results import write_rows
from jsep.train.evaluate import make_examination
from jsep.train.per_class import PerClass, confusion, predict_all
from jsep.train.setup import Setup

SHOWN = 30  # mistakes on a sheet


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """The scores of one class: a row of per_class.csv, see `jsep.train.per_class.PerClass`.

    Attributes:
        name: name of the class.
        precision: share of the images taken for the class that are of the class; NaN where there is none.
        recall: share of the images of the class that are taken for it; NaN where there is none.
        f1: harmonic mean of both; NaN where the class neither occurs nor is predicted.
        support: number of images of the class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int

    @property
    def counted(self) -> bool:
        """Whether the class counts in the means over all classes."""
        return self.support > 0


@dataclasses.dataclass(frozen=True)
class DetectedRow:
    """How well a detector finds the objects of one class: a row of its per_class.csv, see `jsep.train.coco.precisions`.

    Attributes:
        name: name of the class.
        ap: average precision, from 0 to 1; NaN where there is no object.
        ap50: that at an IoU of 0.5.
        objects: number of objects of the class, without crowds.
    """

    name: str
    ap: float
    ap50: float
    objects: int

    @property
    def counted(self) -> bool:
        """Whether the class counts in the means over all classes."""
        return not math.isnan(self.ap)


@dataclasses.dataclass(frozen=True)
class SegmentedRow:
    """How well a segmenter finds the pixels of one class: a row of its per_class.csv.

    Attributes:
        name: name of the class.
        iou: intersection over union, from 0 to 1; NaN where the class neither occurs nor was found.
        pixels: number of pixels of the class.
    """

    name: str
    iou: float
    pixels: int

    @property
    def counted(self) -> bool:
        """Whether the class counts in the means over all classes."""
        return not math.isnan(self.iou)


AnyRow = ClassRow | DetectedRow | SegmentedRow


@dataclasses.dataclass(frozen=True)
class ByClass:
    """The result of `evaluate_by_class`.

    Attributes:
        rows: the figures of each class, in the order of the labels.
        main: the figure by which classes are compared.
        mistakes: number of images with a wrong prediction; None where it is not images that are right or wrong.
        files: what was written, per_class.csv first.
    """

    rows: tuple[AnyRow, ...]
    main: str
    mistakes: int | None
    files: tuple[Path, ...]


Look = tuple[dict[str, float], ByClass]


def evaluate_by_class(setup: Setup, variables: Any, folder: Path, shown: int = SHOWN) -> Look:
    """Evaluate a network on every test image once, and write what it says about each class.

    The files are per_class.csv; of a classifier or segmenter confusion.csv and confusion.png, of images or of pixels;
    and of a classifier, unless no image is mistaken, mistakes.png, a contact sheet of the images whose wrong class has
    the largest probabilities.

    Args:
        setup: the network, the test images and the devices of this process.
        variables: the network's variables, replicated over the devices.
        folder: an existing folder for the files, which are replaced.
        shown: most mistakes on the sheet of a classifier.

    Returns:
        What `jsep.train.evaluate.make_evaluation` computes, and the figures of each class with the files.

    Raises:
        NotWritten: a file cannot be written.
    """
    looks = {"classification": _classifier, "detection": _detector, "segmentation": _segmenter}
    names = readable_names(setup.dataset.class_names, len(setup.dataset.class_names), setup.task.name)
    return looks[setup.task.name](setup, variables, folder, names, shown)


def _detector(setup: Setup, variables: Any, folder: Path, names: tuple[str, ...], _: int) -> Look:
    """Evaluate a detector."""
    figures, each = make_examination(setup)(variables)
    columns = (each[name].tolist() for name in ("ap", "ap50", "objects"))
    rows = tuple(DetectedRow(*row) for row in zip(names, *columns, strict=True))
    path = folder / "per_class.csv"
    with writing(folder):
        write_rows(path, rows)
    return figures, ByClass(rows, "ap", None, (path,))


def _segmenter(setup: Setup, variables: Any, folder: Path, names: tuple[str, ...], _: int) -> Look:
    """Evaluate a segmenter."""
    figures, each = make_examination(setup)(variables)
    rows = tuple(SegmentedRow(*row) for row in zip(names, each["iou"].tolist(), each["pixels"].tolist(), strict=True))
    paths = [folder / name for name in ("per_class.csv", "confusion.csv", "confusion.png")]
    with writing(folder):
        write_atomically(paths[1], _table(each["confusion"], names))
        pixels = f"{counted(int(each['pixels'].sum()), 'pixel')} of {counted(setup.testing.size, 'image')}"
        title = f"{setup.config.model} on {setup.dataset.name}: mIoU {figures['miou']:.2%}, {pixels}"
        save_confusion(paths[2], each["confusion"], names, title)
        write_rows(paths[0], rows)
    return figures, ByClass(rows, "iou", None, tuple(paths))


def _classifier(setup: Setup, variables: Any, folder: Path, names: tuple[str, ...], shown: int) -> Look:
    """Evaluate a classifier."""
    means, found = predict_all(setup, variables)
    matrix = confusion(found, len(names))
    scores = PerClass.of(matrix)
    columns = (scores.precision, scores.recall, scores.f1, scores.support)
    rows = [ClassRow(*row) for row in zip(names, *(column.tolist() for column in columns), strict=True)]
    worst, mistakes = found.worst(shown), int((found.predicted != found.labels).sum())
    told = f"{setup.config.model} on {setup.dataset.name}"
    paths = {name: folder / name for name in ("per_class.csv", "confusion.csv", "confusion.png", "mistakes.png")}
    with writing(folder):
        write_atomically(paths["confusion.csv"], _table(matrix, names))
        title = f"{told}: accuracy {means['accuracy']:.2%} of {counted(len(found.labels), 'image')}"
        save_confusion(paths["confusion.png"], matrix, names, title)
        if len(worst):
            pictures = [
                Captioned(
                    image,
                    (
                        f"{100 * found.confidence[i]:.1f} % {names[found.predicted[i]]}",
                        f"is {names[found.labels[i]]} ({100 * found.own[i]:.1f} %)",
                        place,
                    ),
                    right=False,
                )
                for i, image, place in zip(worst, _images(setup, worst), _places(setup, worst), strict=True)
            ]
            title = f"{told}: {len(worst):,} of {counted(mistakes, 'mistake')}, the surest first"
            save_sheet(paths["mistakes.png"], pictures, title)
        else:
            paths.pop("mistakes.png").unlink(missing_ok=True)  # that of an earlier evaluation
        write_rows(paths["per_class.csv"], rows)  # the last one, so that it says that the others are there
    return means, ByClass(tuple(rows), "f1", mistakes, tuple(paths.values()))


def _images(setup: Setup, indices: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w c"]:
    """Return some of the test images as the network sees them."""
    part = setup.dataset.test
    if isinstance(part, Split):
        return part.images[indices]
    feed = make_feed(Subset(part, indices), setup.dataset)
    (images, _), _ = next(iter(feed.evaluation(len(indices))))
    return images


def _places(setup: Setup, indices: Int[np.ndarray, " n"]) -> list[str]:
    """Return the paths of some of the test images in their part, or their numbers where they are not single files."""
    part = setup.dataset.test
    if isinstance(part, Split):
        paths = [part.paths[i] for i in indices] if part.paths else [""] * len(indices)
    else:
        paths = [record.get("path", "") for record in part.__getitems__(indices.tolist())]
    return [path or f"image {i:,}" for path, i in zip(paths, indices, strict=True)]


def _table(matrix: Int[np.ndarray, "k k"], names: Sequence[str]) -> str:
    """Return a confusion matrix as csv: a row for each true class, a column for each predicted one."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    return text.getvalue()
