"""`jsep export`: a run's network as a file for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jsep.cli.console import console
from jsep.cli.flags import given, parse
from jsep.export import export_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(export, "export", argv)


def export(
    run: Positional[Path],
    to: Literal["stablehlo", "onnx", "tflite", "safetensors"],
    out: Path | None = None,
    checkpoint: str = "best",
    images: int = 100,
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Write a run's network for other programs, run the file, and compare its logits with the live network's.

    The file takes float32 images (n, h, w, c) from 0 to 1 and gives logits: the run's normalisation is inside, and
    batch norms are folded into convolutions. safetensors holds only the weights, as trained. Classes and sizes are
    written beside the file as JSON.

    Args:
        run: The run folder.
        to: stablehlo (jax.export), onnx and tflite (extras of their own), or safetensors.
        out: The file; model.FORMAT in the run folder by default.
        checkpoint: best, last, or a step.
        images: Test images to compare on, beside 16 random ones.
        data: Another data set with the same classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
    """
    report = export_run(run, to, out, checkpoint=checkpoint, images=images, **given(data=data, data_dir=data_dir))
    shown = report.test_images + report.random_images
    console.print(f"{report.path}: {report.model} at step {report.step}, {report.path.stat().st_size:,} bytes")
    if to != "safetensors":
        console.print(f"{report.folded} of {report.norms} batch norms went into the convolutions before them")
    console.print(
        f"Run again on {report.test_images} test and {report.random_images} random images: logits within "
        f"{report.difference:.1e} of the largest from the live network's, the same class on {report.same} of {shown}"
    )
