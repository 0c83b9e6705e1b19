"""`jsep eval`: the accuracy and loss of a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from jsep.cli.console import console
from jsep.cli.flags import given, parse
from jsep.runs.evaluate import evaluate_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(evaluate, "eval", argv)


def evaluate(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    checkpoint: str = "best",
    data: str | None = None,
    data_dir: Path | None = None,
    batch_size: int | None = None,
    skip_unreadable: bool = False,
) -> None:
    """Evaluate a checkpoint of a run on every test image once.

    Args:
        run: The run folder.
        checkpoint: Checkpoint to evaluate: best, last, or a step.
        data: Data set with the same number of classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
        batch_size: Images per step; the run's own batch size by default.
        skip_unreadable: Leave out pictures that cannot be decoded.
    """
    changes = given(data=data, data_dir=data_dir, batch_size=batch_size, skip_unreadable=skip_unreadable or None)
    found = evaluate_run(run, checkpoint, **changes)
    console.print(
        f"{found.model} at step {found.step} on the {found.images:,} test images of {found.data}: "
        f"accuracy {found.accuracy:.2%}, loss {found.loss:.4f} ({found.seconds:.1f} s)"
    )
    if found.note:
        console.print(found.note)
