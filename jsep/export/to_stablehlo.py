"""StableHLO files, serialised by `jax.export`: for JAX, and through their MLIR module for other compilers."""

from pathlib import Path

import jax
import numpy as np
from jax import export

from jsep import ops
from jsep.export.program import Function, Program, any_number, as_answer, spec


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write a file that takes `batch` images at once, any number by default, on any platform."""
    n = batch or export.symbolic_shape("n")[0]
    # a module that is lowered for several platforms would hold each convolution several times
    anywhere = [export.DisabledSafetyCheck.platform()]
    exported = export.export(jax.jit(program.outputs), platforms=("cpu",), disabled_checks=anywhere)(spec(program, n))
    path.write_bytes(exported.serialize())


def load(path: Path) -> Function:
    """Return the function in a file."""
    exported = export.deserialize(bytearray(path.read_bytes()))
    call = ops.jit_inference(exported.call)
    return any_number(
        lambda images: as_answer([np.asarray(one) for one in jax.tree.leaves(call(images))]),
        exported.in_avals[0].shape[0],
    )
