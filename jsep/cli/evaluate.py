"""`jsep eval`: the figures of a checkpoint, and how well it does on each class."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from rich.text import Text
from tyro.conf import Positional, arg

from jsep.cli.console import console, new_table, percent, print_next, print_table
from jsep.cli.flags import given, parse
from jsep.errors import UserError, counted
from jsep.results import told
from jsep.runs.by_class import AnyRow, ByClass
from jsep.runs.evaluate import evaluate_run, evaluate_run_by_class

SHOWN = 30  # most classes in the table
HEADINGS = {"f1": "F1", "support": "images", "ap": "AP", "ap50": "AP50", "iou": "IoU"}


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(evaluate, "eval", argv)


def evaluate(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    checkpoint: str = "best",
    data: str | None = None,
    data_dir: Path | None = None,
    eval_split: str | None = None,
    image_size: int | None = None,
    eval_size: int | None = None,
    crop_share: float | None = None,
    interpolation: Literal["bilinear", "bicubic"] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    batch_size: int | None = None,
    skip_unreadable: bool = False,
    per_class: bool = False,
    out: Path | None = None,
) -> None:
    """Evaluate a checkpoint of a run on every test image once, prepared as in its training.

    Prints accuracy and loss of a classifier, COCO's average precision (AP) of a detector, mIoU of a segmenter.

    Args:
        run: Run folder, published weights such as timm/resnet50.a1_in1k, or file of weights.
        checkpoint: Checkpoint to evaluate: best, last, or a step.
        data: Data set with the same classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
        eval_split: Part of the data set to evaluate on, such as test or 'train[90%:]'.
        image_size: Side in pixels that images are scaled and cut to; that of the training by default.
        eval_size: Side in pixels of images at evaluation, if it differs from that of the training.
        crop_share: Share of the shorter side that the centre crop keeps, such as 0.875; that of the run by default.
        interpolation: Interpolation of resized images, bilinear or bicubic; that of the run by default.
        mean: Mean of each channel to normalise by, for values from 0 to 1; that of the training by default.
        std: Standard deviation of each channel to normalise by, likewise.
        batch_size: Images per step; the run's own batch size by default.
        skip_unreadable: Leave out pictures that cannot be decoded.
        per_class: Also print precision, recall and F1 of each class, AP and AP50 of a detector, IoU of a segmenter, the
            worst first, and write them to per_class.csv, the confusion matrix to confusion.csv and confusion.png, and
            the worst mistakes of a classifier to mistakes.png.
        out: Folder of those files; eval in the run folder by default.
    """
    split = given(data=data, data_dir=data_dir, eval_split=eval_split, skip_unreadable=skip_unreadable or None)
    view = given(image_size=image_size, eval_size=eval_size, crop_share=crop_share, interpolation=interpolation)
    changes = {**split, **view, **given(mean=mean, std=std, batch_size=batch_size)}
    if out and not per_class:
        raise UserError("`out` is the folder of the files that `per_class` writes: give both, or leave both out")
    by_class = None
    if per_class:
        found, by_class = evaluate_run_by_class(run, checkpoint, out, **changes)
    else:
        found = evaluate_run(run, checkpoint, **changes)
    figures = ", ".join(told(name, found.figures[name]) for name in found.shown)
    console.print(
        f"{found.model} at step {found.step} on the {counted(found.images, 'test image')} of {found.data}: "
        f"{figures} ({found.seconds:.1f} s)"
    )
    if found.note:
        console.print(found.note)
    if by_class:
        _print_classes(by_class)
    if by_class:
        print_next("predict", run, "PICTURES")
    else:
        print_next("eval", run, *(["--data", data] if data else []), "--per-class")


def _print_classes(by_class: ByClass) -> None:
    """Print the figures of each class, the worst first, their means, and the paths of the files."""

    def main(row: AnyRow) -> float:
        return getattr(row, by_class.main)

    rows = sorted(by_class.rows, key=lambda row: (math.isnan(main(row)), main(row)))
    _, *figures, number = (field.name for field in dataclasses.fields(rows[0]))
    table = new_table("class", numbers=[HEADINGS.get(name, name) for name in (*figures, number)])

    def add(name: str, *values: float) -> None:
        table.add_row(Text(name), *map(percent, values[:-1]), f"{values[-1]:,}")

    for row in rows[:SHOWN]:
        add(*dataclasses.astuple(row))
    seen = [row for row in rows if row.counted]

    def mean(name: str) -> float:
        values = [getattr(row, name) for row in seen]
        return statistics.fmean(0 if math.isnan(value) else value for value in values) if values else math.nan

    add("mean of all classes", *map(mean, figures), sum(getattr(row, number) for row in rows))
    console.print()
    print_table(table)
    if len(rows) > SHOWN:
        more = f"{len(rows) - SHOWN:,} more with a larger {HEADINGS[by_class.main]}"
        console.print(f"{more}; all are in {by_class.files[0]}")
    written = ", ".join(file.name for file in by_class.files)
    mistakes = "" if by_class.mistakes is None else f"{counted(by_class.mistakes, 'mistake')}. "
    console.print(f"\n{mistakes}In {by_class.files[0].parent}: {written}", markup=False)
