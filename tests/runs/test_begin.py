"""Initial weights from a run or a file, with another classifier or refused; and those of a teacher."""

import contextlib
import errno
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from rich.console import Console
from safetensors.numpy import save_file

from jsep.errors import NotWritten, UserError
from jsep.models import create_model
from jsep.runs.adopt import save_weights
from jsep.runs.begin import begin_with
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.data import DataRecord
from jsep.runs.trained import load_variables
from jsep.train import RunConfig
from jsep.trees import save_arrays


def variables(classes: int, seed: int, depth: int = 8):
    model = create_model("resnet20", num_classes=classes, depth=depth)
    return jax.device_get(model.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 3))))


def saved(tree, path):
    save_file({name: np.ascontiguousarray(leaf) for name, leaf in flatten_dict(tree, sep="/").items()}, path)
    return path


def begun(source, fresh):
    said = io.StringIO()
    return begin_with(source, fresh, Console(file=said, width=200), "resnet20"), said.getvalue()


def test_a_file_gives_all_its_weights(tmp_path):
    given = variables(2, 0)
    found, said = begun(saved(given, tmp_path / "w.safetensors"), variables(2, 1))
    assert jax.tree.all(jax.tree.map(np.array_equal, found, given))
    assert said == ""


def test_a_classifier_for_other_classes_begins_anew(tmp_path):
    given, fresh = variables(2, 0), variables(5, 1)
    found, said = begun(saved(given, tmp_path / "w.safetensors"), fresh)
    np.testing.assert_array_equal(found["params"]["classifier"]["kernel"], fresh["params"]["classifier"]["kernel"])
    np.testing.assert_array_equal(found["params"]["stem"]["kernel"], given["params"]["stem"]["kernel"])
    assert "a fresh one takes its place" in said


def test_a_run_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given, run = variables(2, 0), Path("~/run")
    save_weights(RunConfig("resnet20", {"depth": 8}), given, run)
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()
    record = DataRecord("tiny", ("a", "b"), 1, 1, (8, 8, 3), "")
    record.save(run)
    assert DataRecord.read(run) == record
    for found in (load_variables(run)[1], begun(run, variables(2, 1))[0]):
        np.testing.assert_array_equal(found["params"]["stem"]["kernel"], given["params"]["stem"]["kernel"])


def test_weights_that_could_not_be_saved_make_no_run(tmp_path, monkeypatch):
    given, config = variables(2, 0), RunConfig("resnet20", {"depth": 8})

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space")

    with monkeypatch.context() as full:
        full.setattr("jsep.runs.checkpoint.ocp.CheckpointManager.save", no_room)
        with pytest.raises(NotWritten):
            save_weights(config, given, tmp_path / "run")
    save_weights(config, given, tmp_path / "run")
    assert load_variables(tmp_path / "run")[0] == 0


def test_half_precision_becomes_float32(tmp_path):
    given = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables(2, 0))
    save_arrays(tmp_path / "w.safetensors", given)
    found, _ = begun(tmp_path / "w.safetensors", variables(2, 1))
    assert jax.tree.all(
        jax.tree.map(lambda ours, theirs: ours.dtype == np.float32 and (ours == theirs).all(), found, given)
    )


@pytest.mark.parametrize(
    ("value", "sentence"), [(np.nan, "not finite numbers, in params/stem/kernel"), (None, "dtype int")]
)
def test_values_that_are_no_weights_are_refused(tmp_path, value, sentence):
    given = variables(2, 0)
    kernel = np.array(given["params"]["stem"]["kernel"])
    given["params"]["stem"]["kernel"] = kernel.astype(np.int32) if value is None else kernel * value
    with pytest.raises(UserError, match=sentence):
        begun(saved(given, tmp_path / "w.safetensors"), variables(2, 1))


def test_a_checkpoint_that_is_no_numbers_is_refused(tmp_path):
    given = variables(2, 0)
    given["batch_stats"]["stem_norm"]["var"] = np.full(16, np.inf, np.float32)
    save_weights(RunConfig("resnet20", {"depth": 8}), given, tmp_path / "run")
    with pytest.raises(UserError, match=r"Checkpoint 0 of .* not finite numbers, in batch_stats/stem_norm/var"):
        load_variables(tmp_path / "run")


def test_weights_made_for_images_of_another_size_are_taken(tmp_path):
    unit = {"params": {"unit_dice": {"height": {"kernel": np.ones((3, 3, 1, 4), np.float32)}}}}
    fresh = {"params": {"unit_dice": {"height": {"kernel": np.zeros((3, 3, 1, 6), np.float32)}}}}
    found, _ = begun(saved(unit, tmp_path / "w.safetensors"), fresh)
    np.testing.assert_array_equal(found["params"]["unit_dice"]["height"]["kernel"], np.ones((3, 3, 1, 4)))


def test_a_training_with_weights_made_for_another_size_resumes(tmp_path):
    def state(size):
        return {"unit_dice": {"height": {"kernel": jnp.ones((3, 3, 1, size))}, "fuse": {"weight": jnp.ones(4)}}}

    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(1, state(4), {}, accuracy=0.5)
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        found, _ = checkpoints.restore(1, state(6))
    assert jax.tree.all(jax.tree.map(np.array_equal, found, state(4)))


def test_another_network_and_another_file_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"one that differs in batch_stats/stage1_block2_conv1_norm/mean, .* and more"):
        begun(saved(variables(2, 0, depth=14), tmp_path / "w.safetensors"), variables(2, 1))
    (tmp_path / "text.safetensors").write_text("not weights")
    for name in ("text", "missing"):
        with pytest.raises(UserError, match="cannot be read as safetensors"):
            begun(tmp_path / f"{name}.safetensors", variables(2, 1))
