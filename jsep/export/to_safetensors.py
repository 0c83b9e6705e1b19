"""Safetensors files: the weights only, by the names of the Flax variables. `jsep port` writes the same names."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jsep.export.program import Logits, Program
from jsep.models import parse_options
from jsep.models.factored import create_factored
from jsep.trees import save_arrays, unflatten


def write(program: Program, path: Path) -> None:
    """Write the weights as trained: batch norms are not folded, so that training can continue from the file."""
    save_arrays(path, program.variables, program.text_facts)


def load(path: Path) -> Logits:
    """Return the network that is named in a file's metadata, with the weights of the file."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        facts = file.metadata()
        variables = unflatten({name: jnp.asarray(file.get_tensor(name)) for name in file.keys()})  # noqa: SIM118
    options, factors = parse_options(facts["options"].split()), facts["factored"].split()
    model = create_factored(facts["model"], options, factors, num_classes=int(facts["num_classes"]))
    mean, std = (jnp.asarray(json.loads(facts[key]), jnp.float32).reshape(1, 1, 1, -1) for key in ("mean", "std"))
    call = jax.jit(lambda images: model.apply({"batch_stats": {}, **variables}, (images - mean) / std, train=False))
    return lambda images: np.asarray(call(images))
