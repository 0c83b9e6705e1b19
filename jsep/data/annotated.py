"""Folders of pictures with boxes as data sets: what COCO's JSON and VOC's XML have in common, once they are read.

A set is a `Listing`: the pictures of each part, and what is known of each. Order and held-out pictures follow from
names, so they are the same on every machine.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jsep.data.choice import Data
from jsep.data.folders import chosen_parts
from jsep.data.listing import Parts, composed, few, shown
from jsep.data.objects import Boxed, faults, within
from jsep.data.prepared import Prepared
from jsep.data.records import fingerprint
from jsep.errors import UserError, counted

LONGEST = 1_000_000  # pixels of a side that a file may say a picture has


class Annotated(NamedTuple):
    """A picture and its objects, as a file describes them.

    Attributes:
        path: path of the picture below the folder of the set.
        file: the file that describes it.
        size: its height and width; 0 where the file does not say.
        boxes: boxes in pixels.
        classes: the name of the class of each object.
        crowd: which objects are crowds.
        areas: the area of each in pixels.
    """

    path: str
    file: Path
    size: tuple[int, int]
    boxes: Sequence[Sequence[float]]
    classes: Sequence[str]
    crowd: Sequence[bool]
    areas: Sequence[float]


class Listing(NamedTuple):
    """A set of pictures with boxes.

    Attributes:
        parts: the pictures of each part, as keys in a single class "".
        read: returns what is known of pictures, by their keys.
        names: names of the classes, in their order; None where they are those that the training part has, sorted.
    """

    parts: Parts
    read: Callable[[Sequence[str]], list[Annotated]]
    names: tuple[str, ...] | None


def open_boxed(path: Path, listing: Listing, choice: Data) -> Prepared:
    """Open a set of pictures with boxes.

    Args:
        path: the folder of the set.
        listing: what is in it.
        choice: the parts to take, the share to hold out, and whether to leave pictures out whose boxes are wrong.

    Raises:
        UserError: a part is missing, has no pictures or unknown classes, or a box is wrong.
    """
    first, second, parts = chosen_parts(path, listing.parts, choice)
    trained, tested = (listing.read(keys_of(path, parts, part)) for part in (first, second))
    names = listing.names or tuple(sorted({name for one in trained for name in one.classes}))
    if not names:
        raise UserError(f"The part {first!r} of {path} has no objects: choose another `train_split`")
    for one in tested:
        if strange := sorted(set(one.classes) - set(names)):
            raise UserError(
                f"{one.file} has the class {strange[0]}, which no picture to train on has: correct it, or add pictures "
                f"of it to the part {first!r}"
            )
    packed = [_packed(path, split, some, names) for split, some in ((first, trained), (second, tested))]
    train, test = (_correct(*one, leave_out=choice.skip_unreadable) for one in packed)
    shared = len(set(train.paths.tolist()) & set(test.paths.tolist()))
    name, lost, note = path.resolve().name, len(trained) + len(tested) - len(train) - len(test), ""
    if lost:
        note = (
            f"{name} without its pictures with wrong boxes ({lost:,}): its figures do not compare with published ones."
        )
    return Prepared(name, train, test, names, (None, None, 3), shared, fingerprint(names, train, test), note)


def keys_of(path: Path, parts: Parts, part: str) -> list[str]:
    """Return the keys of the pictures in a part of a set, in order.

    Raises:
        UserError: there are none.
    """
    classes = parts[part]
    assert isinstance(classes, Mapping)
    if not classes[""]:
        raise UserError(f"The part {part!r} of {path} has no pictures: add some, or choose another part")
    return sorted(classes[""], key=lambda key: (composed(key), key))


def _packed(
    folder: Path, split: str, found: Sequence[Annotated], names: Sequence[str]
) -> tuple[Boxed, Mapping[int, str]]:
    """Return a part, and what is wrong with its objects, see `faults`."""
    numbers = {name: number for number, name in enumerate(names)}
    counts = [len(one.classes) for one in found]
    boxes = np.array([box for one in found for box in one.boxes], np.float64).reshape(-1, 4)
    classes = np.array([numbers[name] for one in found for name in one.classes], np.int32)
    areas = np.array([area for one in found for area in one.areas], np.float32)
    crowd = np.array([flag for one in found for flag in one.crowd], bool)
    sizes = np.array([one.size for one in found], np.int32).reshape(-1, 2)
    of = np.repeat(sizes, counts, axis=0)
    paths = np.array([os.fsencode(one.path) for one in found])
    files = tuple(dict.fromkeys(one.file for one in found))
    listing = files[0] if len(files) == 1 else files[0].parent
    first = np.cumsum([0, *counts])
    part = Boxed(folder, split, listing, paths, sizes, first, within(boxes, of), classes, crowd, areas)
    return part, faults(boxes, classes, areas, of, len(names))


def _correct(part: Boxed, wrong: Mapping[int, str], *, leave_out: bool) -> Boxed:
    """Refuse wrong objects, unless the pictures that they are in are to be left out."""
    if not wrong:
        return part
    pictures = np.searchsorted(part.first, list(wrong), "right") - 1
    bad = sorted(set(pictures.tolist()))
    if not leave_out or len(bad) == len(part):
        others = f", and {counted(len(wrong) - 1, 'other object')} {'is' if len(wrong) == 2 else 'are'} wrong"
        raise UserError(
            f"{shown(part.path(int(pictures[0])))} in {part.listing} has {next(iter(wrong.values()))}"
            f"{others if len(wrong) > 1 else ''}: correct it there, or leave such pictures out with `skip_unreadable`"
        )
    where = few([shown(part.path(index)) for index in bad])
    warnings.warn(f"Pictures of {part.folder} with wrong boxes are left out: {len(bad):,} ({where})", stacklevel=2)
    return part.without(bad)
