"""Estimates of a step on a TPU that need not be present: libtpu compiles it on any Linux machine.

Nothing is run. The compiled program shows whether the step fits into the memory of a chip, how much it computes and how
many bytes it moves; with the chip's published figures, that gives a lower bound of its time. The machine code shows how
many cycles each instruction takes at least.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsep import ops
from jsep.costs import count
from jsep.data import IMAGENET_MEAN, IMAGENET_STD
from jsep.data.catalog import Split
from jsep.data.feed import ResidentFeed, StreamFeed
from jsep.errors import UserError
from jsep.models import create_model, format_options, model_info, parse_options
from jsep.tpu.bundles import read
from jsep.tpu.chips import CHIPS, Target, describe
from jsep.tpu.dump import machine_code
from jsep.tpu.program import Share, instructions, shares
from jsep.train import Optimizer, Recipe
from jsep.train.classify import CLASSIFICATION
from jsep.train.optimizer import make_optimizer
from jsep.train.parallel import AXIS, lower_eval_step, lower_train_step
from jsep.train.setup import TASKS
from jsep.train.state import create_state
from jsep.train.step import make_eval_step, make_train_step
from jsep.train.task import Task

STEPS_PER_EPOCH = 1000  # a constant of the schedule; any number would do
RESIDENT = 50_000  # training images of CIFAR
RESIDENT_SIDE = 32  # side of the largest images that lie in HBM unless the target says otherwise


@dataclass(frozen=True)
class Estimate:
    """A compiled step of a training or an evaluation.

    All figures are per device: a chip, or one of the two cores of a v2, v3 or v4.

    Attributes:
        name: the network with its options.
        target: the chips that the step was compiled for, and its size and type.
        input: height, width and channels of an image.
        devices: number of devices.
        chips: number of chips.
        images: images per step on one device.
        resident: images of the data set in HBM; 0 if they arrive with each step.
        compile_seconds: seconds of the compilation.
        arguments: bytes of the arguments.
        outputs: bytes of the outputs, without those that reuse an argument's buffer.
        temporaries: bytes of temporary buffers.
        code: bytes of the program.
        flops: FLOPs, as the compiler counts them.
        accessed: bytes that all instructions access, in HBM or on-chip memory, as the compiler counts them.
        optimal_seconds: the compiler's own estimate of the time; negative if it has none for an operation.
        open_loops: loops of the machine code whose trips it does not tell; they count once.
        layers: cycles and HBM traffic of each layer.
        kinds: cycles and HBM traffic of each kind of instruction.
    """

    name: str
    target: Target
    input: tuple[int, int, int]
    devices: int
    chips: int
    images: int
    resident: int
    compile_seconds: float
    arguments: int
    outputs: int
    temporaries: int
    code: int
    flops: float
    accessed: float
    optimal_seconds: float
    open_loops: int
    layers: tuple[Share, ...]
    kinds: tuple[Share, ...]

    @property
    def hbm(self) -> int:
        """Bytes of HBM that the step needs."""
        return self.arguments + self.outputs + self.temporaries + self.code

    @property
    def capacity(self) -> float:
        """Bytes of HBM that a device has."""
        return CHIPS[self.target.chip].hbm * self.chips / self.devices

    @property
    def dataset(self) -> int:
        """Bytes of the images of the data set that lie in HBM, one for each channel of a pixel; part of `arguments`."""
        return self.resident * math.prod(self.input)

    @property
    def moved(self) -> int:
        """Bytes that are read from HBM and written to it, according to the compiled program."""
        return sum(share.moved for share in self.kinds)

    @property
    def code_cycles(self) -> int:
        """Cycles of the machine code, see `jsep.tpu.program.shares`; without HBM traffic if no clock is published."""
        return sum(share.code for share in self.kinds)

    @property
    def code_seconds(self) -> float | None:
        """Seconds that the cycles of the machine code take; None if no clock is published."""
        clock = CHIPS[self.target.chip].clock
        return self.code_cycles / clock if clock else None

    @property
    def estimated_cycles(self) -> int:
        """Cycles that the compiler estimates, which charges elements and not bytes and leaves out some operations."""
        return sum(share.estimated for share in self.kinds)

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
    """Compile the step of `jsep.train` for the chips of a target.

    Batch norms share their statistics over all chips. Images are uint8. Those of a small data set lie in HBM, and a
    step takes its own from there; those of a large one arrive with each step (`Target.resident`), with labels, objects
    or masks by the network's task.

    Args:
        model: registered name of the network.
        options: options of the network.
        target: chips, batch, type and optimizer.

    Returns:
        The figures of the compiled step.

    Raises:
        UserError: there is no such network or target, its images cannot lie in HBM, the step does not compile, or
            libtpu was loaded before.
        DoesNotFit: the chips have too little HBM.
    """
    info = model_info(model)
    task = TASKS[info.task]
    shape = target.input or info.input_shape
    network: Any = create_model(
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
    resident = images_in_hbm(target, shape, task)
    fetch, constants, share = _feed(resident, images, shape, task, network.num_classes)
    batch = jax.tree.map(lambda array: jax.ShapeDtypeStruct((number, *array.shape), array.dtype), share)
    name = f"{model} {format_options(options)}".strip()
    with ops.for_another_machine():
        lowered = _lowered(network, task, target, devices, shape, fetch, constants, batch)
    start = time.perf_counter()
    with machine_code() as folder:
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            raise _refusal(name, target, str(error)) from error
        seconds = time.perf_counter() - start
        works = read(folder)
    try:
        program = compiled.as_text()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"{name} compiles for {target.chip}, but JAX {jax.__version__} cannot read the compiled program"
        ) from error
    found = instructions(program, layers)
    chips = math.prod(map(int, re.findall(r"\d+", target.topology)))
    costs_of = partial(shares, found, works, CHIPS[target.chip], number / chips)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
    return Estimate(
        name=name,
        target=target,
        input=shape,
        devices=number,
        chips=chips,
        images=images,
        resident=resident,
        compile_seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=costs["flops"],
        accessed=costs["bytes accessed"],
        optimal_seconds=costs["optimal_seconds"],
        open_loops=sum(work.open_loops for work in works.values()),
        layers=costs_of(lambda one: one.layer),
        kinds=costs_of(lambda one: one.kind),
    )


def _lowered(
    network: nn.Module,
    task: Task,
    target: Target,
    devices: Sequence[Any],
    shape: tuple[int, int, int],
    fetch: Callable[[Any, Any], Any],
    constants: Any,
    batch: Any,
) -> Any:
    """Return the lowered step of a target."""
    recipe = Recipe(optimizer=Optimizer(target.optimizer), batch_size=target.batch, dtype=target.dtype)
    optimizer = make_optimizer(recipe.optimizer, recipe.schedule, STEPS_PER_EPOCH)
    channels = shape[-1]
    known = channels == len(IMAGENET_MEAN)
    statistics = (IMAGENET_MEAN, IMAGENET_STD) if known else ((0.0,) * channels, (1.0,) * channels)
    state = jax.eval_shape(partial(create_state, network, optimizer, shape, recipe.seed))
    how: dict[str, Any] = {"axis_name": AXIS, "task": task}
    if target.step == "evaluate":
        step = make_eval_step(network, fetch, statistics, **how)
        mask = jax.ShapeDtypeStruct((len(devices), target.batch // len(devices)), jnp.float32)
        return lower_eval_step(step, devices, state.variables, constants, batch, mask)
    step = make_train_step(network, optimizer, fetch, statistics, recipe, steps_per_epoch=STEPS_PER_EPOCH, **how)
    return lower_train_step(step, devices, state, (constants, None), batch)


def images_in_hbm(target: Target, shape: tuple[int, int, int], task: Task = CLASSIFICATION) -> int:
    """Return how many images of the data set lie in HBM, see `Target.resident`.

    Args:
        target: what the step is compiled for.
        shape: height, width and channels of an image.
        task: what the network does; only images of classifiers lie there.

    Raises:
        UserError: the target asks for images there that cannot be.

    >>> images_in_hbm(Target(), (32, 32, 3)), images_in_hbm(Target(), (224, 224, 3))
    (50000, 0)
    """
    if task is not CLASSIFICATION and target.resident:
        raise UserError(f"`resident`={target.resident}: images of a {task.noun} arrive with each step; leave it out")
    if target.resident is not None or task is not CLASSIFICATION:
        return target.resident or 0
    return RESIDENT if max(shape[:2]) <= RESIDENT_SIDE else 0


def _feed(
    resident: int, images: int, shape: tuple[int, int, int], task: Task, classes: int
) -> tuple[Callable[[Any, Any], Any], Any, Any]:
    """Return what a feed of the data set gives a step: `fetch`, shapes of its constants, and of a share of a batch.

    Args:
        resident: images of the data set in HBM; 0 if they arrive with each step.
        images: images of the share.
        shape: height, width and channels of an image.
        task: what the network does.
        classes: number of outputs of the network.
    """
    if not resident:
        targets = jax.eval_shape(lambda key: task.draw(key, images, shape[:2], classes), jax.random.key(0))
        return StreamFeed.fetch, StreamFeed.constants, (jax.ShapeDtypeStruct((images, *shape), jnp.uint8), targets)
    feed = ResidentFeed(Split(np.broadcast_to(np.uint8(0), (resident, *shape)), np.zeros(resident, np.int32)))
    constants = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), feed.constants)
    return feed.fetch, constants, jax.ShapeDtypeStruct((images,), jnp.int32)


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
