"""`jsep export`: the network of a run as a file for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
from tyro.conf import Positional, arg

from jsep.cli.console import console, print_next
from jsep.cli.flags import given, parse
from jsep.export import export_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(export, "export", argv)


def export(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    to: Literal["stablehlo", "onnx", "tflite", "safetensors"],
    out: Path | None = None,
    checkpoint: str = "best",
    images: int = 100,
    batch: int | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Export the network of a run to a file, run the file, and compare its logits with those of the network in JAX.

    The file takes float32 images (n, h, w, c) from 0 to 1 and returns logits. It includes the normalisation of images,
    and batch norms are folded into convolutions. A safetensors file holds only the weights, as trained. The names of
    the classes and the image size are written beside the file as JSON.

    Args:
        run: Run folder, published weights such as timm/resnet50.a1_in1k, or file of weights.
        to: Format: stablehlo (by jax.export), onnx or tflite (each needs its extra), or safetensors.
        out: File to write; by default model.FORMAT in the run folder, or NAME.FORMAT here for other weights.
        checkpoint: Checkpoint to export: best, last, or a step.
        images: Number of test images to compare on, beside 16 random ones.
        batch: Number of images that the file takes at once; any number by default, one in TFLite.
        data: Data set with the same classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
    """
    changes = given(data=data, data_dir=data_dir)
    report = export_run(run, to, out, checkpoint=checkpoint, images=images, batch=batch, **changes)
    shown = report.test_images + report.random_images
    console.print(f"{report.path}: {report.model} at step {report.step}, {report.path.stat().st_size:,} bytes")
    if to == "stablehlo":
        console.print(f"It runs with JAX {jax.__version__} or newer")
    if to != "safetensors":
        console.print(f"{report.folded} of {report.norms} batch norms were folded into the convolutions before them")
    console.print(
        f"Compared with JAX on {report.test_images} test and {report.random_images} random images: logits differ by at "
        f"most {report.difference:.1e} of the largest, and {report.same} of {shown} images get the same class"
    )
    if to != "safetensors":
        print_next("predict", report.path, "PICTURES")
