"""Folders of pictures and masks as data sets: images/ and masks/, with or without parts, or VOC's SegmentationClass."""

import os
import warnings
from pathlib import Path

import numpy as np

from jsep.data.annotated import keys_of
from jsep.data.choice import Data
from jsep.data.folders import chosen_parts
from jsep.data.listing import ALL, KINDS, few, shown, subfolders
from jsep.data.masks import Masked, named_classes
from jsep.data.prepared import Prepared
from jsep.data.records import fingerprint
from jsep.data.voc import PICTURES, SEGMENTATIONS, by_stem, check_there, voc_parts
from jsep.errors import UserError

IMAGES, MASKS = "images", "masks"


def has_masks(root: Path) -> bool:
    """Return whether a folder is laid out as one of pictures and masks."""
    return (root / MASKS).is_dir() or (root / SEGMENTATIONS).is_dir()


def open_masked(root: Path, choice: Data) -> Prepared:
    """Open a folder of pictures and masks.

    Args:
        root: a folder with images/PART/NAME.jpg and masks/PART/NAME.png, or the same without parts; or one in VOC's
            layout. Names of classes are in classes.txt, if it is there.
        choice: the parts to take, and the share to hold out.

    Raises:
        UserError: a part, a picture or a mask is missing.
    """
    is_voc = (root / SEGMENTATIONS).is_dir()
    pictures, masks = (f"{one}/" for one in ((PICTURES, SEGMENTATIONS) if is_voc else (IMAGES, MASKS)))
    if not (root / pictures).is_dir():
        raise UserError(f"{root} has {masks} and no {pictures}: put the pictures there")
    shown_in, drawn_in = by_stem(root, pictures), by_stem(root, masks)
    if is_voc:
        parts = voc_parts(root, "Segmentation", sorted(drawn_in))
    else:
        chosen = (choice.train_split, choice.eval_split)
        inside = [one.name for one in subfolders(root / pictures) if one.name in chosen or one.name.lower() in KINDS]
        parts = {part: {"": [key for key in shown_in if key.startswith(f"{part}/")]} for part in inside}
        parts = parts or {ALL: {"": list(shown_in)}}
        if spare := sorted(set(drawn_in) - set(shown_in)):
            warnings.warn(
                f"Masks of {root} without pictures are left out: {few(list(map(shown, spare)))}", stacklevel=2
            )
    first, second, parts = chosen_parts(root, parts, choice)
    found = []
    for split in (first, second):
        keys = keys_of(root, parts, split)
        check_there(keys, shown_in, f"the part {split!r} of {root}", f"a picture in {root / pictures}")
        check_there(keys, drawn_in, f"the part {split!r} of {root}", f"a mask in {root / masks}")
        paths = (np.array([os.fsencode(there[key]) for key in keys]) for there in (shown_in, drawn_in))
        found.append((Masked(root, split, *paths), set(keys)))
    (train, ours), (test, theirs) = found
    names = named_classes(root)
    if names is None:
        values = [value for part in (train, test) for values in part.labels() for value in values]
        names = tuple(map(str, range(max(values, default=0) + 1)))
    same = fingerprint(names, train, test)
    return Prepared(root.resolve().name, train, test, names, (None, None, 3), len(ours & theirs), same)
