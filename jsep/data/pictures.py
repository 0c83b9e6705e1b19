"""Decoding the pictures of records, naming those that cannot be decoded, and leaving them out."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int

from jsep.data.decode import Unreadable, decode
from jsep.data.records import CHUNK, Part, Records
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


def readable(part: Part, channels: int) -> Records:
    """Try to decode every picture of a part, and return the records of those that can be decoded.

    It takes as long as an epoch of decoding, by one thread for each processor. In return what remains is an ordinary
    part of a data set: batches do not depend on workers or hosts, and resuming is exact.

    Args:
        part: the part.
        channels: 1 or 3, as the pictures will be decoded.

    Raises:
        UserError: none can be decoded.
    """

    def sound(record: dict[str, Any]) -> bool:
        try:
            decode(record["image"], channels)
        except Unreadable:
            return False
        return True

    found: list[bool] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(part), CHUNK):
            found.extend(threads.map(sound, part.__getitems__(range(start, min(start + CHUNK, len(part))))))
    if not any(found):
        raise UserError(
            f"No picture of split {part.split!r} of {part.folder} can be decoded: copy or prepare the data set again"
        )
    return part if all(found) else Subset(part, np.flatnonzero(found))


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
        raise UserError(
            f"The picture in {record['place']} cannot be decoded ({error}): repair it and prepare the data set again, "
            "or leave such pictures out with `skip_unreadable`"
        ) from error
