"""Facts that a run keeps about its data set: its identity, and the mean and deviation that normalise its images."""

import dataclasses
import json
from pathlib import Path

from jsep.data import Data, Dataset, load_choice
from jsep.errors import UserError, require_types
from jsep.files import local_path, write_atomically, writing
from jsep.runs.config import replace_fields
from jsep.train import RunConfig
from jsep.train.hosts import is_first
from jsep.train.setup import statistics_of
from jsep.train.task import Statistics

_TRAINED_ON = ("name", "image_size", "train_split", "holdout", "split_seed")  # fields that decide on the images


@dataclasses.dataclass(frozen=True)
class DataRecord:
    """The identity of a data set, wherever its files lie: the contents of data.json.

    Attributes:
        name: its name.
        classes: names of the classes, in the order of the labels.
        train: number of training images.
        test: number of images to evaluate on.
        image_shape: height, width and channels of an image.
        fingerprint: see `jsep.data.records.fingerprint`; empty where it is unknown.
    """

    name: str
    classes: tuple[str, ...]
    train: int
    test: int
    image_shape: tuple[int, ...]
    fingerprint: str

    @classmethod
    def of(cls, dataset: Dataset) -> "DataRecord":
        """Return the identity of a data set."""
        sizes = len(dataset.train), len(dataset.test)
        return cls(dataset.name, dataset.class_names, *sizes, tuple(dataset.image_shape), dataset.fingerprint)

    @classmethod
    def read(cls, run: Path) -> "DataRecord | None":
        """Read the data.json of a run; None if it has none, because it was ported or is older than that file.

        Raises:
            UserError: the file is damaged.
        """
        path = local_path(run) / "data.json"
        if not path.is_file():
            return None
        try:
            values = json.loads(path.read_text())
            lists = {key: tuple(map(kind, values[key])) for key, kind in (("classes", str), ("image_shape", int))}
            record = cls(**{**values, **lists})
            require_types(record)
            return record
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} cannot be read ({error}): delete it if the data set is still the same") from error

    def save(self, run: Path) -> None:
        """Write the data.json of a run."""
        if is_first():
            with writing(path := local_path(run) / "data.json"):
                write_atomically(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    def differences(self, other: "DataRecord") -> list[str]:
        """Return how another data set differs from this one, as phrases; its name may differ."""
        found = []
        if other.classes != self.classes:
            same = sorted(other.classes) == sorted(self.classes)
            found.append("its classes are in another order" if same else "it has other classes")
        for part, here, there in (("train on", self.train, other.train), ("evaluate on", self.test, other.test)):
            if here != there:
                found.append(f"it has {there:,} instead of {here:,} images to {part}")
        if not found and self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            found.append("it has other images or labels")
        return found


def check_same_data(run: Path, dataset: Dataset) -> None:
    """Refuse to resume a run on another data set than its own. A moved one is the same.

    Raises:
        UserError: the data set differs from that in data.json.
    """
    record = DataRecord.read(run)
    if record and (found := record.differences(DataRecord.of(dataset))):
        raise UserError(
            f"`data`={dataset.name}: it is not the data set that {run} was started on, since {' and '.join(found)}: "
            "resume on the same one, or start a new run with another `out`"
        )


def check_classes(run: Path, classes: int, dataset: Dataset) -> str:
    """Check that the network of a run can be used on a data set.

    Args:
        run: the run folder.
        classes: number of classes of its network.
        dataset: the data set.

    Returns:
        A note if the classes of the data set have other names than the run's; otherwise an empty string.

    Raises:
        UserError: there are more or fewer classes, or the same ones in another order.
    """
    names = dataset.class_names
    if classes != len(names):
        raise UserError(
            f"`data`={dataset.name}: it has {len(names)} classes, and the network of {run} has {classes}: "
            "choose a data set with the same classes"
        )
    record = DataRecord.read(run)
    if record is None or record.classes == names:
        return ""
    if len(record.classes) != classes:
        raise UserError(
            f"{run / 'data.json'} lists {len(record.classes)} classes, and the network has {classes}: "
            "delete that file if the data set is still the same"
        )
    place = next(i for i, (ours, theirs) in enumerate(zip(record.classes, names, strict=True)) if ours != theirs)
    if sorted(record.classes) == sorted(names):
        raise UserError(
            f"`data`={dataset.name}: its classes are those of {run} in another order (class {place} is "
            f"{names[place]} instead of {record.classes[place]}): prepare it with the same order"
        )
    return (
        f"The classes of {dataset.name} have other names: class {place} is {names[place]}, not {record.classes[place]}."
    )


def own_statistics(run: Path, kept: Data, chosen: Data) -> Statistics | None:
    """Return the mean and deviation of the data set that a run was trained on, where its config.json lacks them.

    That is so in run folders of earlier versions, and in ported ones.

    Args:
        run: the run folder.
        kept: the data set in its config.json.
        chosen: the data set that its network is used on.

    Returns:
        The statistics, or None if that data set need not be loaded for them.

    Raises:
        UserError: they are needed, and that data set is not there.
    """
    home = dataclasses.replace(kept, image_size=kept.image_size or chosen.image_size)
    same = all(getattr(home, field) == getattr(chosen, field) for field in _TRAINED_ON)
    if kept.mean or kept.normalize != "dataset" or same:
        return None
    try:
        return statistics_of(kept, load_choice(home))
    except UserError as error:
        raise UserError(
            f"{run} does not say which mean and deviation its images are normalised by, and its own data set cannot be "
            f"loaded ({error}): give `mean` and `std`, or add them to its config.json"
        ) from error


def with_statistics(config: RunConfig, source: RunConfig) -> RunConfig:
    """Return a configuration with what another one knows of its data set, unless it has its own.

    That is the mean and deviation, and the share of the shorter side that evaluated images keep.
    """
    own, theirs = config.recipe.data, source.recipe.data
    known = {} if own.mean else {"mean": theirs.mean, "std": theirs.std}
    return replace_fields(config, {**known, "crop_share": own.crop_share or theirs.crop_share})
