"""Training into a run folder: the loop of `jsep.train`, with files, clocks and a console."""

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import optax
from rich.console import Console

from jsep.data import Dataset
from jsep.errors import Diverged, Interrupted, NotWritten, UserError, typed
from jsep.files import local_path, writing
from jsep.results import FIGURES, Result, write_rows
from jsep.runs.begin import Start, begin
from jsep.runs.checkpoint import Checkpoints, has_checkpoint
from jsep.runs.config import flat_fields
from jsep.runs.data import DataRecord, check_same_data, with_statistics
from jsep.runs.folder import RunFolder
from jsep.runs.log import MetricsLog
from jsep.runs.progress import Progress
from jsep.runs.rows import monitored, result_of, stale_since
from jsep.runs.trained import load_variables
from jsep.train import RunConfig
from jsep.train.evaluate import make_evaluation
from jsep.train.hosts import is_first, share, wait
from jsep.train.loop import Position, run_loop
from jsep.train.parallel import AXIS
from jsep.train.select import delays
from jsep.train.setup import Setup, prepare
from jsep.train.state import TrainState, state_of
from jsep.train.step import make_train_step
from jsep.train.stop import ctrl_c

CAUSES = (
    "Likely causes: a learning rate that is too high (lower `lr` or raise `warmup_epochs`), or bfloat16 where float32 "
    "is needed"
)


@typed
def train(
    config: RunConfig, out: Path, *, resume: bool = False, console: Console, dataset: Dataset | None = None
) -> Result:
    """Train a network into a run folder.

    Args:
        config: the network and the recipe.
        out: the run folder.
        resume: continue from the newest checkpoint of an existing folder, bit for bit as if it had never stopped.
        console: for the progress.
        dataset: the data set if it is loaded already; None loads it.

    Returns:
        The row of results.csv.

    Raises:
        UserError: the input cannot work, and nothing was written.
        Interrupted: Ctrl-C was pressed, and the state was saved.
        Diverged: a loss or a weight is NaN or infinite.
        NotWritten: the disk is full or read-only; the message says what is saved.
    """
    out = local_path(out)
    existing = resume and RunFolder.exists(out)
    goes_on = existing and has_checkpoint(out)
    if goes_on:
        kept = RunFolder.open(out).config()
        config = with_statistics(config, kept)
        _check_same(kept, config, out)
    setup = prepare(config, dataset)
    if goes_on:
        check_same_data(out, setup.dataset)
    if shared := setup.dataset.shared:
        console.print(f"{shared:,} of the {setup.testing.size:,} images to evaluate on are also trained on.")
    start = begin(setup, console, anew=not goes_on)
    folder = RunFolder.open(out) if existing else RunFolder.reserve(out)
    if existing and not goes_on:
        console.print(f"{out} holds no complete checkpoint: the training begins anew.")
    with folder.locked(), contextlib.closing(Checkpoints(out, config.recipe.keep, clean=True)) as checkpoints:
        try:
            return _train(setup, start, folder, checkpoints, console)
        except NotWritten as error:
            with contextlib.suppress(NotWritten):  # of another checkpoint
                checkpoints.close()
            step = checkpoints.latest()
            saved = "no step is saved" if step is None else f"step {step} is saved"
            again = f": jsep train --resume --out {out}" if RunFolder.exists(out) else " start again"
            raise NotWritten(f"{error}: {saved}; make room, or make the folder writable, then{again}") from error


_FIXED = (  # fields that a resumed run must not change
    *("model", "batch_size", "seed", "normalize", "mean", "std", "image_size", "eval_size", "crop_share"),
    *("interpolation", "skip_unreadable", "holdout", "split_seed"),
)


def _check_same(kept: RunConfig, config: RunConfig, out: Path) -> None:
    """Refuse to resume with settings that would make it another run."""
    ours, theirs = flat_fields(config), flat_fields(kept)
    for field in _FIXED:
        if ours[field] != theirs[field]:
            raise UserError(f"`{field}`={ours[field]}: {out} was started with {theirs[field]}; leave it out")


def _train(setup: Setup, start: Start, folder: RunFolder, checkpoints: Checkpoints, console: Console) -> Result:
    config, devices, epoch_steps = setup.config, setup.devices, setup.steps_per_epoch
    recipe, total = config.recipe, config.recipe.schedule.epochs * epoch_steps
    state, position = _restored(setup, start, folder, checkpoints, total)
    if checkpoints.latest() is not None:
        console.print(f"Resuming from step {position.step} (epoch {position.step / epoch_steps:.2f}).")
    folder.rewind(position.step)
    log = MetricsLog(folder, position.step, config)
    constants = devices.replicate((setup.training.constants, start.teaching))
    batches = setup.training.training(recipe.batch_size, recipe.seed, position.step, share())
    make_step = functools.partial(
        make_train_step,
        setup.model,
        start.optimizer,
        setup.training.fetch,
        setup.statistics,
        setup.recipe,
        axis_name=AXIS,
        steps_per_epoch=epoch_steps,
        task=setup.task,
        teacher=start.teacher,
        class_weights=start.class_weights,
    )
    # the epochs that need a step of their own: the next one, and those in which something is no longer frozen
    now, last = position.step // epoch_steps, recipe.schedule.epochs
    begins = [now, *(epoch for epoch in delays(recipe.optimizer.freeze) if now < epoch < last)]
    progress = Progress(console, total, position.step, recipe.batch_size)
    recorder = _Recorder(setup, start.rate, checkpoints, log, progress, folder.metrics_until(position.step))
    evaluate = make_evaluation(setup)
    with progress, contextlib.closing(log), contextlib.closing(batches), ctrl_c() as stopping:
        folder.save(config)  # now that everything is known to fit together
        DataRecord.of(setup.dataset).save(folder.path)
        started = time.perf_counter()
        first = next(batches)
        steps = {epoch: devices.train_step(make_step(epoch=epoch), state, constants, first) for epoch in begins}
        position.compile_seconds += time.perf_counter() - started

        def run_step(state: TrainState, batch: Any) -> Any:
            epoch = max(begin for begin in begins if begin <= position.step // epoch_steps)
            return steps[epoch](state, constants, batch)

        try:
            state = run_loop(
                run_step,
                evaluate,
                state,
                itertools.chain([first], batches),
                position,
                recorder,
                steps=total,
                steps_per_epoch=epoch_steps,
                stopping=lambda: stopping() or recorder.stale_since() is not None,
            )
        except Diverged as error:
            raise Diverged(f"{error}; {_last_good(checkpoints, folder)}. {CAUSES}") from error
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped at once, after step {position.step}; the last checkpoint is step {checkpoints.latest()}. "
                f"Resume with: jsep train --resume --out {folder.path}"
            ) from None
    if position.step < total:
        if (since := recorder.stale_since()) is None:
            _stop(recorder, position, state, folder)
        figure = FIGURES[monitored(recipe.schedule, setup.task.main)]
        console.print(f"Stopped early at epoch {recorder.lines[-1]['epoch']}: no better {figure} since epoch {since}.")
    wait("the first process has written the last epoch")
    checkpoints.wait()
    result = result_of(setup, folder.metrics(), position)
    if is_first():
        with writing(folder.results_path):
            write_rows(folder.results_path, [result])
    return result


def _restored(
    setup: Setup, start: Start, folder: RunFolder, checkpoints: Checkpoints, total: int
) -> tuple[TrainState, Position]:
    """Return the state to start or resume with, on the devices, and how far the training has come."""
    newest = checkpoints.find("last") if has_checkpoint(folder.path) else None
    epoch_steps = setup.steps_per_epoch
    if newest is None:
        return setup.devices.replicate(start.state), Position()
    epochs = setup.config.recipe.schedule.epochs
    if newest > total:
        raise UserError(f"`epochs`={epochs}: {folder.path} is already at epoch {newest / epoch_steps:g}")
    if with_statistics(folder.config(), setup.config) != setup.config:
        if newest == total:
            raise UserError(f"{folder.path} is finished after {epochs} epochs: raise `epochs` to continue it")
        schedule, lines, main = setup.config.recipe.schedule, folder.metrics_until(newest), setup.task.main
        if since := stale_since(lines, schedule, main):
            raise UserError(
                f"`patience`={schedule.patience}: {folder.path} is at epoch {lines[-1]['epoch']}, with no better "
                f"{FIGURES[monitored(schedule, main)]} since epoch {since}: raise `patience` to continue it"
            )
    if newest == 0:  # weights from elsewhere, without an optimizer state
        _, variables = load_variables(folder.path, "last")
        state = state_of(variables, start.optimizer, setup.config.recipe.optimizer.ema > 0)
        return setup.devices.replicate(state), Position()
    state, record = checkpoints.restore(newest, setup.devices.replicate(start.state))
    return state, Position(newest, record["seconds"], record["compile_seconds"])


@dataclasses.dataclass(frozen=True)
class _Recorder:
    """The observer of the loop, which logs, shows and saves."""

    setup: Setup
    rate: optax.Schedule
    checkpoints: Checkpoints
    log: MetricsLog
    progress: Progress
    lines: list[dict[str, Any]]

    def look(self, position: Position, loss: float) -> None:
        self.progress.advance(position.step, loss)
        self.checkpoints.check()

    def epoch(self, position: Position, state: TrainState, trained: dict[str, float], tested: dict[str, float]) -> None:
        task = self.setup.task
        line = {
            "epoch": position.step // self.setup.steps_per_epoch,
            "step": position.step,
            **{f"train_{name}": trained[name] for name in task.learned},
            # NaN means that there was nothing to measure, such as no small object, and is no JSON
            **{f"val_{name}": value for name, value in tested.items() if not math.isnan(value)},
            "learning_rate": float(np.asarray(self.rate(position.step - 1))),
            "seconds": position.seconds,
        }
        self.log.write(line)
        self.lines.append(line)
        shown = task.shown(len(self.setup.dataset.class_names))
        self.progress.epoch(self.setup.config.recipe.schedule.epochs, line, shown)
        self.save(position, state, tested[task.main])

    def stale_since(self) -> int | None:
        """Return the epoch since which there is no better figure, if the recipe's patience is exhausted."""
        return stale_since(self.lines, self.setup.config.recipe.schedule, self.setup.task.main)

    def save(self, position: Position, state: TrainState, figure: float) -> None:
        record = {"seconds": position.seconds, "compile_seconds": position.compile_seconds}
        self.checkpoints.save(position.step, state, record, figure)


def _last_good(checkpoints: Checkpoints, folder: RunFolder) -> str:
    step = checkpoints.latest()
    if step is None:
        return "there is no earlier checkpoint"
    return f"the last good checkpoint is step {step} in {folder.path / 'checkpoints'}"


def _stop(recorder: _Recorder, position: Position, state: TrainState, folder: RunFolder) -> NoReturn:
    """Save the state after Ctrl-C, and say how to resume."""
    step, checkpoints = position.step, recorder.checkpoints
    if share()[1] > 1:  # the other processes may be at other steps
        raise Interrupted(
            f"Stopped at step {step}; the last checkpoint is step {checkpoints.latest()}. "
            "Start all processes again with --resume"
        )
    if checkpoints.latest() != step:
        recorder.save(position, state, figure=-1.0)  # not evaluated, so never the best
    checkpoints.close()
    raise Interrupted(f"Stopped at step {step}; saved. Resume with: jsep train --resume --out {folder.path}")
