"""`jsep predict`: the most probable classes of pictures."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.progress import track
from rich.text import Text
from tyro.conf import Positional, arg

from jsep.cli.console import new_table, percent, print_next, print_table
from jsep.cli.flags import parse
from jsep.errors import UserError
from jsep.export.predictor import is_exported, open_exported
from jsep.files import write_atomically, writing
from jsep.report.sheet import MOST, Captioned, save_sheet
from jsep.runs.predict import BATCH, Prediction, find_pictures, open_predictor, predict

DASH = Path("-")  # stands for the standard output


def run(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code: 2 if a picture could not be decoded."""
    return parse(show_predictions, "predict", argv)


def show_predictions(
    source: Annotated[Positional[Path], arg(metavar="SOURCE")],
    pictures: Annotated[Positional[tuple[str, ...]], arg(metavar="PICTURES...")],
    top: int = 5,
    json: Path | None = None,
    sheet: Path | None = None,
    checkpoint: str = "best",
) -> int:
    """Print the most probable classes of pictures, which are prepared as in the evaluation of the network.

    Files are written only where --json and --sheet ask for them. Pictures that cannot be decoded are named at the end;
    the others are shown all the same, and the exit code is 2.

    Args:
        source: Run folder, published weights such as timm/resnet50.a1_in1k, file of weights, or exported .onnx, .tflite
            or .stablehlo file with the .json beside it.
        pictures: Files, folders with the pictures in and below them, and patterns between quotes, such as 'a/**/*.jpg'.
        top: Number of classes to name for each picture.
        json: File for the predictions in JSON, a line for each picture, with file, classes and probabilities, or with
            file and error. A dash (-) prints these lines instead of the table.
        sheet: PNG file for a contact sheet of the first 60 pictures.
        checkpoint: Checkpoint of a run: best, last, or a step.
    """
    if sheet and sheet.suffix.lower() != ".png":
        raise UserError(f"`sheet`={sheet}: give a name that ends in .png")
    for name, path in (("json", json), ("sheet", sheet)):
        if path and not path.parent.is_dir():
            raise UserError(f"`{name}`={path}: there is no folder {path.parent}; make it, or choose another one")
    exported = is_exported(source)
    if exported and checkpoint != "best":
        raise UserError(f"`checkpoint`={checkpoint}: {source} is an exported file, which holds one; leave it out")
    files = find_pictures(pictures)
    predictor = open_exported(source) if exported else open_predictor(source, checkpoint)
    found = _collect(predict(predictor, files, top), len(files), images=MOST if sheet else 0)
    seen, unseen = ([one for one in found if bool(one.error) == wrong] for wrong in (False, True))
    lines = "".join(dumps(_record(one), ensure_ascii=False) + "\n" for one in found)
    if json == DASH:
        print(lines, end="")
    elif seen:
        _print_predictions(seen)
    if json and json != DASH:
        with writing(json):
            write_atomically(json, lines)
    if sheet and seen:
        shown = [Captioned(one.image, _lines(one)) for one in seen if one.image is not None]
        with writing(sheet):
            save_sheet(sheet, shown, f"{predictor.name}: {len(shown):,} of {len(files):,} pictures")
    if unseen:
        for one in unseen:
            print(f"jsep: {one.file} cannot be decoded: {one.error}", file=sys.stderr)
        return 2
    if json != DASH and not exported:
        print_next("export", source, "--to", "tflite", "--int8")
    return 0


def _collect(results: Iterator[Prediction], number: int, images: int) -> list[Prediction]:
    """Return all predictions, the first `images` that have one with their image; show a bar on terminals."""
    progress = Console(stderr=True)
    quiet = number <= BATCH or not progress.is_terminal
    found: list[Prediction] = []
    for one in track(results, "pictures", number, console=progress, transient=True, disable=quiet):
        kept = one.image is not None and images > 0
        images -= kept
        found.append(one if kept else dataclasses.replace(one, image=None))
    return found


def _print_predictions(found: Sequence[Prediction]) -> None:
    """Print a table with a row for each picture."""
    table = new_table("picture", "class", numbers=("probability",), then=("then",))
    for one in found:
        (first, probability), *others = zip(one.classes, one.probabilities, strict=True)
        then = ", ".join(f"{name} ({percent(share)})" for name, share in others)
        table.add_row(Text(str(one.file)), Text(first), percent(probability), Text(then))
    print_table(table)


def _lines(one: Prediction) -> tuple[str, ...]:
    """Return what stands below a picture on the contact sheet."""
    shares = zip(one.classes[:3], one.probabilities, strict=False)
    return (*(f"{percent(share)} {name}" for name, share in shares), one.file.name)


def _record(one: Prediction) -> dict[str, object]:
    """Return the JSON object of a picture."""
    if one.error:
        return {"file": str(one.file), "error": one.error}
    return {"file": str(one.file), "classes": one.classes, "probabilities": one.probabilities}
