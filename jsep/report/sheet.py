"""Contact sheets: many pictures on one page, with what a network says about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray

from jsep.report.figures import INK, STYLES
from jsep.report.text import drawing, shortened, width

COLUMNS, MOST = 6, 60  # pictures side by side, and on one sheet
_SIDE, _GAP, _LINE = 1.5, 0.12, 0.15  # inches: a picture, the space beside it, and a line of text
_LETTERS = 26  # that have room below a picture
_WRONG = STYLES[1][0]
_MARKS = {None: "", True: "✓ ", False: "✗ "}


@dataclass(frozen=True)
class Captioned:
    """A picture of a contact sheet.

    Attributes:
        image: the picture, as the network sees it.
        lines: what stands below it, a line each.
        right: whether the prediction in the first line is right; None if that is not known.
    """

    image: UInt8[ndarray, "h w c"]
    lines: tuple[str, ...]
    right: bool | None = None


def save_sheet(path: Path, pictures: Sequence[Captioned], title: str) -> None:
    """Save a contact sheet of at most 60 pictures as PNG. Predictions are marked by a tick or, if wrong, a cross.

    Args:
        path: the file to create or replace.
        pictures: the pictures, at least one; those after the sixtieth are left out.
        title: the line above them.
    """
    pictures = pictures[:MOST]
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    cell = _SIDE + _GAP, _SIDE + _LINE * max(len(picture.lines) for picture in pictures) + 0.2
    wide, high = max(cell[0] * columns + _GAP, 0.085 * width(title) + 2 * _GAP), cell[1] * rows + 0.4
    with drawing([title, *_MARKS.values(), *(line for picture in pictures for line in picture.lines)]):
        figure = Figure(figsize=(wide, high))
        figure.text(_GAP / wide, 1 - 0.08 / high, title, va="top", weight="bold")
        for i, picture in enumerate(pictures):
            left, top = _GAP + cell[0] * (i % columns), high - 0.4 - cell[1] * (i // columns)
            axes = figure.add_axes((left / wide, (top - _SIDE) / high, _SIDE / wide, _SIDE / high))
            axes.set_axis_off()
            grey = picture.image.shape[-1] == 1
            image = picture.image[..., 0] if grey else picture.image
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            for line, text in enumerate(picture.lines):
                first = line == 0
                text = shortened((_MARKS[picture.right] if first else "") + text, _LETTERS)
                colour = _WRONG if first and picture.right is False else INK
                place = left / wide, (top - _SIDE - 0.05 - _LINE * line) / high
                figure.text(*place, text, va="top", fontsize=7.5, color=colour)
        figure.savefig(path, dpi=150)
