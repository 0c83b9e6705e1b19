"""The log of a training: metrics.jsonl, TensorBoard and, if asked for, Weights & Biases."""

import contextlib
import json
import time
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar

from jsep.errors import UserError, first_line
from jsep.files import writing
from jsep.runs.config import flat_fields
from jsep.runs.folder import RunFolder
from jsep.train import RunConfig
from jsep.train.hosts import is_first

events: Any = event_pb2  # its names are made when it is imported, so type checkers do not see them


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
            NotWritten: the files cannot be opened.
        """
        self._folder = folder
        self._writes = is_first()
        self._wandb: Any = None
        if self._writes:
            self._wandb = _begin_wandb(folder, config) if config.recipe.wandb else None
            board = folder.path / "tensorboard"
            with writing(folder.metrics_path):
                self._file = folder.metrics_path.open("a", encoding="utf-8")
            with writing(board):
                board.mkdir(exist_ok=True)
                # not the SummaryWriter: its thread ends on a full disk, and whoever waits for it waits for ever
                self._board = EventsWriter(str(board / "events"))
                start = events.SessionLog(status=events.SessionLog.START)
                self._board.write_event(events.Event(wall_time=time.time(), step=first_step + 1, session_log=start))

    def write(self, line: dict[str, Any]) -> None:
        """Append one line. Its "step" is the position on the curves that its floats become.

        Raises:
            NotWritten: the line could not be written.
        """
        if not self._writes:
            return
        with writing(self._folder.metrics_path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        with writing(self._folder.path / "tensorboard"):
            for key, value in line.items():
                if isinstance(value, float):
                    event = events.Event(wall_time=time.time(), step=line["step"], summary=scalar(key, value))
                    self._board.write_event(event)
            self._board.flush()
        if self._wandb:
            self._wandb.log(line, step=line["step"])

    def close(self) -> None:
        """Close the logs. Errors are ignored, since `write` has already raised them."""
        if self._writes:
            for file in (self._file, self._board):
                with contextlib.suppress(OSError):
                    file.close()
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
