"""The page of a comparison: one self-contained HTML file."""

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from jsep.errors import UserError
from jsep.report.figures import Picture, save_figures, tells
from jsep.report.protocol import listed
from jsep.results import (
    CURVES_CSV,
    FIGURES,
    RESULTS_CSV,
    CurvePoint,
    Result,
    by_model,
    main_figure,
    mean_std,
    read_rows,
)


class _Column(NamedTuple):
    heading: str
    unit: str
    value: Callable[[Result], float]
    form: str
    best: Callable[[Iterable[float]], float]
    ratio: bool = False


_LOSS = _Column("Loss", "nats", lambda row: row.loss, ".4f", min)
_MEASURED = {  # by the main figure
    "accuracy": (
        _Column("Accuracy", "%", lambda row: 100 * row.accuracy, ".2f", max),
        _Column("Top-5", "%", lambda row: 100 * row.top5, ".2f", max),
        _LOSS,
        _Column("Best accuracy", "%", lambda row: 100 * row.best_accuracy, ".2f", max),
    ),
    "ap": (
        _Column("AP", "%", lambda row: 100 * row.ap, ".2f", max),
        _Column("AP50", "%", lambda row: 100 * row.ap50, ".2f", max),
        _Column("Best AP", "%", lambda row: 100 * row.best_ap, ".2f", max),
    ),
    "miou": (
        _Column("mIoU", "%", lambda row: 100 * row.miou, ".2f", max),
        _Column("Accuracy", "% of pixels", lambda row: 100 * row.accuracy, ".2f", max),
        _LOSS,
        _Column("Best mIoU", "%", lambda row: 100 * row.best_miou, ".2f", max),
    ),
}
_COLUMNS = (
    _Column("Parameters", "", lambda row: row.params, ",.0f", min, ratio=True),
    _Column("MACs", "per image", lambda row: row.macs, ",.0f", min),
    _Column("FLOPs", "per image", lambda row: row.flops, ",.0f", min, ratio=True),
    _Column("Training time", "s", lambda row: row.train_seconds, ",.1f", min, ratio=True),
    _Column("Throughput", "images/s", lambda row: row.images_per_second, ",.1f", max),
)

_CSS = """
:root { color-scheme: light dark; --paper: #fbfbfa; --ink: #1d2129; --muted: #646b76;
  --rule: #e2e3e6; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181d; --ink: #e4e6ea; --muted: #9aa2ae; --rule: #2d323a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h3, p, li, dd, th { overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.8rem; line-height: 1.2; font-weight: 650; }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.15rem; font-weight: 650; }
h3 { margin: 1.25rem 0 .5rem; font-size: 1rem; font-weight: 600; }
p { margin: 0; max-width: 46rem; }
.muted, small, .caption, dt, figcaption { color: var(--muted); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
.caption { margin-top: .6rem; font-size: .85rem; }
th, td { padding: .5rem 0 .5rem 1.25rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
td { white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; min-width: 7rem; max-width: 14rem; }
thead th { font-weight: 600; vertical-align: bottom; line-height: 1.3; overflow-wrap: normal; }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--paper); }
small { display: block; font-size: .8rem; font-weight: 400; white-space: nowrap; }
.figures { columns: 2 27rem; column-gap: 1.5rem; }
figure { margin: 0; padding-bottom: 1.5rem; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--rule); }
.wide img { width: auto; max-width: 100%; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 0 1.25rem; }
figcaption { font-size: .85rem; margin-top: .4rem; }
ul { margin: 0; padding-left: 1.2rem; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1.25rem;
  margin: 0; font-size: .92rem; }
dd { margin: 0; }
"""


def write_report(
    folder: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    published: Sequence[Mapping[str, str]] = (),
    mistakes: Sequence[Picture] = (),
    strips: Mapping[str, Sequence[Picture]] = {},
) -> Path:
    """Write report.html for the results.csv and curves.csv in a folder.

    The page embeds its figures; they are also saved in figures/.

    Args:
        folder: the folder of the csv files and the report.
        title: heading of the page.
        notes: sentences to show below the results.
        published: rows of a separate table of published figures, each a mapping from heading to cell.
        mistakes: pictures for a section of their own that show what each network confuses.
        strips: pictures that show what networks find in the same few pictures, by the heading of each strip.

    Returns:
        The path of report.html.

    Raises:
        UserError: a csv file is missing, empty or malformed.
    """
    results = read_rows(folder / RESULTS_CSV, Result)
    curves = read_rows(folder / CURVES_CSV, CurvePoint)
    for name, rows in ((RESULTS_CSV, results), (CURVES_CSV, curves)):
        if not rows:
            raise UserError(f"{folder / name} has no rows: run `jsep compare` again to fill it")
    pictures = save_figures(folder / "figures", results, curves)
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    parts = [
        f"<h1>{escape(title)}</h1>\n<p class='muted'>{escape(_summary(results))}</p>",
        _section("Results", _results_table(results)),
        _section("Notes", f"<ul>{items}</ul>") if notes else "",
        _section("Figures", f"<div class='figures'>{''.join(map(_figure, pictures))}</div>"),
        _section("Mistakes", f"<div class='wide'>{''.join(map(_figure, mistakes))}</div>") if mistakes else "",
        _section("Predictions", _strips(strips)) if strips else "",
        _section("Published figures (paper-size networks, not this run)", _published(published)) if published else "",
        _section("How this was made", _origin(results)),
    ]
    page = folder / "report.html"
    # The content policy ensures that nothing is ever fetched or run.
    page.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<main>
{"".join(parts)}</main>
</body>
</html>
""",
        encoding="utf-8",
    )
    return page


def _summary(results: Sequence[Result]) -> str:
    groups = by_model(results)
    seeds = sorted({len(rows) for rows in groups.values()})
    epochs, batch = _distinct(results, "epochs"), _distinct(results, "batch_size")
    return (
        f"{listed(list(groups))}, trained on {listed(_distinct(results, 'dataset'))} "
        f"for {listed(epochs)} epoch{'s' * (epochs != ['1'])} in batches of {listed(batch)}, "
        f"with {listed(list(map(str, seeds)))} seed{'s' * (seeds != [1])}"
        f"{' each' * (len(groups) > 1)}."
    )


def _results_table(results: Sequence[Result]) -> str:
    groups = by_model(results)
    main, ranked = main_figure(results), tells(row.top5 for row in results)
    told = [column for column in (*_MEASURED[main], *_COLUMNS) if column.heading != "Top-5" or ranked]
    head = "".join(f"<th scope='col'>{column.heading}{_small(column.unit)}</th>" for column in told)
    columns = [_cells(column, list(groups.values())) for column in told]
    body = "".join(
        f"<tr><th scope='row'>{escape(model)}</th>{''.join(cells)}</tr>\n"
        for model, cells in zip(groups, zip(*columns, strict=True), strict=True)
    )
    caption = f"On the validation images, after the last epoch; the best {FIGURES[main]} is that of the best epoch. "
    if len(results) > len(groups):
        caption += "Means over the seeds, ± the sample standard deviation. "
    if len(groups) > 1:
        caption += "Bold: the best of a column. "
        caption += f"Small percentages: relative to {next(iter(groups))}."
    table = _table("Results", f"<th scope='col'>Model</th>{head}", body)
    return f"{table}\n<p class='caption'>{escape(caption)}</p>"


def _cells(column: _Column, groups: Sequence[Sequence[Result]]) -> list[str]:
    """Return the cells of a column: the mean of each group, its deviation and its ratio to the first group."""
    stats = [mean_std([column.value(row) for row in group]) for group in groups]
    shown = [f"{mean:{column.form}}".replace("nan", "NaN") for mean, _ in stats]
    finite = [mean for mean, _ in stats if math.isfinite(mean)]
    # Compared as shown, so that two equal-looking numbers are both bold or both not.
    best = f"{column.best(finite):{column.form}}" if finite and len(groups) > 1 else None
    first = stats[0][0]
    cells = []
    for i, (mean, std) in enumerate(stats):
        below = []
        if std > 0:
            below.append(f"± {std:{column.form}}")
        if column.ratio and i and first > 0 and math.isfinite(mean):
            percent = 100 * mean / first
            below.append(f"{percent:,.{0 if percent >= 10 else 1}f} %")
        number = f"<strong>{shown[i]}</strong>" if shown[i] == best else shown[i]
        cells.append(f"<td>{number}{_small(' · '.join(below))}</td>")
    return cells


def _published(rows: Sequence[Mapping[str, str]]) -> str:
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    head = "".join(f"<th scope='col'>{escape(heading)}</th>" for heading in headings)
    body = ""
    for row in rows:
        first, *others = (escape(row.get(heading, "")) for heading in headings)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        body += f"<tr><th scope='row'>{first}</th>{cells}</tr>\n"
    return _table("Published figures", head, body)


def _strips(strips: Mapping[str, Sequence[Picture]]) -> str:
    """Return strips of pictures one below the other, so that each column is one picture."""
    told = (
        "The same test pictures, as annotated and as the best checkpoint of the first seed of each network sees them."
    )
    shown = (
        f"<h3>{escape(heading)}</h3>\n<div class='strip'>{''.join(map(_figure, pictures))}</div>\n"
        for heading, pictures in strips.items()
    )
    return f"<p class='caption'>{told}</p>\n{''.join(shown)}"


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.file.read_bytes()).decode("ascii")
    kind = {".svg": "svg+xml", ".png": "png"}[picture.file.suffix]
    return (
        f'<figure><img alt="{escape(picture.alt)}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>\n"
    )


def _origin(results: Sequence[Result]) -> str:
    dates = sorted(row.date for row in results)
    facts = {
        "Dataset": _distinct(results, "dataset"),
        "Options": [options or "none" for options in _distinct(results, "options")],
        "Seeds": [", ".join(_distinct(results, "seed"))],
        "Device": _distinct(results, "device"),
        "Devices": _distinct(results, "devices"),
        "JAX": _distinct(results, "jax"),
        "Python": _distinct(results, "python"),
        "Date": [" to ".join(dict.fromkeys((dates[0], dates[-1])))],
    }
    rows = (f"<dt>{name}</dt><dd>{'<br>'.join(map(escape, values))}</dd>" for name, values in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def _section(heading: str, body: str) -> str:
    return f"<section>\n<h2>{heading}</h2>\n{body}\n</section>\n"


def _table(label: str, head: str, body: str) -> str:
    # The container scrolls instead of the page; the tab stop makes it scrollable by keyboard.
    return (
        f"<div class='scroll' role='region' aria-label='{label}' tabindex='0'><table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _small(text: str) -> str:
    return f"<small>{text}</small>" if text else ""


def _distinct(results: Sequence[Result], name: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(row, name)) for row in results))
