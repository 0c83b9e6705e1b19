"""Folders of images as data sets: train/ and val/ of class folders, class folders alone, or a CSV of paths and labels.

Opening such a set lists the names of its files and reads the heads of some; pictures are read when they are asked for.
Order, classes and held-out pictures follow from names in Unicode's NFC form, so they are the same on every machine.
"""

import dataclasses
import hashlib
import io
import json
import os
import sys
import warnings
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from jsep.data.choice import Data
from jsep.data.decode import Unreadable, measure
from jsep.data.listing import (
    ALL,
    THREADS,
    Classes,
    Parts,
    composed,
    csv_parts,
    few,
    folder_parts,
    listed,
    named,
    patiently,
    reading,
    shown,
)
from jsep.data.pictures import undecodable
from jsep.data.prepared import Prepared
from jsep.data.records import spread
from jsep.errors import UserError

HEADS = 50_000  # most pictures of a part whose heads are read at opening
BLOCK = 4096  # bytes of a file, from its middle, that tell it from others of its size


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """One part of a folder of images: `Records` that are read from one file each.

    Each record also has the `path` of its file in this part.

    Attributes:
        folder: the folder of the set, or of its CSV.
        split: the name of the part.
        paths: path of each file below `folder`, in the encoding of the file system.
        classes: the class of each.
        listing: the CSV that lists them; None where they lie in class folders.
    """

    folder: Path
    split: str
    paths: Shaped[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]
    listing: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.path(index)
        inside = shown(os.fsdecode(self.paths[index])).removeprefix(f"{self.split}/")
        with reading(path, self.listing):
            image = path.read_bytes()
        return {"image": image, "label": int(self.classes[index]), "place": shown(path), "path": inside}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def labels(self, most: int = sys.maxsize) -> list[int]:
        """Return the labels of at most `most` pictures, at equal distances."""
        return self.classes[list(spread(len(self), most))].tolist()

    def path(self, index: int) -> Path:
        """Return the path of a picture."""
        return self.folder / os.fsdecode(self.paths[index])


@dataclasses.dataclass(frozen=True)
class Head:
    """The head of a file.

    Attributes:
        shape: height and width of the picture; None if it is damaged.
        reason: how it is damaged.
        mark: the size of the file and a checksum of bytes in its middle, which tell other files from it.
    """

    shape: tuple[int, int] | None
    reason: str
    mark: tuple[int, int]


def open_folder(path: Path, choice: Data) -> Prepared:
    """Open a folder of images, or a CSV file that lists images.

    Args:
        path: a folder that holds parts (train/, val/, test/) of class folders, a folder of class folders, or a .csv
            with a column of paths, one of labels, and perhaps one of parts.
        choice: the parts to take, and the share to hold out where there is no part to evaluate on.

    Raises:
        UserError: there are no pictures in classes, a part is missing, parts have different classes, or pictures are
            unreadable and are not to be left out.
    """
    is_csv = path.is_file()
    parts = csv_parts(path) if is_csv else folder_parts(path, (choice.train_split, choice.eval_split))
    first, second, parts = chosen_parts(path, parts, choice)
    trained, tested = (_classes(path, parts[part]) for part in (first, second))
    names = _class_names(path, trained, tested, first, second, numbered=is_csv)
    folder = path.parent if is_csv else path
    listing = path if is_csv else None
    train, test = (_part(folder, split, one, names, listing) for split, one in ((first, trained), (second, tested)))
    heads = _heads(train), _heads(test)
    shapes = _checked((train, test), heads, leave_out=choice.skip_unreadable)
    height, width = shapes.pop() if len(shapes) == 1 else (None, None)
    name = path.stem if is_csv else path.resolve().name
    shared, fingerprint = _shared((train, test), heads), _fingerprint(names, (train, test), heads)
    return Prepared(name, train, test, names, (height, width, 3), shared, fingerprint)


def chosen_parts(path: Path, parts: Parts, choice: Data) -> tuple[str, str, Parts]:
    """Return the parts to train and to evaluate on, after holding out pictures where there is none for that.

    Args:
        path: the data set.
        parts: the parts that it has.
        choice: the parts to take, and the share to hold out.

    Returns:
        The names of both parts, and all parts there are now.

    Raises:
        UserError: a part is missing.
    """
    parts = _with_held_out(path, parts, choice)
    first = named(choice.train_split or "train", parts)
    second = named(choice.eval_split, parts) if choice.eval_split else _evaluated(parts)
    for field, found in (("train_split", first), ("eval_split", second)):
        if found is None:
            raise UserError(
                f"`{field}`={getattr(choice, field) or 'train'}: {path} has no such part; it has {', '.join(parts)}: "
                "give one of them (there are no sums or pieces of parts in a folder; `holdout` is the share to "
                "evaluate on where there is no part for that)"
            )
    assert first is not None
    assert second is not None
    return first, second, parts


def _evaluated(parts: Iterable[str]) -> str | None:
    """Return the part that is evaluated on by default."""
    return named("validation", parts) or named("test", parts)


def none_held_out(name: str, choice: Data) -> None:
    """Tell somebody who chose what to hold out of a data set that it has a part to evaluate on already."""
    if (choice.holdout, choice.split_seed) != (Data.holdout, Data.split_seed):
        warnings.warn(f"{name} has a part to evaluate on, so none is held out", stacklevel=2)


def _classes(root: Path, part: Path | Classes) -> Classes:
    return listed(root, part) if isinstance(part, Path) else part


def _with_held_out(path: Path, parts: Parts, choice: Data) -> Parts:
    """Hold out pictures to evaluate on, unless there is a part for that."""
    whole = named(choice.train_split or "train", parts) or (ALL if ALL in parts else None)
    own = named(choice.eval_split, parts) if choice.eval_split else None
    if whole is None or _evaluated(parts) or own not in (None, whole):
        none_held_out(str(path), choice)
        return parts
    classes = _classes(path, parts[whole])
    kept, held = _held_out(classes, choice.holdout, choice.split_seed)
    return {**parts, "train" if whole == ALL else whole: kept, "validation": held, ALL: classes}


def _held_out(classes: Classes, share: float, seed: int) -> tuple[Classes, Classes]:
    """Split the files of every class: those whose hashes come first are held out.

    At least one is held out and one is kept; a single one is kept.
    """

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{composed(name)}".encode(errors="surrogateescape")).digest()

    kept, held = {}, {}
    for label, names in classes.items():
        ranked, number = sorted(names, key=rank), min(max(1, round(share * len(names))), len(names) - 1)
        held[label], kept[label] = ranked[: max(0, number)], ranked[max(0, number) :]
    return kept, held


def _class_names(
    path: Path, trained: Classes, tested: Classes, first: str, second: str, *, numbered: bool
) -> tuple[str, ...]:
    """Check that the parts have the same classes, and return their names: sorted, and as numbers if all are."""
    names = sorted(label for label, files in trained.items() if files)
    if numbered and all(map(str.isdecimal, names)):
        names.sort(key=int)
    empty = sorted(label for label, files in trained.items() if not files)
    if len(names) < 2:
        found = f"a single class with pictures, {names[0]}," if names else "no pictures"
        raise UserError(f"{path} has {found} in its part {first!r}: give a folder with one folder for each class")
    if empty:
        warnings.warn(f"Folders of {path} without pictures, which are no classes: {few(empty)}", stacklevel=2)
    held = {label for label, files in tested.items() if files}
    if strange := sorted(held - set(names)):
        alike = [name for name in names if name.casefold() == strange[0].casefold()]
        what = f", which calls it {alike[0]}: give it one name" if alike else ": add pictures of it there, or move it"
        raise UserError(f"The part {second!r} of {path} has the class {strange[0]}, unlike {first!r}{what}")
    if not held:
        raise UserError(f"The part {second!r} of {path} has no pictures: add some, or choose another `eval_split`")
    if absent := [name for name in names if name not in held]:
        warnings.warn(f"Classes of {path} without pictures to evaluate on: {few(absent)}", stacklevel=2)
    return tuple(names)


def _part(folder: Path, split: str, classes: Classes, names: Sequence[str], listing: Path | None) -> Pictures:
    """Put the files of a part into order: by class, then by name."""
    found = [sorted(classes.get(name, ()), key=lambda file: (composed(file), file)) for name in names]
    paths = np.array([os.fsencode(file) for files in found for file in files])
    labels = np.repeat(np.arange(len(names), dtype=np.int32), [len(one) for one in found])
    return Pictures(folder, split, paths, labels, listing)


def _heads(part: Pictures) -> list[Head]:
    """Read the heads of at most `HEADS` pictures of a part, at equal distances."""

    def read(index: int) -> Head:
        path = part.path(index)
        shape, reason = None, ""
        with reading(path, part.listing), path.open("rb") as file:
            try:
                shape = measure(file)
            except Unreadable as error:
                reason = str(error)
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, (size - BLOCK) // 2))
            return Head(shape, reason, (size, zlib.crc32(file.read(BLOCK))))

    places = spread(len(part), HEADS)
    with ThreadPoolExecutor(THREADS) as threads:
        heads = threads.map(read, places)
        return list(patiently(heads, len(places), f"Reading the heads of pictures in {part.folder}"))


def _checked(parts: Sequence[Pictures], heads: Sequence[Sequence[Head]], *, leave_out: bool) -> set[tuple[int, int]]:
    """Refuse damaged pictures, unless they are to be left out, and return the shapes of the others."""
    pairs = [
        (part, index, head)
        for part, some in zip(parts, heads, strict=True)
        for index, head in zip(spread(len(part), HEADS), some, strict=True)
    ]
    broken = {shown(part.path(index)): head.reason for part, index, head in pairs if head.shape is None}
    shapes = {head.shape for _, _, head in pairs if head.shape is not None}
    if broken and not (leave_out and shapes):
        raise undecodable(list(broken.items()))
    return shapes


def _shared(parts: tuple[Pictures, Pictures], heads: tuple[Sequence[Head], Sequence[Head]]) -> int:
    """Return how many pictures to evaluate on are in both parts, as far as heads were read: the same bytes."""
    common = {head.mark for head in heads[0]} & {head.mark for head in heads[1]}
    train, test = (
        [
            hashlib.sha256(part[index]["image"]).digest()
            for index, head in zip(spread(len(part), HEADS), some, strict=True)
            if head.mark in common
        ]
        for part, some in zip(parts, heads, strict=True)
    )
    return sum(map(set(train).__contains__, test))


def _fingerprint(names: Sequence[str], parts: Sequence[Pictures], heads: Sequence[Sequence[Head]]) -> str:
    """Return a hash that tells data sets apart, made from names, labels and what the heads of files say.

    It does not depend on the place of the folder. Renamed files are another data set, since they come in another order.
    """
    digest = hashlib.sha256(json.dumps(list(names)).encode())
    for part, some in zip(parts, heads, strict=True):
        digest.update(f"{len(part)};".encode() + part.classes.astype("<i4").tobytes())
        for path in part.paths.tolist():
            digest.update(composed(os.fsdecode(path)).encode(errors="surrogateescape") + b"\0")
        digest.update(json.dumps([head.mark for head in some]).encode())
    return digest.hexdigest()
