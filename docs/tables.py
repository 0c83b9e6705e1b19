"""Markdown tables of measured rows, for the pages that show them."""

import ast
import csv
import functools
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jsep.models import format_options, model_info
from jsep.report.fronts import draw_front
from jsep.report.protocol import COSTS, Conditions, Entry, by_conditions, network_name, pareto, sentence
from jsep.results import FIGURES, Result, mean_std, read_rows
from jsep.runs.experiments import load_experiment

ROOT = Path(__file__).parent.parent
METHODS = ("svd", "data", "comp", "als", "channel_svd", "channel", "spatial")
RIVALS = {
    "jsep.plain": "jsep without native kernels",
    "xla": "plain Flax",
    "torch": "PyTorch eager",
    "torch.compile": "`torch.compile`",
}
MIXTURES = ("xla", "taps", "taps forward", "taps d/dx", "taps d/dkernel", "taps forward, d/dx", "taps at stride 1")

Cells = dict[str, str]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> str:
    """Return a table whose last `numbers` columns are aligned to the right."""
    rule = ["---"] * (len(headings) - numbers) + ["--:"] * numbers
    lines = [headings, rule, *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def read(path: str) -> list[Cells]:
    """Return the rows of a csv file by column; `path` is relative to the repository."""
    with (ROOT / path).open(newline="") as file:
        return list(csv.DictReader(file))


def grouped(rows: Iterable[Cells], *columns: str) -> dict[tuple[str, ...], list[Cells]]:
    """Collect the rows that agree in `columns`, in order of first appearance."""
    found: dict[tuple[str, ...], list[Cells]] = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in columns), []).append(row)
    return found


def origin(path: str, rows: list[Cells]) -> str:
    """Return the line under a table: its file and the conditions that its rows record."""
    words = [f"`{path}`"]
    for column, label in (("jax", "jax "), ("python", "Python "), ("device", "")):
        if column in rows[0]:
            words.append(label + ", ".join(sorted({row[column].partition("+")[0] for row in rows})))
    if "date" in rows[0]:
        dates = sorted({row["date"][:10] for row in rows})
        words.append(dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}")
    return f"\n\n*Rows: {'; '.join(words)}.*"


def experiments() -> str:
    """One row an experiment, from the docstrings in experiments/."""
    lines = []
    for path in sorted((ROOT / "experiments").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines.append([f"`{path.stem}`", text.partition("\n")[0].rstrip(".")])
    return markdown(("experiment", "question"), lines)


def protocol(name: str) -> str:
    """The rows of a comparison: a table, pictures and sentences for each of its conditions, and what is published."""
    path, parts = f"experiments/results/{name}.csv", []
    asked = _asked(name)
    found = _entries(name)
    for number, (conditions, entries) in enumerate(found.items()):
        parts.append(f"{_told(conditions)}\n\n{_entry_table(entries)}")
        pictures = [f"![{draw_front(entries, cost)[1]}]({_picture(name, number, cost)}){{ .front }}" for cost in COSTS]
        names = {entry.name: entry for entry in entries}
        bases = {entry: names.get(asked.get(entry.name) or entries[0].name, entries[0]) for entry in entries}
        said = [f"- {sentence(entry, base)}" for entry, base in bases.items() if entry is not base]
        if said:
            parts += ["\n".join(pictures), "\n".join(said)]
        if missing := [f"`{network}`" for network in asked if network not in names]:
            parts.append(f"Not run under these conditions: {', '.join(missing)}.")
    if found:
        parts.append(origin(path, read(path)).strip())
    else:
        parts.append(f"**Not run yet:** {', '.join(f'`{network}`' for network in asked)}.")
    networks = [*asked, *(entry.name for entries in found.values() for entry in entries)]
    return "\n\n".join([*parts, *_published(networks)])


def fronts(name: str) -> dict[str, str]:
    """The pictures of a comparison as SVG, by the paths that its page has them by."""
    return {
        _picture(name, number, cost): draw_front(entries, cost)[0]
        for number, entries in enumerate(_entries(name).values())
        for cost in COSTS
    }


def _picture(name: str, number: int, cost: str) -> str:
    return f"fronts/{name}-{number + 1}-{cost}.svg"


@functools.cache
def _entries(name: str) -> dict[Conditions, list[Entry]]:
    path = ROOT / "experiments" / "results" / f"{name}.csv"
    return by_conditions(read_rows(path, Result)) if path.exists() else {}


def _asked(name: str) -> dict[str, str]:
    """Return the networks of an experiment, each with the one that it is told against, or "" for the first."""
    path = ROOT / "experiments" / f"{name}.py"
    if not path.exists():
        return {}
    experiment, _ = load_experiment(path)
    names = {
        text: network_name(run.model, format_options(run.options)) for text, (run, *_) in experiment.runs().items()
    }
    return {names[text]: names.get(experiment.against.get(text, ""), "") for text in names}


def _told(conditions: Conditions) -> str:
    """Return the line above a table: what its rows agree in."""
    lossy = " (lossy JPEG)" if conditions.dataset == "cifar10_jpeg" else ""
    devices = f"{conditions.devices} x {conditions.device}" if conditions.devices > 1 else conditions.device
    job = f"{conditions.epochs} epochs, batch {conditions.batch_size}, {devices}, jax {conditions.jax}"
    command = f"--data {conditions.dataset} --epochs {conditions.epochs} --batch-size {conditions.batch_size}"
    flags = f"; each row is `jsep train NETWORK --options OPTIONS {command} {conditions.recipe} --seed SEED`"
    return f"`{conditions.dataset}`{lossy}, {job}{flags if conditions.recipe else ''}:"


def _entry_table(entries: list[Entry]) -> str:
    """Return a table with means and deviations, and a cost in bold where the network is on the front against it."""
    lines, beside = [], ("ap50",) if entries[0].figure == "ap" else ()
    for number, entry in enumerate(entries, start=1):
        seconds = mean_std([run.train_seconds for run in entry.runs])
        told = {
            "params": f"{entry.runs[0].params:,}",
            "macs": f"{entry.runs[0].macs:,}",
            "train_seconds": _mean(*seconds),
        }
        costs = [f"**{told[cost]}**" if entry in pareto(entries, cost) else told[cost] for cost in COSTS]
        value = "diverged" if entry.value != entry.value else _mean(*mean_std(entry.values), digits=2)
        more = [_mean(*mean_std([100 * getattr(run, name) for run in entry.runs]), digits=2) for name in beside]
        lines.append([number, f"`{entry.name}`", len(entry.runs), value, *more, *costs])
    figures = [f"{FIGURES[name]}, %" for name in (entries[0].figure, *beside)]
    headings = ("", "network", "runs", *figures, "parameters", "MACs an image", "training, s")
    return markdown(headings, lines, len(headings) - 2)


def _mean(mean: float, deviation: float, digits: int = 0) -> str:
    spread = f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{deviation:,.{digits}f}" if deviation == deviation else ""
    return f"{mean:,.{digits}f}{spread}"


def _published(networks: Iterable[str]) -> list[str]:
    """Return the published figures of networks, if there are any: of the registered ones, whatever their options.

    A detector or segmenter over another backbone is another network than the registered one.
    """
    names = dict.fromkeys(network.split()[0] for network in networks if " backbone=" not in network)
    figures = {name: model_info(name).published for name in names}
    lines = [
        [f"`{name}`", "<br>".join(f"{label}: {value}" for label, value in published.items())]
        for name, published in figures.items()
        if published
    ]
    told = "Published, for networks of full size on the data and with the recipes of their papers:"
    return [f"{told}\n\n{markdown(('network', 'published'), lines)}"] if lines else []


def decomposition() -> str:
    """One column a network that every method decomposed: accuracy before and after tuning, in %."""
    path = "studies/results/decomposition.csv"
    rows = read(path)
    runs = {
        (network, data): {run["method"]: run for run in found}
        for (network, data), found in grouped(rows, "network", "dataset").items()
        if {run["method"] for run in found} > set(METHODS)
    }
    lines = [["as trained", *(percent(found["none"]["accuracy"]) for found in runs.values())]]
    for method in METHODS:
        cells = [
            f"{percent(run[method]['accuracy'])} / {percent(run[method]['tuned_accuracy'])}" for run in runs.values()
        ]
        lines.append([f"`{method}`", *cells])
    left = [
        statistics.mean(int(found[method]["macs"]) for method in METHODS) / int(found["none"]["macs"])
        for found in runs.values()
    ]
    lines.append(["MACs left", *(f"{share:.0%}" for share in left)])
    headings = ["method", *(f"`{network}`, `{data}`" for network, data in runs)]
    return markdown(headings, lines, len(runs)) + origin(path, rows)


def expanded() -> str:
    """ShuffleNet V2 expanded and decomposed, against the same network from scratch: one row a seed."""
    path = "studies/results/decomposition.csv"
    rows = [row for row in read(path) if row["network"].startswith("shufflenet")]
    lines = []
    for (seed,), runs in grouped(rows, "seed").items():
        whole, comp, scratch = runs
        cells = (whole["accuracy"], comp["accuracy"], comp["tuned_accuracy"], scratch["accuracy"])
        lines.append([seed, *map(percent, cells)])
    headings = ("seed", "expanded, 3 epochs", "decomposed by `comp`", "tuned, 1 epoch", "from scratch, 4 epochs")
    return markdown(headings, lines, 4) + origin(path, rows)


def percent(fraction: str) -> str:
    """Return a fraction of 1 in %."""
    return f"{100 * float(fraction):.1f}"


def synthetic() -> str:
    """The error of the response: single layers, and the last of five."""
    path = "studies/results/decomposition_synthetic.csv"
    cells: dict[str, dict[str, str]] = {}
    for row in read(path):
        if row["task"] == "single" and row["channels"] == "64":
            column = f"single layer, {row['weights']}"
        elif row["task"] == "network" and row["layer"] == "5":
            column = f"fifth of five, {row['weights']}" + (f", {row['fitted']}" if row["fitted"] else "")
        else:
            continue
        cells.setdefault(row["method"], {})[column] = row["error"]
    layers = ("single layer, {}", "fifth of five, {}, symmetric", "fifth of five, {}, asymmetric")
    headings = [layer.format(weights) for weights in ("gauss", "smooth") for layer in layers]
    lines = []
    for method, known in cells.items():
        # methods that see no data have one error for both fits
        line = [known.get(heading, known.get(heading.rpartition(",")[0], "-")) for heading in headings]
        lines.append([f"`{method}`", *line])
    return markdown(["method", *headings], lines, len(headings)) + origin(path, read(path))


def speed_networks(name: str = "") -> str:
    """Time of each rival over jsep's, for the releases of JAX that were measured."""
    path = f"experiments/results/{name}.csv" if name else "studies/results/bench_networks.csv"
    return _speed(path, read(path), lambda row: row["case"], lambda found: f"{found[0]:.2f}")


def speed_operations(name: str = "") -> str:
    """The same for single convolutions: the median and the range over shapes."""
    path = f"experiments/results/{name}.csv" if name else "studies/results/bench_ops.csv"

    def spread(found: list[float]) -> str:
        return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"

    return _speed(path, read(path), lambda row: f"{row['op']} {row['kernel_size']}x{row['kernel_size']}", spread)


def _speed(path: str, rows: list[Cells], case: Callable[[Cells], str], told: Callable[[list[float]], str]) -> str:
    releases = sorted({row["jax"] for row in rows})
    rivals = [rival for rival in RIVALS if any(row["contender"] == rival for row in rows)]
    ratios: dict[str, dict[tuple[str, str], list[float]]] = {}
    for row in rows:
        ratios.setdefault(case(row), {}).setdefault((row["contender"], row["jax"]), []).append(float(row["ratio"]))
    lines = []
    for name, found in ratios.items():
        both = [[told(found[rival, jax]) if (rival, jax) in found else "-" for jax in releases] for rival in rivals]
        lines.append([name.replace(" float32", ""), *(" / ".join(cells) for cells in both)])
    headings = ["case", *(f"{RIVALS[rival]}, jax {' / '.join(releases)}" for rival in rivals)]
    return markdown(headings, lines, len(rivals)) + origin(path, rows)


def operators() -> str:
    """Kernel sharing beside the plain convolution, the channel shift beside the shuffle."""
    path = "studies/results/operator_speed.csv"
    rows = read(path)
    lines = [
        [row["operation"], row["shape"], *(f"{float(row[column]):.2f}" for column in ("ms", "ratio"))] for row in rows
    ]
    for row, line in zip(rows, lines, strict=True):
        line.append(f"{float(row['macs_ratio']):.2f}" if float(row["macs_ratio"]) else "-")
    headings = ("operation", "shape", "ms", "times as fast", "times fewer MACs")
    return markdown(headings, lines, 3) + origin(path, rows)


def data_speed() -> str:
    """Decoding, streaming, training and augmentation, in images per second."""
    path = "studies/results/data_speed.csv"
    rows = read(path)
    lines = [
        [row["what"], row["how"], row["size"]]
        + [
            f"{float(row[column]):,.{1 if float(row[column]) < 100 else 0}f}"
            for column in ("per_cpu_second", "per_second", "foreign_cores")
        ]
        for row in rows
    ]
    headings = ("what", "how", "size", "images per CPU second", "images per second", "cores busy elsewhere")
    return markdown(headings, lines, 4) + origin(path, rows)


def decoding() -> str:
    """Random resized crops of JPEGs a second and core, by this package and others."""
    path = "studies/results/decoding.csv"
    rows = read(path)
    lines = [
        [row["contender"], f"{float(row['images_per_core_second']):,.0f}", f"{float(row['to_before']):.1f}"]
        for row in rows
    ]
    return markdown(("contender", "images a core-second", "times as many"), lines, 2) + origin(path, rows)


def lowerings() -> str:
    """GB that a whole training step accesses, by chip and lowering."""
    path = "studies/results/tpu_lowerings.csv"
    rows = read(path)
    steps = {
        (row["chip"], row["lowering"]): float(row["mb_moved"]) for row in rows if row["what"].startswith("MobileN")
    }
    lines = [
        [chip, *(f"{steps[chip, mixture] / 1e3:.1f}" for mixture in MIXTURES)]
        for chip in dict.fromkeys(c for c, _ in steps)
    ]
    return markdown(["chip", *MIXTURES], lines, len(MIXTURES)) + origin(path, rows)


def tpu_measure() -> str:
    """Cycles of operations whose ideal is known: of their code, by the compiler's estimate, and ideal."""
    path = "studies/results/tpu_measure.csv"
    rows = read(path)
    columns = ("code_kcycles", "estimate_kcycles", "ideal_kcycles")
    lines = [[row["operation"], *(f"{float(row[column]):,.0f}" for column in columns)] for row in rows]
    return markdown(("thousand cycles", "code", "compiler's estimate", "ideal"), lines, 3) + origin(path, rows)


def tpu_forms() -> str:
    """Whole training steps with the forms of all platforms, and with those for TPUs."""
    path = "studies/results/tpu_forms.csv"
    rows, lines = read(path), []
    for (network, side, batch), pair in grouped(rows, "network", "side", "batch").items():
        forms = {row["forms"]: row for row in pair}
        if len(forms) < 2:  # the run was ended between them
            continue
        cells = [f"`{network}`", side, batch]
        for column in ("code_mcycles", "moved_gb"):
            common, tpu = (float(forms[name][column]) for name in ("common", "tpu"))
            cells += [f"{common:.3f}", f"{tpu:.3f}", f"{tpu / common:.2f}"]
        lines.append(cells)
    headings = ("network", "input", "batch", "million cycles, common forms", "forms for TPUs", "ratio", "GB moved")
    return markdown((*headings, "forms for TPUs", "ratio"), lines, 8) + origin(path, rows)


def tpu_zoo(table: str) -> str:
    """Compiled training steps: `table` is zoo, paper or topologies."""
    path = "studies/results/tpu_zoo.csv"
    chosen = [row for row in read(path) if row["table"] == table]
    lines = []
    for row in sorted(chosen, key=lambda row: (row["model"], row["chip"], int(row["batch"]))):
        bound = f"{row['bound_ms']} ({row['binds']})" if row["binds"] else row["error"]
        cells = [f"`{row['model']}`", row["side"], f"{row['chip']} {row['topology']}", row["batch"]]
        cells += [
            row.get(column) or "-" for column in ("hbm_gb", "gflops", "moved_gb", "code_mcycles", "code_ms", "mcycles")
        ]
        lines.append([*cells, bound, row["compile_seconds"]])
    headings = (
        "network",
        "input",
        "TPU",
        "batch",
        "HBM, GB",
        "GFLOPs",
        "moved, GB",
        "code, Mcycles",
        "code, ms",
        "estimate, Mcycles",
        "bound, ms",
        "compiled, s",
    )
    return markdown(headings, lines, 9) + origin(path, chosen)
