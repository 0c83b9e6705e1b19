"""The figure of a decomposition: the error and the cost of each layer."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from jsep.compress.decompose import LayerResult
from jsep.report.figures import INK, RC, STYLES


def save_layers(folder: Path, rows: Sequence[LayerResult]) -> None:
    """Save layers.png and layers.svg, which show each layer's error, and its MACs before and after.

    Args:
        folder: where to save them.
        rows: the decomposed layers.
    """
    with matplotlib.style.context(["default", RC]):
        height = 1.2 + 0.34 * len(rows)
        figure = Figure(figsize=(9.0, height))
        bottom, share = 0.55 / height, 1 - 1.1 / height
        error = figure.add_axes((0.2, bottom, 0.36, share))
        macs = figure.add_axes((0.61, bottom, 0.36, share))
        places = range(len(rows))
        error.barh(places, [100 * row.error for row in rows], height=0.6, color=STYLES[0][0], label="decomposed")
        error.plot(
            [100 * row.error_inherited for row in rows],
            list(places),
            linestyle="none",
            marker="D",
            color=STYLES[1][0],
            markersize=4,
            markeredgecolor=INK,
            markeredgewidth=0.4,
            label="untouched layer here",
        )
        error.set_yticks(places, [row.path for row in rows], color=INK)
        error.set_xlabel("error of the linear response (%)")
        before, after = [row.macs_before for row in rows], [row.macs_after for row in rows]
        macs.barh([p - 0.17 for p in places], before, height=0.34, color="#BBBBBB", label="before")
        macs.barh([p + 0.17 for p in places], after, height=0.34, color=STYLES[2][0], label="after")
        macs.set_yticks(places, [""] * len(rows))
        macs.set_xlabel("multiply-accumulates per image")
        macs.xaxis.set_major_formatter(EngFormatter(sep=" "))
        for axes in (error, macs):
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.yaxis.grid(False)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
            axes.tick_params(axis="y", length=0)
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8)
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            figure.savefig(folder / f"layers.{kind}", dpi=150, metadata=metadata)
