"""Pictures with what a network found in them: boxes with names and scores, or a mask with a legend.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; of more than eight classes they come again
lighter, then darker. Nothing is told by colour alone: boxes bear their names, and regions the numbers of the legend.
"""

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image

from jsep.report.figures import STYLES
from jsep.report.text import drawing, shortened, width

LEAST = 480  # pixels of the longer side, to which small pictures are enlarged
_DPI = 100
_TEXT = 8.0  # points
_LETTERS = 24  # of a class's name
_VEIL = 0.55  # share of a region's colour in its pixels
_SMALLEST = 12  # side in pixels of the largest square in a region that bears its number


def colour_of(number: int) -> tuple[float, float, float]:
    """Return the colour of a class, each channel from 0 to 1.

    >>> [[round(level, 2) for level in colour_of(number)] for number in (0, 8)]
    [[0.0, 0.45, 0.7], [0.5, 0.72, 0.85]]
    """
    again, place = divmod(number, len(STYLES))
    towards = (None, 1.0, 0.0)[again % 3]
    red, green, blue = to_rgb(STYLES[place][0])
    if towards is None:
        return red, green, blue
    return (red + towards) / 2, (green + towards) / 2, (blue + towards) / 2


def draw_boxes(
    image: UInt8[np.ndarray, "h w c"],
    boxes: Float[np.ndarray, "n 4"],
    classes: Sequence[int],
    names: Sequence[str],
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Draw boxes into a picture, those that come first on top of the others.

    Args:
        image: the picture; a small one is enlarged by a whole factor.
        boxes: boxes (x1, y1, x2, y2) in its pixels.
        classes: the class of each, which decides on its colour and style of line.
        names: what is written at each.
    """
    names = [shortened(name, _LETTERS + 6) for name in names]
    with drawing(names):
        figure, axes = _canvas(image)
        for box, number, name in reversed(list(zip(boxes.tolist(), classes, names, strict=True))):
            (left, top, right, bottom), colour = box, colour_of(number)
            corner, style = (left - 0.5, top - 0.5), STYLES[number % len(STYLES)][1]
            for line, ink, how in ((4.0, "white", "-"), (2.0, colour, style)):
                frame = Rectangle(corner, right - left, bottom - top, fill=False, lw=line, ec=ink, ls=how)
                axes.add_patch(frame)
            inside = top - 0.5 < 0.04 * len(image)  # there is no room above the box
            axes.text(
                *corner,
                name,
                fontsize=_TEXT,
                color=_ink(colour),
                va="top" if inside else "bottom",
                clip_on=True,
                bbox={"facecolor": colour, "edgecolor": "white", "linewidth": 0.5, "pad": 1.5},
            )
        return _pixels(figure)


def draw_mask(
    image: UInt8[np.ndarray, "h w c"], mask: Int[np.ndarray, "h w"], names: Sequence[str]
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Draw the regions of classes over a picture, with a legend beside it.

    Regions have white borders and, where there is room, the number of their class, which the legend explains. What is
    called background keeps the colours of the picture.

    Args:
        image: the picture; a small one is enlarged by a whole factor.
        mask: the class of each pixel.
        names: names of all classes.
    """
    there = [int(number) for number in np.unique(mask) if names[int(number)] != "background"]
    called = {number: shortened(names[number], _LETTERS) for number in there}
    labels = {number: name if name == str(number) else f"{number} {name}" for number, name in called.items()}
    veiled = _colours(image).astype(np.float64)
    for number in there:
        region = mask == number
        veiled[region] += _VEIL * (255 * np.array(colour_of(number)) - veiled[region])
    veiled[_borders(mask)] = 255
    legend = (0.35 + 0.075 * max(map(width, labels.values()))) if labels else 0.0
    with drawing([*labels.values()]):
        figure, axes = _canvas(veiled.round().astype(np.uint8), legend, 0.2 * len(there))
        for number in there:
            (row, column), side = centre(mask == number)
            if side * axes.get_window_extent().width / mask.shape[1] >= _SMALLEST:
                outline = [withStroke(linewidth=2, foreground="black")]
                place: dict[str, Any] = {"ha": "center", "va": "center", "path_effects": outline}
                axes.text(column, row, str(number), fontsize=_TEXT, color="white", **place)
        if there:
            patches = [Patch(facecolor=colour_of(number), label=labels[number]) for number in there]
            figure.legend(handles=patches, loc="upper right", fontsize=_TEXT, frameon=False, borderaxespad=0.2)
        return _pixels(figure)


def centre(region: Bool[np.ndarray, "h w"]) -> tuple[tuple[float, float], int]:
    """Return the row and the column of the middle of a largest square that lies in a region, and the square's side.

    >>> centre(np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]], bool))
    ((1.5, 1.5), 2)

    Args:
        region: which pixels belong to it, at least one.
    """
    sums = np.pad(region.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def squares(side: int) -> Bool[np.ndarray, "_ _"]:
        held = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        return held == side**2

    side = bisect.bisect_left(range(1, min(region.shape) + 1), True, key=lambda side: not squares(side).any())
    found = np.argwhere(squares(side))
    row, column = found[len(found) // 2].tolist()
    return (row + (side - 1) / 2, column + (side - 1) / 2), side


def save_picture(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Save a picture as PNG."""
    Image.fromarray(image).save(path, "PNG")


def save_classes(path: Path, mask: Int[np.ndarray, "h w"]) -> None:
    """Save a mask as PNG of one channel whose values are the classes; viewers show them in their colours."""
    image = Image.fromarray(mask.astype(np.uint8), "L").convert("P")
    image.putpalette([round(255 * level) for number in range(256) for level in colour_of(number)])
    image.save(path, "PNG")


def _canvas(image: UInt8[np.ndarray, "h w c"], beside: float = 0.0, below: float = 0.0) -> tuple[Figure, Any]:
    """Return a figure that shows a picture pixel by pixel, with inches of room beside it, and its axes."""
    image = _colours(image)
    factor = -(-LEAST // max(image.shape[:2]))
    high, wide = (factor * side / _DPI for side in image.shape[:2])
    size = wide + beside, max(high, below)
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    axes = figure.add_axes((0, 1 - high / size[1], wide / size[0], high / size[1]))
    axes.set_axis_off()
    axes.imshow(image, interpolation="nearest", aspect="auto")
    axes.autoscale(False)
    return figure, axes


def _pixels(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _colours(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture with three channels."""
    return np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[-1] == 1 else image


def _borders(mask: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels whose right or lower neighbour is of another class."""
    right, lower = (np.diff(mask.astype(np.int64), axis=axis) != 0 for axis in (1, 0))
    return np.pad(right, ((0, 0), (0, 1))) | np.pad(lower, ((0, 1), (0, 0)))


def _ink(colour: tuple[float, float, float]) -> str:
    """Return whether black or white letters are easier to read on a colour."""
    return "black" if np.dot(colour, (0.299, 0.587, 0.114)) > 0.5 else "white"
