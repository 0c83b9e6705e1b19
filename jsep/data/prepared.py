"""Opening a prepared TFDS directory: choosing its parts, and naming the file that is missing or damaged."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jsep.data.masks import MASKS
from jsep.data.objects import OBJECTS
from jsep.data.records import DiskPart, Kind, Part, fingerprint
from jsep.data.sources import CatalogEntry, newest_version
from jsep.errors import UserError, first_line

EVALUATED = ("validation", "test")  # the parts to evaluate on, in the order of preference

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set on disk: one that TFDS prepared, or a folder of images.

    Attributes:
        name: its name.
        train: the training part.
        test: the part to evaluate on.
        class_names: names of the classes; the numbers from 0 where they have none.
        shape: height, width and channels of an image; None where images differ.
        shared: number of images that are in both parts.
        fingerprint: tells it from other data sets.
        note: a remark that belongs beside every figure measured on it.
    """

    name: str
    train: DiskPart
    test: DiskPart
    class_names: tuple[str, ...]
    shape: tuple[int | None, int | None, int]
    shared: int
    fingerprint: str
    note: str = ""


def open_prepared(
    folder: Path, entry: CatalogEntry, train_split: str = "", eval_split: str = "", task: str = "classification"
) -> Prepared:
    """Open a prepared TFDS directory.

    Args:
        folder: the folder of one version, or one that holds versions, of which the newest is taken.
        entry: gives the splits of a data set that the catalogue knows.
        train_split: the part to train on, such as "train+extra" or "train[:90%]"; empty takes that of `entry`.
        eval_split: the part to evaluate on; empty takes that of `entry`, or else a labelled validation or test part.
        task: a key of `TASKS`.

    Raises:
        UserError: the folder holds no data set for the task, a part is not there, empty or without labels, or a file is
            missing or damaged.
    """
    import tensorflow_datasets as tfds

    inner = folder if (folder / "dataset_info.json").is_file() else newest_version(folder)
    if inner is None:
        raise UserError(
            f"{folder} is not a prepared TFDS directory (it has no dataset_info.json): "
            "give the folder of one version, such as fashion_mnist/3.0.1"
        )
    builder: Any = _understood(inner, lambda: tfds.builder_from_directory(inner))
    whole = builder.info.features
    features: dict[str, Any] = dict(whole.items()) if isinstance(whole, tfds.features.FeaturesDict) else {}
    kind = TASKS[task]
    names = kind.names(features, inner)

    train = _part(builder, inner, train_split or entry.train, "train_split", kind)
    if eval_split:
        test = _part(builder, inner, eval_split, "eval_split", kind)
    else:
        test = _evaluated(builder, inner, entry, train)
    if names is None:
        largest = max(np.max(label, initial=0) for one in (train, test) for label in one.labels())
        names = tuple(map(str, range(int(largest) + 1)))
    train, test = (dataclasses.replace(one, classes=len(names)) for one in (train, test))
    shape, same = _shape(features["image"], inner), fingerprint(names, train, test)
    return Prepared(builder.info.name, train, test, names, shape, _shared(train, test), same)


def _shared(train: Part, test: Part) -> int:
    """Return the number of records that are in both parts."""
    pairs = itertools.product(train.files, test.files)
    overlaps = (min(a + n, b + m) - max(a, b) for (file, a, n), (other, b, m) in pairs if file == other)
    return sum(max(0, overlap) for overlap in overlaps)


def _understood(folder: Path, read: Callable[[], T]) -> T:
    """Read the description of a data set, and name the file that TFDS cannot understand."""
    import tensorflow_datasets as tfds

    try:
        return read()
    except Exception as error:  # TFDS raises whatever its parsers raise
        try:
            tfds.features.FeatureConnector.from_config(str(folder))
            file = "dataset_info.json"
        except Exception:
            file = "features.json"
        raise UserError(
            f"{folder / file} is missing or damaged ({first_line(error)}): copy or prepare the data set again"
        ) from error


def _label_names(features: Mapping[str, Any], folder: Path) -> tuple[str, ...] | None:
    """Return the names of the classes of a set for classification; None for labels that are plain numbers."""
    import tensorflow_datasets as tfds

    kinds: Any = tfds.features
    label: Any = features.get("label")
    number = isinstance(label, kinds.Tensor) and label.shape == () and np.dtype(label.np_dtype).kind in "biuf"
    if not (isinstance(features.get("image"), kinds.Image) and number):
        raise UserError(
            f"{folder} is not a data set for image classification: "
            "choose one with the features image (pictures) and label (whole numbers)"
        )
    return tuple(label.names) if getattr(label, "num_classes", None) else None


def _checked_label(record: Mapping[str, Any], where: str, classes: int) -> dict[str, Any]:
    """Return a record for classification with its label as a whole number; see `Kind.checked`."""
    label = record.get("label")
    if label is None:
        raise UserError(f"{where} has no label: leave it out when the data set is prepared")
    if not 0 <= label < classes or label != int(label):
        raise UserError(
            f"{where} has the label {label}, and labels are whole numbers from 0 to {classes - 1}: choose "
            "labelled parts with `train_split` and `eval_split`, or correct the label and prepare the set again"
        )
    return {**record, "label": int(label)}


def _known_label(record: Mapping[str, Any]) -> bool:
    return (record.get("label") or 0) >= 0


def _label(record: Mapping[str, Any]) -> int:
    return record["label"]


LABELS = Kind(_label_names, _known_label, _checked_label, _label)
TASKS = {"classification": LABELS, "detection": OBJECTS, "segmentation": MASKS}


def _shape(image: Any, folder: Path) -> tuple[int | None, int | None, int]:
    """Return height, width (None where they differ) and channels of the images of a TFDS feature, as jsep decodes them.

    Grey images stay grey, also those with an alpha channel; all others are decoded to three channels.
    """
    if image.np_dtype == np.float32 or len(image.shape) != 3:
        raise UserError(f"{folder} holds no pictures: choose a data set whose images have 8 or 16 bits a channel")
    height, width, channels = image.shape
    return height, width, 1 if channels in (1, 2) else 3


def _part(builder: Any, folder: Path, split: str, flag: str, kind: Kind) -> Part:
    """Open one part of a data set, and check its files."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    known = ", ".join(sorted(splits))
    try:
        chosen = splits[split]
    except Exception as error:  # TFDS raises whatever its parser of splits raises
        raise UserError(
            f"{folder} has no split {split!r}; it has {known or 'none'}: choose one of them, or a piece of one such as "
            f"'train[:90%]', with `{flag}`"
        ) from error
    instructions = _understood(folder, lambda: chosen.file_instructions)
    if not sum(instruction.take for instruction in instructions):
        raise UserError(f"Split {split!r} of {folder} is empty; it has {known}: choose another with `{flag}`")
    images = [name for name, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
    try:
        source = builder.as_data_source(split, decoders=dict.fromkeys(images, tfds.decode.SkipDecoding()))
    except NotImplementedError as error:  # a format without random access
        raise UserError(
            f"{folder} was prepared as {builder.info.file_format.value}, which has no random access: prepare it again "
            f"in another `data_dir`, with `jsep data prepare` or by TFDS with file_format='array_record'"
        ) from error
    if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(_check_file, instructions))
    files = tuple((str(one.filename), one.skip, one.take) for one in instructions)
    return Part(source, folder, split, files, kind)


def _check_file(instruction: Any) -> None:
    """Check that an ArrayRecord file can be opened, and holds as many records as dataset_info.json says."""
    from array_record.python.array_record_module import ArrayRecordReader

    file, promised = instruction.filename, instruction.examples_in_shard
    try:
        reader = ArrayRecordReader(str(file))
        number = reader.num_records()
        reader.close()
    except Exception as error:
        raise UserError(
            f"{file} is missing or damaged ({first_line(error)}): copy or prepare the data set again"
        ) from error
    if number != promised:
        raise UserError(
            f"{file} holds {number} records, where dataset_info.json beside it says {promised}: "
            "copy or prepare the data set again"
        )


def _evaluated(builder: Any, folder: Path, entry: CatalogEntry, train: Part) -> Part:
    """Open the part to evaluate on: that of the catalogue, or else the first of `EVALUATED`, which must have labels."""
    splits = builder.info.splits
    found = [split for split in dict.fromkeys((entry.test, *EVALUATED)) if split in splits]
    parts = (_part(builder, folder, split, "eval_split", train.kind) for split in found if splits[split].num_examples)
    for part in parts:
        if part.labelled:
            return part
    others = f" ({' and '.join(found)}: without labels)" if found else ""
    raise UserError(
        f"{folder} has no part to evaluate on beside {train.split!r}{others}: take a piece of it, with "
        "`train_split`='train[:90%]' and `eval_split`='train[90%:]'"
    )
