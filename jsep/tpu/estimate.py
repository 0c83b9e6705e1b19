"""A training step compiled for a TPU that need not be present: libtpu compiles on any Linux machine.

Nothing is run. The compiler tells whether the step fits into the memory of a chip, what it computes and what it moves;
with the chip's published figures, that bounds its time.
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
from jsep.train.schedules import learning_rate
from jsep.train.state import create_state
from jsep.train.step import make_train_step

STEPS_PER_EPOCH = 1000  # any number would do: a constant of the schedule


@dataclass(frozen=True)
class Estimate:
    """A compiled training step. All figures are those of one device: a chip, or one of the two cores of a v2, v3 or v4.

    Attributes:
        name: the network with its options.
        target: what the step was compiled for.
        input: height, width and channels of an image.
        devices: number of devices.
        chips: number of chips.
        images: images a step, on one device.
        compile_seconds: time of the compilation.
        arguments: bytes of the arguments.
        outputs: bytes of the outputs, without those that take an argument's place.
        temporaries: bytes of temporary buffers.
        code: bytes of the program.
        flops: the compiler's count of FLOPs.
        accessed: bytes that the compiler counts for each instruction, in whichever memory they lie.
        optimal_seconds: the compiler's own estimate of the time; negative where it has none for an operation.
        shares: what is spent on each layer.
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
        """Bytes that go to and from HBM, read from the compiled program."""
        return sum(share.moved for share in self.shares)

    @property
    def cycles(self) -> int:
        """The compiler's estimated cycles, summed over all fusions."""
        return sum(share.cycles for share in self.shares)

    @property
    def intensity(self) -> float:
        """FLOPs for each byte of HBM traffic."""
        return self.flops / self.moved

    @property
    def compute_seconds(self) -> float:
        """Time of the FLOPs at the chip's peak, which is that of bfloat16."""
        return self.flops / (CHIPS[self.target.chip].flops * self.chips / self.devices)

    @property
    def memory_seconds(self) -> float:
        """Time of the HBM traffic at the published bandwidth."""
        return self.moved / (CHIPS[self.target.chip].bandwidth * self.chips / self.devices)

    @property
    def binds(self) -> Literal["FLOPs", "bytes"]:
        """Which of the two bounds the step."""
        return "FLOPs" if self.compute_seconds > self.memory_seconds else "bytes"

    @property
    def bound_seconds(self) -> float:
        """The least time that a step can take."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def images_per_second(self) -> float:
        """Images a second of all chips together, at the bound."""
        return self.images * self.devices / self.bound_seconds


class DoesNotFit(UserError):
    """The step needs more HBM than a chip has: `needed` bytes for its temporaries."""

    def __init__(self, sentence: str, needed: float):
        super().__init__(sentence)
        self.needed = needed


def estimate(model: str, options: Mapping[str, Any], target: Target) -> Estimate:
    """Compile the training step of `jsep.train` for the chips of a target, with batch statistics over all of them.

    The images come as uint8 with each step, like those of a streamed data set.

    Args:
        model: registered name.
        options: options of the network.
        target: chips, batch, type and optimizer.

    Raises:
        UserError: there is no such network or target, or the compiler refuses.
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
    optimizer = make_optimizer(recipe.optimizer, learning_rate(recipe.schedule, STEPS_PER_EPOCH))
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
    """The compiler's error as a sentence."""
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
    """Return the estimates of several networks, each named by itself or with options of its own, such as
    "mobilenet_v1 width=0.5".
    """
    split = [name.split() for name in names]
    return [estimate(model, {**options, **parse_options(own)}, target) for model, *own in split]
