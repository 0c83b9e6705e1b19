"""Checkpoints of a run. The one file that knows Orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from jsep.errors import UserError, first_line
from jsep.trees import differences

FOLDER = "checkpoints"


class Checkpoints:
    """The folder `checkpoints/` of a run: the last `keep` ones and the one with the best accuracy.

    A checkpoint holds the state as a tree of arrays, and a small JSON record. It is written beside its final name and
    renamed when whole, so a killed process leaves only whole ones.
    """

    def __init__(self, run: Path, keep: int = 2):
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
        """Start writing in the background; `close` waits for it."""
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)),
            metrics={"accuracy": accuracy},
            force=True,
        )

    def latest(self) -> int | None:
        """The newest whole checkpoint's step."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """The step with the best accuracy among those kept."""
        return self._manager.best_step()

    def find(self, which: str) -> int:
        """The step that "best", "last" or a number names."""
        steps = sorted(self._manager.all_steps())
        if not steps:
            raise UserError(f"{self._folder} holds no whole checkpoint: train first")
        named = {"best": self.best(), "last": self.latest()}
        step = named[which] if which in named else int(which) if which.isdigit() else None
        if step not in steps:
            known = ", ".join(map(str, steps))
            raise UserError(f"There is no checkpoint {which!r} in {self._folder}; there is best, last, {known}")
        return step

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """The state, placed as `like` is (arrays or shapes with shardings), and the record.

        Raises:
            UserError: the checkpoint is corrupt, or not of a state like that.
        """
        if other := self._unlike(step, like):
            raise UserError(
                f"The checkpoints in {self._folder} are of another network, optimizer or `ema` than asked for "
                f"({other}): leave those flags out"
            )
        return self._read(step, jax.tree.map(ocp.utils.to_shape_dtype_struct, like))

    def on_host(self, step: int) -> dict[str, Any]:
        """The state as a tree of dictionaries, whatever network and however many devices it is of.

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
                f"delete {self._folder / str(step)} to go on from step {others[-1]}"
                if others
                else "train again into a new folder"
            )
            raise UserError(
                f"Checkpoint {self._folder / str(step)} cannot be read: it is corrupt ({first_line(error)}); {remedy}"
            ) from error
        return found["state"], found["record"]

    def _unlike(self, step: int, like: Any) -> str:
        """The name of an array that only a checkpoint or only `like` has, or in another shape; empty for none."""
        try:
            kept = self._manager.item_metadata(step)["state"]
        except Exception:  # it is not whole, which reading it will say
            return ""
        return next(iter(differences(like, kept)), "")

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def has_checkpoint(run: Path) -> bool:
    """Whether a run folder holds one, without opening it: a folder named by its step is whole."""
    return any(path.name.isdigit() for path in (run / FOLDER).glob("*"))
