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
from jsep.train import RunConfig, Schedule
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
    last, best = metrics[-1], best_of(metrics)
    images = last["epoch"] * setup.steps_per_epoch * recipe.batch_size
    return Result(
        model=config.model,
        seed=recipe.seed,
        dataset=setup.dataset.name,
        options=format_options(config.options),
        epochs=last["epoch"],
        batch_size=recipe.batch_size,
        accuracy=last["val_accuracy"],
        loss=last["val_loss"],
        best_accuracy=best["val_accuracy"],
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
        top5=last.get("val_top5", math.nan),
    )


def best_of(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the line of the best epoch, the one whose checkpoint is kept: of equal accuracies that of the last.

    >>> best_of([{"val_accuracy": 0.5, "step": 3}, {"val_accuracy": 0.5, "step": 6}])["step"]
    6
    """
    return max(metrics, key=lambda line: rank(line["val_accuracy"], line["step"]))


def stale_since(metrics: Sequence[Mapping[str, Any]], schedule: Schedule) -> int | None:
    """Return the epoch since which the monitored figure is no better, once the patience of a schedule is exhausted.

    An equal figure is no better.

    >>> lines = [{"epoch": epoch, "val_accuracy": accuracy} for epoch, accuracy in ((1, 0.5), (2, 0.6), (3, 0.6))]
    >>> stale_since(lines, Schedule(patience=2)), stale_since(lines, Schedule(patience=1))
    (None, 2)

    Args:
        metrics: the lines of metrics.jsonl so far.
        schedule: the schedule of the recipe.
    """
    if not schedule.patience or not metrics:
        return None
    sign = 1 if schedule.monitor == "accuracy" else -1
    best = max(metrics, key=lambda line: sign * line[f"val_{schedule.monitor}"])["epoch"]  # the first of equal ones
    return best if metrics[-1]["epoch"] - best >= schedule.patience else None


def curve_of(config: RunConfig, metrics: Sequence[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return the rows of curves.csv for a run, one for each line of its metrics.jsonl."""
    fields = {field.name for field in dataclasses.fields(CurvePoint)} - {"model", "seed"}
    return [
        CurvePoint(config.model, config.recipe.seed, **{key: line[key] for key in fields & line.keys()})
        for line in metrics
    ]
