"""The lowering of a depthwise convolution that moves the fewest bytes on a TPU, according to the compiler.

Question   jsep.ops.depthwise_conv has two lowerings: `xla` (a grouped convolution) and `taps` (shifted slices with
           custom gradients). Which of them, or which mixture for forward, d/dx and d/dkernel, is best on a TPU?
Method     libtpu compiles for a described chip on any Linux machine, without a TPU and without running anything. The
           measure is the compiler's figure of bytes accessed, beside the minimum: each operand read and each result
           written once. "fused" is the forward pass of batch norm's scale and shift, ReLU and the convolution together.
Command    pip install '.[tpu-compiler]' && python studies/tpu_lowerings.py
Hardware   Any; 650 s on two CPU cores, most of it for the whole steps (libtpu 0.0.52, jax 0.10.2).
Result     studies/results/tpu_lowerings.csv. Bytes do not tell the time of the vector unit; that takes a chip.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import SingleDeviceSharding
from rich.console import Console
from rich.table import Table
from without_tpu import run

from jsep import create_model, ops
from jsep.layers import DepthwiseConv, watch
from jsep.ops.geometry import pair
from jsep.results import write_rows
from jsep.tpu.chips import describe

CHIPS = ("v5e", "v6e")
BATCH = 128
# height = width, channels, kernel size, stride
SHAPES = [(32, 128, 3, 1), (56, 128, 3, 1), (14, 512, 3, 1), (32, 128, 3, 2), (14, 512, 3, 2), (14, 512, 5, 1)]
# lowerings of forward, d/dx and d/dkernel
MIXTURES = {
    "xla": ("xla", "xla", "xla"),
    "taps": ("taps", "taps", "taps"),
    "taps forward": ("taps", "xla", "xla"),
    "taps d/dx": ("xla", "taps", "xla"),
    "taps d/dkernel": ("xla", "xla", "taps"),
    "taps forward, d/dx": ("taps", "taps", "xla"),
}
STRIDE_ONE = "taps at stride 1"  # and xla at the others
NAMES = [*MIXTURES, STRIDE_ONE]
NETWORK = "MobileNet V1 step, 224"

Depthwise = Callable[..., jax.Array]
Program = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Row:
    """One program under one lowering: MB that it moves by the compiler's count, and the minimum."""

    chip: str
    what: str
    lowering: str
    mb_moved: float
    mb_floor: float | None


def mixture(forward: Any, input_gradient: Any, kernel_gradient: Any, **geometry: Any) -> Depthwise:
    """Return a depthwise convolution with a lowering for each of forward, d/dx and d/dkernel."""

    def lowered(name: Any) -> Depthwise:
        return lambda x, kernel: ops.depthwise_conv(x, kernel, lowering=name, **geometry)

    @jax.custom_vjp
    def mixed(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lowered(forward)(x, kernel)

    def bwd(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, kernel = saved
        (dx,) = jax.vjp(lambda x: lowered(input_gradient)(x, kernel), x)[1](g)
        (dkernel,) = jax.vjp(lambda kernel: lowered(kernel_gradient)(x, kernel), kernel)[1](g)
        return dx, dkernel

    mixed.defvjp(lambda x, kernel: (mixed(x, kernel), (x, kernel)), bwd)
    return mixed


def choose(name: str, stride: int) -> tuple[str, str, str]:
    """Return the three lowerings that a name stands for at a stride."""
    if name == STRIDE_ONE:
        return MIXTURES["taps" if stride == 1 else "xla"]
    return MIXTURES[name]


def megabytes(program: Program, chip: str) -> float:
    """Return the MB that a program moves on a chip, by the compiler's count."""
    function, arguments = program
    place = SingleDeviceSharding(describe(chip, "1x1")[0])
    placed = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arguments)
    costs: Any = jax.jit(function).lower(*placed).compile().cost_analysis()
    return round(costs["bytes accessed"] / 1e6, 1)


def operation(name: str, size: int, channels: int, k: int, stride: int) -> tuple[Program, float]:
    """Return forward and both gradients of one convolution, and the minimum in MB."""
    function = mixture(*choose(name, stride), strides=stride)
    x = jax.ShapeDtypeStruct((BATCH, size, size, channels), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((k, k, 1, channels), jnp.bfloat16)
    y = jax.eval_shape(function, x, kernel)

    def both(x: jax.Array, kernel: jax.Array, g: jax.Array) -> Any:
        out, transpose = jax.vjp(function, x, kernel)
        return out, transpose(g)

    # forward reads x and writes y; the gradients read x and g and write dx
    return (both, (x, kernel, y)), (3 * x.size + 2 * y.size) * 2 / 1e6


def fused(name: str, size: int, channels: int, k: int, stride: int) -> tuple[Program, float]:
    """Return the convolution of relu(a x + b), as after a batch norm, forward only, and the minimum in MB."""
    function = mixture(*choose(name, stride), strides=stride)
    x = jax.ShapeDtypeStruct((BATCH, size, size, channels), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((k, k, 1, channels), jnp.bfloat16)
    vector = jax.ShapeDtypeStruct((1, 1, 1, channels), jnp.bfloat16)

    def forward(x: jax.Array, kernel: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return function(nn.relu(x * a + b), kernel)

    y = jax.eval_shape(forward, x, kernel, vector, vector)
    return (forward, (x, kernel, vector, vector)), (x.size + y.size) * 2 / 1e6


def network_step(name: str) -> Program:
    """Return an SGD step of MobileNet V1 at 224 in bfloat16 with its depthwise convolutions lowered by `name`."""
    model = create_model("mobilenet_v1", dtype=jnp.bfloat16)
    optimizer = optax.sgd(0.1, momentum=0.9)
    x = jax.ShapeDtypeStruct((BATCH, 224, 224, 3), jnp.bfloat16)
    labels = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    opt_state = jax.eval_shape(optimizer.init, variables["params"])

    def lower(layer: DepthwiseConv, call: Any, x: jax.Array) -> Any:
        stride = pair(layer.strides)[0]
        kernel = layer.variables["params"]["kernel"].astype(jnp.bfloat16)
        return mixture(*choose(name, stride), strides=stride)(x, kernel)

    def step(variables: Any, opt_state: Any, x: jax.Array, labels: jax.Array) -> Any:
        def loss_of(params: Any) -> Any:
            with watch(lower, DepthwiseConv):
                logits, updated = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updated

        grad, updated = jax.grad(loss_of, has_aux=True)(variables["params"])
        updates, opt_state = optimizer.update(grad, opt_state, variables["params"])
        return {**updated, "params": optax.apply_updates(variables["params"], updates)}, opt_state

    return step, (variables, opt_state, x, labels)


def main() -> None:
    """Compile everything for every chip, print the tables, and write the csv."""
    pool = ThreadPoolExecutor(os.cpu_count())
    console, start = Console(width=180), time.perf_counter()
    rows: list[Row] = []
    out = Path(__file__).parent / "results" / "tpu_lowerings.csv"
    for chip in CHIPS:
        table = Table("MB moved, bf16, batch 128", "floor", title=f"{chip}: forward and both gradients, or as said")
        for name in NAMES:
            table.add_column(name, justify="right")
        for size, channels, k, stride in SHAPES:
            shape = (size, channels, k, stride)
            for build, suffix in ((operation, ""), (fused, ", fused, forward")):
                what = f"{size}x{size}x{channels} k{k} s{stride}{suffix}"
                # the gradients' lowering is nothing to a forward pass
                own = NAMES if build is operation else ["xla", "taps"]
                console.print(f"{time.perf_counter() - start:4.0f} s  {chip} {what}", highlight=False)
                floor = build("xla", *shape)[1]
                programs = [build(name, *shape)[0] for name in own]
                found = dict(zip(own, pool.map(partial(megabytes, chip=chip), programs), strict=True))
                rows += [Row(chip, what, name, mb, round(floor, 1)) for name, mb in found.items()]
                table.add_row(what, f"{floor:.0f}", *(f"{found[n]:.0f}" if n in found else "" for n in NAMES))
        console.print(f"{time.perf_counter() - start:4.0f} s  {chip} {NETWORK}", highlight=False)
        programs = map(network_step, NAMES)
        found = dict(zip(NAMES, pool.map(partial(megabytes, chip=chip), programs), strict=True))
        rows += [Row(chip, NETWORK, name, mb, None) for name, mb in found.items()]
        table.add_row(NETWORK, "", *(f"{found[n]:.0f}" if n in found else "" for n in NAMES))
        console.print(table)
        write_rows(out, rows)  # after each chip: a whole run takes minutes
    console.print(f"{time.perf_counter() - start:.0f} s. Written to {out}")


if __name__ == "__main__":
    run(main)
