"""Contact sheets: many pictures on one page, with what a network says about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from jsep.report.figures import RC, STYLES

COLUMNS, MOST = 6, 60  # pictures side by side, and on one sheet
_SIDE, _LINE = 1.5, 0.15  # inches: a picture, and a line of text


@dataclass(frozen=True)
class Captioned:
    """A picture of a contact sheet.

    Attributes:
        image: the picture, as the network sees it.
        lines: what stands below it, a line each.
        right: whether the prediction is right; None if that is not known.
    """

    image: UInt8[np.ndarray, "h w c"]
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
    lines = max(len(picture.lines) for picture in pictures)
    cell = _SIDE + 0.12, _SIDE + _LINE * lines + 0.2
    rows = -(-len(pictures) // columns)
    width, height = max(cell[0] * columns + 0.12, 4.5), cell[1] * rows + 0.4
    with matplotlib.style.context(["default", RC]):
        figure = Figure(figsize=(width, height))
        figure.text(0.12 / width, 1 - 0.08 / height, title, va="top", weight="bold")
        for i, picture in enumerate(pictures):
            left, top = 0.12 + cell[0] * (i % columns), height - 0.4 - cell[1] * (i // columns)
            axes = figure.add_axes((left / width, (top - _SIDE) / height, _SIDE / width, _SIDE / height))
            axes.set_axis_off()
            grey = picture.image.shape[-1] == 1
            axes.imshow(picture.image[..., 0] if grey else picture.image, cmap="gray", vmin=0, vmax=255)
            mark = {None: "", True: "\u2713 ", False: "\u2717 "}[picture.right]
            for line, text in enumerate(picture.lines):
                colour = STYLES[1][0] if picture.right is False and line == 0 else RC["text.color"]
                place = left / width, (top - _SIDE - 0.05 - _LINE * line) / height
                short = _shortened((mark if line == 0 else "") + text)
                figure.text(*place, short, va="top", fontsize=7.5, color=colour)
        figure.savefig(path, dpi=150)


def _shortened(text: str, most: int = 26) -> str:
    """Cut the middle out of a text that is too long to stand below a picture."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}\u2026{text[-half:]}"
