"""Objects in pictures: boxes with classes as records hold them, checked as they are read, and padded for a batch.

A record for detection holds its `objects`, the boxes (x1, y1, x2, y2) in pixels of the picture as a viewer shows it,
and the `size` of that picture as (height, width). Crowds, and what VOC calls difficult, are no objects to learn; an
evaluation ignores them.
"""

import dataclasses
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jsep.boxes import Objects
from jsep.data.decode import Unreadable, measure
from jsep.data.listing import reading, shown
from jsep.data.records import LABELS_AT_OPENING, Kind, Records, spread
from jsep.errors import UserError

MANY = 1000  # objects of a picture; room for more is made where it is asked for, since each batch holds it
OUTSIDE = 1.0  # pixels that a box may reach beyond the picture, where it is cut: programs round in several ways
THIN = 1e-3  # pixels; a box with a shorter side has no extent
OPTIONAL = ("area", "is_crowd", "is_difficult")  # features of objects in TFDS sets that are read where there are any


@dataclasses.dataclass(frozen=True, eq=False)
class Boxed:
    """One part of a folder of pictures with boxes: `Records` that are read from one file each.

    Attributes:
        folder: the folder of the set.
        split: the name of the part.
        listing: the file or folder that says what is in the pictures.
        paths: path of each picture below `folder`, in the encoding of the file system.
        sizes: height and width of each, as the listing says; 0 where it does not.
        first: number of the first object of each picture in the arrays below, and at the end that of all objects.
        boxes: the boxes in pixels.
        classes: the class of each object.
        crowd: which are crowds.
        areas: the area of each in pixels.
    """

    folder: Path
    split: str
    listing: Path
    paths: Shaped[np.ndarray, " n"]
    sizes: Int[np.ndarray, "n 2"]
    first: Int[np.ndarray, " n_and_one"]
    boxes: Float[np.ndarray, "k 4"]
    classes: Int[np.ndarray, " k"]
    crowd: Bool[np.ndarray, " k"]
    areas: Float[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.path(index)
        with reading(path, self.listing):
            image = path.read_bytes()
        size, told = size_of(image), tuple(self.sizes[index].tolist())
        if told != (0, 0) and size not in (told, UNKNOWN):
            raise UserError(
                f"{shown(path)} is {size[1]}x{size[0]} as a viewer shows it, and {self.listing} says "
                f"{told[1]}x{told[0]}, so its boxes are for another picture: correct one of them"
            )
        of = slice(self.first[index], self.first[index + 1])
        objects = _described(*(array[of] for array in (self.boxes, self.classes, self.crowd, self.areas)))
        return {"image": image, "objects": objects, "size": size, "place": shown(path)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def labels(self, most: int = sys.maxsize) -> list[list[int]]:
        """Return the classes of the objects in at most `most` pictures, at equal distances."""
        return [self.classes[self.first[i] : self.first[i + 1]].tolist() for i in spread(len(self), most)]

    def without(self, pictures: Sequence[int]) -> "Boxed":
        """Return the part without some pictures."""
        stay = np.ones(len(self), bool)
        stay[list(pictures)] = False
        counts = np.diff(self.first)
        objects = np.repeat(stay, counts)
        arrays = {name: getattr(self, name)[objects] for name in ("boxes", "classes", "crowd", "areas")}
        first = np.cumsum([0, *counts[stay]])
        return dataclasses.replace(self, paths=self.paths[stay], sizes=self.sizes[stay], first=first, **arrays)

    def path(self, index: int) -> Path:
        """Return the path of a picture."""
        return self.folder / os.fsdecode(self.paths[index])


UNKNOWN = (1, 1)  # the size of a picture that cannot be read, which whoever decodes it reports


def size_of(encoded: bytes) -> tuple[int, int]:
    """Return height and width of an encoded picture without decoding it; `UNKNOWN` if its head is damaged."""
    try:
        return measure(io.BytesIO(encoded))
    except Unreadable:
        return UNKNOWN


def faults(
    boxes: Float[np.ndarray, "k 4"],
    labels: Int[np.ndarray, " k"],
    areas: Float[np.ndarray, " k"],
    sizes: Int[np.ndarray, "k 2"],
    classes: int,
) -> dict[int, str]:
    """Return what is wrong with objects, as words, by the number of the object.

    Args:
        boxes: boxes in pixels.
        labels: their classes.
        areas: their areas.
        sizes: height and width of the picture that each lies in; 0 where they are unknown.
        classes: number of classes that labels must lie below.

    >>> faults(np.array([[4.0, 3, 2, 9]]), np.array([0]), np.array([12.0]), np.array([[9, 9]]), 1)
    {0: 'the box (4, 3, 2, 9), whose right or lower side comes before the other one'}
    """
    with np.errstate(invalid="ignore"):
        low, high = boxes[:, :2], boxes[:, 2:]
        limits = np.where(sizes > 0, sizes, np.inf)[:, ::-1]
        outside = (low < -OUTSIDE) | (high > limits + OUTSIDE) | (low >= limits) | (high <= 0)
        wrong = {
            "the box {box}, which is not made of numbers": ~np.isfinite(boxes).all(1),
            "the box {box}, whose right or lower side comes before the other one": (high < low).any(1),
            "the box {box}, which has no extent": (high - low < THIN).any(1),
            "the box {box}, which lies outside the picture": outside.any(1),
            "the area {area:g}, which is no number from 0": ~(np.isfinite(areas) & (areas >= 0)),
            f"the class {{label}}, where classes are from 0 to {classes - 1}": (labels < 0) | (labels >= classes),
        }
    found: dict[int, str] = {}
    for what, where in wrong.items():
        for index in np.flatnonzero(where).tolist():
            box = f"({', '.join(f'{side:g}' for side in boxes[index].tolist())})"
            found.setdefault(index, what.format(box=box, area=float(areas[index]), label=labels[index]))
    return dict(sorted(found.items()))


def within(boxes: Float[np.ndarray, "k 4"], sizes: Int[np.ndarray, "k 2"]) -> Float[np.ndarray, "k 4"]:
    """Cut what boxes reach beyond their pictures, whose sizes are 0 where they are unknown."""
    limits = np.where(sizes > 0, sizes, np.inf)[:, [1, 0, 1, 0]]
    return np.clip(boxes, 0, limits).astype(np.float32)


def room_for(parts: Sequence[Records], chosen: int) -> int:
    """Return the number of objects that batches have room for in each picture: what is chosen, or the most there are.

    Args:
        parts: the parts of a data set.
        chosen: a number; 0 for the most that a picture has, for which all records of a TFDS set are read.

    Raises:
        UserError: a picture has more than are chosen, or more than `MANY` where nothing is chosen, or none has any.
    """
    counts = []
    for part in parts:
        all_at_hand = isinstance(part, Boxed)
        looked_at = part.labels(LABELS_AT_OPENING if chosen and not all_at_hand else sys.maxsize)
        counts += map(len, looked_at)
    most = max(counts, default=0)
    if not most:
        raise UserError("No picture of the data set has an object: choose other parts with `train_split`")
    if chosen and most > chosen:
        raise UserError(f"`max_objects`={chosen}: a picture has {most:,} objects: give `max_objects`={most}")
    if not chosen and most > MANY:
        raise UserError(
            f"A picture has {most:,} objects, and every batch would hold room for as many: leave the picture out, or "
            f"give `max_objects`={most} if this is meant"
        )
    return chosen or most


def padded(boxes: Float[np.ndarray, "k 4"], labels: Int[np.ndarray, " k"], most: int, place: str) -> Objects:
    """Return the objects of one picture in arrays of a fixed size, with classes from 1.

    Args:
        boxes: boxes in pixels of the network's input.
        labels: their classes from 0.
        most: number of objects that there is room for.
        place: words that say where the picture is, for messages.

    Raises:
        UserError: there are more objects.

    >>> padded(np.ones((1, 4), np.float32), np.array([2]), 3, "a.jpg").labels.tolist()
    [3, 0, 0]
    """
    number = len(boxes)
    if number > most:
        raise UserError(
            f"The picture in {place} has {number:,} objects, and there is room for {most:,}: give `max_objects`="
            f"{number}, or leave `max_objects` out so that they are counted"
        )
    room = ((0, most - number),)
    return Objects(
        boxes=np.pad(boxes.astype(np.float32), (*room, (0, 0))),  # type: ignore[arg-type] (numpy on the host)
        labels=np.pad(labels.astype(np.int32) + 1, room),  # type: ignore[arg-type]
        valid=np.arange(most) < number,  # type: ignore[arg-type]
    )


def _prepared_names(features: Mapping[str, Any], folder: Path) -> tuple[str, ...] | None:
    """Return the names of the classes in a TFDS set with objects; None for classes that are plain numbers.

    Raises:
        UserError: it is no data set for detection.
    """
    import tensorflow_datasets as tfds

    kinds: Any = tfds.features
    sequence: Any = features.get("objects")
    inner: Any = getattr(sequence, "feature", None)
    fields: dict[str, Any] = dict(inner.items()) if isinstance(inner, kinds.FeaturesDict) else {}
    box: Any = fields.get("bbox")
    label: Any = fields.get("label")
    number = isinstance(label, kinds.Tensor) and label.shape == () and np.dtype(label.np_dtype).kind in "iu"
    if not (isinstance(features.get("image"), kinds.Image) and isinstance(box, kinds.BBoxFeature) and number):
        raise UserError(
            f"{folder} is not a data set for detection: choose one with the features image (pictures) and objects (a "
            "sequence with bbox and label)"
        )
    form = getattr(box.bbox_format, "name", None) or "REL_YXYX"
    if form != "REL_YXYX":
        raise UserError(f"The boxes of {folder} are in the format {form}: prepare it again with REL_YXYX")
    return tuple(label.names) if getattr(label, "num_classes", None) else None


def _checked(record: Mapping[str, Any], where: str, classes: int) -> dict[str, Any]:
    """Return image, objects and size of a record of TFDS.

    Args:
        record: the record, its image encoded.
        where: words that say where it is, for messages.
        classes: number of classes that labels must lie below.

    Raises:
        UserError: an object is wrong.
    """
    size, held = size_of(record["image"]), record.get("objects") or {}
    given = {name: np.asarray(values) for name, values in held.items() if values is not None}
    boxes = given.get("bbox", np.zeros(0)).reshape(-1, 4)[:, [1, 0, 3, 2]].astype(np.float32)
    number = len(boxes)
    if wrong := [name for name in ("label", *OPTIONAL) if len(given.get(name, boxes)) != number]:
        raise UserError(f"{where} has {number} boxes, and another number of {wrong[0]}: prepare the data set again")
    boxes = boxes * np.asarray([*size[::-1]] * 2, np.float32)
    labels, sizes = np.asarray(given.get("label", ()), np.int64), np.broadcast_to(size, (number, 2))
    areas = np.asarray(given.get("area", np.prod(boxes[:, 2:] - boxes[:, :2], 1)), np.float32)
    crowd = np.zeros(number, bool)
    for name in ("is_crowd", "is_difficult"):
        crowd = crowd | given.get(name, crowd).astype(bool)
    for fault in faults(boxes, labels, areas, sizes, classes).values():
        raise UserError(f"{where} has {fault}: correct it, and prepare the data set again")
    return {"image": record["image"], "objects": _described(within(boxes, sizes), labels, crowd, areas), "size": size}


def _described(boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray, areas: np.ndarray) -> dict[str, np.ndarray]:
    return {"boxes": boxes, "labels": labels.astype(np.int32), "crowd": crowd, "area": areas.astype(np.float32)}


def _known(record: Mapping[str, Any]) -> bool:
    return len((record.get("objects") or {}).get("label") or ()) > 0


def _labels(record: Mapping[str, Any]) -> list[int]:
    return record["objects"]["labels"].tolist()


OBJECTS = Kind(_prepared_names, _known, _checked, _labels)
