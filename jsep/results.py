"""The rows of a comparison, and their two csv files."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from jsep.errors import UserError
from jsep.files import write_atomically

RESULTS_CSV = "results.csv"
CURVES_CSV = "curves.csv"


@dataclass(frozen=True)
class Result:
    """One trained network: a row of results.csv.

    Accuracies are fractions (0..1) and, like the loss, measured on the validation images.
    `macs` and `flops` are per image, where a FLOP count has two per MAC plus the elements of
    bias, pooling and batch norm; `train_seconds` leaves out compilation and evaluation.
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


@dataclass(frozen=True)
class CurvePoint:
    """One epoch of one trained network: a row of curves.csv.

    `seconds` is the training time since the start of the run, at the end of the epoch.
    """

    model: str
    seed: int
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


Row = TypeVar("Row", Result, CurvePoint)


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write rows of one dataclass as csv; `path` holds the old or the new file, never half of one.

    Raises UserError when there is no row, since the columns would be unknown.
    """
    if not rows:
        raise UserError(f"{path} was not written: give at least one row")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(rows[0]))
    writer.writerows(map(astuple, rows))
    write_atomically(path, text.getvalue())


def read_rows(path: Path, cls: type[Row]) -> list[Row]:
    """Read what `write_rows` wrote, each cell in the type that `cls` gives it.

    Columns that `cls` does not know are ignored. Raises UserError when the file cannot be read,
    lacks a column, or holds a cell of another type.
    """
    try:
        # A spreadsheet may have put a byte-order mark in front; "utf-8-sig" drops it.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            records = [(reader.line_num, record) for record in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}): give a folder that `jsep compare` has filled") from error

    types = get_type_hints(cls)
    if missing := [name for name in types if name not in (reader.fieldnames or ())]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}: run `jsep compare` again to rewrite it")

    def parse(line: int, name: str, cell: str) -> Any:
        try:
            return types[name](cell)
        except ValueError as error:
            raise UserError(
                f"{path}, line {line}: {cell!r} in column {name} is not of type "
                f"{types[name].__name__}; mend it or run `jsep compare` again"
            ) from error

    rows = []
    for line, record in records:
        # DictReader files surplus cells under None and fills absent ones with None.
        if None in record or None in record.values():
            raise UserError(
                f"{path}, line {line}: the row and the header differ in length; mend it or run `jsep compare` again"
            )
        rows.append(cls(**{name: parse(line, name, record[name]) for name in types}))
    return rows


def by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Group rows by model, models in order of first appearance."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.model, []).append(row)
    return groups


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of at least one value.

    Both are NaN if any value is not finite, so that a diverged seed shows instead of vanishing
    from the mean; the deviation of a single value is NaN.
    """
    if not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
