"""Safetensors files: the weights only, by the names of the Flax variables. `jsep port` writes the same names."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jsep import ops
from jsep.errors import UserError
from jsep.export.program import Function, Program, answer_of
from jsep.models import model_info, parse_options
from jsep.models.factored import create_factored
from jsep.train.setup import TASKS
from jsep.trees import load_arrays, save_arrays, unflatten


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write the weights as trained: batch norms are not folded, so that training can continue from the file.

    Raises:
        UserError: a `batch` is given, which weights do not have.
    """
    if batch:
        raise UserError(f"`batch`={batch}: a safetensors file holds weights, for any number of images; leave it out")
    save_arrays(path, program.variables, program.text_facts)


def load(path: Path) -> Function:
    """Return the network that is named in a file's metadata, with the weights of the file."""
    arrays, facts = load_arrays(path)
    variables = unflatten(arrays)
    options, factors = parse_options(facts["options"].split()), facts["factored"].split()
    classes = int(facts["num_classes"]) + TASKS[model_info(facts["model"]).task].background
    model = create_factored(facts["model"], options, factors, num_classes=classes)
    mean, std = (jnp.asarray(json.loads(facts[key]), jnp.float32).reshape(1, 1, 1, -1) for key in ("mean", "std"))
    variables = {"batch_stats": {}, **variables}

    def answer(images: Array) -> Any:
        output = model.apply(variables, (images - mean) / std, train=False)
        return answer_of(model, output, images.shape[1:])

    call = ops.jit_inference(answer)
    return lambda images: jax.tree.map(np.asarray, call(images))
