"""Checkpoints: which of them is the best, what killed and failed saves leave, and damaged ones."""

import math
import shutil
from pathlib import Path

import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from jsep.errors import NotWritten, UserError
from jsep.runs.checkpoint import JSON_FILES, MANIFEST, Checkpoints
from jsep.runs.rows import best_of


def saved(run: Path, accuracies: dict[int, float], keep: int = 2) -> Checkpoints:
    """Save checkpoints one by one, each time opening the folder anew, as resumed trainings do."""
    for step, accuracy in accuracies.items():
        checkpoints = Checkpoints(run, keep, clean=True)
        checkpoints.save(step, {"step": jnp.asarray(step)}, {"seconds": 0.0}, accuracy)
        checkpoints.close()
    return Checkpoints(run, keep)


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ({1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1}, 4),
        ({1: 0.1, 2: 0.5, 3: 0.2, 4: 0.5, 5: 0.3, 6: 0.4}, 4),
        ({1: 0.5, 2: 0.2, 3: 0.3, 4: 0.1}, 1),
        ({1: 0.5, 2: math.nan, 3: 0.3, 4: 0.1, 5: 0.2}, 1),
        ({1: math.nan, 2: 0.5, 3: 0.3, 4: 0.1, 5: 0.2}, 2),
        ({1: math.nan, 2: math.nan, 3: math.nan}, 3),
        ({1: -1.0, 2: math.nan, 3: math.nan}, 1),
    ],
)
def test_the_best_epoch_is_the_same_everywhere_and_its_checkpoint_is_kept(accuracies, best, tmp_path):
    checkpoints = saved(tmp_path, accuracies)
    assert checkpoints.find("best") == best
    assert checkpoints.on_host(best)["step"] == best
    checkpoints.close()
    lines = [{"step": step, "val_accuracy": accuracy} for step, accuracy in accuracies.items()]
    assert best_of(lines)["step"] == best
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {best, *list(accuracies)[-2:]}


def test_what_a_killed_save_left_is_deleted_by_the_process_that_trains_alone(tmp_path):
    saved(tmp_path, {1: 0.1, 2: 0.1}).close()
    left = tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "2", left)
    reader = Checkpoints(tmp_path)
    assert (reader.find("last"), reader.on_host(2)["step"]) == (2, 2)
    reader.close()
    assert left.exists()
    saved(tmp_path, {3: 0.1}).close()
    assert sorted(path.name for path in left.parent.iterdir()) == ["2", "3"]


@pytest.mark.parametrize("name", [*JSON_FILES, MANIFEST, "everything"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_damaged_checkpoint_is_named_and_not_offered(name, how, tmp_path):
    saved(tmp_path, {1: 0.9, 2: 0.1, 3: 0.5}).close()
    damaged = tmp_path / "checkpoints" / "1"
    if name == "everything":
        shutil.rmtree(damaged)
        damaged.mkdir()
    else:
        (damaged / name).unlink()
        if how == "empty" and name != MANIFEST:
            (damaged / name).touch()
    checkpoints = Checkpoints(tmp_path)
    with pytest.warns(
        UserWarning, match=r"left out: 1 \(.* is missing or cannot be read\)\. The best of the others is step 3"
    ):
        assert checkpoints.find("best") == 3
    with pytest.raises(UserError, match=r"checkpoints/1 cannot be read: it is corrupt .*; delete .* or choose 2 or 3$"):
        checkpoints.find("1")
    with pytest.raises(UserError, match=r"there is best, last, 2, 3$"):
        checkpoints.find("4")
    checkpoints.close()
    saved(tmp_path, {4: 0.2}).close()  # and does not stop a training
    assert damaged.exists()


def test_a_checkpoint_without_some_of_its_arrays_is_not_offered(tmp_path):
    saved(tmp_path, {1: 0.9, 2: 0.1, 3: 0.5}).close()
    for file in (tmp_path / "checkpoints" / "1" / "state").glob("**/d/*"):
        file.unlink()
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"there is best, last, 2, 3$"):
        checkpoints.find("4")
    with pytest.raises(UserError, match=r"cannot be read: it is corrupt"):
        checkpoints.on_host(checkpoints.find("best"))
    checkpoints.close()


def test_if_the_newest_is_damaged_last_is_refused(tmp_path):
    saved(tmp_path, {1: 0.1, 2: 0.1}).close()
    (tmp_path / "checkpoints" / "2" / "_CHECKPOINT_METADATA").unlink()
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"checkpoints/2 cannot be read.*delete .*checkpoints/2 to resume from step 1"):
        checkpoints.find("last")
    checkpoints.close()


def fails(reason: str):
    def write(*_, **__):
        raise OSError(28, reason)

    return write


def test_a_save_that_fails_in_the_background_is_noticed_without_waiting_for_the_next(tmp_path, monkeypatch):
    saved(tmp_path, {1: 0.1}).close()
    checkpoints = Checkpoints(tmp_path, clean=True)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.path.atomicity.AtomicRenameTemporaryPath, "finalize", fails("No space left on device"))
        checkpoints.save(2, {"step": jnp.asarray(2)}, {}, 0.5)
        while checkpoints._manager.is_saving_in_progress():
            pass
        with pytest.raises(NotWritten, match=r"checkpoints could not be written \(No space left on device\)$"):
            checkpoints.check()
    assert checkpoints.latest() == 1
    checkpoints.close()
    assert saved(tmp_path, {2: 0.5}).find("best") == 2
