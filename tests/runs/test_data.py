"""Runs keep the identity and the statistics of their data, and resume and evaluate accordingly."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conftest import CLASSES
from jsep.data import Split, load, load_choice
from jsep.errors import UserError
from jsep.runs.adopt import save_weights
from jsep.runs.begin import begin, open_teacher
from jsep.runs.config import replace_fields
from jsep.runs.data import DataRecord, check_classes, check_same_data, with_statistics
from jsep.runs.evaluate import evaluate_run, load_run
from jsep.runs.folder import RunFolder
from jsep.runs.training import train
from jsep.train import RunConfig
from jsep.train.setup import prepare

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def run(tiny_tfds, tmp_path_factory) -> Path:
    """A run on the tiny set, with fresh weights."""
    fields = {"data": str(tiny_tfds), "batch_size": 16, "devices": 1}
    setup = prepare(replace_fields(RunConfig("separable_cnn", {"width": 0.02}), fields))
    out = tmp_path_factory.mktemp("runs") / "run"
    save_weights(setup.config, begin(setup, QUIET, anew=True).state.variables, out)
    DataRecord.of(setup.dataset).save(out)
    return out


@pytest.fixture
def old_run(run, tmp_path) -> Path:
    """The same run, as earlier versions left it."""
    old = shutil.copytree(run, tmp_path / "old")
    (old / "data.json").unlink()
    RunFolder.open(old).save(replace_fields(RunFolder.open(run).config(), {"mean": (), "std": ()}))
    return old


@pytest.fixture
def other(tiny_tfds, tmp_path) -> dict[str, Any]:
    """The choice of another set, which has training images of other statistics."""
    folder = shutil.copytree(tiny_tfds, tmp_path / "other" / "1.0.0")
    choice = {"data": str(folder), "train_split": "train[:8]", "eval_split": "train[8:]"}
    assert load(str(folder), train_split="train[:8]").mean != load(str(tiny_tfds)).mean
    return choice


def test_a_run_keeps_the_identity_and_the_statistics_of_its_data(run, tiny_tfds):
    data = load(str(tiny_tfds))
    record = DataRecord.read(run)
    assert record == DataRecord("tiny", CLASSES, 48, 20, (8, 8, 3), data.fingerprint)
    kept = RunFolder.open(run).config().recipe.data
    assert (kept.mean, kept.std, kept.crop_share) == (data.mean, data.std, 1.0)


def test_a_moved_set_is_the_same_and_a_stream_too(run, tiny_tfds, tmp_path):
    moved = shutil.copytree(tiny_tfds.parent, tmp_path / "elsewhere" / "tiny")
    for stream in (False, True):
        check_same_data(run, load(str(moved), stream=stream))
    assert load(str(moved), image_size=12).fingerprint == load(str(tiny_tfds)).fingerprint


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": CLASSES[::-1]}, "its classes are in another order"),
        ({"class_names": ("dark", "white")}, "it has other classes"),
        ({"class_names": (*CLASSES, "white")}, "it has other classes"),
        ({"train": range(40)}, "it has 40 instead of 48 images to train on"),
        ({"test": range(21)}, "it has 21 instead of 20 images to evaluate on"),
        ({"fingerprint": "0"}, "it has other images or labels"),
    ],
)
def test_resuming_on_another_set_is_refused_and_changes_nothing(run, tiny_tfds, changes, sentence):
    other = dataclasses.replace(load(str(tiny_tfds), stream=True), **changes)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    config = replace_fields(RunFolder.open(run).config(), {"epochs": 2})
    with pytest.raises(UserError, match=f"`data`=tiny: it is not the data set that .*{sentence}"):
        train(config, run, resume=True, console=QUIET, dataset=other)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_other_statistics_are_refused_on_resuming(run):
    config = replace_fields(RunFolder.open(run).config(), {"mean": (0.5,) * 3, "std": (0.5,) * 3, "epochs": 2})
    with pytest.raises(UserError, match=r"`mean`=.* was started with .*leave it out"):
        train(config, run, resume=True, console=QUIET)


@pytest.fixture(scope="module")
def pooled_run(tiny_tfds, drawn, tmp_path_factory) -> Path:
    """A run of a network that takes images of any size, evaluated in its own way."""
    fields = {"data": str(tiny_tfds), "eval_size": 12, "crop_share": 0.75, "interpolation": "bicubic"}
    setup = prepare(
        replace_fields(
            RunConfig("densenet40_k12", {"depth": 7, "growth": 2}), {**fields, "batch_size": 16, "devices": 1}
        )
    )
    out = tmp_path_factory.mktemp("runs") / "pooled"
    save_weights(setup.config, drawn(setup.model, (1, 8, 8, 3)), out)
    return out


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, ((12, 12, 3), 0.75, "bicubic")),
        ({"image_size": 16, "crop_share": 1.0, "interpolation": "bilinear"}, ((16, 16, 3), 1.0, "bilinear")),
        pytest.param({"image_size": 16, "eval_size": 20}, ((20, 20, 3), 0.75, "bicubic"), marks=pytest.mark.slow),
    ],
)
def test_a_run_keeps_how_its_images_are_evaluated(changes, kept, pooled_run):
    data = load_run(pooled_run, **changes)[0].dataset
    assert (data.eval_shape, data.crop_share, data.interpolation) == kept
    assert isinstance(data.test, Split)
    assert data.test.images.shape[1:] == data.eval_shape


@pytest.mark.slow
def test_images_are_evaluated_at_another_size_than_they_are_trained_at(pooled_run):
    assert evaluate_run(pooled_run).images == 20


@pytest.mark.parametrize("changes", [{"eval_size": 16}, {"crop_share": 0.5}, {"interpolation": "bilinear"}])
def test_a_run_is_resumed_with_the_same_images_to_evaluate_on(changes, pooled_run):
    ((name, value),) = changes.items()
    config = replace_fields(RunFolder.open(pooled_run).config(), changes)
    with pytest.raises(UserError, match=rf"`{name}`={value}: .* was started with .*; leave it out"):
        train(config, pooled_run, resume=True, console=QUIET)


def test_a_size_of_the_evaluation_that_the_network_cannot_take_is_refused(tiny_tfds):
    fields = {"data": str(tiny_tfds), "eval_size": 16, "devices": 1}
    with pytest.raises(UserError, match=r"`eval_size`=16: the shape of .*/kernel of separable_cnn depends on the size"):
        prepare(replace_fields(RunConfig("separable_cnn", {"width": 0.02}), fields))


def test_a_run_that_says_nothing_about_its_evaluation_is_evaluated_as_before(run, tmp_path):
    old = RunFolder.open(shutil.copytree(run, tmp_path / "old"))
    values = json.loads((old.path / "config.json").read_text())
    for field in ("eval_size", "crop_share", "interpolation"):
        del values[field]
    (old.path / "config.json").write_text(json.dumps(values))
    before, now = (load_run(path)[0].dataset.test for path in (old.path, run))
    assert isinstance(before, Split)
    assert isinstance(now, Split)
    assert (before.images == now.images).all()
    assert with_statistics(old.config(), RunFolder.open(run).config()) == RunFolder.open(run).config()


def test_a_run_is_evaluated_with_its_own_statistics(run, old_run, other, tiny_tfds):
    own = load(str(tiny_tfds))
    for folder in (run, old_run):
        setup, _, _ = load_run(folder, **other)
        assert setup.statistics == (own.mean, own.std)
    given = load_run(run, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))[0]
    assert given.statistics == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))


def test_statistics_that_are_nowhere_are_asked_for(old_run, other):
    folder = RunFolder.open(old_run)
    folder.save(replace_fields(folder.config(), {"data": "/no/such/set"}))
    with pytest.raises(UserError, match=r"does not say which mean and deviation .*give `mean` and `std`"):
        load_run(old_run, **other)
    setup, _, _ = load_run(old_run, **other, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert setup.statistics == ((0.5,) * 3, (0.2,) * 3)


def test_a_teacher_sees_images_as_in_its_own_training(run, old_run, other, tiny_tfds):
    own = load(str(tiny_tfds))
    for teacher in (run, old_run):
        student = replace_fields(RunConfig(), {**other, "teacher": teacher, "mean": (0.9,) * 3, "std": (1.0,) * 3})
        assert open_teacher(student, load_choice(student.recipe.data))[0].statistics == (own.mean, own.std)


def test_classes_of_another_set(run, tiny_tfds):
    data = load(str(tiny_tfds), stream=True)
    assert check_classes(run, 2, data) == ""
    renamed = dataclasses.replace(data, class_names=("0", "1"))
    assert "class 0 is 0, not dark" in check_classes(run, 2, renamed)
    with pytest.raises(UserError, match=r"in another order \(class 0 is bright instead of dark\)"):
        check_classes(run, 2, dataclasses.replace(data, class_names=CLASSES[::-1]))
    with pytest.raises(UserError, match=r"it has 3 classes, and the network of .* has 2"):
        check_classes(run, 2, dataclasses.replace(data, class_names=("a", "b", "c")))


def test_parts_belong_to_the_data_set_of_the_run(old_run, tiny_tfds, tmp_path):
    folder = RunFolder.open(old_run)
    folder.save(replace_fields(folder.config(), {"train_split": "train[:40]", "eval_split": "train[40:]"}))
    moved = shutil.copytree(tiny_tfds, tmp_path / "other" / "1.0.0")
    own, other = load_run(old_run)[0], load_run(old_run, data=str(moved))[0]
    assert (own.testing.size, other.testing.size) == (8, 20)
    assert own.statistics == other.statistics


def test_statistics_of_images_with_other_channels_are_refused(run):
    with pytest.raises(UserError, match="`mean` and `std` belong together"):
        load_run(run, mean=(0.5,) * 3)
    with pytest.raises(UserError, match=r"^`mean`=\(0\.5,\): the images of tiny have 3 channels; give as many values"):
        load_run(run, mean=(0.5,), std=(0.5,))


def test_evaluating_on_training_images_is_noted(run):
    found = evaluate_run(run, eval_split="train")
    assert (found.images, found.note) == (48, "48 of these images are also in the part to train on.")


WRONG_TYPE = json.dumps(dataclasses.asdict(DataRecord("tiny", CLASSES, 48, 20, (8, 8, 3), "")) | {"train": "48"})


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "tiny"}', WRONG_TYPE])
def test_a_damaged_data_json_is_named(tmp_path, text):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(UserError, match=r"data\.json cannot be read"):
        DataRecord.read(tmp_path)
