"""The folder of a run: config.json, metrics.jsonl and results.csv, beside checkpoints/ and tensorboard/."""

import contextlib
import difflib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from jsep.errors import UserError, first_line
from jsep.files import local_path, make_folder, write_atomically, writing
from jsep.models import list_models
from jsep.port.tags import known_weights
from jsep.results import RESULTS_CSV, CurvePoint, optional_fields
from jsep.runs.config import load_config, save_config
from jsep.train import RunConfig
from jsep.train.hosts import is_first, wait

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# the fields of a line of metrics.jsonl that results are made from, and their types
EPOCH = {"step": int, **get_type_hints(CurvePoint)}
EPOCH = {name: kind for name, kind in EPOCH.items() if name not in ("model", "seed")}
PUBLISHERS = ("timm", "torchvision")  # of weights, before the slash of their names
# those that lines of earlier versions lack, or of another task
LATER = {**optional_fields(CurvePoint), **dict.fromkeys(("train_accuracy", "val_accuracy", "val_loss"), math.nan)}


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
        return os.path.isfile(cls(path).config_path)  # unlike Path.is_file, also for names that are too long

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
        if os.path.isfile(path):
            raise UserError(f"{path} is a file: give the folder of the run")
        if not cls.exists(path):
            raise UserError(_no_run(path))
        return cls(path)

    def config(self) -> RunConfig:
        """Read the configuration."""
        return load_config(self.config_path)

    def save(self, config: RunConfig) -> None:
        """Write the configuration. Raises `NotWritten` if that fails."""
        if is_first():
            with writing(self.config_path):
                save_config(config, self.config_path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this run as long as the context lasts; a killed process frees it.

        Raises:
            UserError: another process trains it.
        """
        if fcntl is None or not is_first():
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UserError(
                f"{self.path} is being trained by another process: wait, or choose another `out`"
            ) from error
        except OSError:
            pass  # the file system has no locks
        try:
            yield
        finally:
            os.close(handle)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl, without a last one that a killed process left incomplete.

        Raises:
            UserError: the file is missing or cannot be read, has no line, or a line is not one that a training writes.
        """
        if not (lines := self.metrics_until()):
            raise UserError(f"{self.metrics_path} has no epoch: restore it from a copy, or train in another `out`")
        return lines

    def metrics_until(self, step: int = sys.maxsize) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl up to a step; there may be none. Raises `UserError` as `metrics` does."""
        return [line for line in self._lines(EPOCH) if line["step"] <= step]

    def _lines(self, fields: Mapping[str, type]) -> Iterator[dict[str, Any]]:
        """Yield the lines of metrics.jsonl, each with at least these fields; those of `LATER` may be missing."""
        path = self.metrics_path
        if not path.exists():
            return
        try:
            texts = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({first_line(error)}): restore it from a copy") from error
        for number, text in enumerate(texts[:-1], start=1):  # a complete line ends with a line end
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                raise UserError(f"{path}, line {number} is not a JSON object: restore the file from a copy")
            for name, kind in fields.items():
                value = line.get(name, LATER.get(name))
                if isinstance(value, bool) or not isinstance(value, (int, kind)):
                    raise UserError(
                        f"{path}, line {number}: {name!r} is missing or not a number; restore the file from a copy"
                    )
            yield line

    def rewind(self, step: int) -> None:
        """Remove the result and all metrics after `step`, the step of the checkpoint that training resumes from.

        Raises:
            UserError: metrics.jsonl holds a line that no training writes.
            NotWritten: the files cannot be changed.
        """
        if is_first():
            kept = [json.dumps(line) + "\n" for line in self._lines({"step": int}) if line["step"] <= step]
            with writing(self.metrics_path):
                write_atomically(self.metrics_path, "".join(kept))
                self.results_path.unlink(missing_ok=True)


def _no_run(path: Path) -> str:
    """Return the error sentence for a path that is no run folder."""
    if not os.path.isdir(path):
        return _nothing(path)
    found = (re.fullmatch(r"seed(\d+)", name) for name in os.listdir(path))
    seeds = sorted(int(one[1]) for one in found if one and RunFolder.exists(path / one[0]))
    if not seeds:
        return f"{path} is not a run folder, since it has no config.json: give the folder of a run"
    first = path / f"seed{seeds[0]}"
    if len(seeds) == 1:
        return f"{path} is not a run folder, but holds one: give {first}"
    held, numbers = ", ".join(f"seed{seed}" for seed in seeds), " ".join(map(str, seeds))
    return (
        f"{path} holds the runs {held}: give one of them, such as {first} (jsep train --resume --seeds {numbers} "
        f"--out {path} resumes all)"
    )


def _nothing(path: Path) -> str:
    """Return the error sentence for a path that does not exist, with the names that may have been meant."""
    name = path.as_posix()
    if name in list_models():
        known = f", or give weights that jsep models {name} --weights lists" if any(known_weights(name)) else ""
        return f"{name} is a network, not trained weights: train it with jsep train {name}{known}"
    publisher, slash, rest = name.partition("/")
    meant = [one.name for one in known_weights() if one.name.partition("/")[2] == name]
    if slash and publisher not in PUBLISHERS:
        meant += [f"{one}/{rest}" for one in difflib.get_close_matches(publisher.lower(), PUBLISHERS, n=1, cutoff=0.7)]
    with contextlib.suppress(OSError):  # the parent folder may be missing, too
        close = difflib.get_close_matches(path.name, os.listdir(path.parent), cutoff=0.7)
        meant += [str(path.with_name(one)) for one in close]
    hint = f"did you mean {' or '.join(meant)}?" if meant else "correct it; jsep models --weights lists published ones"
    return f"There is no run folder, file or published weights {path}: {hint}"
