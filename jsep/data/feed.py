"""Feeding batches to the devices. The batch of a step depends on seed and step only, so that resuming is exact.

It does not depend on the number of worker processes or hosts. A host that asks for part p of n gets the rows from
p * size / n to (p + 1) * size / n of every batch, and decodes no others.
"""

import contextlib
import gc
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Int, UInt8

from jsep.data.augment import Augmentation
from jsep.data.catalog import Dataset, Split
from jsep.data.example import Example, example_of
from jsep.data.records import Records
from jsep.errors import UserError

Batch = Any  # a tree of arrays whose first axis is the batch, before `Feed.fetch`
ImagesAndLabels = tuple[UInt8[Array, "n h w c"], Int[Array, " n"]]
ImagesAndTargets = tuple[UInt8[Array, "n h w c"], Any]  # by the task labels (n,), `Objects` or masks (n, h, w)
WHOLE = (0, 1)  # the only part of one
PLAIN = Augmentation()
AHEAD = 2  # batches that each worker process prepares in advance


class Feed(Protocol):
    """The training or the test part of a data set, cut into batches.

    Attributes:
        size: number of examples.
        constants: a tree of arrays that is put on every device once.
        crops: whether training images arrive as random resized crops.
        fetch: runs on the device, on `constants` and one device's share of a batch; returns images and, by the task,
            labels, objects or masks.
    """

    size: int
    constants: Any
    crops: bool
    fetch: Callable[[Any, Batch], ImagesAndTargets]

    def training(
        self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = WHOLE
    ) -> Generator[Batch, None, None]:
        """Generate shuffled batches without end. Examples that do not fill a batch are left out of a pass.

        Args:
            batch_size: examples per batch, over all parts.
            seed: seed of the order, and of random crops.
            first_step: the step that the first batch is for.
            part: which rows of each batch to generate, as (index, count); `count` must divide `batch_size`.
        """
        ...

    def evaluation(self, batch_size: int, part: tuple[int, int] = WHOLE) -> Iterator[tuple[Batch, np.ndarray]]:
        """Iterate over all examples once, in order.

        Args:
            batch_size: examples per batch, over all parts; the last batch is padded.
            part: which rows of each batch to return, as (index, count); `count` must divide `batch_size`.

        Returns:
            Batches with their masks (n,): 1 for an example, 0 for padding.
        """
        ...


def make_feed(part: Split | Records, dataset: Dataset, workers: int = 0, how: Augmentation = PLAIN) -> Feed:
    """Return the feed of one part of a data set: resident if it is in memory, streamed otherwise.

    Args:
        part: the training or the test part.
        dataset: the data set that it belongs to.
        workers: processes that decode a stream; 0 uses threads.
        how: changes to training images, of which a stream makes `iou_crop`, `zoom_out` and `scale`.

    Raises:
        UserError: the changes are not for the data set's task.

    >>> from jsep.data import load
    >>> digits = load("mnist5k")
    >>> feed = make_feed(digits.train, digits)
    >>> images, labels = feed.fetch(feed.constants, next(feed.training(64, seed=0, first_step=0)))
    >>> images.shape, labels.shape
    ((64, 28, 28, 1), (64,))
    """
    how.check(dataset.task)
    if isinstance(part, Split):
        return ResidentFeed(part)
    return StreamFeed(part, example_of(dataset, how), workers)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Return the number of whole batches in one pass over `size` examples.

    Raises:
        UserError: not even one batch is whole.
    """
    if batch_size > size:
        raise UserError(f"A batch of {batch_size} is larger than the {size} training images: lower `batch_size`")
    return size // batch_size


def rows_of(part: tuple[int, int], batch_size: int) -> slice:
    """Return the rows of a batch that belong to a part, given as (index, count).

    >>> rows_of((1, 4), 32)
    slice(8, 16, None)
    """
    index, count = part
    if batch_size % count:
        raise ValueError(f"A batch of {batch_size} cannot be split into {count} equal parts")
    return slice(index * batch_size // count, (index + 1) * batch_size // count)


class ResidentFeed:
    """A feed whose images all lie on the device, as uint8; a batch is an array of indices. See `Feed`.

    An image is one row of a matrix there. A compiler for TPUs would first move a whole set of images that lies in four
    dimensions, in every step, into an order that it likes better to take a batch from.
    """

    crops = False

    def __init__(self, part: Split):
        self.size = len(part)
        self._shape = part.images.shape[1:]
        self.constants = (part.images.reshape(self.size, math.prod(self._shape)), part.labels)

    def fetch(
        self, constants: tuple[UInt8[Array, "size d"], Int[Array, " size"]], indices: Int[Array, " n"]
    ) -> ImagesAndLabels:
        rows, labels = (jnp.take(array, indices, axis=0) for array in constants)
        return rows.reshape(-1, *self._shape), labels

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
    """A feed that reads, decodes and batches images on the host, with grain; see `Feed`.

    Args:
        records: examples with encoded images.
        example: what a record becomes.
        workers: processes that decode; 0 uses threads of this process.
    """

    constants = ()

    def __init__(self, records: Records, example: Example, workers: int = 0):
        self.size, self.crops = len(records), example.crops
        self._records, self._example, self._workers = records, example, workers

    @staticmethod
    def fetch(constants: tuple[()], batch: ImagesAndTargets) -> ImagesAndTargets:
        return batch

    def training(
        self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = WHOLE
    ) -> Generator[ImagesAndTargets, None, None]:
        steps, rows, (index, count) = steps_per_epoch(self.size, batch_size), rows_of(part, batch_size), part
        # a batch is `count` shares in a row; slices keep the positions in the whole, which random crops depend on
        shares = (
            self._examples()
            .seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            .shuffle()
            .random_map(self._example.training)
            .batch(rows.stop - rows.start, drop_remainder=True)[index : steps * count : count]
            .repeat()[first_step:]
        )
        with _closing(self._read(shares)) as batches:
            yield from batches

    def evaluation(self, batch_size: int, part: tuple[int, int] = WHOLE) -> Iterator[tuple[Batch, np.ndarray]]:
        rows, (index, count) = rows_of(part, batch_size), part
        number = rows.stop - rows.start
        shares = self._examples().map(self._example.evaluation).batch(number)[index::count]

        def filled(array: np.ndarray) -> np.ndarray:
            return np.pad(array, [(0, number - len(array)), *[(0, 0)] * (array.ndim - 1)])

        with _closing(self._read(shares)) as batches:
            for start in range(0, self.size, batch_size):
                batch = next(batches, None)
                if batch is None:  # a share that is all padding
                    one = self._example.evaluation(self._records[0])
                    batch = jax.tree.map(lambda leaf: np.zeros((0, *np.shape(leaf)), leaf.dtype), one)
                mask = (np.arange(start, start + batch_size)[rows] < self.size).astype(np.float32)
                yield jax.tree.map(filled, batch), mask

    def _examples(self) -> Any:
        import grain  # here, because it takes half a second and resident data does without it

        return grain.MapDataset.source(self._records)

    def _read(self, batches: Any) -> Any:
        """Prepare batches in advance, in order; each thread or process makes whole batches."""
        import grain

        if not self._workers:
            threads = min(16, os.cpu_count() or 1)
            return iter(batches.to_iter_dataset(grain.ReadOptions(threads, max(threads, AHEAD))))
        if not flags.FLAGS.is_parsed():  # grain 0.2.18 reads an absl flag here (google/grain#1355)
            flags.FLAGS.mark_as_parsed()
        alone = batches.to_iter_dataset(grain.ReadOptions(0, 0))
        options = grain.MultiprocessingOptions(self._workers, AHEAD)
        return iter(alone.mp_prefetch(options, _begin_worker))


@contextlib.contextmanager
def _closing(batches: Any) -> Iterator[Any]:
    """End the threads or processes that make the batches, and free the memory that they shared, on leaving."""
    try:
        yield _each(batches)
    finally:
        batches.close()
        gc.collect()  # grain leaves a reference cycle around its last batch, which would be reported as leaked at exit


def _each(batches: Any) -> Iterator[Any]:
    """Iterate over batches, and raise an error of ours without grain's frames, which hold the shared memory of one."""
    try:
        yield from batches
        return
    except UserError as error:
        sentence = str(error)
    raise UserError(sentence)  # here, where the first error is no longer its context


def _begin_worker(index: int, count: int) -> None:
    """Set up a worker process: leave Ctrl-C to the parent, and exit as soon as the parent has gone for any reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
