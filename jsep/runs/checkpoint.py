"""Checkpoints of a run. The only file that knows Orbax."""

import contextlib
import errno
import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jsep.errors import NotWritten, UserError, first_line
from jsep.layers.dice import follows_image_size
from jsep.trees import differences, flatten, map_named

FOLDER = "checkpoints"
JSON_FILES = ("_CHECKPOINT_METADATA", "metrics/metrics", "record/metadata", "state/_METADATA")
MANIFEST = "state/manifest.ocdbt"  # the index of the arrays
# what TensorStore's long messages end with
REASONS = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)]
_names = ocp.path.step.standard_name_format()


def rank(accuracy: float, step: int) -> tuple[float, int]:
    """Return the key by which the best epoch is chosen, everywhere: of equal accuracies, the last; NaN never.

    >>> max([(0.5, 3), (0.5, 6), (math.nan, 9)], key=lambda pair: rank(*pair))
    (0.5, 6)
    """
    return (-math.inf if math.isnan(accuracy) else accuracy), step


class _Kept(checkpoint_managers.PreservationPolicy):
    """The policy that keeps the latest checkpoints and the best one."""

    def __init__(self, latest: int):
        self._latest = latest

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = max(checkpoints, key=lambda checkpoint: rank(checkpoint.metrics["accuracy"], checkpoint.step))
        return [step in (*steps[-self._latest :], best.step) for step in steps]


class _WholeSteps(ocp.path.step.NameFormat[ocp.path.step.Metadata]):
    """Finder of the checkpoints that are not visibly damaged; Orbax stops at the metrics of one that is."""

    def build_name(self, step: int) -> str:
        return _names.build_name(step)

    def find_all(self, base_path: Any) -> Iterator[ocp.path.step.Metadata]:
        return (found for found in _names.find_all(base_path) if not damage(Path(found.path)))

    def find_step(self, base_path: Any, step: int) -> ocp.path.step.Metadata:
        return _names.find_step(base_path, step)


def damage(checkpoint: Path) -> str:
    """Return the name of a file that a checkpoint lacks or that cannot be read; an empty string if there is none.

    A process that is killed while it deletes a checkpoint leaves a part of it.

    Args:
        checkpoint: the folder of the checkpoint.
    """
    for name in JSON_FILES:
        try:
            found = json.loads((checkpoint / name).read_bytes())
        except (OSError, ValueError):
            return name
        if name == "metrics/metrics" and not (
            isinstance(found, dict) and isinstance(found.get("accuracy"), int | float)
        ):
            return name
    return "" if (checkpoint / MANIFEST).is_file() else MANIFEST


class Checkpoints:
    """The folder `checkpoints/` of a run, with the latest checkpoints and the one with the best accuracy.

    A checkpoint holds a tree of arrays, the state, and a small JSON record. It is written under a temporary name and
    renamed when it is complete, so a killed process leaves only complete checkpoints under their names. Damaged ones
    are left alone and do not count.
    """

    def __init__(self, run: Path, keep: int = 2, *, clean: bool = False):
        """Open the checkpoints of a run.

        Args:
            run: the run folder.
            keep: number of latest checkpoints to keep, beside the best one.
            clean: delete what killed processes left of checkpoints that they were writing. This is only for the process
                that trains the run, since it would delete a checkpoint that is being written as well.
        """
        self._folder = run.resolve() / FOLDER
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                create=False,
                cleanup_tmp_directories=clean and self._folder.is_dir(),
                preservation_policy=_Kept(keep),
                best_fn=lambda metrics: metrics["accuracy"],  # without one, Orbax writes no metrics
                step_name_format=_WholeSteps(),
                enable_async_checkpointing=True,
            ),
            item_handlers={"state": ocp.StandardCheckpointHandler(), "record": ocp.JsonCheckpointHandler()},
        )

    def save(self, step: int, state: Any, record: dict[str, Any], accuracy: float) -> None:
        """Start writing a checkpoint in the background; `close` waits until it is on disk.

        Args:
            step: the step that names the checkpoint.
            state: a tree of arrays.
            record: values that JSON can hold.
            accuracy: accuracy, AP or mIoU from 0 to 1, by which the best checkpoint is found; -1 if it was not
                evaluated.

        Raises:
            NotWritten: this checkpoint or the one before it could not be written.
        """
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)),
                metrics={"accuracy": accuracy},
                force=True,
            )

    def check(self) -> None:
        """Raise `NotWritten` if the last checkpoint could not be written; do not wait if it is still being written."""
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Wait until everything is on disk. Raises `NotWritten` if a checkpoint could not be written."""
        with self._writing():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax, TensorStore and the file system each raise their own
            self._manager.reload()
            reason = next((text for text in REASONS if text in str(error)), first_line(error))
            raise NotWritten(f"A checkpoint in {self._folder} could not be written ({reason})") from error

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Return the step of the kept checkpoint with the best accuracy; None if there is none."""
        steps = self._manager.all_steps()
        return max(steps, key=lambda step: rank(self._metrics(step)["accuracy"], step), default=None)

    def _metrics(self, step: int) -> dict[str, Any]:
        metrics = self._manager.metrics(step)
        assert metrics  # or else the checkpoint is damaged
        return metrics

    def damaged(self) -> dict[int, str]:
        """Return the steps of the checkpoints that are visibly damaged, and the file that each of them lacks."""
        folders = [path for path in self._folder.glob("*") if path.name.isdecimal()]
        return {int(path.name): name for path in sorted(folders) if (name := damage(path))}

    def find(self, which: str) -> int:
        """Return the step of the checkpoint that "best", "last" or a number names.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        steps, damaged = sorted(self._manager.all_steps()), self.damaged()
        named = {"best": self.best(), "last": max([*steps, *damaged], default=None)}
        step = int(which) if which.isdecimal() else named.get(which)
        if step in damaged:
            raise self._corrupt(step, f"{damaged[step]} is missing or cannot be read")
        if not steps:
            run = self._folder.parent
            raise UserError(f"{self._folder} holds no complete checkpoint: jsep train --resume --out {run} makes one")
        if step not in steps:
            known = ", ".join(map(str, [step for step in steps if self._reads(step)]))
            raise UserError(f"There is no checkpoint {which!r} in {self._folder}; there is best, last, {known}")
        if which == "best" and damaged:
            lost = ", ".join(f"{number} ({file} is missing or cannot be read)" for number, file in damaged.items())
            warnings.warn(
                f"Damaged checkpoints are left out: {lost}. The best of the others is step {step}", stacklevel=2
            )
        return step

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """Read a checkpoint.

        Args:
            step: the step of the checkpoint.
            like: a tree of arrays, or of shapes with shardings, that the state must match; it is placed on the same
                devices.

        Returns:
            The state and the record.

        Raises:
            UserError: the checkpoint is corrupt, or its state does not match.
        """
        if other := self._unlike(step, like):
            raise UserError(
                f"The checkpoints in {self._folder} belong to another network, optimizer or `ema` than those given "
                f"({other}): leave those settings out"
            )
        return self._read(step, self._as_kept(step, like))

    def on_host(self, step: int) -> dict[str, Any]:
        """Read the state of a checkpoint as nested dictionaries on the host, for any network and number of devices.

        Raises:
            UserError: the checkpoint is corrupt.
        """
        return jax.device_get(self._read(step, None)[0])

    def _read(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        try:
            if like is None:
                here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
                known = self._manager.item_metadata(step)["state"]
                like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), known)
            found = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(like), record=ocp.args.JsonRestore()),
            )
        except Exception as error:  # Orbax, TensorStore and the file system each raise their own
            raise self._corrupt(step, first_line(error)) from error
        return found["state"], found["record"]

    def _reads(self, step: int) -> bool:
        try:
            return bool(self._read(step, None))
        except UserError:
            return False

    def _corrupt(self, step: int, reason: str) -> UserError:
        path = self._folder / str(step)
        others = [str(other) for other in sorted(self._manager.all_steps()) if other != step]
        remedy = "train again into a new folder"
        if others:
            remedy = f"delete {path} to resume from step {others[-1]}, or choose {' or '.join(others)}"
        return UserError(f"Checkpoint {path} cannot be read: it is corrupt ({reason}); {remedy}")

    def _unlike(self, step: int, like: Any) -> str:
        """Return the path of an array in which a checkpoint and `like` differ, or an empty string."""
        try:
            kept = self._manager.item_metadata(step)["state"]
        except Exception:  # it is corrupt, which `_read` will report
            return ""
        return next(iter(differences(like, kept, follows_image_size)), "")

    def _as_kept(self, step: int, like: Any) -> Any:
        """Return the shapes of a state; arrays that follow the size of the images are as large as in a checkpoint."""
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        if not any(map(follows_image_size, flatten(like))):
            return shapes
        try:
            kept = flatten(self._manager.item_metadata(step)["state"])
        except Exception:  # it is corrupt, which `_read` will report
            return shapes
        return map_named(lambda path, leaf: leaf.update(shape=kept[path].shape), shapes)

    def close(self) -> None:
        """Wait until everything is on disk. Raises `NotWritten` if a checkpoint could not be written."""
        with self._writing():
            self._manager.close()


def has_checkpoint(run: Path) -> bool:
    """Return whether a run folder holds a checkpoint, without opening it: complete ones are named by their step."""
    return any(path.name.isdecimal() for path in (run / FOLDER).glob("*"))
