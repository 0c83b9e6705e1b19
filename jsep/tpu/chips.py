"""TPU chips: their published figures, the form of a step, and devices that need not be present."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax.experimental import topologies

from jsep.errors import UserError, nearest, require
from jsep.train.recipe import OptimizerName


@dataclass(frozen=True)
class Chip:
    """Published figures of one chip.

    Attributes:
        hbm: bytes of HBM.
        flops: FLOP/s in bfloat16.
        bandwidth: bytes/s of HBM.
        topologies: its usual topologies.
    """

    hbm: float
    flops: float
    bandwidth: float
    topologies: tuple[str, ...]


# Peak compute, HBM capacity and bandwidth of a chip as printed at cloud.google.com/tpu/docs/v3, v4, v5e, v5p and v6e.
# The page of v2 no longer prints any: its figures are those of JAX (jax/_src/pallas/mosaic/tpu_info.py).
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
# without these libtpu asks the metadata server of a TPU machine, and waits for it
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Target:
    """The chips that a step is compiled for, and the form of the step."""

    chip: str = "v5e"
    """v2, v3, v4, v5e, v5p or v6e."""
    topology: str = "1x1"
    """How the chips are connected, such as 2x4 (v4 and v5p: 2x2x1)."""
    batch: int = 128
    """Images a step, over all chips together."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the computation; parameters and statistics are float32."""
    optimizer: OptimizerName = "adam"
    """Optimizer, whose state lies beside the parameters."""
    input: tuple[int, int, int] | None = None
    """Height, width and channels of an image; the published input by default."""
    num_classes: int | None = None
    """Size of the logits; the published number by default."""

    def __post_init__(self) -> None:
        require(self.batch >= 1, "batch", self.batch, "at least 1")
        require(self.num_classes is None or self.num_classes >= 1, "num_classes", self.num_classes, "at least 1")
        if not all(side.isdecimal() and int(side) for side in self.topology.split("x")):  # libtpu ends the process
            raise UserError(f"`topology`={self.topology}: write sides of at least 1, such as 2x4")
        if self.input and min(self.input) < 1:
            sides = "x".join(map(str, self.input))
            raise UserError(f"`input`={sides}: height, width and channels must be at least 1")


def describe(chip: str, topology: str) -> Sequence[Any]:
    """Return the devices of a TPU that need not be present, for programs to be compiled for.

    Raises:
        UserError: libtpu is not installed, or knows no such chip or topology.
    """
    if chip not in CHIPS:
        raise UserError(f"`chip`={chip}: there is no such TPU; {nearest(chip, CHIPS)}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("Compiling for a TPU needs libtpu (Linux): pip install 'jsep[tpu-compiler]'")
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=f"{chip}:{topology}").devices
    except jax.errors.JaxRuntimeError as error:
        known = CHIPS[chip].topologies
        raise UserError(f"`topology`={topology}: libtpu has none such of {chip}; {nearest(topology, known)}") from error
