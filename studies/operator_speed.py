"""Two papers' claims of speed: kernel sharing beside the plain convolution, the channel shift beside the shuffle.

Question   Does kernel sharing turn its saving of multiply-accumulates into time? Is the channel shift faster than the
           channel shuffle that it replaces (arXiv 1809.08458 reports a factor of 12.7 on a GPU)?
Method     Forward and both gradients of each, compiled by itself. Contenders take turns; the median of all rounds.
Command    python studies/operator_speed.py
Hardware   Any; half a minute on two CPU cores.
Result     studies/results/operator_speed.csv
"""

import csv
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.table import Table

from jsep import ops
from jsep.costs import count
from jsep.layers import Conv, KernelSharingConv

RESULTS = Path(__file__).parent / "results" / "operator_speed.csv"
ROUNDS = 30
SIDE, CHANNELS, BATCH, SHARING, GROUPS = 14, 256, 32, 4, 4


@dataclasses.dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        ratio: Time of the first contender of the table over this one's.
        macs_ratio: The same of their multiply-accumulates; 0 without any.
    """

    operation: str
    shape: str
    ms: float
    ratio: float
    macs_ratio: float
    jax: str
    device: str


def main() -> None:
    """Measure, print, and write the csv."""
    console, rows = Console(width=110, highlight=False), []
    layers = {
        "plain convolution": Conv(CHANNELS, 3, use_bias=False),
        "kernel sharing": KernelSharingConv(CHANNELS, CHANNELS // SHARING),
        "weighted kernel sharing": KernelSharingConv(CHANNELS, CHANNELS // SHARING, weighted=True),
    }
    shape = (BATCH, SIDE, SIDE, CHANNELS)
    macs = {name: count(layer, shape[1:]).macs for name, layer in layers.items()}
    rows += race({name: bound(layer, shape) for name, layer in layers.items()}, shape, macs)
    shift = CHANNELS // (2 * GROUPS)
    moves: dict[str, Callable[..., Any]] = {
        "channel shuffle": lambda x: ops.channel_shuffle(x, GROUPS),
        "channel shift": lambda x: ops.channel_shift(x, shift),
    }
    rows += race({name: (move, ()) for name, move in moves.items()}, shape, {})
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("images", "ms", "first's time / its", "first's MACs / its"):
        table.add_column(heading, justify="right")
    for row in rows:
        saved = f"{row.macs_ratio:.2f}" if row.macs_ratio else "-"
        table.add_row(row.operation, row.shape, f"{row.ms:.2f}", f"{row.ratio:.2f}", saved)
    console.print(table)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def bound(layer: Conv | KernelSharingConv, shape: tuple[int, ...]) -> tuple[Callable[..., Any], tuple]:
    """Return a layer as a function of its input and parameters, and the parameters."""
    params = layer.init(jax.random.key(0), jnp.ones((1, *shape[1:])))
    return lambda x, params: layer.apply(params, x), (params,)


def race(
    contenders: Mapping[str, tuple[Callable[..., Any], tuple]], shape: tuple[int, ...], macs: Mapping[str, int]
) -> list[Row]:
    """Time forward and gradients of all arguments, each contender once per round."""
    x, g = (jnp.asarray(np.random.default_rng(i).normal(size=shape), jnp.float32) for i in range(2))
    compiled = {}
    for name, (function, arguments) in contenders.items():

        def both(g: Array, *values: Array, function: Callable[..., Any] = function) -> tuple:
            y, transpose = jax.vjp(function, *values)
            return y, transpose(g)

        compiled[name] = (jax.jit(both).lower(g, x, *arguments).compile(), (g, x, *arguments))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (run, arguments) in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    first = next(iter(contenders))
    return [
        Row(
            operation=name,
            shape="x".join(map(str, shape)),
            ms=1e3 * median,
            ratio=medians[first] / median,
            macs_ratio=macs[first] / macs[name] if macs else 0.0,
            jax=jax.__version__,
            device=jax.devices()[0].device_kind,
        )
        for name, median in medians.items()
    ]


if __name__ == "__main__":
    main()
