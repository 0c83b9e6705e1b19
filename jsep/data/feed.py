"""How batches reach the devices. The batch of a step is a function of (seed, step) alone, so resuming is exact.

Neither the number of worker processes nor that of hosts changes it. A host that asks for part p of n gets the rows
[p * size / n, (p + 1) * size / n) of every batch, and nothing else is decoded for it.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import grain
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Int, UInt8

from jsep.data.catalog import Dataset, Records, Split
from jsep.data.decode import centre_crop, decode, random_resized_crop, resize
from jsep.errors import UserError

Batch = Any  # a tree of arrays whose first axis is the batch
ImagesAndLabels = tuple[UInt8[Array, "n h w c"], Int[Array, " n"]]
WHOLE = (0, 1)
AHEAD = 2  # batches that each worker process keeps ready


class Feed(Protocol):
    """A part of a data set, cut into batches.

    constants: a tree of arrays that is put on every device once.
    crops: whether training images arrive as Inception's crops.
    fetch: run on the device; one device's share of a batch becomes images and labels.
    """

    size: int
    constants: Any
    crops: bool
    fetch: Callable[[Any, Batch], ImagesAndLabels]

    def training(
        self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = WHOLE
    ) -> Generator[Batch, None, None]:
        """Endless shuffled batches from `first_step` on. A pass that does not divide leaves its remainder out.

        part: (index, count); this share of the rows of each batch. `count` must divide `batch_size`.
        """
        ...

    def evaluation(self, batch_size: int, part: tuple[int, int] = WHOLE) -> Iterator[tuple[Batch, np.ndarray]]:
        """Every example once, the last batch padded; the mask is 1 where an example is real."""
        ...


def make_feed(part: Split | Records, dataset: Dataset, workers: int = 0) -> Feed:
    """A resident feed for what is in memory, a stream for what is not."""
    if isinstance(part, Split):
        return ResidentFeed(part)
    return StreamFeed(part, dataset.image_shape, crops=dataset.ragged, workers=workers)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Whole batches in one pass."""
    if batch_size > size:
        raise UserError(f"A batch of {batch_size} is larger than the {size} training images: lower --batch-size")
    return size // batch_size


def rows_of(part: tuple[int, int], batch_size: int) -> slice:
    """The rows of a batch that belong to a part.

    >>> rows_of((1, 4), 32)
    slice(8, 16, None)
    """
    index, count = part
    if batch_size % count:
        raise ValueError(f"A batch of {batch_size} has no {count} equal parts")
    return slice(index * batch_size // count, (index + 1) * batch_size // count)


class ResidentFeed:
    """The whole part lies on the device as uint8; a batch is a list of indices."""

    crops = False

    def __init__(self, part: Split):
        self.size = len(part)
        self.constants = (part.images, part.labels)

    @staticmethod
    def fetch(constants: ImagesAndLabels, indices: Int[Array, " n"]) -> ImagesAndLabels:
        images, labels = constants
        return jnp.take(images, indices, axis=0), jnp.take(labels, indices, axis=0)

    def training(
        self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = WHOLE
    ) -> Generator[np.ndarray, None, None]:
        steps, rows = steps_per_epoch(self.size, batch_size), rows_of(part, batch_size)
        epoch, done = divmod(first_step, steps)
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(self.size).astype(np.int32)
            yield from order[: steps * batch_size].reshape(steps, batch_size)[done:, rows]
            epoch, done = epoch + 1, 0

    def evaluation(self, batch_size: int, part: tuple[int, int] = WHOLE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows = rows_of(part, batch_size)
        for start in range(0, self.size, batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)[rows]
            mask = (indices < self.size).astype(np.float32)
            yield np.minimum(indices, self.size - 1), mask


class StreamFeed:
    """Examples are read, decoded, cut and batched on the host by grain; a batch is (images, labels).

    crops: the images differ in size; training shows random resized crops of them, evaluation their centres.
    workers: processes that decode; 0 takes threads of this one.
    """

    constants = ()

    def __init__(self, records: Records, image_shape: tuple[int, int, int], *, crops: bool, workers: int = 0):
        self.size, self.crops = len(records), crops
        self._records, self._shape, self._workers = records, image_shape, workers

    @staticmethod
    def fetch(constants: tuple[()], batch: ImagesAndLabels) -> ImagesAndLabels:
        return batch

    def training(
        self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = WHOLE
    ) -> Generator[ImagesAndLabels, None, None]:
        steps, rows, (index, count) = steps_per_epoch(self.size, batch_size), rows_of(part, batch_size), part
        (size, _, channels), crops = self._shape, self.crops

        def example(record: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.int32]:
            encoded = record["image"]
            image = (
                random_resized_crop(encoded, size, channels, rng) if crops else resize(decode(encoded, channels), size)
            )
            return image, np.int32(record["label"])

        # a batch is `count` shares in a row; slices keep the place in the whole, from which examples draw
        shares = (
            grain.MapDataset.source(self._records)
            .seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            .shuffle()
            .random_map(example)
            .batch(rows.stop - rows.start, drop_remainder=True)[index : steps * count : count]
            .repeat()[first_step:]
        )
        with _closing(self._read(shares)) as batches:
            yield from batches

    def evaluation(self, batch_size: int, part: tuple[int, int] = WHOLE) -> Iterator[tuple[Batch, np.ndarray]]:
        rows, (index, count) = rows_of(part, batch_size), part
        (size, _, channels), crops = self._shape, self.crops

        def example(record: dict[str, Any]) -> tuple[np.ndarray, np.int32]:
            encoded = record["image"]
            image = centre_crop(encoded, size, channels) if crops else resize(decode(encoded, channels), size)
            return image, np.int32(record["label"])

        examples = grain.MapDataset.source(self._records).map(example)
        shares = examples.batch(rows.stop - rows.start)[index::count]
        nothing = np.zeros((0, *self._shape), np.uint8), np.zeros(0, np.int32)  # all padding
        with _closing(self._read(shares)) as batches:
            for start in range(0, self.size, batch_size):
                images, labels = next(batches, nothing)
                missing = rows.stop - rows.start - len(labels)
                mask = (np.arange(start, start + batch_size)[rows] < self.size).astype(np.float32)
                images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
                yield (images, np.pad(labels, (0, missing))), mask

    def _read(self, batches: Any) -> Any:
        """Batches ahead of their use, in order: a thread or a process makes a whole batch at a time."""
        if not self._workers:
            threads = min(16, os.cpu_count() or 1)
            return iter(batches.to_iter_dataset(grain.ReadOptions(threads, max(threads, AHEAD))))
        if not flags.FLAGS.is_parsed():  # grain 0.2.18 reads a flag here (its issue 1355), and this is no absl program
            flags.FLAGS.mark_as_parsed()
        alone = batches.to_iter_dataset(grain.ReadOptions(0, 0))
        options = grain.MultiprocessingOptions(self._workers, AHEAD)
        return iter(alone.mp_prefetch(options, _begin_worker))


@contextlib.contextmanager
def _closing(batches: Any) -> Iterator[Any]:
    """Ends the threads and processes behind them, and frees the memory that these shared with us."""
    try:
        yield batches
    finally:
        batches.close()
        gc.collect()  # grain leaves a cycle around its last batch, which Python would report as leaked at its end


def _begin_worker(index: int, count: int) -> None:
    """Leave Ctrl-C to the parent, and go when it is gone, however that happened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
