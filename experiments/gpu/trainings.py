"""Several `jsep train` at the same time, in processes of their own, followed by their metrics.jsonl."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machine import folder

GRACE = 8.0  # seconds in which a training that is stopped may save its checkpoint


class Training(NamedTuple):
    """A training: the words of its command, without those of the folder.

    Attributes:
        name: name of its folder.
        words: what follows `jsep train`.
    """

    name: str
    words: Sequence[str]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return folder("WORK") / "trainings" / self.name


def train(trainings: Sequence[Training], at_once: int, deadline: float) -> Iterator[tuple[Training, Any]]:
    """Run trainings, some at a time.

    Args:
        trainings: what to run; a run folder that has checkpoints is continued.
        at_once: processes at the same time.
        deadline: when to stop what still runs, on the clock of `time.monotonic`. It gets what Ctrl-C sends, and so
            saves a checkpoint.

    Yields:
        A training and, after each of its epochs, the epoch's line of metrics.jsonl; at its end, its exit status.
    """
    waiting, running = list(trainings), {}
    told: dict[str, int] = {}
    stopped = False
    while waiting or running:
        left = deadline - time.monotonic()
        while waiting and left > 0 and len(running) < at_once:
            training = waiting.pop(0)
            running[training] = _begin(training)
        if left <= 0:
            waiting = []
            if not stopped:
                for process in running.values():
                    process.send_signal(signal.SIGINT)
            elif left < -GRACE:
                for process in running.values():
                    process.kill()
            stopped = True
        for training, process in list(running.items()):
            status = process.poll()
            for line in _epochs(training.folder / "metrics.jsonl")[told.get(training.name, 0) :]:
                told[training.name] = told.get(training.name, 0) + 1
                yield training, line
            if status is not None:
                del running[training]
                if status and not stopped:
                    print(f"{training.name}: the end of its output")
                    print("".join((training.folder.with_suffix(".log")).read_text().splitlines(True)[-12:]), end="")
                yield training, status
        time.sleep(0.3)


def _begin(training: Training) -> subprocess.Popen:
    path = training.folder
    path.parent.mkdir(parents=True, exist_ok=True)
    resume = ["--resume"] if any((path / "checkpoints").glob("[0-9]*")) else []
    if path.exists() and not resume:  # it was stopped before its first checkpoint
        shutil.rmtree(path)
    words = [*training.words, "--out", str(path), *resume]
    with path.with_suffix(".log").open("a") as log:
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        command = [sys.executable, "-m", "jsep", "train", *words]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _epochs(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of epochs so far."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
    return [line for line in lines if "epoch" in line]
