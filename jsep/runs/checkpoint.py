"""Checkpoints of a run. The only file that knows Orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jsep.errors import UserError, first_line
from jsep.layers.dice import follows_image_size
from jsep.trees import differences, flatten, map_named

FOLDER = "checkpoints"


class Checkpoints:
    """The folder `checkpoints/` of a run, with the latest checkpoints and the one with the best accuracy.

    A checkpoint holds a tree of arrays, the state, and a small JSON record. It is written under a temporary name and
    renamed when it is complete, so a killed process leaves only complete checkpoints.
    """

    def __init__(self, run: Path, keep: int = 2):
        """Open the checkpoints of a run, or make their folder.

        Args:
            run: the run folder.
            keep: number of latest checkpoints to keep, beside the best one.
        """
        self._folder = run.resolve() / FOLDER
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(get_metric_fn=lambda m: m["accuracy"], n=1),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=lambda metrics: metrics["accuracy"],
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
            accuracy: accuracy from 0 to 1, by which the best checkpoint is found; -1 if it was not evaluated.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)),
            metrics={"accuracy": accuracy},
            force=True,
        )

    def latest(self) -> int | None:
        """Return the step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Return the step of the kept checkpoint with the best accuracy; None if there is none."""
        return self._manager.best_step()

    def find(self, which: str) -> int:
        """Return the step of the checkpoint that "best", "last" or a number names.

        Raises:
            UserError: there is no such checkpoint.
        """
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(f"{self._folder} holds no complete checkpoint: train first")
        named = {"best": self.best(), "last": self.latest()}
        step = named[which] if which in named else int(which) if which.isdigit() else None
        if step not in steps:
            known = ", ".join(map(str, steps))
            raise UserError(f"There is no checkpoint {which!r} in {self._folder}; there is best, last, {known}")
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
            others = [str(s) for s in self._manager.all_steps() if s != step]
            remedy = (
                f"delete {self._folder / str(step)} to resume from step {others[-1]}"
                if others
                else "train again into a new folder"
            )
            raise UserError(
                f"Checkpoint {self._folder / str(step)} cannot be read: it is corrupt ({first_line(error)}); {remedy}"
            ) from error
        return found["state"], found["record"]

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
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def has_checkpoint(run: Path) -> bool:
    """Return whether a run folder holds a checkpoint, without opening it: complete ones are named by their step."""
    return any(path.name.isdigit() for path in (run / FOLDER).glob("*"))
