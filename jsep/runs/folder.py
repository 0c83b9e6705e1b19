"""A run folder: config.json, metrics.jsonl, results.csv, and beside them checkpoints/ and tensorboard/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsep.errors import UserError
from jsep.files import make_folder, write_atomically
from jsep.results import RESULTS_CSV
from jsep.runs.config import load_config, save_config
from jsep.train import RunConfig
from jsep.train.hosts import is_first, wait


class RunFolder:
    """The files of one run, except for its checkpoints. Where several processes train, the first one writes."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def config_path(self) -> Path:
        """config.json: what makes a folder a run."""
        return self.path / "config.json"

    @property
    def metrics_path(self) -> Path:
        """metrics.jsonl: a line for each epoch."""
        return self.path / "metrics.jsonl"

    @property
    def results_path(self) -> Path:
        """results.csv: one row, written when the run is over."""
        return self.path / RESULTS_CSV

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Return whether a run was begun there."""
        return cls(path).config_path.is_file()

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> "RunFolder":
        """Begin a new run. Raises `UserError` where the folder already holds one."""
        folder = cls.reserve(path)
        folder.save(config)
        return folder

    @classmethod
    def reserve(cls, path: Path) -> "RunFolder":
        """Make the folder before the work that will fill it. Raises `UserError` where it already holds a run."""
        if cls.exists(path):
            raise UserError(f"{path} already holds a run: choose another `out`, or go on with jsep train --resume")
        wait("all have seen that there is no run yet")
        make_folder(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run. Raises `UserError` where there is none."""
        if not cls.exists(path):
            raise UserError(
                f"{path} is no run folder: there is no config.json in it; `jsep train --out {path}` makes one"
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
        """Return the lines of metrics.jsonl, without a last one that a kill cut short."""
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
        """Forget what was logged after `step`, and the result: the checkpoint that training goes on from is older."""
        if is_first():
            self.results_path.unlink(missing_ok=True)
            kept = [json.dumps(line) + "\n" for line in self._lines() if line["step"] <= step]
            write_atomically(self.metrics_path, "".join(kept))
