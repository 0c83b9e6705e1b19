"""Decoding the pictures of records, naming those that cannot be decoded, and leaving them out."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from jsep.data.decode import Unreadable, decode
from jsep.data.masks import decode_mask
from jsep.data.records import CHUNK, DiskPart, Records, spread
from jsep.errors import UserError

T = TypeVar("T")


class Subset:
    """Some of the records of a part, in their order.

    Args:
        part: the part.
        numbers: which of its records to show.
    """

    def __init__(self, part: Records, numbers: Int[np.ndarray, " n"]):
        self._part, self._numbers = part, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._part[int(self._numbers[index])]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several records, which is much faster than one at a time."""
        return self._part.__getitems__(self._numbers[list(indices)].tolist())

    def labels(self, most: int = sys.maxsize) -> list[Any]:
        """Return the labels of at most `most` records, at equal distances."""
        labels = self._part.labels()
        return [labels[number] for number in self._numbers[list(spread(len(self), most))]]


def each(records: Records, work: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Apply a function to every record, by one thread for each processor, and yield what it returns in order."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(records), CHUNK):
            yield from threads.map(work, records.__getitems__(range(start, min(start + CHUNK, len(records)))))


def readable(part: DiskPart, channels: int) -> tuple[Records, list[str]]:
    """Try to decode every picture of a part.

    It takes as long as an epoch of decoding, by one thread for each processor. In return what remains is an ordinary
    part of a data set: batches do not depend on workers or hosts, and resuming is exact.

    Args:
        part: the part.
        channels: 1 or 3, as the pictures will be decoded.

    Returns:
        The records of those that can be decoded, and the places of the others.

    Raises:
        UserError: none can be decoded.
    """

    def damaged(record: dict[str, Any]) -> str:
        try:
            decode(record["image"], channels)
            if "mask" in record:
                decode_mask(record["mask"])
        except Unreadable:
            return record["place"]
        return ""

    found = list(each(part, damaged))
    lost = list(filter(None, found))
    if len(lost) == len(found):
        raise UserError(
            f"No picture of split {part.split!r} of {part.folder} can be decoded: copy or prepare the data set again"
        )
    return Subset(part, np.flatnonzero([not place for place in found])) if lost else part, lost


def decoded(record: dict[str, Any], decoder: Callable[..., T], *arguments: Any) -> T:
    """Decode the picture of a record.

    Args:
        record: an example of a `Part`.
        decoder: a function such as those of `jsep.data.decode`, which takes the encoded picture first.
        arguments: its other arguments.

    Returns:
        What the function returns.

    Raises:
        UserError: the picture cannot be decoded.
    """
    try:
        return decoder(record["image"], *arguments)
    except Unreadable as error:
        raise undecodable([(record["place"], str(error))]) from error


def undecodable(broken: Sequence[tuple[str, str]]) -> UserError:
    """Return the error of pictures that cannot be decoded, each given by its place and the reason.

    >>> str(undecodable([("a.png", "it is empty"), ("b.png", "broken data stream")]))[:72]
    'The picture in a.png cannot be decoded (it is empty), nor can that in b.'
    """
    (place, reason), *others = broken
    also = f", nor can {len(others):,} others, such as that in {others[0][0]}" if others else ""
    if len(others) == 1:
        also = f", nor can that in {others[0][0]}"
    return UserError(
        f"The picture in {place} cannot be decoded ({reason}){also}: repair the data set, or leave such pictures out "
        "with `skip_unreadable`"
    )
