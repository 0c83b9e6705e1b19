"""Opening trained networks: whatever uses one gets it here, wherever its weights come from."""

from pathlib import Path
from typing import Any, NamedTuple

from jsep.errors import UserError
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.data import DataRecord
from jsep.runs.folder import RunFolder
from jsep.train import RunConfig
from jsep.trees import not_finite, on_host


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        config: the network, and how it was trained; its data say how images are prepared for it.
        step: the training step that its weights are from.
        variables: its variables, on the host.
        class_names: names of the classes in the order of the labels; empty where they are unknown.
    """

    config: RunConfig
    step: int
    variables: dict[str, Any]
    class_names: tuple[str, ...]


def open_trained(source: Path, checkpoint: str = "best") -> Trained:
    """Open a trained network.

    Args:
        source: a run folder.
        checkpoint: "best", "last" or a step.

    Raises:
        UserError: there is no such run or checkpoint, it is corrupt, or holds NaN or infinity.
    """
    folder = RunFolder.open(source)
    record = DataRecord.read(source)
    return Trained(folder.config(), *load_variables(source, checkpoint), record.classes if record else ())


def load_variables(run: Path, checkpoint: str = "best") -> tuple[int, dict[str, Any]]:
    """Load the variables that a checkpoint of a run is evaluated with.

    Args:
        run: the run folder.
        checkpoint: "best", "last" or a step.

    Returns:
        The step of the checkpoint, and the network's variables on the host.

    Raises:
        UserError: there is no such run or checkpoint, it is corrupt, or holds NaN or infinity.
    """
    folder = RunFolder.open(run)
    checkpoints = Checkpoints(folder.path, folder.config().recipe.keep)
    try:
        step = checkpoints.find(checkpoint)
        state = checkpoints.on_host(step)
    finally:
        checkpoints.close()
    params, batch_stats = state.get("average") or (state["params"], state.get("batch_stats", {}))
    variables = on_host({"params": params, "batch_stats": batch_stats})
    if wrong := not_finite(variables):
        raise UserError(
            f"Checkpoint {step} of {run} holds values that are not finite numbers, in {wrong[0]}: choose another "
            "`checkpoint`, or train again"
        )
    return step, variables
