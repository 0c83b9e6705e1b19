"""The results of runs as csv rows: results.csv and curves.csv."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from jsep.errors import UserError
from jsep.files import write_atomically

RESULTS_CSV = "results.csv"
CURVES_CSV = "curves.csv"

FIGURES = {  # what the figures of an evaluation are called in sentences
    "loss": "loss",
    "accuracy": "accuracy",
    "top5": "top-5",
    "ap": "AP",
    "ap50": "AP50",
    "miou": "mIoU",
}


@dataclass(frozen=True)
class Result:
    """One trained network: a row of results.csv. Accuracies, the loss and other figures are of the validation images.

    Figures that do not belong to the task of the network are NaN.

    Attributes:
        model: name of the network.
        seed: seed of the run.
        dataset: name of the data set.
        options: options of the network in text form.
        epochs: passes over the training images.
        batch_size: images per step, over all devices.
        accuracy: accuracy after the last epoch, from 0 to 1; of a segmenter, the share of the pixels that are right.
        loss: mean cross-entropy after the last epoch, in nats.
        best_accuracy: accuracy after the best epoch, from 0 to 1.
        best_epoch: the epoch with the best accuracy, AP of a detector or mIoU of a segmenter, counted from 1.
        params: number of trainable parameters.
        macs: multiply-accumulates per image.
        flops: FLOPs per image: two per MAC, plus the elements of bias, pooling and batch norm.
        train_seconds: seconds of training, without compilation and evaluation.
        compile_seconds: seconds of compilation.
        images_per_second: training images per second.
        device: kind of device.
        devices: number of devices.
        jax: version of JAX.
        python: version of Python.
        date: day on which the run finished, as YYYY-MM-DD.
        top5: top-5 accuracy after the last epoch, from 0 to 1; NaN in files of earlier versions.
        ap: COCO's average precision of a detector after the last epoch, from 0 to 1.
        ap50: the same with an IoU of 0.5.
        best_ap: `ap` after the best epoch.
        miou: mean intersection over union of a segmenter after the last epoch, from 0 to 1.
        best_miou: `miou` after the best epoch.
        recipe: the flags that give the rest of the recipe; empty in files of earlier versions.
    """

    model: str
    seed: int
    dataset: str
    options: str
    epochs: int
    batch_size: int
    accuracy: float
    loss: float
    best_accuracy: float
    best_epoch: int
    params: int
    macs: int
    flops: int
    train_seconds: float
    compile_seconds: float
    images_per_second: float
    device: str
    devices: int
    jax: str
    python: str
    date: str
    top5: float = math.nan
    ap: float = math.nan
    ap50: float = math.nan
    best_ap: float = math.nan
    miou: float = math.nan
    best_miou: float = math.nan
    recipe: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """One epoch of one trained network: a row of curves.csv. Figures that do not belong to its task are NaN.

    Attributes:
        model: name of the network.
        seed: seed of the run.
        epoch: the epoch, counted from 1.
        train_loss: mean loss of the epoch's training steps, in nats.
        train_accuracy: accuracy in the epoch's training steps, from 0 to 1.
        val_loss: mean cross-entropy of the validation images after the epoch, in nats.
        val_accuracy: accuracy on the validation images after the epoch, from 0 to 1.
        seconds: seconds of training from the start of the run to the end of the epoch.
        val_top5: top-5 accuracy on the validation images after the epoch, from 0 to 1; NaN in files of earlier
            versions.
        val_ap: COCO's average precision of a detector on the validation images after the epoch, from 0 to 1.
        val_ap50: the same with an IoU of 0.5.
        val_miou: mean intersection over union of a segmenter on the validation images after the epoch, from 0 to 1.
    """

    model: str
    seed: int
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    val_top5: float = math.nan
    val_ap: float = math.nan
    val_ap50: float = math.nan
    val_miou: float = math.nan


Row = TypeVar("Row", bound=Any)  # a dataclass


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write a csv file, replacing the whole file at once.

    Args:
        path: the file.
        rows: instances of one dataclass, whose fields are the columns.

    Raises:
        UserError: there is no row, so the columns are unknown.
    """
    if not rows:
        raise UserError(f"{path} was not written: give at least one row")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(rows[0]))
    writer.writerows(map(astuple, rows))
    write_atomically(path, text.getvalue())


def read_rows(path: Path, cls: type[Row]) -> list[Row]:
    """Read a csv file that `write_rows` wrote.

    Args:
        path: the file.
        cls: the dataclass of a row. Cells are converted to the types of its fields; other columns are ignored, and
            those of fields with a default value may be missing.

    Raises:
        UserError: the file cannot be read, lacks a column, or holds a cell of the wrong type.
    """
    try:
        # A spreadsheet may have added a byte-order mark, which "utf-8-sig" drops.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or ()  # read here, since the file is closed below
            records = [(reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): give a folder that `jsep compare` has filled") from error

    types, optional = get_type_hints(cls), optional_fields(cls)
    if missing := [name for name in types if name not in header and name not in optional]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}: run `jsep compare` again to rewrite it")

    def parse(line: int, name: str, cell: str) -> Any:
        try:
            value = types[name](cell)
            return value if value == value else math.nan  # itself, so that rows that come back equal those written
        except ValueError as error:
            raise UserError(
                f"{path}, line {line}: {cell!r} in column {name} is not of type "
                f"{types[name].__name__}; correct it or run `jsep compare` again"
            ) from error

    rows = []
    for line, record in records:
        # DictReader stores surplus cells under None and fills missing ones with None.
        if None in record or None in record.values():
            raise UserError(
                f"{path}, line {line}: the row and the header differ in length; correct it or run `jsep compare` again"
            )
        rows.append(cls(**{name: parse(line, name, record[name]) for name in types if name in record}))
    return rows


def optional_fields(cls: type[Row]) -> dict[str, Any]:
    """Return the fields of a row that files of earlier versions lack, with their default values."""
    return {field.name: field.default for field in fields(cls) if field.default is not MISSING}


def main_figure(rows: Iterable[Result]) -> str:
    """Return which of `FIGURES` networks are compared by: "ap" of detectors, "miou" of segmenters, or "accuracy"."""
    rows = list(rows)
    measured = (name for name in ("ap", "miou") if any(math.isfinite(getattr(row, name)) for row in rows))
    return next(measured, "accuracy")


def told(figure: str, value: float) -> str:
    """Return a figure of an evaluation as text: a loss as it is, a share in percent.

    >>> told("loss", 0.5), told("ap", 0.25)
    ('loss 0.5000', 'AP 25.00%')

    Args:
        figure: one of `FIGURES`.
        value: its value.
    """
    return f"{FIGURES[figure]} {value:{'.4f' if figure == 'loss' else '.2%'}}"


def by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by model, in the order in which models first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.model, []).append(row)
    return groups


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation of at least one value.

    Both are NaN if a value is not finite, so that a diverged seed remains visible. The deviation of a single value is
    NaN.

    >>> mean_std([2.0, 4.0])
    (3.0, 1.4142135623730951)
    """
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
