"""What a training starts from: how images are normalised, weights of another run or file, and a teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from rich.console import Console
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jsep.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, load
from jsep.errors import UserError
from jsep.models import parse_options
from jsep.models.factored import create_factored
from jsep.port import flat
from jsep.train.checkpoint import Checkpoints
from jsep.train.config import RunConfig
from jsep.train.run import RunFolder
from jsep.train.select import HEAD, classes_of, differences
from jsep.train.step import Statistics, Teacher


def statistics_of(config: RunConfig, dataset: Dataset) -> Statistics:
    """The mean and the deviation that images are normalised with."""
    if config.normalize == "dataset":
        return dataset.mean, dataset.std
    if config.normalize == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    channels = dataset.image_shape[-1]
    return (0.0,) * channels, (1.0,) * channels


def load_variables(run: Path, checkpoint: str = "best") -> tuple[int, dict[str, Any]]:
    """The step of a run's checkpoint ("best", "last" or a step) and its network's variables, on the host."""
    checkpoints = Checkpoints(run, RunFolder.open(run).config().keep)
    try:
        step = checkpoints.find(checkpoint)
        state = checkpoints.on_host(step)
    finally:
        checkpoints.close()
    params, batch_stats = state.get("average") or (state["params"], state.get("batch_stats", {}))
    return step, {"params": params, "batch_stats": batch_stats}


def begin_with(source: Path, fresh: dict[str, Any], console: Console) -> dict[str, Any]:
    """The variables of a run or of a .safetensors file; a classifier for other classes stays as it is in `fresh`.

    Raises:
        UserError: no such thing, or of another network.
    """
    if source.suffix == ".safetensors":
        try:
            given = unflatten_dict(load_file(source), sep="/")
        except (OSError, SafetensorError) as error:
            raise UserError(f"--init {source}: it cannot be read as safetensors ({error})") from error
    elif source.is_dir():
        _, given = load_variables(source)
    else:
        raise UserError(f"--init {source}: it is neither a run folder nor a .safetensors file (jsep port reads .pth)")
    wrong = differences(fresh, given)
    if anew := [name for name in wrong if f"/{HEAD}/" in name]:
        console.print(f"The classifier of {source} is for other classes: it begins anew ({', '.join(anew)}).")
    if other := [name for name in wrong if name not in anew]:
        raise UserError(
            f"--init {source}: it is of another network, one that differs in {', '.join(other[:3])}"
            f"{' and more' if len(other) > 3 else ''}: name the same network and options, and data of as many channels"
        )
    theirs = flat(given)
    chosen = {name: own if name in anew else theirs[name] for name, own in flat(fresh).items()}
    return unflatten_dict(chosen, sep="/")


def misfits(model: nn.Module, image_shape: Sequence[int], variables: Mapping[str, Any]) -> list[str]:
    """In what variables are not those of a network for images of this shape; see `differences`."""
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    return differences(jax.eval_shape(model.init, jax.random.key(0), image), variables)


def open_teacher(config: RunConfig, dataset: Dataset) -> tuple[Teacher, dict[str, Any]]:
    """The network of the run `config.teacher`, which sees images as it did in its own training, and its variables.

    Raises:
        UserError: no run, or one for other classes.
    """
    run = config.teacher
    assert run
    theirs, (_, variables) = RunFolder.open(run).config(), load_variables(run)
    classes = classes_of(variables["params"])
    if classes != len(dataset.class_names):
        raise UserError(f"--teacher {run}: it tells {classes} classes apart, and {dataset.name} has others")
    network = create_factored(theirs.model, parse_options(theirs.options), theirs.factored, num_classes=classes)
    if misfits(network, dataset.image_shape, variables):
        size = "x".join(map(str, dataset.image_shape))
        raise UserError(f"--teacher {run}: its network is not one for images of {size}, as those of {dataset.name}")
    own = theirs.normalize == "dataset" and theirs.data != config.data
    seen = load(theirs.data, theirs.data_dir, theirs.image_size, stream=theirs.stream) if own else dataset
    return Teacher(network, statistics_of(theirs, seen), config.teacher_weight, config.temperature), variables
