"""Pictures of a protocol: accuracy (or AP, or mIoU) against a cost, with the Pareto front."""

import io
import math
from collections.abc import Sequence

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from jsep.report.figures import INK, RC, STYLES, scale_x
from jsep.report.protocol import AXES, COSTS, Entry, pareto
from jsep.results import FIGURES

_CORNERS = ((5, 3), (5, -11), (-5, 3), (-5, -11), (0, 8), (0, -16), (14, -4), (-14, -4))  # of a number, in points


def draw_front(entries: Sequence[Entry], cost: str) -> tuple[str, str]:
    """Draw the main figure of networks against a cost.

    Each network has its number, from 1 in the order of `entries`. Those on the Pareto front are filled and joined by
    steps, the others are hollow, so that the picture needs no colour. Whiskers span the runs.

    Args:
        entries: networks under the same conditions, at least one; those that diverged are left out.
        cost: one of `COSTS`.

    Returns:
        The picture as SVG, and its content in words.
    """
    front = pareto(entries, cost)
    shown = [(i, entry) for i, entry in enumerate(entries, start=1) if math.isfinite(entry.value)]
    # the "default" style keeps a user's own matplotlibrc from changing the figures
    with matplotlib.style.context(["default", RC]):
        figure = Figure(figsize=(2.75, 2.6), layout="constrained")
        axes = figure.add_subplot(xlabel=AXES[cost], ylabel=f"{FIGURES[entries[0].figure]}, %")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if shown:
            scale_x(axes, [entry.cost(cost) for _, entry in shown])
        steps = [entry.cost(cost) for entry in front], [entry.value for entry in front]
        axes.plot(*steps, drawstyle="steps-post", color=INK, linewidth=0.9, zorder=1)
        for _, entry in shown:
            x, filled = entry.cost(cost), entry in front
            axes.vlines(x, min(entry.values), max(entry.values), color=INK, linewidth=0.8, zorder=2)
            fill = STYLES[0][0] if filled else "white"
            axes.plot(x, entry.value, "o", color=fill, markersize=6.5, markeredgecolor=INK, markeredgewidth=0.9)
        _number(figure, axes, {str(i): (entry.cost(cost), entry.value) for i, entry in shown})
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    told = f"{FIGURES[entries[0].figure]} against {COSTS[cost]}. Pareto front: "
    best = "; ".join(f"{entry.name}, {entry.value:.2f} % at {entry.cost(cost):,.0f}" for entry in front)
    return text.getvalue(), f"{told[0].upper()}{told[1:]}{best or 'none'}."


def _number(figure: Figure, axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Write a number beside each point, at the first place that covers neither points nor numbers, if there is one."""
    figure.draw_without_rendering()
    places = [axes.transData.transform(point) for point in points.values()]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
    for name, point in points.items():
        for x, y in (*_CORNERS, _CORNERS[0]):
            side = "left" if x > 0 else "right" if x < 0 else "center"
            label = axes.annotate(name, point, (x, y), textcoords="offset points", ha=side, size=9)
            label.set_path_effects([withStroke(linewidth=2, foreground="white")])  # over the steps
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or (x, y) == _CORNERS[-1]:
                taken.append(box)
                break
            label.remove()
