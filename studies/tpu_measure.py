"""Cycles of machine code, which `jsep tpu` counts, of operations whose ideal on a TPU is known.

Question   Do they agree with the ideal, and with the compiler's own estimate?
Method     libtpu compiles each operation in bfloat16 for one v5e chip. The ideal of a product or convolution is its
           MACs, those on padding included, over the 4 * 128 * 128 of a cycle; of a ReLU, its bytes over a cycle's.
Command    pip install '.[tpu-compiler]' && python studies/tpu_measure.py
Hardware   Any; half a minute on one CPU core (libtpu 0.0.52, jax 0.10.2). Nothing is run.
Result     studies/results/tpu_measure.csv: code agrees with the ideal within 1 %; the estimate of a ReLU is 2.5 times
           as high.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from without_tpu import run

from jsep.results import write_rows
from jsep.tpu.bundles import read
from jsep.tpu.chips import CHIPS, describe
from jsep.tpu.dump import machine_code
from jsep.tpu.program import instructions, shares

RESULTS = Path(__file__).parent / "results" / "tpu_measure.csv"
CHIP = CHIPS["v5e"]
CLOCK = CHIP.clock or 0.0
MACS = 4 * 128 * 128  # of a cycle
PIXELS, CHANNELS = 128 * 28 * 28, 256


def conv(x: Any, kernel: Any) -> Any:
    """Convolve with a dense 3x3 kernel."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def relu(x: Any) -> Any:
    """Return the positive part."""
    return jnp.maximum(x, 0)


# name, function, shapes of its arguments, ideal cycles
Operation = tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...], float]
OPERATIONS: tuple[Operation, ...] = (
    ("product 4096x4096x4096", jnp.matmul, ((4096, 4096), (4096, 4096)), 4096**3 / MACS),
    ("3x3, 128x28x28x256", conv, ((128, 28, 28, 256), (3, 3, 256, 256)), PIXELS * 9 * CHANNELS**2 / MACS),
    ("ReLU, 128x56x56x256", relu, ((128, 56, 56, 256),), 4 * PIXELS * CHANNELS * 4 * CLOCK / CHIP.bandwidth),
)


@dataclass(frozen=True)
class Row:
    """Cycles of one operation, in thousands."""

    operation: str
    code_kcycles: float
    estimate_kcycles: float
    ideal_kcycles: float


def measure(name: str, function: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], ideal: float) -> Row:
    """Compile an operation and count its cycles."""
    place = SingleDeviceSharding(describe("v5e", "1x1")[0])
    arguments = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in shapes]
    with machine_code() as folder:
        program = jax.jit(function).lower(*arguments).compile().as_text() or ""
        works = read(folder)
    (total,) = shares(instructions(program, ()), works, CHIP, 1, lambda one: "all")
    return Row(name, round(total.code / 1e3), round(total.estimated / 1e3), round(ideal / 1e3))


def main() -> None:
    """Measure all operations, print them and write the csv."""
    rows = [measure(*operation) for operation in OPERATIONS]
    for row in rows:
        Console(soft_wrap=True, highlight=False).print(row)
    write_rows(RESULTS, rows)


if __name__ == "__main__":
    run(main)
