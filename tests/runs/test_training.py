"""Whole runs on a tiny data set: files, resuming, stopping, diverging, evaluating."""

import dataclasses
import errno
import io
import json
import os
import signal
import sys
import types
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from conftest import CLASSES
from jsep.data import Augmentation, Split, StreamFeed, catalog, load_choice
from jsep.data.pictures import Subset
from jsep.errors import Diverged, Interrupted, NotWritten, UserError
from jsep.files import write_atomically
from jsep.results import Result, read_rows
from jsep.runs import begin as runs_begin
from jsep.runs import folder, training
from jsep.runs.begin import begin, open_teacher
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.config import replace_fields
from jsep.runs.data import DataRecord
from jsep.runs.evaluate import evaluate_run
from jsep.runs.folder import RunFolder
from jsep.runs.log import MetricsLog
from jsep.runs.progress import Progress
from jsep.runs.several import train_seeds
from jsep.runs.trained import load_variables
from jsep.runs.training import train
from jsep.train import RunConfig, loop
from jsep.train.setup import prepare

QUIET = Console(file=io.StringIO())
SMALL = (
    "densenet40_k12",
    {"depth": 7, "growth": 2, "dropout": 0.2},
)  # compiles fastest of all networks with both norms and dropout


@pytest.fixture
def config(tiny_tfds) -> RunConfig:
    recipe = {"data": str(tiny_tfds), "flip": True, "epochs": 3, "batch_size": 16, "lr": 0.003, "devices": 1}
    recipe["schedule"] = "constant"  # the step is then the same program for any number of epochs
    return replace_fields(RunConfig(*SMALL), recipe)


def changed(config: RunConfig, **changes) -> RunConfig:
    return replace_fields(config, changes)


def final_state(config, folder):
    setup = prepare(config)
    checkpoints = Checkpoints(folder)
    like = setup.devices.replicate(begin(setup, QUIET, anew=True).state)
    state, _ = checkpoints.restore(checkpoints.find("last"), like)
    checkpoints.close()
    return jax.device_get(state)


def same_bits(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b))


class StopsAtFive(Progress):
    """Presses Ctrl-C when five steps are done."""

    def advance(self, step, loss):
        if step == 5:
            signal.raise_signal(signal.SIGINT)


class StopsAtEight(Progress):
    def advance(self, step, loss):
        if step == 8:
            signal.raise_signal(signal.SIGINT)


class StopsTwice(Progress):
    def advance(self, step, loss):
        if step == 6:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)


def test_a_run_leaves_its_files_and_a_stopped_one_goes_on_bit_for_bit(config, tmp_path, monkeypatch):
    config = changed(config, schedule="cosine")  # a rate that depends on the step
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    result = train(config, whole, console=QUIET)
    for name in ("config.json", "data.json", "metrics.jsonl", "results.csv", "tensorboard", "checkpoints"):
        assert (whole / name).exists()
    (row,) = read_rows(whole / "results.csv", Result)
    assert row == result
    assert (row.model, row.dataset, row.epochs) == ("densenet40_k12", "tiny", 3)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 9]
    data, kept = load_choice(config.recipe.data), RunFolder.open(whole).config().recipe.data
    assert (kept.mean, kept.std) == (data.mean, data.std)
    assert DataRecord.read(whole) == DataRecord("tiny", CLASSES, 48, 20, (8, 8, 3), data.fingerprint)

    # stopped in the middle of the second epoch, after a look at the losses every two steps
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECK_EVERY", 2)
        patch.setattr(training, "Progress", StopsAtFive)
        with pytest.raises(Interrupted, match=r"step 5; saved.*--resume --out"):
            train(config, stopped, console=QUIET)
    train(config, stopped, resume=True, console=QUIET)
    assert same_bits(final_state(config, stopped), final_state(config, whole))
    timeless = [
        [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]
        for path in (whole / "metrics.jsonl", stopped / "metrics.jsonl")
    ]
    assert timeless[0] == timeless[1]

    found = evaluate_run(whole, checkpoint="last")
    assert found.images == 20
    assert [found.figures[name] for name in ("accuracy", "loss")] == pytest.approx([row.accuracy, row.loss])
    with pytest.raises(UserError, match=r"no checkpoint 'first'.*best, last, "):
        evaluate_run(whole, checkpoint="first")
    with pytest.raises(UserError, match="already holds a run"):
        train(config, whole, console=QUIET)

    for file in (whole / "checkpoints" / "9" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    with pytest.raises(UserError, match=r"cannot be read: it is corrupt.*resume from step"):
        evaluate_run(whole, checkpoint="last")


def test_ctrl_c_twice_stops_at_once_with_what_is_on_disk(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "Progress", StopsTwice)
        with pytest.raises(Interrupted, match="at once, after step 6; the last checkpoint is step 3"):
            train(config, tmp_path / "run", console=QUIET)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": 2, "step": 6}\n{"epoch"')  # as if it was killed before the checkpoint of these
    train(config, tmp_path / "run", resume=True, console=QUIET)
    assert [line["step"] for line in RunFolder.open(tmp_path / "run").metrics()] == [3, 6, 9]


def test_going_on_otherwise_than_a_run_began_is_refused_and_changes_nothing(config, tmp_path):
    out = tmp_path / "run"
    train(changed(config, epochs=2), out, console=QUIET)
    before = {name: (out / name).read_bytes() for name in ("config.json", "metrics.jsonl", "results.csv")}
    for changes, sentence in [
        ({"optimizer": "sgd"}, "another network, optimizer or `ema`"),
        ({"ema": 0.9}, "another network, optimizer or `ema`"),
        ({"options": {"depth": 7, "growth": 3}}, "another network, optimizer or `ema`"),
        ({"batch_size": 8}, "`batch_size`=8: .* was started with 16; leave it out"),
        ({"normalize": "unit"}, "`normalize`=unit: .* was started with dataset"),
        ({"holdout": 0.3}, "`holdout`=0.3: .* was started with 0.2; leave it out"),
        ({"split_seed": 1}, "`split_seed`=1: .* was started with 0; leave it out"),
        ({"model": "regular_cnn"}, "`model`=regular_cnn: .* was started with densenet40_k12"),
        ({"epochs": 2, "lr": 0.1}, "is finished after 2 epochs: raise `epochs`"),
        ({"epochs": 1}, "`epochs`=1: .* is already at epoch 2"),
    ]:
        with pytest.raises(UserError, match=sentence):
            train(changed(config, **{"epochs": 3, **changes}), out, resume=True, console=QUIET)
        assert {name: (out / name).read_bytes() for name in before} == before
    # a run of an earlier version, which did not keep what its data were, has them as soon as it goes on
    (out / "data.json").unlink()
    folder = RunFolder.open(out)
    folder.save(changed(folder.config(), mean=(), std=()))
    # an unfinished run has no result
    (out / "results.csv").write_text("of two epochs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECK_EVERY", 2)
        patch.setattr(training, "Progress", StopsAtEight)
        with pytest.raises(Interrupted, match="step 8"):
            train(config, out, resume=True, console=QUIET)
    assert not (out / "results.csv").exists()
    assert DataRecord.read(out)
    assert folder.config().recipe.data.mean


def no_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_a_full_disk_stops_a_run_which_goes_on_when_there_is_room(config, tmp_path, monkeypatch):
    """Checkpoints are written in the background; the second one fails, which the next look at the losses notices."""
    out, finalize = tmp_path / "run", ocp.path.atomicity.AtomicRenameTemporaryPath.finalize

    def second_fails(self, *args, **kwargs):
        if self.get_final().name == "6":
            no_room()
        return finalize(self, *args, **kwargs)

    longer = changed(config, epochs=20, lr=1e-9)  # many epochs of equal accuracy
    monkeypatch.setattr(loop, "CHECK_EVERY", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.path.atomicity.AtomicRenameTemporaryPath, "finalize", second_fails)
        sentence = (
            r"^A checkpoint in .* could not be written \(No space left on device\): step 3 is saved; make room.*: "
        )
        with pytest.raises(NotWritten, match=sentence + "jsep train --resume --out"):
            train(longer, out, console=QUIET)
    assert len(RunFolder.open(out).metrics()) < 20
    assert (out / "checkpoints" / "6.orbax-checkpoint-tmp").exists()
    result = train(changed(longer, epochs=4), out, resume=True, console=QUIET)
    best = [line for line in RunFolder.open(out).metrics() if line["val_accuracy"] == result.best_accuracy]
    assert (result.best_epoch, evaluate_run(out, "best").step) == (best[-1]["epoch"], best[-1]["step"])
    assert all(path.name.isdecimal() for path in (out / "checkpoints").iterdir())


def test_files_that_cannot_be_written_are_named(config, tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "run", config)
    log = MetricsLog(run, 0, config)
    log.write({"step": 3, "train_loss": 0.5})
    (events,) = (run.path / "tensorboard").iterdir()
    assert b"train_loss" in events.read_bytes()
    monkeypatch.setattr(log._board, "write_event", no_room)
    with pytest.raises(NotWritten, match=r"run/tensorboard could not be written \(No space left on device\)"):
        log.write({"step": 6, "train_loss": 0.5})
    log.close()
    for name in ("write_atomically", "save_config"):
        monkeypatch.setattr(folder, name, no_room)
    with pytest.raises(NotWritten, match=r"metrics\.jsonl could not be written"):
        run.rewind(0)
    with pytest.raises(NotWritten, match=r"config\.json could not be written"):
        run.save(config)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", "before")
    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", "after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


def test_a_run_is_trained_by_one_process_at_a_time(config, tmp_path):
    run = RunFolder.create(tmp_path / "run", config)
    with run.locked(), pytest.raises(UserError, match="is being trained by another process"), run.locked():
        pass
    with run.locked():  # it was given back
        pass


def test_a_run_is_evaluated_on_fewer_devices_than_it_was_trained_on(config, tmp_path):
    train(changed(config, epochs=1), tmp_path / "run", console=QUIET)
    folder = RunFolder.open(tmp_path / "run")
    folder.save(changed(config, devices=64, accumulate=3, mixup=0.2, batch_size=100))
    assert evaluate_run(tmp_path / "run").images == 20


def test_a_run_learns_and_its_evaluation_does_not_depend_on_the_batch(config, tmp_path):
    longer = changed(config, options={"depth": 7, "growth": 6}, epochs=20, lr=0.01)
    assert train(longer, tmp_path / "run", console=QUIET).best_accuracy > 0.9
    one, odd = (evaluate_run(tmp_path / "run", batch_size=size).figures for size in (20, 7))
    assert one["accuracy"] == odd["accuracy"]
    assert one["loss"] == pytest.approx(odd["loss"], rel=1e-5)


def test_a_diverging_run_saves_no_state_that_is_not_finite(config, tmp_path):
    wild = changed(config, optimizer="sgd", lr=1e30, epochs=4, schedule="constant")
    with pytest.raises(Diverged, match=r"The loss is (nan|inf) at step \d; there is no earlier checkpoint.*`lr`"):
        train(wild, tmp_path / "run", console=QUIET)
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.latest() is None
    checkpoints.close()


@pytest.mark.slow
def test_a_state_that_evaluates_to_no_number_is_not_saved(config, tmp_path):
    """The loss of the last step of an epoch is that before its update."""
    wild = changed(config, optimizer="sgd", lr=1e25, epochs=4, batch_size=48, schedule="constant")
    with pytest.raises(Diverged, match="there is no earlier checkpoint"):
        train(wild, tmp_path / "run", console=QUIET)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("runs", "^runs is not a run folder, since it has no config.json: give the folder of a run"),
        ("one", "^one is not a run folder, but holds one: give one/seed7$"),
        ("two", r"^two holds the runs seed2, seed10: .* two/seed2 .*--resume --seeds 2 10 --out two resumes all"),
        ("runs/flowr", "^There is no run folder, file or published weights runs/flowr: did you mean runs/flower?"),
        ("tim/resnet50.a1_in1k", "did you mean timm/resnet50.a1_in1k?"),
        ("resnet50.a1_in1k", "did you mean timm/resnet50.a1_in1k?"),
        ("nothing", "nothing: correct it; jsep models --weights lists published ones"),
        ("resnet50", "^resnet50 is a network, not trained weights: train it .* or .* jsep models resnet50 --weights"),
        ("separable_cnn", "train it with jsep train separable_cnn$"),
    ],
)
def test_what_is_no_run_is_refused_with_what_was_meant(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    for run in ("one/seed7", "two/seed10", "two/seed2", "runs/flower"):
        RunFolder.create(Path(run), RunConfig())
    with pytest.raises(UserError, match=sentence):
        evaluate_run(Path(name))


@pytest.mark.slow
def test_a_streamed_data_set_trains_too(config, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "RESIDENT_LIMIT", 0)
    short = changed(config, epochs=1, flip=False)
    assert isinstance(prepare(short).training, StreamFeed)
    result = train(short, tmp_path / "run", console=QUIET)
    assert 0 <= result.accuracy <= 1
    assert evaluate_run(tmp_path / "run").images == 20


@pytest.mark.slow
def test_every_feature_trains_together_and_its_average_is_what_is_evaluated(config, tmp_path):
    teacher, run = tmp_path / "teacher", tmp_path / "run"
    train(changed(config, epochs=1), teacher, console=QUIET)
    features = changed(
        config,
        epochs=2,
        init=teacher,
        teacher=teacher,
        ema=0.9,
        mixup=0.2,
        cutmix=1.0,
        accumulate=2,
        clip=1.0,
        optimizer="lars",
        weight_decay=1e-4,
        decay_on="dense",
        freeze=("stem",),
    )
    result = train(features, run, console=QUIET)
    assert evaluate_run(run, checkpoint="last").figures["loss"] == pytest.approx(result.loss, rel=1e-6)
    checkpoints = Checkpoints(run)
    state = checkpoints.on_host(checkpoints.find("last"))
    checkpoints.close()
    averaged = state["average"][0]
    assert not np.array_equal(averaged["classifier"]["kernel"], state["params"]["classifier"]["kernel"])
    _, before = load_variables(teacher)
    frozen, moved = (averaged[name]["kernel"] - before["params"][name]["kernel"] for name in ("stem", "classifier"))
    assert np.abs(frozen).max() < 1e-6  # an average of equal values
    assert np.abs(moved).max() > 5e-6
    with pytest.raises(UserError, match="`freeze`=nothing: no parameter matches it"):
        train(changed(config, freeze=("nothing",)), tmp_path / "frozen", console=QUIET)
    with pytest.raises(UserError, match=r"mnist5k: it has 10 classes, and the network of .*teacher has 2: choose"):
        train(changed(config, data="mnist5k", teacher=teacher), tmp_path / "other", console=QUIET)
    taught = changed(config, teacher=teacher)
    grey = dataclasses.replace(prepare(taught).dataset, image_shape=(28, 28, 1))
    with pytest.raises(UserError, match=r"`teacher`=.*: its network is not for images of 28x28x1"):
        open_teacher(taught, grey)
    assert not any((tmp_path / name).exists() for name in ("frozen", "other"))  # nothing was written


@pytest.mark.slow
def test_wandb_gets_every_epoch(config, tmp_path, monkeypatch):
    told = []

    class Run:
        def log(self, line, step):
            told.append((line["epoch"], step))

        def finish(self):
            told.append("finished")

    def init(project, config, **where):
        told.append((project, config["model"]))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    train(changed(config, epochs=2, wandb="digits"), tmp_path / "run", console=QUIET)
    assert told == [("digits", "densenet40_k12"), (1, 3), (2, 6), "finished"]


@pytest.mark.slow
def test_a_stopped_stream_of_jpegs_goes_on_bit_for_bit_and_evaluates_every_image(jpeg_tfds, tmp_path, monkeypatch):
    """As on ImageNet: images of many sizes, decoded during the step, cropped at random and augmented on the device."""
    streamed = {"data": str(jpeg_tfds), "image_size": 32, "stream": True, "flip": True}
    recipe = {**streamed, "epochs": 2, "batch_size": 16, "devices": 1}
    config = replace_fields(RunConfig(*SMALL), recipe)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole, console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECK_EVERY", 1)
        patch.setattr(training, "Progress", StopsAtFive)
        with pytest.raises(Interrupted, match="step 5"):
            train(config, stopped, console=QUIET)
    train(config, stopped, resume=True, console=QUIET)
    assert same_bits(final_state(config, stopped), final_state(config, whole))
    assert evaluate_run(whole, checkpoint="last").images == 20


def test_every_flag_of_augmentation_reaches_the_step(config, jpeg_tfds):
    flags = {"crop": 1, "flip": True, "jitter": 0.4, "randaugment": (2, 7), "erase": 0.25}
    asked = changed(config, resized_crop=True, **flags)
    assert prepare(asked).recipe.augment == Augmentation(resized_crop=True, **flags)
    # images of many sizes are cropped while they are decoded, and not again
    streamed = changed(asked, data=str(jpeg_tfds), image_size=8, stream=True)
    assert prepare(streamed).recipe.augment == Augmentation(**flags)


def stopped_at_five(config, out, monkeypatch):
    """Train until Ctrl-C after five steps, in the middle of the second epoch."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECK_EVERY", 1)
        patch.setattr(training, "Progress", StopsAtFive)
        with pytest.raises(Interrupted, match="step 5"):
            train(config, out, console=QUIET)


@pytest.mark.slow
def test_what_is_frozen_for_some_epochs_is_trained_after_them_and_resuming_is_exact(config, tmp_path, monkeypatch):
    config = changed(
        config, schedule="cosine", freeze=("backbone:1", "block1*:2", "stem"), keep=3, ema=0.5, head_lr=0.01
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole, console=QUIET)
    stopped_at_five(config, stopped, monkeypatch)
    train(config, stopped, resume=True, console=QUIET)
    assert same_bits(final_state(config, stopped), final_state(config, whole))

    checkpoints = Checkpoints(whole)
    states = [checkpoints.on_host(step) for step in (3, 6, 9)]
    checkpoints.close()
    for layer, last_frozen in (("block2_layer1_norm1", 0), ("block1_layer1_norm1", 1)):
        for kind, leaf in (("params", "scale"), ("batch_stats", "mean")):
            before = np.full_like(states[0][kind][layer][leaf], kind == "params")
            moved = [not np.array_equal(state[kind][layer][leaf], before) for state in states]
            assert moved == [epoch > last_frozen for epoch in range(3)], (layer, kind)
    with pytest.raises(UserError, match="another network, optimizer or `ema`"):
        train(changed(config, freeze=("backbone:2",), epochs=4), whole, resume=True, console=QUIET)


@pytest.mark.slow
def test_a_run_stops_early_and_goes_on_with_more_patience(config, tmp_path):
    still = changed(config, lr=1e-12, epochs=20, patience=2)  # an accuracy that stays as it is
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(changed(still, patience=3), whole, console=QUIET)
    for resume in (False, True):
        said = io.StringIO()
        console = Console(file=said, width=200)
        result = train(still, out, resume=resume, console=console)
        assert "Stopped early at epoch 3: no better accuracy since epoch 1." in said.getvalue()
        assert (result.epochs, result.best_epoch) == (3, 3)
        assert read_rows(out / "results.csv", Result) == [result]
        assert [line["epoch"] for line in RunFolder.open(out).metrics()] == [1, 2, 3]
    for changes in ({"epochs": 30}, {"patience": 1}):
        sentence = r"`patience`=.*run is at epoch 3, with no better accuracy since epoch 1: raise `patience`"
        with pytest.raises(UserError, match=sentence):
            train(changed(still, **changes), out, resume=True, console=QUIET)
    assert train(changed(still, patience=3), out, resume=True, console=QUIET).epochs == 4
    assert same_bits(final_state(still, out), final_state(still, whole))


def test_patience_may_wait_for_the_loss(config, tmp_path, monkeypatch):
    """The loss falls until epoch 2, while the accuracy is best in epoch 1."""
    figures = iter([(0.5, 0.9), (0.4, 0.8), (0.4, 0.8), (0.6, 0.8), (0.1, 0.8)])
    monkeypatch.setattr(
        training,
        "make_evaluation",
        lambda setup: lambda variables: dict(zip(("loss", "accuracy", "top5"), (*next(figures), 1.0), strict=True)),
    )
    said = io.StringIO()
    console = Console(file=said, width=200)
    result = train(changed(config, epochs=9, patience=2, monitor="loss"), tmp_path / "run", console=console)
    assert "Stopped early at epoch 4: no better loss since epoch 2." in said.getvalue()
    assert (result.epochs, result.best_epoch, result.loss) == (4, 1, 0.6)


class Seen(Exception):
    """Ends a training that is about to compile its step."""


@pytest.mark.parametrize("stream", [False, True])
def test_the_weights_of_unbalanced_classes_reach_the_step(config, tmp_path, monkeypatch, stream):
    def step(*_, class_weights, **__):
        raise Seen(*class_weights.tolist())

    balanced = changed(config, class_weights="balanced", stream=stream)
    dataset = load_choice(balanced.recipe.data)
    part = dataset.train
    labels = np.asarray(part.labels if isinstance(part, Split) else part.labels())
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:8]])
    few = Split(part.images[kept], part.labels[kept]) if isinstance(part, Split) else Subset(part, kept)
    monkeypatch.setattr(training, "make_train_step", step)
    said = io.StringIO()
    console = Console(file=said, width=200)
    with pytest.raises(Seen) as seen:
        train(balanced, tmp_path / "run", console=console, dataset=dataclasses.replace(dataset, train=few))
    assert seen.value.args == pytest.approx((32 / 48, 32 / 16))
    assert "Class weights: 0.667 (dark) to 2 (bright)." in said.getvalue()


def test_a_network_without_a_classifier_of_that_name_has_no_rate_for_it(config, tmp_path, monkeypatch):
    monkeypatch.setattr(runs_begin, "HEAD", "fc")
    with pytest.raises(UserError, match="`head_lr`: densenet40_k12 has no layer that is called fc; leave it out"):
        train(changed(config, head_lr=0.1), tmp_path / "run", console=QUIET)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 0), ()])
def test_several_seeds_are_two_at_least_and_differ(config, tmp_path, seeds):
    with pytest.raises(UserError, match=r"`seeds`=.*: it must be at least two different numbers"):
        train_seeds(config, seeds, tmp_path, console=QUIET)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_several_seeds_are_trained_once_each_and_go_on_where_they_stopped(config, tmp_path, monkeypatch):
    short = changed(config, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECK_EVERY", 1)
        patch.setattr(training, "Progress", StopsAtFive)
        with pytest.raises(Interrupted, match=r"or all seeds with: jsep train --resume --seeds 3 1 --out .*runs"):
            train_seeds(short, (3, 1), tmp_path / "runs", console=QUIET)
    with pytest.raises(UserError, match="already holds runs: keep them with --resume"):
        train_seeds(short, (3, 1), tmp_path / "runs", console=QUIET)
    results = train_seeds(short, (3, 1), tmp_path / "runs", resume=True, console=QUIET)
    assert [result.seed for result in results] == [3, 1]
    assert read_rows(tmp_path / "runs" / "results.csv", Result) == results
    assert results[1].loss == pytest.approx(train(changed(short, seed=1), tmp_path / "one", console=QUIET).loss)
    assert results[0].loss != results[1].loss
    said = io.StringIO()
    console = Console(file=said, width=200)
    again = train_seeds(short, (3, 1, 0), tmp_path / "runs", resume=True, console=console)
    assert again[:2] == results
    assert said.getvalue().count("epoch 2/2") == 1  # that of the new seed
    with pytest.raises(UserError, match=r"other settings \(lr\)"):
        train_seeds(changed(short, lr=0.5), (3, 1), tmp_path / "runs", resume=True, console=QUIET)
    with pytest.raises(UserError, match="is the folder of a single run"):
        train_seeds(short, (3, 1), tmp_path / "one", console=QUIET)
