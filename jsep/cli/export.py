"""`jsep export`: the network of a run as a file for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
from tyro.conf import Positional, arg

from jsep.cli.console import console, print_next
from jsep.cli.flags import given, parse
from jsep.errors import counted, with_flags
from jsep.export import Int8Report, Ranges, export_run


def run(argv: Sequence[str]) -> None:
    """Run the command."""
    parse(export, "export", argv)


def export(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    to: Literal["stablehlo", "onnx", "tflite", "safetensors"],
    out: Path | None = None,
    checkpoint: str = "best",
    images: int | None = None,
    batch: int | None = None,
    int8: bool = False,
    integer: bool = False,
    calibrate: int = 200,
    ranges: Ranges = "extremes",
    data: str | None = None,
    data_dir: Path | None = None,
) -> None:
    """Export the network of a run to a file, run the file, and compare its answers with those of the network in JAX.

    The file takes float32 images (n, h, w, c) from 0 to 1 and returns logits, that of a detector its detections: boxes,
    labels, scores, and which of them there are. It includes the normalisation of images, and batch norms are folded
    into convolutions. A safetensors file holds only the weights, as trained. The names of
    the classes and the image size are written beside the file as JSON.

    Args:
        run: Run folder, published weights such as timm/resnet50.a1_in1k, or file of weights.
        to: Format: stablehlo (by jax.export), onnx or tflite (each needs its extra), or safetensors.
        out: File to write; by default model.FORMAT in the run folder, or NAME.FORMAT here for other weights.
            FORMAT is int8.onnx or int8.tflite with --int8.
        checkpoint: Checkpoint to export: best, last, or a step.
        images: Number of test images to compare on, beside 16 random ones; 100 by default, 1000 with --int8.
        batch: Number of images that the file takes at once; by default any number, but one in TFLite and for detectors
            in ONNX.
        int8: Write weights and activations as 8-bit integers, in onnx and tflite. Input and output remain float32.
        integer: Make the input and output of an int8 tflite file integers too, for microcontrollers.
        calibrate: Number of training images that show the ranges of the activations for --int8.
        ranges: Range of an activation for --int8: from its least to its greatest value over all these images, or the
            average of those of each image, which leaves out what is rare.
        data: Data set with the same classes; the run's own by default.
        data_dir: Where TFDS keeps its data sets.
    """
    changes = given(data=data, data_dir=data_dir)
    rounding: Any = {"int8": int8, "integer": integer, "calibrate": calibrate, "ranges": ranges}
    report = export_run(run, to, out, checkpoint=checkpoint, images=images, batch=batch, **rounding, **changes)
    console.print(f"{report.path}: {report.model} at step {report.step}, {report.path.stat().st_size:,} bytes")
    if to == "stablehlo":
        console.print(f"It runs with JAX {jax.__version__} or newer")
    if to != "safetensors":
        console.print(f"{report.folded} of {report.norms} batch norms were folded into the convolutions before them")
    before = "Before rounding to int8, compared" if report.int8 else "Compared"
    difference, same = f"differ by at most {report.difference:.1e}", f"{report.same} of {report.compared}"
    agreement = {
        "classification": f"logits {difference} of the largest, and {same} images get the same class",
        "detection": f"99 of 100 detections {difference}, and {same} images get the same ones",
        "segmentation": f"logits {difference} of the largest, and {same} pixels get the same class",
    }[report.task]
    tested = f"{report.test_images} test and {report.random_images} random images"
    console.print(f"{before} with JAX on {tested}: {agreement}")
    if report.int8:
        _print_int8(report.int8)
    if to != "safetensors":
        print_next("predict", report.path, "PICTURES")


def _print_int8(report: Int8Report) -> None:
    console.print(
        f"int8: calibrated on {report.calibration_images:,} training images ({report.ranges} of their activations); "
        f"{report.bytes:,} bytes, {report.float_bytes:,} in float32"
    )
    if report.integer:
        pixel, logit = (
            f"{one.scale:.7g} * (integer {'-' if one.zero_point > 0 else '+'} {abs(one.zero_point)})"
            for one in (report.input, report.output)
        )
        console.print(f"It holds integers alone: an input value, from 0 to 1, is {pixel}, and a logit is {logit}")
    console.print(
        f"Accuracy on {counted(report.test_images, 'test image')}: {report.float_accuracy:.2%} in float32, "
        f"{report.accuracy:.2%} in int8; {report.same:.2%} get the same class"
    )
    if report.advice:
        console.print(with_flags(report.advice))
