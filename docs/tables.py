"""Markdown tables of measured rows, for the pages that show them."""

import ast
import csv
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

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


def comparison(name: str) -> str:
    """One table a data set and recipe, one row a network; repeated runs side by side."""
    path = f"experiments/results/{name}.csv"
    rows, parts = read(path), []
    for (data, epochs, batch), job in grouped(rows, "dataset", "epochs", "batch_size").items():
        lines = []
        for (model, options), runs in grouped(job, "model", "options").items():
            own = [word for word in options.split() if word not in model.split()]
            accuracy = ", ".join(f"{100 * float(run['accuracy']):.2f}" for run in runs)
            counts = [f"{int(runs[0][column]):,}" for column in ("params", "macs")]
            seconds = ", ".join(f"{float(run['train_seconds']):,.0f}" for run in runs)
            lines.append([f"`{' '.join([model, *own])}`", accuracy, *counts, seconds])
        headings = ("network", "accuracy, %", "parameters", "MACs an image", "training, s")
        parts.append(f"`{data}`, {epochs} epochs, batch {batch}:\n\n{markdown(headings, lines, 4)}")
    return "\n\n".join(parts) + origin(path, rows)


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
