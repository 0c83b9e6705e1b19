"""The log of a training: metrics.jsonl, TensorBoard and, if asked for, Weights & Biases."""

import json
from typing import Any

from tensorboardX import SummaryWriter

from jsep.errors import UserError, first_line
from jsep.runs.config import flat_fields
from jsep.runs.folder import RunFolder
from jsep.train import RunConfig
from jsep.train.hosts import is_first


class MetricsLog:
    """Writer of the metrics of each epoch. Only that of the first process writes."""

    def __init__(self, folder: RunFolder, first_step: int, config: RunConfig):
        """Open the logs of a run to append to them.

        Args:
            folder: the run folder.
            first_step: number of steps already done; TensorBoard drops the events after them.
            config: the configuration, which names the project of Weights & Biases.

        Raises:
            UserError: Weights & Biases is not installed or cannot start.
        """
        self._writes = is_first()
        self._wandb: Any = None
        if self._writes:
            self._wandb = _begin_wandb(folder, config) if config.recipe.wandb else None
            self._file = folder.metrics_path.open("a")
            self._board = SummaryWriter(str(folder.path / "tensorboard"), purge_step=first_step + 1)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line. Its "step" is the position on the curves that its floats become."""
        if not self._writes:
            return
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for key, value in line.items():
            if isinstance(value, float):
                self._board.add_scalar(key, value, line["step"])
        if self._wandb:
            self._wandb.log(line, step=line["step"])

    def close(self) -> None:
        """Write what is still buffered, and close the logs."""
        if self._writes:
            self._file.close()
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def import_wandb() -> Any:
    """Return the module of Weights & Biases. Raises `UserError` if that extra is not installed."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("`wandb` needs Weights & Biases: pip install 'jsep[wandb]'") from error
    return wandb


def _begin_wandb(folder: RunFolder, config: RunConfig) -> Any:
    """Start a run of Weights & Biases, or resume the earlier one of the same folder."""
    wandb, project = import_wandb(), config.recipe.wandb
    name = folder.path.resolve().name
    values = {key: str(value) for key, value in flat_fields(config).items()}
    place = {"name": name, "id": name, "resume": "allow", "dir": str(folder.path)}
    try:
        return wandb.init(project=project, config=values, **place)
    except Exception as error:  # no key, no network, or whatever else the service says
        raise UserError(f"`wandb`={project}: W&B cannot start ({first_line(error)}): try `wandb login`") from error
