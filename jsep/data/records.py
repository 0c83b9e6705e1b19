"""Examples as they lie on disk: encoded images, labels that are checked as they are read, and a hash of a data set."""

import bisect
import dataclasses
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from PIL import Image

from jsep.errors import UserError, first_line

LABELS_AT_OPENING = 10_000  # most labels of a stream's part that are read at opening; the others are checked in passing
LARGEST_LABEL = 1_000_000  # where classes have no names, a larger label is an identifier rather than a class
CHUNK = 64  # records that are read at a time, since looking up single ones is slow
SAMPLED = 64  # records of each part that the fingerprint is made from


class Records(Protocol):
    """Examples with random access, their images still encoded."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]: ...
    def labels(self, most: int = ...) -> list[Any]: ...


class DiskPart(Records, Protocol):
    """One part of a data set on disk, whose records also have their `place`: words for messages."""

    @property
    def folder(self) -> Path: ...
    @property
    def split(self) -> str: ...
    def labels(self, most: int = ...) -> list[Any]: ...


Examples = Records | Sequence[dict[str, Any]]


class Kind(NamedTuple):
    """How the records of a task are read from a set that TFDS prepared.

    Attributes:
        names: of features and folder, returns the names of the classes, None where they are plain numbers, or raises
            UserError if the set is not one for the task.
        known: whether a record has what is to be learnt; in hidden test parts none has.
        checked: of a record, of words that say where it is and the number of classes, returns the record with its
            encoded image and what is to be learnt, or raises UserError.
        labels: of a checked record, returns the label or labels.
    """

    names: Callable[[Mapping[str, Any], Path], tuple[str, ...] | None]
    known: Callable[[Mapping[str, Any]], bool]
    checked: Callable[[Mapping[str, Any], str, int], dict[str, Any]]
    labels: Callable[[Mapping[str, Any]], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One part of a prepared data set: its records, with encoded images. Each is checked when it is read.

    Each record also has its `place`: words that say where it is, for messages.

    Attributes:
        source: the records, as TFDS reads them.
        folder: the prepared directory.
        split: the name of the part, in the syntax of TFDS.
        files: path of each file, with the first record and the number of records that are taken from it.
        kind: how its records are read.
        classes: number of classes that labels must lie below.
    """

    source: Any
    folder: Path
    split: str
    files: tuple[tuple[str, int, int], ...]
    kind: Kind
    classes: int = LARGEST_LABEL

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._checked(self._read(index), index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several records, which is much faster than one at a time."""
        try:
            records = self.source.__getitems__(list(indices))
        except Exception:  # one at a time, to find which of them it is
            return [self[index] for index in indices]
        return [self._checked(record, index) for record, index in zip(records, indices, strict=True)]

    def labels(self, most: int = sys.maxsize) -> list[Any]:
        """Return the labels of at most `most` records, at equal distances, after checking them."""
        places = spread(len(self), most)
        chunks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
        return [self.kind.labels(record) for some in chunks for record in self.__getitems__(some)]

    @property
    def labelled(self) -> bool:
        """Whether any of a sample of records has what is to be learnt; in hidden test parts none has."""
        return any(self.kind.known(self._read(index)) for index in spread(len(self), 100))

    def _read(self, index: int) -> dict[str, Any]:
        try:
            return self.source[index]
        except Exception as error:  # array_record, protobuf and TFDS raise whatever they meet
            raise UserError(
                f"{self._file(index)} is damaged: record {index} of split {self.split!r} cannot be read "
                f"({first_line(error)}); copy or prepare the data set again"
            ) from error

    def _checked(self, record: dict[str, Any], index: int) -> dict[str, Any]:
        place = f"record {index} of split {self.split!r} of {self.folder}"
        where = place[0].upper() + place[1:]
        if record.get("image") is None:
            raise UserError(f"{where} has no image: leave it out when the data set is prepared")
        return {**self.kind.checked(record, where, self.classes), "place": place}

    def _file(self, index: int) -> str:
        ends = list(itertools.accumulate(number for _, _, number in self.files))
        return self.files[min(bisect.bisect_right(ends, index), len(self.files) - 1)][0]


def fingerprint(class_names: Sequence[str], train: Examples, test: Examples) -> str:
    """Return a hash that tells data sets apart, made from a sample of their records.

    It does not depend on the place of the files, and lossless images count by their pixels: two versions of a PNG
    encoder give different files.

    Args:
        class_names: names of the classes, in the order of the labels.
        train: the training part.
        test: the part to evaluate on.

    >>> one = [{"image": b"pixels", "label": 0}]
    >>> fingerprint("ab", one, one) == fingerprint("ba", one, one)
    False
    """
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for part in (train, test):
        digest.update(f"{len(part)};".encode())
        for place in spread(len(part), SAMPLED):
            record = part[place]
            digest.update(_target(record) + hashlib.sha256(_content(record["image"])).digest())
    return digest.hexdigest()


def spread(number: int, most: int) -> range:
    """Return at most `most` positions of a sequence, at equal distances.

    >>> list(spread(10, 4))
    [0, 3, 6, 9]
    """
    return range(0, number, max(1, -(-number // most)))


def _target(record: Mapping[str, Any]) -> bytes:
    """Return what is to be learnt from a record as bytes."""
    if "objects" in record:
        return b"".join(record["objects"][name].tobytes() for name in ("boxes", "labels", "crowd"))
    return hashlib.sha256(_content(record["mask"])).digest() if "mask" in record else f"{record['label']};".encode()


def _content(encoded: bytes) -> bytes:
    if not encoded.startswith(b"\x89PNG"):
        return encoded
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return picture.tobytes()
    except Exception:  # a broken image, which whoever decodes it reports
        return encoded
