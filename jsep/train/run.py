"""A run folder: config.json, metrics.jsonl, TensorBoard events, checkpoints/, results.csv."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from jsep.errors import UserError, first_line
from jsep.files import make_folder, write_atomically
from jsep.report import RESULTS_CSV
from jsep.train.config import RunConfig, load_config, save_config
from jsep.train.hosts import is_first, wait


class RunFolder:
    """The files of one run, except the checkpoints. Of several processes all read and the first writes."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def results_path(self) -> Path:
        return self.path / RESULTS_CSV

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether a run was begun there."""
        return cls(path).config_path.is_file()

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunFolder":
        """Start a new run; a folder that already holds one is refused."""
        folder = cls.reserve(path)
        folder.save(config)
        return folder

    @classmethod
    def reserve(cls, path: Path) -> "RunFolder":
        """Make the folder, before the work that will fill it; one that already holds a run is refused."""
        if cls.exists(path):
            raise UserError(f"{path} already holds a run: choose another --out, or go on with jsep train --resume")
        wait("all have seen that there is no run yet")
        make_folder(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run; anything else is refused."""
        if not cls.exists(path):
            raise UserError(
                f"{path} is no run folder: there is no config.json in it; `jsep train --out {path}` makes one"
            )
        return cls(path)

    def config(self) -> RunConfig:
        return load_config(self.config_path)

    def save(self, config: RunConfig) -> None:
        if is_first():
            save_config(config, self.config_path)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch; a last line that a kill cut short is left out."""
        return list(self._lines())

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.metrics_path.exists():
            return
        for line in self.metrics_path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`, and how it ended: the checkpoint to go on from knows nothing of it."""
        if is_first():
            self.results_path.unlink(missing_ok=True)
            kept = [json.dumps(line) + "\n" for line in self._lines() if line["step"] <= step]
            write_atomically(self.metrics_path, "".join(kept))


class MetricsLog:
    """Appends to metrics.jsonl, to the TensorBoard events, and to W&B where asked for; in the first process."""

    def __init__(self, folder: RunFolder, first_step: int, config: RunConfig):
        self._speaks = is_first()
        self._wandb: Any = None
        if self._speaks:
            self._wandb = _wandb(folder, config) if config.wandb else None
            self._file = folder.metrics_path.open("a")
            self._board = SummaryWriter(str(folder.path / "tensorboard"), purge_step=first_step + 1)

    def write(self, line: dict[str, Any]) -> None:
        if not self._speaks:
            return
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for key, value in line.items():
            if isinstance(value, float):
                self._board.add_scalar(key, value, line["step"])
        if self._wandb:
            self._wandb.log(line, step=line["step"])

    def close(self) -> None:
        if self._speaks:
            self._file.close()
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def import_wandb() -> Any:
    """Weights & Biases, an extra."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("--wandb needs Weights & Biases: pip install 'jsep[wandb]'") from error
    return wandb


def _wandb(folder: RunFolder, config: RunConfig) -> Any:
    """A run of W&B that goes on where the folder's earlier one stopped."""
    wandb = import_wandb()
    name = folder.path.resolve().name
    values = {key: str(value) for key, value in vars(config).items()}
    place = {"name": name, "id": name, "resume": "allow", "dir": str(folder.path)}
    try:
        return wandb.init(project=config.wandb, config=values, **place)
    except Exception as error:  # no key, no network, or what else the service says
        raise UserError(f"--wandb {config.wandb}: W&B cannot start ({first_line(error)}): try `wandb login`") from error
