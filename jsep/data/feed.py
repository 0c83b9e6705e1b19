"""How batches reach the devices. The batch of a step is a function of (seed, step) alone, so resuming is exact."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grain
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8
from PIL import Image

from jsep.data.catalog import Dataset, Records, Split, resize
from jsep.errors import UserError

Batch = Any  # a tree of arrays whose first axis is the batch
ImagesAndLabels = tuple[UInt8[Array, "n h w c"], Int[Array, " n"]]


class Feed(Protocol):
    """A part of a data set, cut into batches.

    constants: a tree of arrays that is put on every device once.
    fetch: run on the device; one device's share of a batch becomes images and labels.
    """

    size: int
    constants: Any
    fetch: Callable[[Any, Batch], ImagesAndLabels]

    def training(self, batch_size: int, seed: int, first_step: int) -> Iterator[Batch]:
        """Endless shuffled batches from `first_step` on. A pass that does not divide leaves its remainder out."""
        ...

    def evaluation(self, batch_size: int) -> Iterator[tuple[Batch, np.ndarray]]:
        """Every example once, the last batch padded; the mask is 1 where an example is real."""
        ...


def make_feed(part: Split | Records, dataset: Dataset) -> Feed:
    """A resident feed for what is in memory, a stream for what is not."""
    if isinstance(part, Split):
        return ResidentFeed(part)
    return StreamFeed(part, dataset.image_shape[0])


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Whole batches in one pass."""
    if batch_size > size:
        raise UserError(f"A batch of {batch_size} is larger than the {size} training images: lower --batch-size")
    return size // batch_size


class ResidentFeed:
    """The whole part lies on the device as uint8; a batch is a list of indices."""

    def __init__(self, part: Split):
        self.size = len(part)
        self.constants = (part.images, part.labels)

    @staticmethod
    def fetch(constants: ImagesAndLabels, indices: Int[Array, " n"]) -> ImagesAndLabels:
        images, labels = constants
        return jnp.take(images, indices, axis=0), jnp.take(labels, indices, axis=0)

    def training(self, batch_size: int, seed: int, first_step: int) -> Iterator[np.ndarray]:
        steps = steps_per_epoch(self.size, batch_size)
        epoch, done = divmod(first_step, steps)
        while True:
            order = np.random.default_rng([seed, epoch]).permutation(self.size).astype(np.int32)
            yield from order[: steps * batch_size].reshape(steps, batch_size)[done:]
            epoch, done = epoch + 1, 0

    def evaluation(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, self.size, batch_size):
            indices = np.arange(start, start + batch_size, dtype=np.int32)
            mask = (indices < self.size).astype(np.float32)
            yield np.minimum(indices, self.size - 1), mask


class StreamFeed:
    """Examples are read, decoded, cut and batched on the host by grain; a batch is (images, labels)."""

    constants = ()

    def __init__(self, records: Records, image_size: int, threads: int = 16):
        self.size = len(records)
        self._records, self._image_size = records, image_size
        self._read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=256)

    @staticmethod
    def fetch(constants: tuple[()], batch: ImagesAndLabels) -> ImagesAndLabels:
        return batch

    def training(self, batch_size: int, seed: int, first_step: int) -> Iterator[ImagesAndLabels]:
        steps = steps_per_epoch(self.size, batch_size)
        epoch, done = divmod(first_step, steps)
        size = self._image_size

        def example(record: dict[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.int32]:
            image = _random_resized_crop(_decode(record["image"]), size, rng)
            image = image[:, ::-1] if rng.random() < 0.5 else image
            return np.ascontiguousarray(image), np.int32(record["label"])

        while True:
            batches = (
                grain.MapDataset.source(self._records)
                .seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
                .shuffle()
                .random_map(example)
                .batch(batch_size, drop_remainder=True)
            )
            yield from batches[done:].to_iter_dataset(self._read_options)
            epoch, done = epoch + 1, 0

    def evaluation(self, batch_size: int) -> Iterator[tuple[Batch, np.ndarray]]:
        def example(record: dict[str, Any]) -> tuple[np.ndarray, np.int32]:
            image = resize(_decode(record["image"]), round(self._image_size / 0.875))
            return _centre(image, self._image_size), np.int32(record["label"])

        batches = grain.MapDataset.source(self._records).map(example).batch(batch_size)
        for images, labels in batches.to_iter_dataset(self._read_options):
            missing = batch_size - len(labels)
            mask = np.arange(batch_size) < len(labels)
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
            yield (images, np.pad(labels, (0, missing))), mask.astype(np.float32)


def _centre(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """The centre of an image, unscaled."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _decode(image: bytes | np.ndarray) -> UInt8[np.ndarray, "h w c"]:
    if isinstance(image, np.ndarray):
        return image
    import io

    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def _random_resized_crop(
    image: UInt8[np.ndarray, "h w c"], size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "s s c"]:
    """Inception's crop: 8 to 100 % of the area, aspect 3/4 to 4/3, scaled to a square (bilinear)."""
    height, width, _ = image.shape
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            picture = Image.fromarray(image[top : top + h, left : left + w])
            return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    return resize(image, size)
