"""StableHLO files, serialised by `jax.export`: for JAX, and through their MLIR module for other compilers."""

from pathlib import Path

import jax
import numpy as np
from jax import export

from jsep import ops
from jsep.export.program import Logits, Program, spec


def write(program: Program, path: Path) -> None:
    """Write a file that takes any number of images at once, on any platform."""
    (n,) = export.symbolic_shape("n")
    # a module that is lowered for several platforms would hold each convolution several times
    anywhere = [export.DisabledSafetyCheck.platform()]
    exported = export.export(jax.jit(program.logits), platforms=("cpu",), disabled_checks=anywhere)(spec(program, n))
    path.write_bytes(exported.serialize())


def load(path: Path) -> Logits:
    """Return the function in a file."""
    call = ops.jit_inference(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda images: np.asarray(call(images))
