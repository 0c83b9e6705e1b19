"""Weights alone, by the names of the Flax variables; `jsep port` writes the same names."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jsep.export.program import Logits, Program
from jsep.models import parse_options
from jsep.models.factored import create_factored
from jsep.port import flat


def write(program: Program, path: Path) -> None:
    """As trained: batch norms are not folded, so that training can go on from it."""
    from safetensors.numpy import save_file

    save_file(flat(program.variables), path, metadata=program.text_facts)


def load(path: Path) -> Logits:
    """The network that the file's own metadata names, with the file's weights."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        facts = file.metadata()
        variables = unflatten_dict({name: file.get_tensor(name) for name in file.keys()}, sep="/")  # noqa: SIM118
    options, factors = parse_options(facts["options"].split()), facts["factored"].split()
    model = create_factored(facts["model"], options, factors, num_classes=int(facts["num_classes"]))
    mean, std = (jnp.asarray(json.loads(facts[key]), jnp.float32).reshape(1, 1, 1, -1) for key in ("mean", "std"))
    call = jax.jit(lambda images: model.apply({"batch_stats": {}, **variables}, (images - mean) / std, train=False))
    return lambda images: np.asarray(call(images))
