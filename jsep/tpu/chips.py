"""TPU chips: their published figures, the step to compile for them, and devices that need not be present."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax.experimental import topologies

from jsep.errors import UserError, nearest, require, require_types
from jsep.tpu.dump import request
from jsep.train.recipe import OptimizerName


@dataclass(frozen=True)
class Chip:
    """Published figures of a chip.

    Attributes:
        hbm: capacity of HBM, in bytes.
        flops: peak compute in bfloat16, in FLOP/s.
        bandwidth: bandwidth of HBM, in bytes/s.
        clock: cycles of a core in a second; None where none is published.
        push: cycles of a matrix unit for a push of 16 rows of bfloat16, one for a row; 0 where bundles tell it.
        topologies: the usual topologies, such as "2x4".
    """

    hbm: float
    flops: float
    bandwidth: float
    clock: float | None
    push: int
    topologies: tuple[str, ...]


# Peak compute, HBM capacity and bandwidth of a chip as published at cloud.google.com/tpu/docs/v3, v4, v5e, v5p, v6e and
# tpu7x. The page of v2 no longer has any; its figures are those of JAX (jax/_src/pallas/mosaic/tpu_info.py).
# Those pages name no clock; these are third-party. Each gives the published peak: MXUs * 128 * 128 * 2 FLOPs a cycle
# (2, 4, 8 and 4 MXUs). v2, v3 and v4: N. P. Jouppi et al., ISCA 2021 and 2023, not looked up again. v5e: J. Austin et
# al., How to Scale Your Model, part 2 (jax-ml.github.io/scaling-book/tpus).
FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBE = ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
CHIPS = {
    "v2": Chip(16e9, 46e12, 716e9, 0.70e9, 16, ("1x1", "2x2", "4x4", "4x8", "8x8", "8x16", "16x16")),
    "v3": Chip(32 * 2**30, 123e12, 900e9, 0.94e9, 16, ("1x1", "2x2", "4x4", "4x8", "8x8", "8x16", "16x16")),
    "v4": Chip(32 * 2**30, 275e12, 1200e9, 1.05e9, 16, CUBE),
    "v5e": Chip(16e9, 197e12, 819e9, 1.5e9, 16, FLAT),
    "v5p": Chip(95e9, 459e12, 2765e9, None, 16, CUBE),
    "v6e": Chip(32e9, 918e12, 1638e9, None, 0, FLAT),
    "tpu7x": Chip(192 * 2**30, 2307e12, 7380e9, None, 0, CUBE[1:]),
}
# without these, libtpu waits for the metadata server of a TPU machine
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Target:
    """The chips that a step is compiled for, and the kind, size and type of the step."""

    chip: str = "v5e"
    """Kind of TPU: v2, v3, v4, v5e, v5p, v6e or tpu7x."""
    topology: str = "1x1"
    """Arrangement of the chips, such as 2x4; v4, v5p and tpu7x have three sides, such as 2x2x1."""
    step: Literal["train", "evaluate"] = "train"
    """The step of a training, or of an evaluation: predictions, of a detector with the suppression of boxes."""
    batch: int = 128
    """Images per step, over all chips together."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the activations and the arithmetic; parameters and statistics are float32."""
    optimizer: OptimizerName = "adam"
    """Optimizer, which determines how many arrays are kept beside each parameter."""
    input: tuple[int, int, int] | None = None
    """Height, width and channels of an image; the published input by default."""
    num_classes: int | None = None
    """Number of classes, of a detector with the background; the published number by default."""
    resident: int | None = None
    """Images of the data set, if it lies in HBM and the step takes its own from there, as with a small one; 0 if they
    arrive with each step. By default 50,000 for classifiers of inputs of up to 32x32, and 0 for others."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.num_classes is None or self.num_classes >= 1, "num_classes", self.num_classes, "at least 1")
        require(self.resident is None or self.resident >= 0, "resident", self.resident, "at least 0")
        if not all(side.isdecimal() and int(side) for side in self.topology.split("x")):  # libtpu would end the process
            raise UserError(f"`topology`={self.topology}: write sides of at least 1, such as 2x4")
        if self.input and min(self.input) < 1:
            sides = "x".join(map(str, self.input))
            raise UserError(f"`input`={sides}: height, width and channels must be at least 1")


def describe(chip: str, topology: str) -> Sequence[Any]:
    """Return the devices of a TPU to compile for. The TPU need not be present.

    Args:
        chip: one of `CHIPS`.
        topology: arrangement of the chips, such as "2x4".

    Raises:
        UserError: libtpu is not installed, or does not know the chip or topology.
    """
    if chip not in CHIPS:
        raise UserError(f"`chip`={chip}: there is no such TPU; {nearest(chip, CHIPS)}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("Compiling for a TPU needs libtpu (Linux): pip install 'jsep[tpu-compiler]'")
    request()
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:{topology}").devices
    except jax.errors.JaxRuntimeError as error:
        known = CHIPS[chip].topologies
        raise UserError(f"`topology`={topology}: {chip} has no such topology; {nearest(topology, known)}") from error
