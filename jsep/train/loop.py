"""The training loop: where pure steps meet files, clocks and people."""

import contextlib
import dataclasses
import datetime
import math
import platform
import time
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
from rich.console import Console

from jsep.costs import Table, count
from jsep.data import IMAGENET_MEAN, Augmentation, Dataset, Feed, load, make_feed
from jsep.data.feed import steps_per_epoch
from jsep.errors import Diverged, Interrupted, UserError
from jsep.models import create_model, parse_options
from jsep.models.factored import create_factored
from jsep.report import CurvePoint, Result, write_rows
from jsep.train.begin import begin_with, load_variables, misfits, open_teacher, statistics_of
from jsep.train.checkpoint import Checkpoints, has_checkpoint
from jsep.train.config import RunConfig
from jsep.train.hosts import is_first, share, wait
from jsep.train.parallel import AXIS, Devices
from jsep.train.progress import Progress
from jsep.train.run import MetricsLog, RunFolder, import_wandb
from jsep.train.schedules import learning_rate, make_optimizer
from jsep.train.select import check_patterns
from jsep.train.state import TrainState, create_state, state_of
from jsep.train.step import Statistics, Teacher, make_eval_step, make_train_step
from jsep.train.stop import ctrl_c

CHECK_EVERY = 25  # steps between two looks at the losses: a look waits for the device


@dataclasses.dataclass(frozen=True)
class Setup:
    """A config made real: data, network and devices."""

    config: RunConfig
    dataset: Dataset
    model: nn.Module
    devices: Devices
    training: Feed
    testing: Feed

    @property
    def statistics(self) -> Statistics:
        return statistics_of(self.config, self.dataset)

    @property
    def augmentation(self) -> Augmentation:
        config = self.config
        return Augmentation(
            resized_crop=config.resized_crop and not self.training.crops,  # not twice
            crop=config.crop,
            flip=config.flip,
            jitter=config.jitter,
            randaugment=config.randaugment,
            erase=config.erase,
            fill=tuple(round(255 * level) for level in self.statistics[0]),
        )

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.training.size, self.config.batch_size)

    def costs(self) -> Table:
        return count(self.model, self.dataset.image_shape)


def prepare(config: RunConfig) -> Setup:
    """Check everything that can be wrong with a training before anything is written."""
    even = bool(config.mixup or config.cutmix)
    Devices(config.devices).check_batch(config.batch_size, config.accumulate, even)
    setup = _open(config)
    steps_per_epoch(setup.training.size, config.batch_size)  # refuses a batch larger than the data
    return setup


def _open(config: RunConfig) -> Setup:
    """What training and evaluating need alike."""
    create_model(config.model, **parse_options(config.options))  # a mistyped name should not wait for the data
    dataset = load(config.data, config.data_dir, config.image_size, stream=config.stream)
    model = create_factored(
        config.model,
        parse_options(config.options),
        config.factored,
        num_classes=len(dataset.class_names),
        dtype=jax.numpy.dtype(config.dtype),
        axis_name=AXIS,
    )
    setup = Setup(
        config,
        dataset,
        model,
        Devices(config.devices),
        make_feed(dataset.train, dataset, config.workers),
        make_feed(dataset.test, dataset, config.workers),
    )
    if config.normalize == "imagenet" and dataset.image_shape[-1] != len(IMAGENET_MEAN):
        raise UserError(f"--normalize imagenet needs colour images; those of {dataset.name} have one channel")
    setup.costs()  # refuses images that the network cannot take
    return setup


def train(config: RunConfig, out: Path, *, resume: bool = False, console: Console) -> Result:
    """Train one network into the run folder `out` and return its row of results.csv.

    With `resume` an existing folder goes on from its newest checkpoint, bit for bit as if it had never stopped.

    Raises:
        UserError: the input cannot work. Interrupted: Ctrl-C, after saving. Diverged: the loss is not finite.
    """
    existing = resume and RunFolder.exists(out)
    goes_on = existing and has_checkpoint(out)
    if goes_on:
        _check_same(RunFolder.open(out).config(), config, out)
    setup = prepare(config)
    start = _start(setup, not goes_on, console)
    folder = RunFolder.open(out) if existing else RunFolder.reserve(out)
    checkpoints = Checkpoints(out, config.keep)
    try:
        return _train(setup, start, folder, checkpoints, console)
    finally:
        checkpoints.close()


def _check_same(kept: RunConfig, config: RunConfig, out: Path) -> None:
    """Refuse to go on with what would make another run of it."""
    for field in ("model", "batch_size", "seed", "normalize", "image_size"):
        ours, theirs = getattr(config, field), getattr(kept, field)
        if ours != theirs:
            flag = "" if field == "model" else f"--{field.replace('_', '-')} "
            raise UserError(f"{flag}{ours}: {out} was begun with {theirs}; leave it out")


class Start(NamedTuple):
    """What a training needs beside its data; the state is that before the first step."""

    rate: optax.Schedule
    optimizer: optax.GradientTransformation
    state: TrainState
    teacher: Teacher | None
    teaching: dict[str, Any] | None


def _start(setup: Setup, anew: bool, console: Console) -> Start:
    """What can be refused is refused here, before there is a run folder; what a run began with is asked for once."""
    config = setup.config
    if config.wandb:
        import_wandb()
    rate = learning_rate(config, setup.steps_per_epoch)
    optimizer = make_optimizer(config, rate)
    state = create_state(setup.model, optimizer, setup.dataset.image_shape, config.seed, averaged=config.ema > 0)
    check_patterns(state.params, config.freeze, "--freeze")
    if config.init and anew:
        variables = begin_with(config.init, state.variables, console)
        state = state_of(variables, optimizer, averaged=config.ema > 0)
    teacher, teaching = open_teacher(config, setup.dataset) if config.teacher else (None, None)
    return Start(rate, optimizer, state, teacher, teaching)


def _train(setup: Setup, start: Start, folder: RunFolder, checkpoints: Checkpoints, console: Console) -> Result:
    config, devices, epoch_steps = setup.config, setup.devices, setup.steps_per_epoch
    rate, optimizer, state, teacher, teaching = start
    newest, total = checkpoints.latest(), config.epochs * epoch_steps
    state = devices.replicate(state)
    step, seconds, compile_seconds = 0, 0.0, 0.0
    if newest is not None and newest > total:
        raise UserError(f"--epochs {config.epochs}: {folder.path} is at epoch {newest / epoch_steps:g} already")
    if newest == total and folder.config() != config:
        raise UserError(f"{folder.path} is over after {config.epochs} epochs: go on with more --epochs")
    if newest is not None:
        state, record = checkpoints.restore(newest, state)
        step, seconds = newest, record["seconds"]
        compile_seconds = record["compile_seconds"]
        console.print(f"Going on from step {step} (epoch {step / epoch_steps:.2f}).")
    folder.rewind(step)
    log = MetricsLog(folder, step, config)
    folder.save(config)  # now that all has been found to go together
    constants = devices.replicate((setup.training.constants, teaching))
    batches = setup.training.training(config.batch_size, config.seed, step, share())
    step_fn = make_train_step(
        setup.model,
        optimizer,
        setup.training.fetch,
        setup.statistics,
        axis_name=AXIS,
        steps_per_epoch=epoch_steps,
        seed=config.seed,
        augmentation=setup.augmentation,
        label_smoothing=config.label_smoothing,
        mixup=config.mixup,
        cutmix=config.cutmix,
        accumulate=config.accumulate,
        ema=config.ema,
        freeze=config.freeze,
        teacher=teacher,
    )
    evaluate = make_evaluation(setup)
    progress = Progress(console, total, step, config.batch_size)

    def save(accuracy: float) -> None:
        record = {"seconds": seconds, "compile_seconds": compile_seconds}
        checkpoints.save(step, state, record, accuracy)

    started = time.perf_counter()
    batch = next(batches)
    run_step = devices.train_step(step_fn, state, constants, batch)
    compile_seconds += time.perf_counter() - started
    with progress, contextlib.closing(log), contextlib.closing(batches), ctrl_c() as stopping:
        try:
            while step < total and not stopping():
                started = time.perf_counter()
                losses = []
                # up to the next look at the losses or the end of the epoch, whichever comes first
                stop = min(step + CHECK_EVERY, (step // epoch_steps + 1) * epoch_steps)
                for at in range(step, stop):
                    state, loss = run_step(state, constants, batch)
                    step = at + 1
                    losses.append(loss)
                    batch = next(batches)
                    if stopping():
                        break
                _check_finite(np.asarray(jax.device_get(losses)), step, checkpoints.latest(), folder)
                seconds += time.perf_counter() - started
                progress.advance(step, float(losses[-1]))
                if step % epoch_steps:
                    continue
                epoch = step // epoch_steps
                trained = jax.device_get(state.epoch_sums).means()
                tested = evaluate(state.variables)
                _check_finite(np.asarray([tested["loss"]]), step, checkpoints.latest(), folder)
                line = {
                    "epoch": epoch,
                    "step": step,
                    "train_loss": trained["loss"],
                    "train_accuracy": trained["accuracy"],
                    "val_loss": tested["loss"],
                    "val_accuracy": tested["accuracy"],
                    "learning_rate": float(np.asarray(rate(step - 1))),
                    "seconds": seconds,
                }
                log.write(line)
                progress.epoch(epoch, config.epochs, line)
                save(tested["accuracy"])
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped at once, after step {step}; the last checkpoint is step {checkpoints.latest()}. "
                f"Go on with: jsep train --resume --out {folder.path}"
            ) from None
    if step < total:
        if share()[1] > 1:  # the others are at other steps
            raise Interrupted(
                f"Stopped at step {step}; the last checkpoint is step {checkpoints.latest()}. "
                "Start all processes again with --resume"
            )
        if checkpoints.latest() != step:
            save(-1.0)  # not evaluated, so never the best
        checkpoints.close()
        raise Interrupted(f"Stopped at step {step}; saved. Go on with: jsep train --resume --out {folder.path}")
    wait("the first process has written the last epoch")
    result = _result(setup, folder, seconds, compile_seconds)
    if is_first():
        write_rows(folder.results_path, [result])
    return result


def make_evaluation(setup: Setup) -> Any:
    """A function from variables to the mean loss and accuracy over every test image once."""
    devices, feed = setup.devices, setup.testing
    constants = devices.replicate(feed.constants)
    batch_size = -(-setup.config.batch_size // len(devices.devices)) * len(devices.devices)
    step = devices.eval_step(make_eval_step(setup.model, feed.fetch, setup.statistics, axis_name=AXIS))

    def evaluate(variables: Any) -> dict[str, float]:
        parts = [step(variables, constants, batch, mask) for batch, mask in feed.evaluation(batch_size, share())]
        totals = jax.tree.map(lambda *s: np.sum(s, dtype=np.float64), *jax.device_get(parts))
        return totals.means()

    return evaluate


def load_run(out: Path, *, checkpoint: str = "best", **changes: Any) -> tuple[Setup, int, dict[str, Any]]:
    """A run folder made real: its setup, the step of a checkpoint ("best", "last" or a step), and its variables.

    `changes` replace fields of its config.

    Raises:
        UserError: no run, no checkpoint, or data that does not fit the network.
    """
    config = dataclasses.replace(RunFolder.open(out).config(), **changes)
    here = min(config.devices, jax.local_device_count())  # it may have been trained on more
    setup = _open(dataclasses.replace(config, devices=here))
    step, variables = load_variables(out, checkpoint)
    if wrong := misfits(setup.model, setup.dataset.image_shape, variables):
        raise UserError(
            f"The checkpoints of {out} are not of the network in its config.json: they differ in {wrong[0]}"
        )
    return setup, step, setup.devices.replicate(variables)


def evaluate_run(out: Path, *, checkpoint: str = "best", **changes: Any) -> dict[str, Any]:
    """Evaluate a checkpoint on every test image once, see `load_run`."""
    setup, step, variables = load_run(out, checkpoint=checkpoint, **changes)
    started = time.perf_counter()
    found = make_evaluation(setup)(variables)
    return {
        "run": str(out),
        "model": setup.config.model,
        "data": setup.dataset.name,
        "step": step,
        "images": setup.testing.size,
        **found,
        "seconds": time.perf_counter() - started,
        "note": setup.dataset.note,
    }


def adopt(config: RunConfig, variables: dict[str, Any], out: Path) -> None:
    """Make a run folder around weights that were trained elsewhere: one checkpoint, at step 0.

    Raises:
        UserError: `out` already holds a run.
    """
    RunFolder.create(out, config)
    state = state_of(variables, make_optimizer(config, learning_rate(config, 1)))
    checkpoints = Checkpoints(out, config.keep)
    checkpoints.save(0, state, {"seconds": 0.0, "compile_seconds": 0.0}, accuracy=-1.0)  # not evaluated yet
    checkpoints.close()


def curve(folder: RunFolder, config: RunConfig) -> list[CurvePoint]:
    """The epochs of a run, for curves.csv."""
    fields = {f.name for f in dataclasses.fields(CurvePoint)} - {"model", "seed"}
    return [
        CurvePoint(model=config.model, seed=config.seed, **{k: line[k] for k in fields}) for line in folder.metrics()
    ]


def _check_finite(losses: np.ndarray, step: int, last_good: int | None, folder: RunFolder) -> None:
    bad = ~np.isfinite(losses)
    if not bad.any():
        return
    at = step - len(losses) + int(np.argmax(bad)) + 1
    saved = (
        f"the last good checkpoint is step {last_good} in {folder.path / 'checkpoints'}"
        if last_good is not None
        else "there is no earlier checkpoint"
    )
    raise Diverged(
        f"The loss is {losses[bad][0]} at step {at}; {saved}. Likely causes: the learning rate is too high "
        "(lower --lr or add --warmup-epochs), a label outside the classes, or bfloat16 where float32 is needed."
    )


def _result(setup: Setup, folder: RunFolder, seconds: float, compile_seconds: float) -> Result:
    config, table = setup.config, setup.costs()
    lines = folder.metrics()
    last, best = lines[-1], max(lines, key=lambda line: line["val_accuracy"])
    images = config.epochs * setup.steps_per_epoch * config.batch_size
    return Result(
        model=config.model,
        seed=config.seed,
        dataset=setup.dataset.name,
        options=" ".join(config.options),
        epochs=config.epochs,
        batch_size=config.batch_size,
        accuracy=last["val_accuracy"],
        loss=last["val_loss"],
        best_accuracy=best["val_accuracy"],
        best_epoch=best["epoch"],
        params=table.params,
        macs=table.macs,
        flops=table.flops,
        train_seconds=seconds,
        compile_seconds=compile_seconds,
        images_per_second=images / seconds if seconds else math.nan,
        device=setup.devices.kind,
        devices=len(setup.devices.devices),
        jax=jax.__version__,
        python=platform.python_version(),
        date=datetime.date.today().isoformat(),
    )
