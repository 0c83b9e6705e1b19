"""`jsep predict`: the most probable classes of pictures, the objects in them, or their regions."""

import dataclasses
import sys
from collections import Counter
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
from jsep.errors import UserError, counted
from jsep.export.predictor import is_exported, open_exported
from jsep.files import make_folder, write_atomically, writing
from jsep.models.registry import Task
from jsep.report.drawing import save_classes, save_picture
from jsep.report.sheet import MOST, Captioned, save_sheet
from jsep.runs.predict import BATCH, SCORE, Prediction, find_pictures, open_predictor, predict

DASH = Path("-")  # stands for the standard output


def run(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code: 2 if a picture could not be decoded."""
    return parse(show_predictions, "predict", argv)


def show_predictions(
    source: Annotated[Positional[Path], arg(metavar="SOURCE")],
    pictures: Annotated[Positional[tuple[str, ...]], arg(metavar="PICTURES...")],
    top: int = 5,
    score: float = SCORE,
    json: Path | None = None,
    sheet: Path | None = None,
    draw: Path | None = None,
    checkpoint: str = "best",
) -> int:
    """Print the most probable classes of pictures, or what a detector or segmenter finds in them.

    They are prepared as in the evaluation of the network. Files are written only where --json, --sheet and --draw ask
    for them. Pictures that cannot be decoded are named at the end; the others are shown all the same, and the exit code
    is 2.

    Args:
        source: Run folder, published weights such as timm/resnet50.a1_in1k, file of weights, or exported .onnx, .tflite
            or .stablehlo file with the .json beside it.
        pictures: Files, folders with the pictures in and below them, and patterns between quotes, such as 'a/**/*.jpg'.
        top: Number of classes to name for each picture.
        score: Least score, from 0 to 1, of the objects of a detector.
        json: File for the predictions in JSON, a line for each picture, with file, classes and probabilities (of a
            segmenter, shares of the picture), with file and objects, or with file and error. A dash (-) prints these
            lines instead of the table.
        sheet: PNG file for a contact sheet of the first 60 pictures.
        draw: Folder for a PNG file of each picture with the boxes of a detector or the regions of a segmenter, and for
            the classes of its pixels in NAME.classes.png.
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
    if draw and predictor.task == "classification":
        raise UserError(f"`draw`={draw}: {source} is a classifier, which finds no place in a picture; take `sheet`")
    results = predict(predictor, files, top, score)
    if draw:
        make_folder(draw)
        results = _drawn(results, predictor.class_names, draw)
    found = _collect(results, len(files), predictor.class_names, images=MOST if sheet else 0)
    seen, unseen = ([one for one in found if bool(one.error) == wrong] for wrong in (False, True))
    lines = "".join(dumps(_record(one, predictor.task), ensure_ascii=False) + "\n" for one in found)
    if json == DASH:
        print(lines, end="")
    elif seen:
        _print_predictions(seen, predictor.task)
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
    if json != DASH and not exported and predictor.task == "classification":
        print_next("export", source, "--to", "tflite", "--int8")
    return 0


def _drawn(results: Iterator[Prediction], class_names: Sequence[str], folder: Path) -> Iterator[Prediction]:
    """Yield predictions after drawing each into a file of a folder, called as the picture or NAME-2, NAME-3 ..."""
    taken: Counter[str] = Counter()
    for one in results:
        if one.image is not None:
            taken[one.file.stem] += 1
            number = taken[one.file.stem]
            name = one.file.stem if number == 1 else f"{one.file.stem}-{number}"
            with writing(folder):
                save_picture(folder / f"{name}.png", one.drawn(class_names))
                if one.mask is not None:
                    save_classes(folder / f"{name}.classes.png", one.mask)
        yield one


def _collect(results: Iterator[Prediction], number: int, class_names: Sequence[str], images: int) -> list[Prediction]:
    """Return all predictions, the first `images` that have one with their image, drawn; show a bar on terminals."""
    progress = Console(stderr=True)
    quiet = number <= BATCH or not progress.is_terminal
    found: list[Prediction] = []
    for one in track(results, "pictures", number, console=progress, transient=True, disable=quiet):
        kept = one.image is not None and images > 0
        images -= kept
        found.append(dataclasses.replace(one, image=one.drawn(class_names) if kept else None, mask=None))
    return found


def _print_predictions(found: Sequence[Prediction], task: Task) -> None:
    """Print a table with a row for each picture."""
    if task == "detection":
        table = new_table("picture", "objects")
        for one in found:
            table.add_row(Text(str(one.file)), Text(one.told))
        print_table(table)
        return
    share = "share" if task == "segmentation" else "probability"
    table = new_table("picture", "class", numbers=(share,), then=("then",))
    for one in found:
        (first, probability), *others = zip(one.classes, one.probabilities, strict=True)
        then = ", ".join(f"{name} ({percent(share)})" for name, share in others)
        table.add_row(Text(str(one.file)), Text(first), percent(probability), Text(then))
    print_table(table)


def _lines(one: Prediction) -> tuple[str, ...]:
    """Return what stands below a picture on the contact sheet."""
    if one.objects is not None:
        return counted(len(one.objects), "object"), one.file.name
    shares = zip(one.classes[:3], one.probabilities, strict=False)
    return (*(f"{percent(share)} {name}" for name, share in shares), one.file.name)


def _record(one: Prediction, task: Task) -> dict[str, object]:
    """Return the JSON object of a picture."""
    if one.error:
        return {"file": str(one.file), "error": one.error}
    if task == "detection":
        objects = [{"class": thing.name, "score": thing.score, "box": thing.box} for thing in one.objects or ()]
        return {"file": str(one.file), "objects": objects}
    return {"file": str(one.file), "classes": one.classes, "probabilities": one.probabilities}
