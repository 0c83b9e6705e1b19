"""The figure of a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from jsep.report.figures import INK
from jsep.report.text import drawing, shortened, width

_NUMBERED, _NAMED = 30, 120  # most classes whose counts, and whose names, are written
_CELL, _LARGEST = 0.34, 12.0  # inches: the side of a cell, and the largest side of a matrix
_DARK = 0.55  # of the scale of colours, from where on numbers are white


def save_confusion(path: Path, matrix: Int[np.ndarray, "k k"], names: Sequence[str], title: str) -> None:
    """Save the figure of a confusion matrix as PNG: a row for each true class, a column for each predicted one.

    Colours show the share of a row, on a logarithmic scale that makes single mistakes visible. The counts are written
    into the cells of at most 30 classes, and the names beside the axes of at most 120. Cells of more classes would be
    too small to see, and are drawn as dots.

    Args:
        path: the file to create or replace.
        matrix: number of images, or of pixels, of each true class (rows) for which each was predicted (columns).
        names: names of the classes.
        title: the line above the matrix.
    """
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    least = max(share[share > 0].min(initial=1.0), 1e-4)
    named = len(names) <= _NAMED
    names = [shortened(name, 24) for name in names] if named else names
    side = min(max(_CELL * len(names), 2.5), _LARGEST)
    size = min(8.5, 72 * side / len(names) * 0.8)  # points
    below = 0.12 + 0.0085 * size * max(map(width, names)) if named else 0.35  # inches: names at the axes
    left = bottom = below + 0.3
    wide, high = max(left + side + 1.1, 0.085 * width(title) + 0.2), bottom + side + 0.6
    with drawing([title, *names]):
        figure = Figure(figsize=(wide, high))
        axes = figure.add_axes((left / wide, bottom / high, side / wide, side / high))
        scale = LogNorm(min(least / (5 if named else 50), 0.1), 1)
        colours: dict[str, Any] = {"cmap": "Blues", "norm": scale}
        if named:
            image = axes.imshow(np.where(share > 0, share, np.nan), interpolation="nearest", **colours)
        else:
            rows, columns = np.nonzero(share)
            order = np.argsort(share[rows, columns])  # dark dots lie over light ones
            rows, columns = rows[order], columns[order]
            image = axes.scatter(columns, rows, c=share[rows, columns], s=3, marker="s", linewidth=0, **colours)
            axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
        bar = figure.add_axes(((left + side + 0.12) / wide, bottom / high, 0.12 / wide, side / high))
        figure.colorbar(image, cax=bar, format=lambda value, _: f"{100 * value:.3g} %")
        bar.yaxis.set_minor_formatter(NullFormatter())  # its own labels, where all shares are large, are not percent
        bar.tick_params(labelsize=8)
        bar.set_title("of the row", fontsize=8, color=INK, loc="left")
        for each in (axes, bar):
            each.grid(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for axis in (axes.xaxis, axes.yaxis):
            if named:
                axis.set_ticks(range(len(names)), names, fontsize=size)
            else:
                axis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(axis="x", rotation=90 if named else 0)
        axes.tick_params(length=0)
        if len(names) <= _NUMBERED:
            for (row, column), number in np.ndenumerate(matrix):
                if number:
                    colour = "white" if float(scale(share[row, column])) > _DARK else "black"
                    letters = min(8.5, 72 * side / len(names) * 1.4 / len(str(number)))  # points that fit into a cell
                    axes.text(column, row, str(number), ha="center", va="center", color=colour, fontsize=letters)
        figure.text(0.1 / wide, 1 - 0.1 / high, title, va="top", weight="bold")
        figure.savefig(path, dpi=150)
