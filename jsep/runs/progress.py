"""The progress of a training on the console."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich import progress
from rich.console import Console

from jsep.results import told


class Progress:
    """A progress bar with images per second and time left, on terminals only, and a printed line for each epoch."""

    def __init__(self, console: Console, total: int, done: int, batch_size: int):
        """Prepare the bar.

        Args:
            console: the console to print on.
            total: steps of the whole training.
            done: steps already done.
            batch_size: images per step.
        """
        self._console, self._batch_size = console, batch_size
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TextColumn("{task.fields[loss]}"),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("steps", total=total, completed=done, rate="", loss="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int, loss: float) -> None:
        """Show that `step` steps are done, and the loss of the last one."""
        speed = self._bar.tasks[0].speed
        rate = f"{speed * self._batch_size:,.0f} images/s" if speed else ""
        self._bar.update(self._task, completed=step, rate=rate, loss=f"loss {loss:.3f}")

    def epoch(self, epochs: int, line: dict[str, Any], shown: Sequence[str]) -> None:
        """Print one line about a finished epoch.

        Args:
            epochs: epochs of the whole training.
            line: the epoch's line of metrics.jsonl.
            shown: figures of the test images to print, see `jsep.train.task.Task`.
        """
        width = len(str(epochs))
        trained = figures_of(line, "train", ("loss", "accuracy"))
        tested = figures_of(line, "val", shown)
        self._console.print(
            f"epoch {line['epoch']:{width}}/{epochs}  train {trained}  val {tested}  {line['seconds']:.1f} s",
            highlight=False,
        )


def figures_of(line: dict[str, Any], part: str, names: Sequence[str]) -> str:
    """Return those figures of a line of metrics.jsonl that it has as text: losses as they are, others in percent.

    >>> figures_of({"val_loss": 0.5, "val_accuracy": 0.25}, "val", ("loss", "accuracy", "top5"))
    'loss 0.5000 acc 25.00%'

    Args:
        line: the line.
        part: "train" or "val".
        names: the figures, see `jsep.results.FIGURES`.
    """
    held = {name: line[f"{part}_{name}"] for name in names if f"{part}_{name}" in line}
    return " ".join(told(name, value) for name, value in held.items()).replace("accuracy", "acc")
