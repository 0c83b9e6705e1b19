"""StableHLO as `jax.export` serialises it: for JAX anywhere, and by its MLIR module for other compilers."""

from pathlib import Path

import jax
import numpy as np
from jax import export

from jsep.export.program import Logits, Program, spec


def write(program: Program, path: Path) -> None:
    """Any number of images at once. One lowering: what is in it is the same on every platform."""
    (n,) = export.symbolic_shape("n")
    # of several platforms the module would hold each convolution several times
    anywhere = [export.DisabledSafetyCheck.platform()]
    exported = export.export(jax.jit(program.logits), platforms=("cpu",), disabled_checks=anywhere)(spec(program, n))
    path.write_bytes(exported.serialize())


def load(path: Path) -> Logits:
    """The function in the file."""
    call = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda images: np.asarray(call(images))
