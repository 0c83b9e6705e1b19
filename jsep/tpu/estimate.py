"""Estimates of a training step on a TPU that need not be present: libtpu compiles it on any Linux machine.

Nothing is run. The compiled program shows whether the step fits into the memory of a chip, how much it computes and how
many bytes it moves. Together with the chip's published figures, that gives a lower bound of its time.
"""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jsep import ops
from jsep.costs import count
from jsep.data import IMAGENET_MEAN, IMAGENET_STD
from jsep.data.feed import StreamFeed
from jsep.errors import UserError
from jsep.models import create_model, format_options, model_info, parse_options
from jsep.tpu.chips import CHIPS, Target, describe
from jsep.tpu.program import Share, shares
from jsep.train import Optimizer, Recipe
from jsep.train.optimizer import make_optimizer
from jsep.train.parallel import AXIS, lower_train_step
from jsep.train.state import create_state
from jsep.train.step import make_train_step

STEPS_PER_EPOCH = 1000  # a constant of the schedule; any number would do


@dataclass(frozen=True)
class Estimate:
    """A compiled training step. All figures are per device: a chip, or one of the two cores of a v2, v3 or v4.

    Attributes:
        name: the network with its options.
        target: the chips that the step was compiled for, and its size and type.
        input: height, width and channels of an image.
        devices: number of devices.
        chips: number of chips.
        images: images per step on one device.
        compile_seconds: seconds of the compilation.
        arguments: bytes of the arguments.
        outputs: bytes of the outputs, without those that reuse an argument's buffer.
        temporaries: bytes of temporary buffers.
        code: bytes of the program.
        flops: FLOPs, as the compiler counts them.
        accessed: bytes that all instructions access, in HBM or on-chip memory, as the compiler counts them.
        optimal_seconds: the compiler's own estimate of the time; negative if it has none for an operation.
        shares: cycles and HBM traffic of each layer.
    """

    name: str
    target: Target
    input: tuple[int, int, int]
    devices: int
    chips: int
    images: int
    compile_seconds: float
    arguments: int
    outputs: int
    temporaries: int
    code: int
    flops: float
    accessed: float
    optimal_seconds: float
    shares: tuple[Share, ...]

    @property
    def hbm(self) -> int:
        """Bytes of HBM that the step needs."""
        return self.arguments + self.outputs + self.temporaries + self.code

    @property
    def capacity(self) -> float:
        """Bytes of HBM that a device has."""
        return CHIPS[self.target.chip].hbm * self.chips / self.devices

    @property
    def moved(self) -> int:
        """Bytes that are read from HBM and written to it, according to the compiled program."""
        return sum(share.moved for share in self.shares)

    @property
    def cycles(self) -> int:
        """Cycles that the compiler estimates, summed over all fusions."""
        return sum(share.cycles for share in self.shares)

    @property
    def intensity(self) -> float:
        """FLOPs per byte of HBM traffic."""
        return self.flops / self.moved

    @property
    def compute_seconds(self) -> float:
        """Seconds that the FLOPs take at the chip's peak, which is that of bfloat16."""
        return self.flops / (CHIPS[self.target.chip].flops * self.chips / self.devices)

    @property
    def memory_seconds(self) -> float:
        """Seconds that the HBM traffic takes at the published bandwidth."""
        return self.moved / (CHIPS[self.target.chip].bandwidth * self.chips / self.devices)

    @property
    def binds(self) -> Literal["FLOPs", "bytes"]:
        """The resource that bounds the step: compute (FLOPs) or HBM traffic (bytes)."""
        return "FLOPs" if self.compute_seconds > self.memory_seconds else "bytes"

    @property
    def bound_seconds(self) -> float:
        """Lower bound of the seconds that a step takes."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def images_per_second(self) -> float:
        """Images per second of all chips together, if a step takes the lower bound."""
        return self.images * self.devices / self.bound_seconds


class DoesNotFit(UserError):
    """The step needs more HBM than a chip has.

    Attributes:
        needed: bytes that its temporaries need.
    """

    def __init__(self, sentence: str, needed: float):
        """Make the error.

        Args:
            sentence: the message.
            needed: bytes that the temporaries need.
        """
        super().__init__(sentence)
        self.needed = needed


def estimate(model: str, options: Mapping[str, Any], target: Target) -> Estimate:
    """Compile the training step of `jsep.train` for the chips of a target.

    Batch norms share their statistics over all chips. Images arrive as uint8 with each step, like those of a streamed
    data set.

    Args:
        model: registered name of the network.
        options: options of the network.
        target: chips, batch, type and optimizer.

    Returns:
        The figures of the compiled step.

    Raises:
        UserError: there is no such network or target, or the step does not compile.
        DoesNotFit: the chips have too little HBM.
    """
    info = model_info(model)
    shape = target.input or info.input_shape
    network = create_model(
        model,
        num_classes=target.num_classes,
        dtype=jnp.dtype(target.dtype),
        axis_name=AXIS,
        **options,
    )
    layers = [row.path for row in count(network.clone(axis_name=None), shape).rows]  # refuses a wrong input
    devices = describe(target.chip, target.topology)
    number = len(devices)
    if target.batch % number:
        raise UserError(
            f"`batch`={target.batch}: {number} devices of {target.chip} {target.topology} cannot share it equally; "
            f"take {math.ceil(target.batch / number) * number}"
        )
    images = target.batch // number
    recipe = Recipe(optimizer=Optimizer(target.optimizer), batch_size=target.batch, dtype=target.dtype)
    optimizer = make_optimizer(recipe.optimizer, recipe.schedule, STEPS_PER_EPOCH)
    channels = shape[-1]
    step = make_train_step(
        network,
        optimizer,
        StreamFeed.fetch,
        (IMAGENET_MEAN, IMAGENET_STD) if channels == len(IMAGENET_MEAN) else ((0.0,) * channels, (1.0,) * channels),
        recipe,
        axis_name=AXIS,
        steps_per_epoch=STEPS_PER_EPOCH,
    )
    state = jax.eval_shape(partial(create_state, network, optimizer, shape, recipe.seed))
    batch = (
        jax.ShapeDtypeStruct((number, images, *shape), jnp.uint8),
        jax.ShapeDtypeStruct((number, images), jnp.int32),
    )
    name = f"{model} {format_options(options)}".strip()
    with ops.for_another_machine():
        lowered = lower_train_step(step, devices, state, (StreamFeed.constants, None), batch)
    start = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _refusal(name, target, str(error)) from error
    seconds = time.perf_counter() - start
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    return Estimate(
        name=name,
        target=target,
        input=shape,
        devices=number,
        chips=math.prod(map(int, re.findall(r"\d+", target.topology))),
        images=images,
        compile_seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=costs["flops"],
        accessed=costs["bytes accessed"],
        optimal_seconds=costs["optimal_seconds"],
        shares=shares(compiled.as_text(), layers),
    )


def _refusal(name: str, target: Target, message: str) -> UserError:
    """Turn the compiler's error message into a `UserError`."""
    found = re.search(r"\(([\d.]+)([KMG])\) exceeds available HBM \(([\d.]+[KMG])\)", message)
    if not found:
        return UserError(f"{name} does not compile for {target.chip} {target.topology}: {message.splitlines()[0]}")
    needed = float(found[1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[found[2]]
    return DoesNotFit(
        f"{name} at `batch`={target.batch} needs {found[1]} {found[2]}iB of HBM for temporaries alone on each "
        f"device of {target.chip} {target.topology}, which has {found[3]}iB: take a smaller `batch` or a larger "
        "`topology`",
        needed,
    )


def estimate_all(names: Sequence[str], options: Mapping[str, Any], target: Target) -> list[Estimate]:
    """Return the estimates of several networks.

    Args:
        names: registered names, each optionally with its own options: "mobilenet_v1 width=0.5".
        options: options of all networks.
        target: chips, batch, type and optimizer.

    Raises:
        UserError: see `estimate`.
    """
    split = [name.split() or [""] for name in names]
    return [estimate(model, {**options, **parse_options(own)}, target) for model, *own in split]
