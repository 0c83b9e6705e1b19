"""The figure of a benchmark: horizontal bars of milliseconds, one panel per case."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jsep.bench.config import CONTENDERS
from jsep.bench.row import BenchRow
from jsep.report.figures import INK, RC, STYLES

COLOURS: dict[str, str] = dict(zip(CONTENDERS, (colour for colour, *_ in STYLES), strict=False))
WIDTH, BAR, GAP = 7.0, 0.27, 0.75  # inches: the figure, a bar, and the rest of a panel


def save_figure(folder: Path, rows: Sequence[BenchRow]) -> None:
    """Save bench.png and bench.svg. Each case has its own scale; whiskers span the 10th to the 90th percentile.

    Args:
        folder: where to save them.
        rows: the measurements, at least one.
    """
    panels: dict[str, list[BenchRow]] = {}
    for row in rows:
        panels.setdefault(row.case, []).append(row)
    heights = [len(panel) * BAR for panel in panels.values()]
    total = sum(heights) + GAP * len(panels) + 0.1
    with matplotlib.style.context(["default", RC]):
        figure = Figure(figsize=(WIDTH, total))
        top = total
        for (case, panel), height in zip(panels.items(), heights, strict=True):
            top -= height + GAP
            disturbed = " (disturbed)" if any(row.disturbed for row in panel) else ""
            axes = figure.add_axes((0.16, (top + 0.45) / total, 0.53, height / total))
            figure.text(0.02, (top + height + 0.51) / total, case + disturbed, weight="bold")
            for y, row in enumerate(panel):
                place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
                if row.ms is None or row.ms_p10 is None or row.ms_p90 is None:
                    axes.annotate("not measured", (0, y), color="#666666", style="italic", **place)
                    continue
                axes.barh(y, row.ms, height=0.7, color=COLOURS[row.contender])
                spread = [[row.ms - row.ms_p10], [row.ms_p90 - row.ms]]
                axes.errorbar(row.ms, y, xerr=spread, fmt="none", color=INK, lw=1, capsize=2)
                ratio = "" if row.ratio is None or row.contender == "jsep" else f" ({row.ratio:.2f} x jsep)"
                axes.annotate(f"{row.ms:.4g} ms{ratio}", (row.ms_p90, y), **place)
            axes.set_yticks(range(len(panel)), [row.contender for row in panel], color=INK)
            axes.set_ylim(len(panel) - 0.5, -0.5)  # the first contender on top
            axes.set_xlim(0, max([row.ms_p90 for row in panel if row.ms_p90], default=1))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.yaxis.grid(False)
            axes.tick_params(axis="y", length=0)
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            figure.savefig(folder / f"bench.{kind}", dpi=150, metadata=metadata)
