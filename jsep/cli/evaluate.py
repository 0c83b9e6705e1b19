"""`jsep eval`: the accuracy and loss of a checkpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

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
    eval_split: str | None = None,
    image_size: int | None = None,
    eval_size: int | None = None,
    crop_share: float | None = None,
    interpolation: Literal["bilinear", "bicubic"] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    batch_size: int | None = None,
    skip_unreadable: bool = False,
) -> None:
    """Evaluate a checkpoint of a run on every test image once, prepared as in its training.

    Args:
        run: Run folder, published weights such as timm/resnet50.a1_in1k, or file of weights.
        checkpoint: Checkpoint to evaluate: best, last, or a step.
        data: Data set with the same classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
        eval_split: Part of the data set to evaluate on, such as test or 'train[90%:]'.
        image_size: Side in pixels that images are scaled and cut to; that of the training by default.
        eval_size: Side in pixels of images at evaluation, if it differs from that of the training.
        crop_share: Share of the shorter side that the centre crop keeps, such as 0.875; that of the run by default.
        interpolation: Interpolation of resized images, bilinear or bicubic; that of the run by default.
        mean: Mean of each channel to normalise by, for values from 0 to 1; that of the training by default.
        std: Standard deviation of each channel to normalise by, likewise.
        batch_size: Images per step; the run's own batch size by default.
        skip_unreadable: Leave out pictures that cannot be decoded.
    """
    split = given(data=data, data_dir=data_dir, eval_split=eval_split, skip_unreadable=skip_unreadable or None)
    view = given(image_size=image_size, eval_size=eval_size, crop_share=crop_share, interpolation=interpolation)
    found = evaluate_run(run, checkpoint, **split, **view, **given(mean=mean, std=std, batch_size=batch_size))
    console.print(
        f"{found.model} at step {found.step} on the {found.images:,} test images of {found.data}: "
        f"accuracy {found.accuracy:.2%}, loss {found.loss:.4f} ({found.seconds:.1f} s)"
    )
    if found.note:
        console.print(found.note)
