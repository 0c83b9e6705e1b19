"""Safetensors files: the weights only, by the names of the Flax variables. `jsep port` writes the same names."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jsep import ops
from jsep.errors import UserError
from jsep.export.program import Logits, Program
from jsep.models import parse_options
from jsep.models.factored import create_factored
from jsep.trees import load_arrays, save_arrays, unflatten


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write the weights as trained: batch norms are not folded, so that training can continue from the file.

    Raises:
        UserError: a `batch` is given, which weights do not have.
    """
    if batch:
        raise UserError(f"`batch`={batch}: a safetensors file holds weights, for any number of images; leave it out")
    save_arrays(path, program.variables, program.text_facts)


def load(path: Path) -> Logits:
    """Return the network that is named in a file's metadata, with the weights of the file."""
    arrays, facts = load_arrays(path)
    variables = unflatten(arrays)
    options, factors = parse_options(facts["options"].split()), facts["factored"].split()
    model = create_factored(facts["model"], options, factors, num_classes=int(facts["num_classes"]))
    mean, std = (jnp.asarray(json.loads(facts[key]), jnp.float32).reshape(1, 1, 1, -1) for key in ("mean", "std"))
    variables = {"batch_stats": {}, **variables}
    call = ops.jit_inference(lambda images: model.apply(variables, (images - mean) / std, train=False))
    return lambda images: np.asarray(call(images))
