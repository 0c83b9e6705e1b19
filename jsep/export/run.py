"""Exporting a run folder to a file, and comparing the file with the network in JAX."""

import contextlib
import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jsep import ops
from jsep.data import Split, make_feed
from jsep.data.decode import resize
from jsep.data.pictures import Subset
from jsep.data.records import Records
from jsep.errors import UserError, nearest, require, typed
from jsep.export import int8_onnx, int8_tflite, to_onnx, to_safetensors, to_stablehlo, to_tflite
from jsep.export.agreement import TOLERANCE, agreement
from jsep.export.int8 import Calibration, Int8Report, Quantizer, Ranges, quantize_file
from jsep.export.program import BATCH, INPUT, OUTPUT, Function, Program, make_program
from jsep.files import local_path
from jsep.models.registry import Task
from jsep.runs.evaluate import load_run
from jsep.runs.trained import is_run
from jsep.train.classify import CLASSIFICATION
from jsep.train.setup import Setup
from jsep.trees import flatten

RANDOM_IMAGES = 16  # images of noise that the file is compared on
TEST_IMAGES, INT8_TEST_IMAGES = 100, 1000  # of the test part; the accuracy of an int8 file takes more


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format that networks are exported to.

    Attributes:
        write: writes a program to a file, for a number of images at once; None means any number, or one in TFLite.
        load: returns the function in a file, for any number of images.
        packages: modules that the extra jsep[FORMAT] installs.
        converter: a package that requires older versions of jsep's dependencies, though it works with the newer ones;
            it is therefore installed without its dependencies, which come with the extra.
        quantizer: what makes int8 files of this format.
    """

    write: Callable[[Program, Path, int | None], None]
    load: Callable[[Path], Function]
    packages: tuple[str, ...] = ()
    converter: str = ""
    quantizer: Quantizer | None = None


FORMATS = {
    "stablehlo": Format(to_stablehlo.write, to_stablehlo.load),
    "onnx": Format(
        to_onnx.write,
        to_onnx.load,
        ("onnx", "onnx_ir", "onnxruntime"),
        "jax2onnx",
        Quantizer("onnxruntime", int8_onnx.write, int8_onnx.scales),
    ),
    "tflite": Format(
        to_tflite.write,
        to_tflite.load,
        ("ai_edge_litert",),
        "litert-converter",
        Quantizer("ai_edge_quantizer", int8_tflite.write, int8_tflite.scales),
    ),
    "safetensors": Format(to_safetensors.write, to_safetensors.load),
}


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of an export: the file, and how its answers in float32 compare with those of the network in JAX.

    Attributes:
        path: the file.
        model: registered name of the network.
        task: what it does.
        step: training step of the checkpoint.
        folded: number of batch norms folded into convolutions.
        norms: number of all batch norms.
        test_images: number of test images compared on.
        random_images: number of random images compared on.
        difference: how much logits or detections differ, see `jsep.export.agreement.Agreement`.
        same: number of images, or of a segmenter pixels, of which both say the same.
        compared: number of these images or pixels.
        int8: what rounding to int8 costs; None for a float file.
    """

    path: Path
    model: str
    task: Task
    step: int
    folded: int
    norms: int
    test_images: int
    random_images: int
    difference: float
    same: int
    compared: int
    int8: Int8Report | None = None


@typed
def export_run(
    run: Path,
    to: str,
    out: Path | None = None,
    *,
    checkpoint: str = "best",
    images: int | None = None,
    batch: int | None = None,
    int8: bool = False,
    integer: bool = False,
    calibrate: int = 200,
    ranges: Ranges = "extremes",
    **changes: Any,
) -> Report:
    """Export the network of a run to a file, run the file, and compare what it tells of images.

    Args:
        run: a run folder, or other weights, see `jsep.runs.trained.open_trained`.
        to: the format, one of `FORMATS`.
        out: the file to write; None means model.FORMAT in the run folder, and NAME.FORMAT here for other weights, where
            FORMAT is int8.onnx or int8.tflite with `int8`. The facts are written beside it as JSON.
        checkpoint: "best", "last" or a training step.
        images: number of test images to compare on, spread over the whole test part; None means 100, or 1000 with
            `int8`.
        batch: number of images that the file takes at once; None means any number, but one in TFLite and for detectors
            in ONNX.
        int8: write weights and activations as 8-bit integers, in ONNX and TFLite.
        integer: make also the input and the output of an int8 TFLite file integers, as microcontrollers need them.
        calibrate: number of training images that show the ranges of the activations for `int8`, spread over the whole
            training part.
        ranges: how these ranges are made, see `jsep.export.int8.Calibration`.
        **changes: fields of the run's config to replace, such as data.

    Returns:
        What was written, and how the answers compare.

    Raises:
        UserError: the run cannot be read, the extra of the format is not installed, the network has no such form, the
            file gives different answers, or its int8 form is of no use; then no file is left.
    """
    _check_choices(to, batch, int8, integer)
    images = (INT8_TEST_IMAGES if int8 else TEST_IMAGES) if images is None else images
    for name, value in {"images": images, "calibrate": calibrate}.items():
        require(value >= 1, name, value, "at least 1")
    _check_packages(to, int8)
    form, suffix = FORMATS[to], f"int8.{to}" if int8 else to
    out = local_path(out or (run / f"model.{suffix}" if is_run(run) else f"{run.name}.{suffix}"))
    setup, step, variables = load_run(run, checkpoint, **changes)
    program = _program(setup, variables, step)
    if int8 and setup.task is not CLASSIFICATION:
        raise UserError(
            f"`int8`: {setup.config.model} is a {setup.task.noun}, and only classifiers are rounded: leave it out"
        )
    part, rounded = (out.with_name(f"{out.name}{end}") for end in (".part", ".int8.part"))
    found = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        form.write(program, part, batch)
        tested, labels = _spread(setup, setup.dataset.test, images)
        noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, *program.image_shape), np.uint8)
        shown = np.concatenate([tested, noise])
        compared = agreement(ops.jit_inference(program.live), form.load(part), shown, BATCH[program.task])
        if not compared.difference <= TOLERANCE:
            what = "detections" if program.task == "detection" else "logits"
            raise UserError(
                f"{out} is not written: as {to} the network gives {what} that differ by {compared.difference:.1e}, "
                f"where rounding makes at most {TOLERANCE:.0e}; try another format for `to`"
            )
        facts = dict(program.facts)
        if int8:
            assert form.quantizer
            seen, _ = _spread(setup, setup.dataset.train, calibrate)
            calibration = Calibration(seen.astype(np.float32) / np.float32(255), ranges, batch or 1)
            found = quantize_file(form.quantizer, form.load, part, rounded, calibration, integer, tested, labels)
            facts.update(_int8_facts(found))
        os.replace(rounded if int8 else part, out)
        out.with_name(f"{out.name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another `out`") from error
    finally:
        for path in (part, rounded):
            with contextlib.suppress(OSError):
                path.unlink()
    norms = sum(path.endswith("/var") for path in flatten(program.variables))
    folded = len(program.pairs)
    about = setup.config.model, program.task, step, folded, norms
    return Report(out, *about, len(tested), len(noise), *compared, found)


def _check_choices(to: str, batch: int | None, int8: bool, integer: bool) -> None:
    if to not in FORMATS:
        raise UserError(f"`to`={to}: there is no such format; {nearest(to, FORMATS)}")
    require(batch is None or batch >= 1, "batch", batch, "at least 1")
    if int8 and not FORMATS[to].quantizer:
        raise UserError(f"`to`={to}: such files are not written in int8; choose onnx or tflite, or leave out `int8`")
    if integer and not (int8 and to == "tflite"):
        raise UserError("`integer`: only int8 files of TFLite are of integers alone; add `int8` and `to`=tflite")


def _check_packages(to: str, int8: bool = False) -> None:
    form = FORMATS[to]
    quantizer = form.quantizer.package if int8 and form.quantizer else ""
    modules = dict.fromkeys([*form.packages, quantizer, form.converter.replace("-", "_")])
    missing = [name for name in modules if name and importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"`to`={to} needs {' and '.join(missing)}, not installed here: pip install 'jsep[{to}]', "
            f"then pip install --no-deps {form.converter}"
        )


def _program(setup: Setup, variables: dict[str, Any], step: int) -> Program:
    config, (mean, std) = setup.config, setup.statistics
    program = make_program(
        config.model,
        config.options,
        config.factored,
        variables,
        image_shape=setup.dataset.eval_shape,
        class_names=setup.dataset.class_names,
        mean=mean,
        std=std,
    )
    data = setup.dataset
    view = {"crop_share": data.crop_share, "interpolation": data.interpolation}
    return dataclasses.replace(program, facts={**program.facts, **view, "data": data.name, "step": step})


def _int8_facts(report: Int8Report) -> dict[str, Any]:
    """Return what a user of an int8 file must know: how its input and output are read, and how good it is."""
    facts: dict[str, Any] = {"int8": dataclasses.asdict(report)}
    if report.integer:
        pixels, logits = report.input, report.output
        facts["input"] = (
            f"{INPUT}: int8, images x height x width x channels (red first); the pixel from 0 to 1 divided by "
            f"{pixels.scale!r}, plus {pixels.zero_point}"
        )
        facts["output"] = (
            f"{OUTPUT}: int8, images x classes, before softmax; the logit is {logits.scale!r} times the difference "
            f"between the integer and {logits.zero_point}"
        )
    return facts


def _spread(setup: Setup, part: Split | Records, number: int) -> tuple[UInt8[np.ndarray, "n h w c"], Any]:
    """Return at most `number` images of a part, as evaluation sees them, and their targets, spread over the part."""
    places = np.linspace(0, len(part) - 1, min(number, len(part))).astype(int)
    if isinstance(part, Split):
        images, shape = part.images[places], setup.dataset.eval_shape
        if images.shape[1:] != shape:  # images to train on, which have another size
            images = np.stack([resize(image, shape[0]) for image in images])
        return images, part.labels[places]
    feed = make_feed(Subset(part, places), setup.dataset, setup.config.recipe.data.workers)
    batches = (batch for batch, _ in feed.evaluation(BATCH[setup.dataset.task]))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(places)], *batches)
