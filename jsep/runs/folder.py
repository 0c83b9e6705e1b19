"""The folder of a run: config.json, metrics.jsonl and results.csv, beside checkpoints/ and tensorboard/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsep.errors import UserError
from jsep.files import local_path, make_folder, write_atomically
from jsep.results import RESULTS_CSV
from jsep.runs.config import load_config, save_config
from jsep.train import RunConfig
from jsep.train.hosts import is_first, wait


class RunFolder:
    """The files of one run, except for its checkpoints. If several processes train, only the first one writes.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = local_path(path)

    @property
    def config_path(self) -> Path:
        """Path of config.json, which makes a folder a run."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """Path of metrics.jsonl, which has a line for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def results_path(self) -> Path:
        """Path of results.csv, whose single row is written when the run is finished."""
        return self.path / RESULTS_CSV

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Return whether a folder holds a run."""
        return cls(path).config_path.is_file()

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunFolder":
        """Start a new run. Raises `UserError` if the folder already holds one."""
        folder = cls.reserve(path)
        folder.save(config)
        return folder

    @classmethod
    def reserve(cls, path: Path) -> "RunFolder":
        """Make a folder for a run whose configuration follows. Raises `UserError` if it already holds a run."""
        if cls.exists(path):
            raise UserError(f"{path} already holds a run: choose another `out`, or resume it with jsep train --resume")
        wait("all have seen that there is no run yet")
        make_folder(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run. Raises `UserError` if there is none."""
        if not cls.exists(path):
            raise UserError(
                f"{path} is not a run folder, since it has no config.json; `jsep train --out {path}` makes one"
            )
        return cls(path)

    def config(self) -> RunConfig:
        """Read the configuration."""
        return load_config(self.config_path)

    def save(self, config: RunConfig) -> None:
        """Write the configuration."""
        if is_first():
            save_config(config, self.config_path)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, without a last one that a killed process left incomplete."""
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
        """Remove the result and all metrics after `step`, the step of the checkpoint that training resumes from."""
        if is_first():
            self.results_path.unlink(missing_ok=True)
            kept = [json.dumps(line) + "\n" for line in self._lines() if line["step"] <= step]
            write_atomically(self.metrics_path, "".join(kept))
