"""Several runs in the subfolders of one folder, of which the finished ones are kept."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from jsep.data import Dataset
from jsep.errors import Interrupted, UserError, require, typed
from jsep.files import local_path, writing
from jsep.results import RESULTS_CSV, Result, read_rows, write_rows
from jsep.runs.config import flat_fields
from jsep.runs.data import check_same_data, with_statistics
from jsep.runs.folder import RunFolder
from jsep.runs.rows import best_of
from jsep.runs.training import train
from jsep.train import RunConfig
from jsep.train.hosts import is_first
from jsep.train.setup import dataset_of, task_of


@typed
def train_seeds(
    config: RunConfig, seeds: tuple[int, ...], out: Path, *, resume: bool = False, console: Console
) -> list[Result]:
    """Train a network once with each seed, in the folders seed0, seed1, ... of `out`.

    results.csv in `out` has a row for each seed; it is written again after each run.

    Args:
        config: the network and the recipe.
        seeds: at least two seeds.
        out: the folder of the runs.
        resume: keep finished runs with the same configuration, and resume unfinished ones.
        console: for the progress.

    Returns:
        The row of each seed.

    Raises:
        UserError: the input cannot work, or `out` holds other runs.
        Interrupted: Ctrl-C was pressed, and the state was saved.
    """
    check_seeds(seeds)
    words = " ".join(map(str, seeds))
    recipes = [dataclasses.replace(config.recipe, seed=seed) for seed in seeds]
    out = local_path(out)
    folders = [seed_folder(out, seed) for seed in seeds]
    check_folders(out, folders, resume)
    dataset = dataset_of(config)
    results: list[Result] = []
    for number, (recipe, folder) in enumerate(zip(recipes, folders, strict=True), start=1):
        console.print(f"[bold]Seed {recipe.seed}[/] (run {number} of {len(seeds)})")
        one = dataclasses.replace(config, recipe=recipe)
        try:
            results.append(train_once(one, folder, dataset, resume=resume, console=console))
        except Interrupted as error:
            again = f"jsep train --resume --seeds {words} --out {out}"
            raise Interrupted(f"{error}, or all seeds with: {again}") from error
        if is_first():
            with writing(out / RESULTS_CSV):
                write_rows(out / RESULTS_CSV, results)
    return results


def check_seeds(seeds: tuple[int, ...]) -> None:
    """Refuse a single seed, and seeds that are given twice."""
    words = " ".join(map(str, seeds)) or "none"
    require(len(set(seeds)) == len(seeds) > 1, "seeds", words, "at least two different numbers")


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of the run with a seed."""
    return out / f"seed{seed}"


def check_folders(out: Path, folders: Sequence[Path], resume: bool) -> None:
    """Check that runs may be trained into subfolders of `out`.

    Raises:
        UserError: `out` is a run itself, or there are runs in the subfolders and they are not to be resumed.
    """
    if RunFolder.exists(out):
        raise UserError(f"{out} is the folder of a single run: choose another `out`")
    if not resume and any(map(RunFolder.exists, folders)):
        raise UserError(f"{out} already holds runs: keep them with --resume, or choose another `out`")


def train_once(config: RunConfig, folder: Path, dataset: Dataset, *, resume: bool, console: Console) -> Result:
    """Train a network into a run folder, unless that run is finished.

    Args:
        config: the network and the recipe.
        folder: the run folder.
        dataset: the data set of the recipe.
        resume: resume the run if it is unfinished.
        console: for the progress.

    Returns:
        The row of results.csv.

    Raises:
        UserError: the run has other settings or other data, or the input cannot work.
    """
    result = _finished(config, folder, dataset)
    result = result or train(config, folder, resume=resume, console=console, dataset=dataset)
    jax.clear_caches()  # the programs of about forty runs would exceed the memory maps that Linux allows a process
    return result


def _finished(config: RunConfig, folder: Path, dataset: Dataset) -> Result | None:
    """Return the result of a finished run, or None. Raises `UserError` if it has other settings or other data."""
    if not RunFolder.exists(folder):
        return None
    before = RunFolder.open(folder).config()
    kept, wanted = flat_fields(before), flat_fields(with_statistics(config, before))
    if fields := [name for name, value in wanted.items() if kept[name] != value]:
        raise UserError(
            f"{folder} was started with other settings ({', '.join(fields)}): choose another `out`, or delete it"
        )
    check_same_data(folder, dataset)
    if not (folder / RESULTS_CSV).exists():
        return None
    return _result(RunFolder.open(folder))


def _result(folder: RunFolder) -> Result:
    """Return the result of a finished run."""
    rows = read_rows(folder.results_path, Result)
    if len(rows) != 1:
        raise UserError(f"{folder.results_path} must hold the row of one run: delete it to have it written again")
    main = task_of(folder.config()).main
    best = best_of(folder.metrics(), main)  # in 0.1.0, the row named the first of equal epochs
    figure: dict[str, float] = {f"best_{main}": best.get(f"val_{main}", math.nan)}
    return dataclasses.replace(rows[0], best_epoch=best["epoch"], **figure)
