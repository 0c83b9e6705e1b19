"""From a run folder to a file, and the file set beside the live network."""

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
from jaxtyping import Float, UInt8

from jsep.data import Split
from jsep.errors import UserError
from jsep.export import to_onnx, to_safetensors, to_stablehlo, to_tflite
from jsep.export.program import Logits, Program, make_program
from jsep.port import flat
from jsep.runs.evaluate import load_run
from jsep.train.setup import Setup

TOLERANCE = 1e-4  # of the largest logit; rounding alone stays below 1e-5
RANDOM_IMAGES = 16
BATCH = 50  # images at once


@dataclasses.dataclass(frozen=True)
class Format:
    """How a program is written, how the file is run, and what that needs.

    packages: modules of the extra jsep[FORMAT]. converter: a package that pins what jsep needs newer, and works all the
    same; so it is installed without its dependencies, which the extra brings.
    """

    write: Callable[[Program, Path], None]
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
    """What was written, and how far it is from the live network.

    folded, norms: batch norms folded into convolutions, of so many. difference: the largest of any logit, relative to
    the largest logit. same: images of the same top class, of test_images + random_images.
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


def export_run(
    run: Path, to: str, out: Path | None = None, *, checkpoint: str = "best", images: int = 100, **changes: Any
) -> Report:
    """Write a run's network as `to`, one of `FORMATS`, run the file, and compare.

    Args:
        run: the run folder.
        to: the format.
        out: the file; model.FORMAT in the run folder unless said. The facts are written beside it as JSON.
        checkpoint: best, last, or a step.
        images: test images to compare on, spread over the whole part.
        **changes: replace fields of the run's config, such as data.

    Raises:
        UserError: the run cannot be read, the format's extra is missing, or the file gives other numbers: then there
            is no file.
    """
    if images < 1:
        raise UserError(f"--images {images}: it must be at least 1")
    _check_packages(to)
    out = out or run / f"model.{to}"
    setup, step, variables = load_run(run, checkpoint, **changes)
    program = _program(setup, variables, step)
    part = out.with_name(f"{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[to].write(program, part)
        tested = _test_images(setup, images)
        noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, *program.image_shape), np.uint8)
        shown = np.concatenate([tested, noise])
        difference, same = compare(live_logits(program, shown), FORMATS[to].load(part), shown)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{out} is not written: as {to} the network gives logits that are {difference:.1e} apart, where "
                f"rounding makes at most {TOLERANCE:.0e}; another --to may serve"
            )
        os.replace(part, out)
        out.with_name(f"{out.name}.json").write_text(json.dumps(program.facts, indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another --out") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    norms = sum(path.endswith("/var") for path in flat(program.variables))
    return Report(out, setup.config.model, step, len(program.pairs), norms, len(tested), len(noise), difference, same)


def _check_packages(to: str) -> None:
    form = FORMATS[to]
    modules = (*form.packages, *filter(None, [form.converter.replace("-", "_")]))
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--to {to} needs {' and '.join(missing)}, not installed here: pip install 'jsep[{to}]', "
            f"then pip install --no-deps {form.converter}"
        )


def live_logits(program: Program, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """What the network itself says, in batches."""
    live = jax.jit(program.live)
    return np.concatenate([np.asarray(live(images[i : i + BATCH])) for i in range(0, len(images), BATCH)])


def compare(live: Float[np.ndarray, "n k"], logits: Logits, images: UInt8[np.ndarray, "n h w c"]) -> tuple[float, int]:
    """A file's largest difference from the live logits, relative to the largest of them; images of the same class."""
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
        jax.device_get(variables),
        image_shape=setup.dataset.image_shape,
        class_names=setup.dataset.class_names,
        mean=mean,
        std=std,
    )
    return dataclasses.replace(program, facts={**program.facts, "data": setup.dataset.name, "step": step})


def _test_images(setup: Setup, number: int) -> UInt8[np.ndarray, "n h w c"]:
    part = setup.dataset.test
    number = min(number, len(part))
    if isinstance(part, Split):
        return part.images[np.linspace(0, len(part) - 1, number).astype(int)]
    (images, _), _ = next(iter(setup.testing.evaluation(number)))
    return np.asarray(images)
