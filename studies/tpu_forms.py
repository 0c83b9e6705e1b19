"""Whole training steps with and without the forms that operations have for TPUs (`by_platform(tpu=)`).

Question   What do the forms gain in a network's step, in cycles of the machine code, bytes and compile time?
Method     `jsep.tpu.estimate` compiles the step of `jsep train` for one v5e chip twice: as it is, and with the forms
           of all other platforms, which are those before there were any for TPUs. Adam, bfloat16; networks for CIFAR
           take their images from a data set in HBM, the others from a stream. Nothing is run.
Command    pip install '.[tpu-compiler]' && python studies/tpu_forms.py [--only NETWORK ...]
           Rows that the csv file already holds are not compiled again, so a run that was ended goes on.
Hardware   Any; a row takes minutes of a CPU core, three and a half for VGG (libtpu 0.0.52, jax 0.10.2).
Result     studies/results/tpu_forms.csv: VGG-16 so far. DiCENet without the forms was ended after half an hour.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import tyro
from jax import lax
from rich.console import Console
from without_tpu import leave_accelerators_alone, run

from jsep.models import model_info
from jsep.results import read_rows, write_rows
from jsep.tpu.chips import Target
from jsep.tpu.estimate import estimate

RESULTS = Path(__file__).parent / "results" / "tpu_forms.csv"
# network and batch
STEPS = (
    ("addressnet20", 32),
    ("addressnet20", 128),
    ("mobilenet_v1", 128),
    ("shufflenet_v2_x1_0", 128),
    ("vgg16_wksc4", 128),
    ("vgg16_wksc_ds4", 128),
    ("mobilenet_v1_wksc4", 128),
    ("dicenet_x1_0", 128),
    ("mobilenet_v2", 128),
    ("mobilenet_v3_large", 128),
    ("mixnet_s", 128),
    ("addressnet32", 32),
    ("addressnet32", 128),
    ("eca_resnet50", 128),
    ("resnet50", 128),
    ("sresnet164", 128),
    ("addressnet44", 32),
    ("addressnet44", 128),
)


@dataclass(frozen=True)
class Row:
    """One step; cycles and bytes are those of the chip.

    Attributes:
        network: registered name.
        side: height and width of its images.
        batch: images of the step.
        forms: "common" to all platforms, or those for a "tpu".
        code_mcycles: cycles of the machine code.
        estimated_mcycles: cycles that the compiler estimates.
        moved_gb: bytes to and from HBM.
        hbm_gb: arguments, outputs, temporaries and code.
        compile_seconds: seconds of the compilation, on whatever compiled it.
    """

    network: str
    side: int
    batch: int
    forms: str
    code_mcycles: float
    estimated_mcycles: float
    moved_gb: float
    hbm_gb: float
    compile_seconds: float


def without_forms() -> Any:
    """Return a context in which programs for a TPU take the forms of other platforms."""
    choose: Callable[..., Any] = lax.platform_dependent

    def common(*args: Any, tpu: Any = None, **forms: Any) -> Any:
        del tpu
        return choose(*args, **forms)

    return mock.patch.object(lax, "platform_dependent", common)


def measure(step: tuple[str, int, str]) -> Row:
    """Compile a step and return its figures."""
    network, batch, forms = step
    with without_forms() if forms == "common" else nullcontext():
        found = estimate(network, {}, Target(batch=batch))
    return Row(
        network,
        model_info(network).input_shape[0],
        batch,
        forms,
        round(found.code_cycles / 1e6, 3),
        round(found.estimated_cycles / 1e6, 3),
        round(found.moved / 1e9, 3),
        round(found.hbm / 1e9, 3),
        round(found.compile_seconds),
    )


def main(only: Sequence[str] = ()) -> None:
    """Compile the steps that have no row yet, one after another, and write each when it is known.

    Args:
        only: networks whose steps to compile; all where none is named.
    """
    console, rows = Console(soft_wrap=True, highlight=False), read_rows(RESULTS, Row) if RESULTS.exists() else []
    known = {(row.network, row.batch, row.forms) for row in rows}
    for (network, batch), forms in product(STEPS, ("common", "tpu")):
        if (network, batch, forms) in known or (only and network not in only):
            continue
        # the compiler gives memory back when its process ends
        with get_context("spawn").Pool(1, leave_accelerators_alone) as pool:
            row = pool.apply(measure, ((network, batch, forms),))
            pool.close()
            pool.join()  # ends by itself: libtpu prints a trace when its process is terminated
        rows.append(row)
        write_rows(RESULTS, rows)
        console.print(f"{network}, batch {batch}, forms {forms}: {row.code_mcycles} M cycles, {row.moved_gb} GB")


if __name__ == "__main__":
    run(lambda: tyro.cli(main))
