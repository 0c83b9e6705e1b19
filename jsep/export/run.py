"""Exporting a run folder to a file, and comparing the file with the network in JAX."""

import contextlib
import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jsep import ops
from jsep.data import Split
from jsep.errors import UserError, nearest, require, typed
from jsep.export import to_onnx, to_safetensors, to_stablehlo, to_tflite
from jsep.export.program import Logits, Program, make_program
from jsep.files import local_path
from jsep.runs.evaluate import load_run
from jsep.runs.trained import is_run
from jsep.train.setup import Setup
from jsep.trees import flatten

TOLERANCE = 1e-4  # relative to the largest logit; rounding alone stays below 1e-5
RANDOM_IMAGES = 16  # images of noise that the file is compared on
BATCH = 50  # images per call


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format that networks are exported to.

    Attributes:
        write: writes a program to a file, for a number of images at once; None means any number, or one in TFLite.
        load: returns the function in a file, for any number of images.
        packages: modules that the extra jsep[FORMAT] installs.
        converter: a package that requires older versions of jsep's dependencies, though it works with the newer ones;
            it is therefore installed without its dependencies, which come with the extra.
    """

    write: Callable[[Program, Path, int | None], None]
    load: Callable[[Path], Logits]
    packages: tuple[str, ...] = ()
    converter: str = ""


FORMATS = {
    "stablehlo": Format(to_stablehlo.write, to_stablehlo.load),
    "onnx": Format(to_onnx.write, to_onnx.load, ("onnx", "onnx_ir", "onnxruntime"), "jax2onnx"),
    "tflite": Format(to_tflite.write, to_tflite.load, ("ai_edge_litert",), "litert-converter"),
    "safetensors": Format(to_safetensors.write, to_safetensors.load),
}


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of an export: the file, and how its logits compare with those of the network in JAX.

    Attributes:
        path: the file.
        model: registered name of the network.
        step: training step of the checkpoint.
        folded: number of batch norms folded into convolutions.
        norms: number of all batch norms.
        test_images: number of test images compared on.
        random_images: number of random images compared on.
        difference: largest difference of any logit, relative to the largest logit.
        same: number of images that get the same class from both.
    """

    path: Path
    model: str
    step: int
    folded: int
    norms: int
    test_images: int
    random_images: int
    difference: float
    same: int


@typed
def export_run(
    run: Path,
    to: str,
    out: Path | None = None,
    *,
    checkpoint: str = "best",
    images: int = 100,
    batch: int | None = None,
    **changes: Any,
) -> Report:
    """Export the network of a run to a file, run the file, and compare the logits.

    Args:
        run: a run folder, or other weights, see `jsep.runs.trained.open_trained`.
        to: the format, one of `FORMATS`.
        out: the file to write; None means model.FORMAT in the run folder, and NAME.FORMAT here for other weights. The
            facts are written beside it as JSON.
        checkpoint: "best", "last" or a training step.
        images: number of test images to compare on, spread over the whole test part.
        batch: number of images that the file takes at once; None means any number, or one in TFLite.
        **changes: fields of the run's config to replace, such as data.

    Returns:
        What was written, and how the logits compare.

    Raises:
        UserError: the run cannot be read, the extra of the format is not installed, or the file gives different
            logits, in which case no file is left.
    """
    if to not in FORMATS:
        raise UserError(f"`to`={to}: there is no such format; {nearest(to, FORMATS)}")
    require(images >= 1, "images", images, "at least 1")
    require(batch is None or batch >= 1, "batch", batch, "at least 1")
    _check_packages(to)
    out = local_path(out or (run / f"model.{to}" if is_run(run) else f"{run.name}.{to}"))
    setup, step, variables = load_run(run, checkpoint, **changes)
    program = _program(setup, variables, step)
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[to].write(program, part, batch)
        tested = _test_images(setup, images)
        noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, *program.image_shape), np.uint8)
        shown = np.concatenate([tested, noise])
        difference, same = agreement(live_logits(program, shown), FORMATS[to].load(part), shown)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{out} is not written: as {to} the network gives logits that differ by {difference:.1e}, where "
                f"rounding makes at most {TOLERANCE:.0e}; try another format for `to`"
            )
        os.replace(part, out)
        out.with_name(f"{out.name}.json").write_text(json.dumps(program.facts, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another `out`") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    norms = sum(path.endswith("/var") for path in flatten(program.variables))
    return Report(out, setup.config.model, step, len(program.pairs), norms, len(tested), len(noise), difference, same)


def _check_packages(to: str) -> None:
    form = FORMATS[to]
    modules = (*form.packages, *filter(None, [form.converter.replace("-", "_")]))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"`to`={to} needs {' and '.join(missing)}, not installed here: pip install 'jsep[{to}]', "
            f"then pip install --no-deps {form.converter}"
        )


def live_logits(program: Program, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """Return the logits of the network in JAX, computed in batches."""
    live = ops.jit_inference(program.live)
    return np.concatenate([np.asarray(live(images[i : i + BATCH])) for i in range(0, len(images), BATCH)])


def agreement(
    live: Float[np.ndarray, "n k"], logits: Logits, images: UInt8[np.ndarray, "n h w c"]
) -> tuple[float, int]:
    """Compare the function in a file with the logits of the network in JAX.

    Args:
        live: the network's logits.
        logits: the function in the file.
        images: the images that the logits belong to.

    Returns:
        The largest difference of any logit, relative to the largest logit, and the number of images that get the same
        class from both.
    """
    scaled = images.astype(np.float32) / np.float32(255)
    theirs = np.concatenate([logits(scaled[i : i + BATCH]) for i in range(0, len(images), BATCH)])
    difference = np.abs(live - theirs).max() / max(np.abs(live).max(), np.finfo(np.float32).tiny)
    return float(difference), int((live.argmax(1) == theirs.argmax(1)).sum())


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


def _test_images(setup: Setup, number: int) -> UInt8[np.ndarray, "n h w c"]:
    part = setup.dataset.test
    number = min(number, len(part))
    if isinstance(part, Split):
        return part.images[np.linspace(0, len(part) - 1, number).astype(int)]
    (images, _), _ = next(iter(setup.testing.evaluation(number)))
    return np.asarray(images)
