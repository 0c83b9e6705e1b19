"""The encoded pictures of one part of a data set, which can be named, tried and left out."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jsep.data.decode import Unreadable, decode
from jsep.errors import UserError

CHUNK = 1024  # records that are read at a time, since looking up single ones is slow


class Pictures:
    """Records of a data source of TFDS, each with its `place`: words that find it again.

    Args:
        records: the data source, which leaves pictures encoded.
        part: what to call it, such as "split 'train' of /data/mnist/3.0.1".
        numbers: which of the records to show; None shows all.
    """

    def __init__(self, records: Any, part: str, numbers: Int[np.ndarray, " n"] | None = None):
        self._records, self._part = records, part
        self._numbers = np.arange(len(records)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = int(self._numbers[index])
        return self._placed(number, self._records[number])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several records, which is much faster than one at a time."""
        numbers = self._numbers[list(indices)].tolist()
        return list(map(self._placed, numbers, self._records.__getitems__(numbers)))

    def readable(self, channels: int) -> "Pictures":
        """Try to decode every picture, and return those that can be.

        It takes as long as an epoch of decoding, by one thread for each processor. In return what remains is an
        ordinary part of a data set: batches do not depend on workers or hosts, and resuming is exact.

        Args:
            channels: 1 or 3, as they will be decoded.

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
            for start in range(0, len(self), CHUNK):
                found.extend(threads.map(sound, self.__getitems__(range(start, min(start + CHUNK, len(self))))))
        if not any(found):
            raise UserError(f"No picture of {self._part} can be decoded: copy or prepare the data set again")
        return Pictures(self._records, self._part, self._numbers[np.array(found)])

    def _placed(self, number: int, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "place": f"record {number} of {self._part}"}


def decoded(
    record: dict[str, Any], decoder: Callable[..., UInt8[np.ndarray, "h w c"]], *arguments: Any
) -> UInt8[np.ndarray, "h w c"]:
    """Decode the picture of a record.

    Args:
        record: an example of `Pictures`.
        decoder: a function of `jsep.data.decode`, which takes the encoded picture first.
        arguments: its other arguments.

    Raises:
        UserError: the picture cannot be decoded.
    """
    try:
        return decoder(record["image"], *arguments)
    except Unreadable as error:
        raise UserError(
            f"The picture in {record['place']} cannot be decoded ({error}): mend it and prepare the data set again, or "
            "leave such pictures out with `skip_unreadable`"
        ) from error
