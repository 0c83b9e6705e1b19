"""The csv rows of a run: its result, and the points of its curves."""

import dataclasses
import datetime
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jsep.models import format_options
from jsep.results import CurvePoint, Result
from jsep.runs.checkpoint import rank
from jsep.runs.config import recipe_flags
from jsep.train import RunConfig, Schedule
from jsep.train.classify import CLASSIFICATION
from jsep.train.loop import Position
from jsep.train.setup import Setup


def result_of(setup: Setup, metrics: Sequence[Mapping[str, Any]], position: Position) -> Result:
    """Return the row of results.csv for a finished run.

    Args:
        setup: the data, network and devices of the run.
        metrics: the lines of its metrics.jsonl, at least one.
        position: the seconds that it took.
    """
    config, recipe = setup.config, setup.config.recipe
    last, best = metrics[-1], best_of(metrics, setup.task.main)

    def figure(line: Mapping[str, Any], name: str) -> float:
        return line.get(f"val_{name}", math.nan)

    images = last["epoch"] * setup.steps_per_epoch * recipe.batch_size
    return Result(
        model=config.model,
        seed=recipe.seed,
        dataset=setup.dataset.name,
        options=format_options(config.options),
        epochs=last["epoch"],
        batch_size=recipe.batch_size,
        accuracy=figure(last, "accuracy"),
        loss=figure(last, "loss"),
        best_accuracy=figure(best, "accuracy"),
        best_epoch=best["epoch"],
        params=setup.costs.params,
        macs=setup.costs.macs,
        flops=setup.costs.flops,
        train_seconds=position.seconds,
        compile_seconds=position.compile_seconds,
        images_per_second=images / position.seconds if position.seconds else math.nan,
        device=setup.devices.kind,
        devices=len(setup.devices.devices),
        jax=jax.__version__,
        python=platform.python_version(),
        date=datetime.date.today().isoformat(),
        top5=figure(last, "top5"),
        ap=figure(last, "ap"),
        ap50=figure(last, "ap50"),
        best_ap=figure(best, "ap"),
        miou=figure(last, "miou"),
        best_miou=figure(best, "miou"),
        recipe=recipe_flags(config),
    )


def best_of(metrics: Sequence[Mapping[str, Any]], main: str = CLASSIFICATION.main) -> Mapping[str, Any]:
    """Return the line of the best epoch, the one whose checkpoint is kept: of equal figures that of the last.

    >>> best_of([{"val_accuracy": 0.5, "step": 3}, {"val_accuracy": 0.5, "step": 6}])["step"]
    6

    Args:
        metrics: the lines of metrics.jsonl.
        main: the figure that counts, see `jsep.train.task.Task`.
    """
    return max(metrics, key=lambda line: rank(line.get(f"val_{main}", math.nan), line["step"]))


def monitored(schedule: Schedule, main: str) -> str:
    """Return the figure that the patience of a schedule waits for: the main one of the task, or the loss."""
    return main if schedule.monitor == "accuracy" else schedule.monitor


def stale_since(
    metrics: Sequence[Mapping[str, Any]], schedule: Schedule, main: str = CLASSIFICATION.main
) -> int | None:
    """Return the epoch since which the monitored figure is no better, once the patience of a schedule is exhausted.

    An equal figure is no better, and one that could not be measured is worse than any.

    >>> lines = [{"epoch": epoch, "val_accuracy": accuracy} for epoch, accuracy in ((1, 0.5), (2, 0.6), (3, 0.6))]
    >>> stale_since(lines, Schedule(patience=2)), stale_since(lines, Schedule(patience=1))
    (None, 2)

    Args:
        metrics: the lines of metrics.jsonl so far.
        schedule: the schedule of the recipe.
        main: the figure of the task that counts, see `jsep.train.task.Task`.
    """
    if not schedule.patience or not metrics:
        return None
    figure = monitored(schedule, main)
    sign = -1 if figure == "loss" else 1
    best = max(metrics, key=lambda line: sign * line.get(f"val_{figure}", -sign * math.inf))["epoch"]  # the first one
    return best if metrics[-1]["epoch"] - best >= schedule.patience else None


def curve_of(config: RunConfig, metrics: Sequence[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return the rows of curves.csv for a run, one for each line of its metrics.jsonl."""
    fields = {field.name for field in dataclasses.fields(CurvePoint)} - {"model", "seed"}
    return [
        CurvePoint(config.model, config.recipe.seed, **{key: line.get(key, math.nan) for key in fields})
        for line in metrics
    ]
