"""The figures of a comparison: curves, bars, and accuracy (or AP, or mIoU) against each cost.

Five follow the published comparison (github.com/MU-PING/Depthwise-separable-CNN): validation loss and accuracy over
epochs, parameters, training time, and FLOPs per batch.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

from jsep.report.protocol import AXES, COSTS
from jsep.results import FIGURES, CurvePoint, Result, by_model, main_figure, mean_std

_BATCH = 256  # the batch of the published FLOPs figure

# Okabe and Ito's colours, which colour-blind readers can distinguish; pale yellow comes last. Line styles and markers
# differ as well, for black and white.
STYLES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", ":", "D"),
    ("#E69F00", (0, (6, 1.5)), "v"),
    ("#56B4E9", (0, (4, 1, 1, 1, 1, 1)), "P"),
    ("#000000", (0, (1, 2.5)), "X"),
    ("#F0E442", (0, (8, 3)), "*"),
)
INK, _RULE = "#222222", "#DDDDDD"
RC = {
    "svg.hashsalt": "jsep",  # the same figure is saved as the same bytes
    "text.parse_math": False,  # a "$" in a model's name is not the start of a formula
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}
_WIDTH = 5.0  # inches
_LINE = 0.165  # inches per line of text

_SI = tuple((1000.0**power, prefix) for power, prefix in enumerate(("", "k", "M", "G", "T", "P")))
_FLOP = tuple((factor, f"{prefix}FLOP") for factor, prefix in _SI)
_UNITS = {"params": "parameters", "macs": "MACs", "train_seconds": "s of training"}
_TIME = ((1.0, "s"), (60.0, "min"), (3600.0, "h"))


@dataclass(frozen=True)
class Picture:
    """A saved figure.

    Attributes:
        alt: its content in words, for readers who cannot see it.
        caption: the text below it.
        file: an SVG or PNG file.
    """

    alt: str
    caption: str
    file: Path


def save_figures(folder: Path, results: Sequence[Result], curves: Sequence[CurvePoint]) -> list[Picture]:
    """Draw the figures, and save each as PNG and SVG.

    Args:
        folder: where to save them; made if it does not exist.
        results: the rows of results.csv, at least one.
        curves: the rows of curves.csv.

    Returns:
        The saved figures, in the order of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = dict.fromkeys([*by_model(results), *by_model(curves)])
    styles = {model: STYLES[i % len(STYLES)] for i, model in enumerate(models)}
    epochs, seconds = "On the validation images.", "Without compilation and evaluation."
    if any(len(rows) > 1 for rows in by_model(results).values()):
        epochs += " The mean over the seeds; the band spans the lowest to the highest."
        seconds += " The mean over the seeds ± their sample standard deviation."
    weights = "Trainable parameters of each network."
    main, ranked = main_figure(results), tells(point.val_top5 for point in curves)
    last = "After the last epoch, on the validation images. The mean over the seeds; whiskers span them."
    last_of = {"params": last, "macs": f"{last} One forward pass.", "train_seconds": f"{last} {seconds}"}
    work = "One forward pass. A multiply-accumulate counts as two operations; bias, pooling and "
    work += "batch norm count by the element."

    def save(name: str, title: str, caption: str, drawn: tuple[Figure, list[str]]) -> Picture:
        figure, told = drawn
        figure.text(0.02, 1 - 0.1 / figure.get_figheight(), title, va="top", weight="bold", size=11)
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            figure.savefig(folder / f"{name}.{kind}", dpi=150, metadata=metadata)
        return Picture(f"{title}: {'; '.join(told)}.", caption, folder / f"{name}.svg")

    # The "default" style keeps a user's own matplotlibrc from changing the figures.
    with matplotlib.style.context(["default", RC]):
        lost = main != "ap"  # an evaluation of detectors has no loss
        loss = _curves(curves, styles, lambda row: row.val_loss, "cross-entropy", "nats") if lost else None
        measured = _curves(curves, styles, lambda row: 100 * getattr(row, f"val_{main}"), FIGURES[main], "%")
        ap50 = None if lost else _curves(curves, styles, lambda row: 100 * row.val_ap50, FIGURES["ap50"], "%")
        top5 = _curves(curves, styles, lambda row: 100 * row.val_top5, "top-5 accuracy", "%") if ranked else None
        params = _bars(results, styles, lambda row: row.params, _SI, "trainable parameters")
        time = _bars(results, styles, lambda row: row.train_seconds, _TIME, "training time")
        flops = _bars(results, styles, lambda row: _BATCH * row.flops, _FLOP, "FLOPs per batch")
        against = {cost: _scatter(results, styles, main, cost) for cost in COSTS}
        upper = FIGURES[main].replace("acc", "Acc")
        return [
            *([save("validation_loss", "Validation loss", epochs, loss)] if loss else []),
            save(f"validation_{main}", f"Validation {FIGURES[main]}", epochs, measured),
            *([save("validation_ap50", f"Validation {FIGURES['ap50']}", epochs, ap50)] if ap50 else []),
            *([save("validation_top5", "Validation top-5 accuracy", epochs, top5)] if top5 else []),
            save("parameters", "Parameters", weights, params),
            save("training_time", "Training time", seconds, time),
            save("flops", f"FLOPs for a batch of {_BATCH} images", work, flops),
            *(
                save(f"{main}_{_snake(label)}", f"{upper} against {label}", last_of[cost], against[cost])
                for cost, label in COSTS.items()
            ),
        ]


def _snake(label: str) -> str:
    return label.replace(" ", "_").lower()


def tells(top5: Iterable[float]) -> bool:
    """Return whether top-5 accuracies are worth showing: they are 1 with up to five classes, and NaN in older files."""
    return any(value < 1 for value in top5)


def _curves(
    rows: Sequence[CurvePoint],
    styles: Mapping[str, tuple],
    value: Callable[[CurvePoint], float],
    axis: str,
    unit: str,
) -> tuple[Figure, list[str]]:
    """Draw a curve for each model, the mean of `value` over the seeds, with its name at the end."""
    height = 3.6
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((0.14, 0.135, 0.57, 0.74))
    axes.set(xlabel="epoch", ylabel=f"{axis} ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.margins(x=0.03)
    ends: dict[str, tuple[float, float, str]] = {}
    told = []
    for model, points in by_model(rows).items():
        colour, line, marker = styles[model]
        epochs = sorted({point.epoch for point in points})
        seeds = [[value(point) for point in points if point.epoch == epoch] for epoch in epochs]
        means = [mean_std(values)[0] for values in seeds]
        if any(len(values) > 1 for values in seeds):
            shown = [math.isfinite(mean) for mean in means]
            low, high = [min(values) for values in seeds], [max(values) for values in seeds]
            # Of the band of a single epoch, only the outline is visible.
            outline = 0.6 if len(epochs) > 1 else 4
            axes.fill_between(epochs, low, high, where=shown, color=colour, alpha=0.18, linewidth=outline)
        axes.plot(
            epochs,
            means,
            color=colour,
            linestyle=line,
            marker=marker,
            markevery=max(1, len(epochs) // 8),
            markersize=5,
            markeredgecolor=INK,
            markeredgewidth=0.4,
            linewidth=1.6,
        )
        finite = [pair for pair in zip(epochs, means, strict=True) if math.isfinite(pair[1])]
        x, y = finite[-1] if finite else (math.nan, math.nan)
        ends[model if x == epochs[-1] else f"{model} (NaN)"] = x, y, colour
        told.append(f"{model} {means[-1]:.4g} {unit} at epoch {epochs[-1]}")
    _name_ends(axes, ends, line_height=_LINE / (0.74 * height))
    return figure, told


def _scatter(
    rows: Sequence[Result], styles: Mapping[str, tuple], main: str = "accuracy", cost: str = "params"
) -> tuple[Figure, list[str]]:
    """Draw the main figure of each network against one of `COSTS`, with the names beside the axes."""
    groups = by_model(rows)
    height = max(3.6, 1.0 + 0.42 * len(groups))  # room for names of two lines
    share = 1 - 0.94 / height
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((0.14, 0.49 / height, 0.53, share))
    axes.set(xlabel=AXES[cost], ylabel=f"{FIGURES[main]} (%)")
    costs = {model: mean_std([getattr(run, cost) for run in runs])[0] for model, runs in groups.items()}
    if measured := [x for x in costs.values() if x > 0]:
        scale_x(axes, measured)
    ends: dict[str, tuple[float, float, str]] = {}
    told = []
    for model, runs in groups.items():
        colour, _, marker = styles[model]
        shares = [100 * getattr(run, main) for run in runs]
        mean, x = mean_std(shares)[0], costs[model]
        shown = math.isfinite(mean) and x > 0
        if shown:
            axes.vlines(x, min(shares), max(shares), color=INK, linewidth=0.8)
            axes.plot(x, mean, color=colour, marker=marker, markersize=7, markeredgecolor=INK, markeredgewidth=0.5)
        ends[model if shown else f"{model} (NaN)"] = x, mean if shown else math.nan, colour
        told.append(f"{model} {mean:.4g} % with {x:,.0f} {_UNITS[cost]}")
    _name_ends(axes, ends, line_height=_LINE / (share * height))
    return figure, told


def scale_x(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis of these positive values logarithmic, with at least one labelled tick."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.08)
    spread = max(values) / min(values)
    if spread < 10:  # there may be no power of ten to label; a factor of three always has a 1, a 2 or a 5
        room = max(spread**0.08, (3 / spread) ** 0.5)
        low, high = min(values) / room, max(values) * room
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        axes.set_xticks([tick for tick in ticks if low <= tick <= high])
        axes.set_xlim(low, high)


def _name_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]], line_height: float) -> None:
    """Write the name of each curve to the right of the axes, near the end of the curve, without overlaps.

    `ends` maps each name to the x, y and colour of the end. `line_height` is a fraction of the axes' height.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    names = [_wrap(name) for name in ends]
    heights = [(name.count("\n") + 1.15) * line_height for name in names]
    wishes = [0.5 if math.isnan(y) else (y - low) / (high - low) for _, y, _ in ends.values()]
    places = _spread(wishes, heights)
    for name, (x, y, colour), place in zip(names, ends.values(), places, strict=True):
        if not math.isnan(y):
            line = {"arrowstyle": "-", "color": colour, "lw": 0.8}
            axes.annotate("", (x, y), (1.05, place), textcoords="axes fraction", arrowprops=line)
        axes.text(1.06, place, name, transform=axes.transAxes, va="center", linespacing=1.05)


def _spread(wishes: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return centres of labels of these heights, close to the wishes, without overlaps and below 1."""
    order = sorted(range(len(wishes)), key=lambda i: wishes[i])
    centres = list(wishes)
    for below, above in pairwise(order):
        gap = (heights[below] + heights[above]) / 2
        centres[above] = max(centres[above], centres[below] + gap)
    ceiling = 1.0
    for i in reversed(order):
        centres[i] = min(centres[i], ceiling - heights[i] / 2)
        ceiling = centres[i] - heights[i] / 2
    return centres


def _bars(
    rows: Sequence[Result],
    styles: Mapping[str, tuple],
    value: Callable[[Result], float],
    units: Sequence[tuple[float, str]],
    axis: str,
) -> tuple[Figure, list[str]]:
    """Draw a bar for each model, the mean of `value` over the seeds, with its sample standard deviation."""
    groups = by_model(rows)
    height = 1.05 + 0.42 * len(groups)
    figure = Figure(figsize=(_WIDTH, height))
    axes = figure.add_axes((0.27, 0.55 / height, 0.43, 1 - 0.95 / height))
    stats = [mean_std([value(row) for row in group]) for group in groups.values()]
    reach = max(math.fsum(x for x in pair if math.isfinite(x)) for pair in stats)
    factor, unit = max((unit for unit in units if unit[0] <= reach), default=units[0])
    decimals = max(0, 4 - len(str(int(reach / factor))))  # four digits in the longest bar's label
    told = []
    for y, (model, (mean, std)) in enumerate(zip(groups, stats, strict=True)):
        text = _number(mean / factor, decimals)
        # NaN becomes an empty bar, or one without a whisker; the label shows it.
        length, whisker = (0 if math.isnan(x) else x / factor for x in (mean, std))
        axes.barh(y, length, height=0.6, color=styles[model][0])
        if whisker:
            axes.errorbar(length, y, xerr=whisker, fmt="none", color=INK, lw=1, capsize=3)
            text += f" ± {_number(whisker, decimals)}"
        text = f"{text} {unit}".strip()
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(text, (length + whisker, y), **place)
        told.append(f"{model} {text}")
    axes.set_yticks(range(len(groups)), [_wrap(model) for model in groups], color=INK)
    axes.set_ylim(len(groups) - 0.5, -0.5)  # the first model on top
    axes.set_xlim(0, 1.02 * reach / factor or 1)
    axes.set_xlabel(f"{axis} ({unit})" if unit else axis)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    return figure, told


def _number(value: float, decimals: int) -> str:
    """Format a number with these decimals; small ones with two significant digits."""
    return f"{value:.2g}" if 0 < value < 0.1 else f"{value:.{decimals}f}"


def _wrap(name: str, width: int = 14) -> str:
    """Break a name into at most two lines, after a separator if possible, and shorten it if it is too long."""
    network, _, options = name.partition(" ")
    if len(name) > 2 * width and options and len(network) <= width:
        return f"{network}\n{options if len(options) <= width else '…' + options[1 - width :]}"
    if len(name) > 2 * width:
        name = f"{name[: 2 * width - 12]}…{name[-11:]}"
    if len(name) <= width:
        return name
    cuts = [i for i in range(len(name) - width, width + 1) if i and name[i - 1] in "_-./ "]
    cut = cuts[-1] if cuts else width
    return f"{name[:cut]}\n{name[cut:]}"
