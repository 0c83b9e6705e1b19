"""A training step compiled for TPUs that are described, not present: libtpu answers on any Linux machine.

Nothing is run. What comes back is what the compiler knows: whether the step fits into the memory of a chip, what it
computes and what it moves; and from that a bound on its time, by the chip's published figures.
"""

import importlib.util
import math
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from jsep.costs import count
from jsep.data import IMAGENET_MEAN, IMAGENET_STD, Augmentation
from jsep.data.feed import StreamFeed
from jsep.errors import UserError, nearest
from jsep.models import create_model, model_info, parse_options
from jsep.train import RunConfig
from jsep.train.parallel import AXIS, lower_train_step
from jsep.train.schedules import learning_rate, make_optimizer
from jsep.train.state import create_state
from jsep.train.step import make_train_step

STEPS_PER_EPOCH = 1000  # of no consequence: the schedule's constants


@dataclass(frozen=True)
class Chip:
    """Published figures of one chip: bytes of HBM, FLOP/s in bfloat16, bytes/s of HBM; and its usual topologies."""

    hbm: float
    flops: float
    bandwidth: float
    topologies: tuple[str, ...]


# Peak compute, HBM capacity and bandwidth of a chip as printed at cloud.google.com/tpu/docs/v3, v4, v5e, v5p and v6e.
# The page of v2 prints none any more: its figures are those of JAX (jax/_src/pallas/mosaic/tpu_info.py).
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBE = ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
CHIPS = {
    "v2": Chip(16e9, 46e12, 716e9, ("1x1", "2x2", "4x4", "4x8", "8x8", "8x16", "16x16")),
    "v3": Chip(32 * 2**30, 123e12, 900e9, ("1x1", "2x2", "4x4", "4x8", "8x8", "8x16", "16x16")),
    "v4": Chip(32 * 2**30, 275e12, 1200e9, CUBE),
    "v5e": Chip(16e9, 197e12, 819e9, FLAT),
    "v5p": Chip(95e9, 459e12, 2765e9, CUBE),
    "v6e": Chip(32e9, 918e12, 1638e9, FLAT),
}
# what libtpu would otherwise ask a TPU machine for, at length
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Target:
    """What a step is compiled for."""

    chip: str = "v5e"
    """v2, v3, v4, v5e, v5p or v6e."""
    topology: str = "1x1"
    """How the chips are connected, such as 2x4 (v4 and v5p: 2x2x1)."""
    batch: int = 128
    """Images a step, over all chips together."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the computation; parameters and statistics are float32."""
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"] = "adam"
    """What holds its state beside the parameters."""
    input: tuple[int, int, int] | None = None
    """Height, width and channels of an image; the published input unless said."""
    num_classes: int | None = None
    """Size of the logits; the published number unless said."""

    def __post_init__(self) -> None:
        for flag, value in (("batch", self.batch), ("num-classes", self.num_classes)):
            if value is not None and value < 1:
                raise UserError(f"--{flag} {value}: it must be at least 1")
        if not all(side.isdecimal() and int(side) for side in self.topology.split("x")):  # libtpu ends the process
            raise UserError(f"--topology {self.topology}: write sides of at least 1, such as 2x4")
        if self.input and min(self.input) < 1:
            sides = "x".join(map(str, self.input))
            raise UserError(f"--input {sides}: height, width and channels must be at least 1")


@dataclass(frozen=True)
class Share:
    """What the compiled program spends on one layer, forward and backward.

    cycles: as the compiler estimates them for each of its fusions. moved: bytes that its instructions read from HBM
    and write to it. A fusion belongs to the layer that the compiler names it after, though it may hold parts of the
    neighbours.
    """

    layer: str
    cycles: int
    moved: int


@dataclass(frozen=True)
class Estimate:
    """A compiled training step; all figures are those of one device, as is `images`.

    A device is a chip, or on v2, v3 and v4 one of a chip's two cores. Bytes: `arguments`, `outputs` (beside those that
    take an argument's place), `temporaries`, `code`. `accessed` are the bytes that the compiler counts for each
    instruction, wherever they lie; `moved` those that go to and from HBM, read from the compiled program.
    `optimal_seconds` is the compiler's own figure, negative where an operation has no estimate. `cycles` are the
    compiler's estimates for all fusions.
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
        """Bytes of HBM that there are."""
        return CHIPS[self.target.chip].hbm * self.chips / self.devices

    @property
    def moved(self) -> int:
        return sum(share.moved for share in self.shares)

    @property
    def cycles(self) -> int:
        return sum(share.cycles for share in self.shares)

    @property
    def intensity(self) -> float:
        """FLOPs for each byte of HBM traffic."""
        return self.flops / self.moved

    @property
    def compute_seconds(self) -> float:
        """At the peak of the chip, which it has in bfloat16 alone."""
        return self.flops / (CHIPS[self.target.chip].flops * self.chips / self.devices)

    @property
    def memory_seconds(self) -> float:
        """At the published bandwidth."""
        return self.moved / (CHIPS[self.target.chip].bandwidth * self.chips / self.devices)

    @property
    def binds(self) -> Literal["FLOPs", "bytes"]:
        """Which of the two holds the step back."""
        return "FLOPs" if self.compute_seconds > self.memory_seconds else "bytes"

    @property
    def bound_seconds(self) -> float:
        """A step takes at least this long."""
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def images_per_second(self) -> float:
        """Of all chips together, at the bound."""
        return self.images * self.devices / self.bound_seconds


class DoesNotFit(UserError):
    """The step needs more HBM than a chip has; `needed`, in bytes, for temporaries alone."""

    def __init__(self, sentence: str, needed: float):
        super().__init__(sentence)
        self.needed = needed


def describe(chip: str, topology: str) -> Sequence[Any]:
    """The devices of a TPU that is not here, for programs to be compiled for.

    Raises:
        UserError: libtpu is not installed, or knows no such chip or topology.
    """
    if chip not in CHIPS:
        raise UserError(f"--chip {chip}: there is no such TPU; {nearest(chip, CHIPS)}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("Compiling for a TPU needs libtpu (Linux): pip install 'jsep[tpu-compiler]'")
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:{topology}").devices
    except jax.errors.JaxRuntimeError as error:
        known = CHIPS[chip].topologies
        raise UserError(f"--topology {topology}: libtpu has none such of {chip}; {nearest(topology, known)}") from error


def estimate(model: str, options: Sequence[str], target: Target) -> Estimate:
    """Compile the training step of `jsep.train` for the chips of `target`, batch norm over all of them.

    The images come as uint8 with each step, as those of a streamed data set do.

    Raises:
        UserError: the network or the target cannot be, or the compiler refuses. DoesNotFit: too little HBM.
    """
    info = model_info(model)
    shape = target.input or info.input_shape
    network = create_model(
        model,
        num_classes=target.num_classes,
        dtype=jnp.dtype(target.dtype),
        axis_name=AXIS,
        **parse_options(options),
    )
    layers = [row.path for row in count(network.clone(axis_name=None), shape).rows]  # refuses a wrong input
    devices = describe(target.chip, target.topology)
    number = len(devices)
    if target.batch % number:
        raise UserError(
            f"--batch {target.batch}: {number} devices of {target.chip} {target.topology} cannot share it equally; "
            f"take {math.ceil(target.batch / number) * number}"
        )
    images = target.batch // number
    config = RunConfig(model=model, optimizer=target.optimizer)
    optimizer = make_optimizer(config, learning_rate(config, STEPS_PER_EPOCH))
    channels = shape[-1]
    step = make_train_step(
        network,
        optimizer,
        StreamFeed.fetch,
        (IMAGENET_MEAN, IMAGENET_STD) if channels == len(IMAGENET_MEAN) else ((0.0,) * channels, (1.0,) * channels),
        axis_name=AXIS,
        steps_per_epoch=STEPS_PER_EPOCH,
        seed=config.seed,
        augmentation=Augmentation(),
    )
    state = jax.eval_shape(partial(create_state, network, optimizer, shape, config.seed))
    batch = (
        jax.ShapeDtypeStruct((number, images, *shape), jnp.uint8),
        jax.ShapeDtypeStruct((number, images), jnp.int32),
    )
    name = " ".join([model, *options])
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
        f"{name} at --batch {target.batch} needs {found[1]} {found[2]}iB of HBM for temporaries alone on each "
        f"device of {target.chip} {target.topology}, which has {found[3]}iB: take a smaller --batch or a larger "
        "--topology",
        needed,
    )


# The text of a compiled program: one instruction a line, `%name = type[sizes]{layout} operation(%operands), ...`.
# A layout with S(1) lies in the vector memory on the chip, and so on; one without S lies in HBM.
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)(.*)$")
ARRAY = re.compile(r"\b(pred|[a-z]+(\d+))\[([\d,]*)\](\{[^}]*\})?")
NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-start", "slice-start"}
COPIES = "copies between memories"
OTHER = "no layer: input, loss, optimizer"


def shares(program: str, layers: Sequence[str]) -> tuple[Share, ...]:
    """Estimated cycles and HBM traffic of a compiled program by layer, in the order of `layers`.

    An operand counts once for each instruction that reads it. What the compiler copies between HBM and the memory on
    the chip on its own account belongs to no layer.
    """
    entry = program[program.index("\nENTRY ") :]
    in_hbm: dict[str, int] = {}
    started: dict[str, bool] = {}
    cycles: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    known = set(layers)
    for line in entry.splitlines():
        found = INSTRUCTION.match(line)
        if not found:
            continue
        name, result, operation, operands, rest = found.groups()
        in_hbm[name] = _bytes(result, hbm=True)
        sources = re.findall(r"%[\w.\-]+", operands)
        if operation in ("copy-start", "slice-start"):
            started[name] = in_hbm.get(sources[0], 0) > 0
        if operation in NO_TRAFFIC:
            continue
        if operation in ("copy-done", "slice-done"):
            moved[COPIES] += in_hbm[name] + _bytes(result, hbm=False) * started.get(sources[0], False)
            continue
        layer = _layer(rest, known)
        moved[layer] += in_hbm[name] + sum(in_hbm.get(source, 0) for source in sources)
        if estimated := re.search(r'"estimated_cycles":"(\d+)"', rest):
            cycles[layer] += int(estimated[1])
    ordered = [layer for layer in (*dict.fromkeys(layers), OTHER, COPIES) if cycles[layer] or moved[layer]]
    return tuple(Share(layer, cycles[layer], moved[layer]) for layer in ordered)


def _bytes(types: str, hbm: bool) -> int:
    """Of all arrays in a type, or of those in HBM."""
    total = 0
    for kind, bits, sizes, layout in ARRAY.findall(types):
        if hbm and re.search(r"S\([1-9]", layout):
            continue
        total += math.prod(map(int, filter(None, sizes.split(",")))) * (1 if kind == "pred" else int(bits) // 8)
    return total


def _layer(rest: str, known: set[str]) -> str:
    """The longest path of a layer that an instruction's metadata begins with."""
    name = re.search(r'op_name="[^"]*?jvp\(\w+\)\)?/([^"]*)"', rest)
    parts = name[1].split("/") if name else []
    for end in range(len(parts), 0, -1):
        if (path := "/".join(parts[:end])) in known:
            return path
    return OTHER


def compare(names: Sequence[str], options: Sequence[str], target: Target) -> list[Estimate]:
    """Several networks for one target, each named alone or with options of its own: 'mobilenet_v1 width=0.5'."""
    split = [name.split() for name in names]
    return [estimate(model, (*options, *own), target) for model, *own in split]


__all__ = ["CHIPS", "Chip", "DoesNotFit", "Estimate", "Share", "Target", "compare", "describe", "estimate"]
