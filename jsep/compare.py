"""Several networks, several seeds, one report."""

import dataclasses
from pathlib import Path

import jax
from rich.console import Console

from jsep.errors import UserError
from jsep.models import model_info
from jsep.report import CURVES_CSV, RESULTS_CSV, CurvePoint, Result, read_rows, write_report, write_rows
from jsep.train import Comparison, RunConfig, train
from jsep.train.loop import curve, prepare
from jsep.train.run import RunFolder


def compare(experiment: Comparison, out: Path, *, resume: bool, console: Console) -> Path:
    """Train every network with every seed under `out`, and return the path of the report.

    results.csv, curves.csv, the figures and report.html are renewed after each run. With `resume` a finished run of the
    same config is kept and an unfinished one goes on.
    """
    runs = experiment.runs()
    labels = [experiment.label(config) for config in runs]
    folders = [out / f"{'-'.join(label.split())}-seed{run.seed}" for label, run in zip(labels, runs, strict=True)]
    if RunFolder.exists(out):
        raise UserError(f"{out} is the folder of a single run: choose another --out")
    if not resume and any(map(RunFolder.exists, folders)):
        raise UserError(f"{out} already holds runs: keep them with --resume, or choose another --out")
    notes = {prepare(config).dataset.note for config in runs[:: experiment.seeds]} - {""}
    results: list[Result] = []
    curves: list[CurvePoint] = []
    page = out / "report.html"
    figures = {name: model_info(name).published for name in labels if " " not in name}
    published = [{"model": name, **figures[name]} for name in figures if figures[name]]
    for number, (label, config, folder) in enumerate(zip(labels, runs, folders, strict=True), start=1):
        console.print(f"[bold]{label}[/], seed {config.seed} (run {number} of {len(runs)})")
        result = _finished(config, folder) or train(config, folder, resume=resume, console=console)
        jax.clear_caches()  # a process that keeps the programs of some forty runs maps more memory than Linux lets it
        results.append(dataclasses.replace(result, model=label))
        points = curve(RunFolder.open(folder), config)
        curves.extend(dataclasses.replace(point, model=label) for point in points)
        write_rows(out / RESULTS_CSV, results)
        write_rows(out / CURVES_CSV, curves)
        page = write_report(
            out,
            title=experiment.title,
            notes=sorted(notes),
            published=published,
        )
    return page


def _finished(config: RunConfig, folder: Path) -> Result | None:
    """The result of a run that is over; what there is of a run must be of this config."""
    if not RunFolder.exists(folder):
        return None
    kept = RunFolder.open(folder).config()
    if kept != config:
        fields = [f.name for f in dataclasses.fields(config) if getattr(kept, f.name) != getattr(config, f.name)]
        raise UserError(
            f"{folder} was begun with other settings ({', '.join(fields)}): choose another --out, or delete it"
        )
    if not (folder / RESULTS_CSV).exists():
        return None
    (result,) = read_rows(folder / RESULTS_CSV, Result)
    return result
