"""The progress of a training on the console."""

from types import TracebackType
from typing import Any

from rich import progress
from rich.console import Console


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

    def epoch(self, epochs: int, line: dict[str, Any], *, ranked: bool) -> None:
        """Print one line about a finished epoch.

        Args:
            epochs: epochs of the whole training.
            line: the epoch's line of metrics.jsonl.
            ranked: whether there are enough classes for the top-5 accuracy to say something.
        """
        width = len(str(epochs))
        top5 = f" top-5 {line['val_top5']:.2%}" if ranked else ""
        self._console.print(
            f"epoch {line['epoch']:{width}}/{epochs}  "
            f"train loss {line['train_loss']:.4f} acc {line['train_accuracy']:.2%}  "
            f"val loss {line['val_loss']:.4f} acc {line['val_accuracy']:.2%}{top5}  "
            f"{line['seconds']:.1f} s",
            highlight=False,
        )
