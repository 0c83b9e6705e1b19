"""Masks of pictures: the class of each pixel, as records hold them, checked as they are read.

A record for segmentation holds its `mask`, an encoded picture whose values are classes, and the `size` of both as
(height, width). In batches, pixels that are of no class have the value `IGNORED`.
"""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from jsep.data.decode import Unreadable, opened
from jsep.data.listing import reading, shown
from jsep.data.objects import UNKNOWN, size_of
from jsep.data.records import Kind, spread
from jsep.errors import UserError
from jsep.models.segmenter import IGNORED

NAMES = "classes.txt"  # beside the data: the names of the classes, one a line, in the order of their values
_FEATURES = ("segmentation_mask", "segmentation_label", "mask", "annotation", "label")  # what TFDS sets call masks


@dataclasses.dataclass(frozen=True, eq=False)
class Masked:
    """One part of a folder of pictures with masks: `Records` that are read from two files each.

    Attributes:
        folder: the folder of the set.
        split: the name of the part.
        paths: path of each picture below `folder`, in the encoding of the file system.
        masks: path of the mask of each, likewise.
    """

    folder: Path
    split: str
    paths: Shaped[np.ndarray, " n"]
    masks: Shaped[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, mask = (self.folder / os.fsdecode(one[index]) for one in (self.paths, self.masks))
        with reading(path):
            encoded = path.read_bytes()
        with reading(mask):
            record = {"image": encoded, "mask": mask.read_bytes()}
        where = f"The picture {shown(path)} with the mask {shown(mask)}"
        return {**_same_size(record, where, "correct one of them"), "place": shown(path)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def labels(self, most: int = sys.maxsize) -> list[list[int]]:
        """Return the classes in the masks of at most `most` pictures, at equal distances."""
        return [classes_in(self[index]) for index in spread(len(self), most)]


def decode_mask(encoded: bytes) -> Int[np.ndarray, "h w"]:
    """Decode a mask to the values that it holds: of a palette the indices, of colours one channel if all are equal.

    Args:
        encoded: a file of a format without loss, such as PNG.

    Raises:
        Unreadable: the file is damaged, or holds no picture, or one in colours.
    """
    with opened(encoded) as picture:
        values = np.asarray(picture)
        if picture.mode == "RGB" and (values == values[..., :1]).all():
            values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise Unreadable("its pixels are colours or fractions, and those of a mask are the numbers of classes")
    return values.astype(np.int32)


def classes_only(mask: Int[np.ndarray, "h w"], classes: int) -> UInt8[np.ndarray, "h w"]:
    """Return a mask as it is fed: `IGNORED` where the value is none of the classes.

    >>> classes_only(np.array([[0, 10, 11, 255]]), 11).tolist()
    [[0, 10, 255, 255]]
    """
    return np.where((mask >= 0) & (mask < classes), mask, IGNORED).astype(np.uint8)


def classes_in(record: Mapping[str, Any]) -> list[int]:
    """Return the classes in the mask of a record, in order; values from `IGNORED` are none.

    Raises:
        UserError: the mask cannot be decoded.
    """
    values = np.unique(decoded_mask(record))
    return values[values < IGNORED].tolist()


def decoded_mask(record: Mapping[str, Any]) -> Int[np.ndarray, "h w"]:
    """Return the values in the mask of a record.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        return decode_mask(record["mask"])
    except Unreadable as error:
        raise UserError(
            f"The mask of the picture in {record['place']} cannot be used ({error}): save it as a PNG whose values are "
            "classes from 0, and 255 for pixels of none"
        ) from error


def named_classes(folder: Path) -> tuple[str, ...] | None:
    """Return the names of classes in the file `NAMES` of a folder; None if there is none.

    Raises:
        UserError: the file cannot be read, repeats a name, or has one name, none, or more than masks have values.
    """
    path = folder / NAMES
    if not path.is_file():
        return None
    with reading(path):
        text = path.read_bytes().decode("utf-8-sig", "replace")
    names = tuple(filter(None, map(str.strip, text.splitlines())))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path} has {twice[0]} twice: give each class its own name")
    if not 2 <= len(names) <= IGNORED:
        raise UserError(f"{path} has {len(names)} names: give from 2 to {IGNORED}, one a line")
    return names


def _prepared_names(features: Mapping[str, Any], folder: Path) -> tuple[str, ...] | None:
    """Return the names of the classes in a TFDS set with masks; None where they have none."""
    import tensorflow_datasets as tfds

    images = [name for name, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if "image" not in images or not _feature(images):
        raise UserError(
            f"{folder} is not a data set for segmentation: choose one with the features image (pictures) and "
            "segmentation_mask (pictures whose values are classes)"
        )
    return named_classes(folder)


def _feature(names: Sequence[str] | Mapping[str, Any]) -> str | None:
    """Return the feature that holds masks."""
    return next((name for name in _FEATURES if name in names), None)


def _known(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get(_feature(record) or ""), bytes)


def _checked(record: Mapping[str, Any], where: str, classes: int) -> dict[str, Any]:
    """Return image, mask and size of a record of TFDS; see `Kind.checked`."""
    if not _known(record):
        raise UserError(f"{where} has no mask: leave it out when the data set is prepared")
    found = {"image": record["image"], "mask": record[_feature(record) or ""]}
    return _same_size(found, where, "correct one of them, and prepare the data set again")


def _same_size(record: dict[str, Any], where: str, remedy: str) -> dict[str, Any]:
    """Return a record with its `size`, after checking that its mask has the same."""
    size, other = size_of(record["image"]), size_of(record["mask"])
    if size != other and UNKNOWN not in (size, other):
        raise UserError(
            f"{where} is {size[1]}x{size[0]} as a viewer shows it, and its mask is {other[1]}x{other[0]}: {remedy}"
        )
    return {**record, "size": size}


MASKS = Kind(_prepared_names, _known, _checked, classes_in)
