"""The figure of a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
from jaxtyping import Int
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jsep.report.figures import INK, RC

_NUMBERED, _NAMED = 30, 120  # most classes whose counts, and whose names, are written
_CELL = 0.34  # inches


def save_confusion(folder: Path, matrix: Int[np.ndarray, "k k"], names: Sequence[str], title: str) -> Path:
    """Save confusion.png and confusion.svg: a row for each true class, a column for each predicted one.

    Colours show the share of a row, on a logarithmic scale that makes single mistakes visible. The counts are written
    into the cells of at most 30 classes, and the names beside the axes of at most 120.

    Args:
        folder: where to save them.
        matrix: number of images of each true class (rows) for which each class was predicted (columns).
        names: names of the classes.
        title: the line above the matrix.

    Returns:
        The path of the PNG file.
    """
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    numbered, named = len(names) <= _NUMBERED, len(names) <= _NAMED
    side = min(max(_CELL * len(names), 2.5), 12.0)
    size = min(8.5, 72 * side / len(names) * 0.8)
    margin = 0.25 + 0.078 * size / 8.5 * max(map(len, names)) if named else 0.6
    width, height = margin + side + 1.35, margin + side + 0.85
    with matplotlib.style.context(["default", RC]):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes(((margin + 0.3) / width, (margin + 0.3) / height, side / width, side / height))
        shown = np.where(share > 0, share, np.nan)  # white where nothing was predicted
        image = axes.imshow(shown, cmap="Blues", norm=LogNorm(max(np.nanmin(shown), 1e-4) / 3, 1))
        bar = figure.add_axes(
            ((margin + 0.3 + side + 0.12) / width, (margin + 0.3) / height, 0.12 / width, side / height)
        )
        figure.colorbar(image, cax=bar, format=lambda value, _: f"{100 * value:.4g} %")
        bar.set_title("of the row", fontsize=8, color=INK)
        bar.grid(False)
        axes.grid(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for axis in (axes.xaxis, axes.yaxis):
            if named:
                axis.set_ticks(range(len(names)), names, fontsize=size)
            else:
                axis.set_major_locator(MaxNLocator(integer=True))
        if named:
            axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
        if numbered:
            for (row, column), number in np.ndenumerate(matrix):
                if number:
                    dark = share[row, column] > 0.08
                    text = {"color": "white" if dark else "black", "fontsize": size if number < 1000 else size * 0.75}
                    axes.text(column, row, f"{number}", ha="center", va="center", **text)
        figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", weight="bold")
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            figure.savefig(folder / f"confusion.{kind}", dpi=150, metadata=metadata)
    return folder / "confusion.png"
