"""Ours and PyTorch's, side by side: the same weights, the same images, the difference at every stage."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsep.errors import UserError
from jsep.models import create_model, model_info
from jsep.port.convert import convert
from jsep.port.names import Names, layouts

TOLERANCE = 1e-4  # of the largest value of a stage, float32


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one stage, or the logits, are apart: the largest difference over the largest value of PyTorch's."""

    stage: str
    shape: tuple[int, ...]
    relative: float


def pair(
    name: str, reference: str, options: Mapping[str, Any], size: int
) -> tuple[nn.Module, dict[str, Any], Any, Names]:
    """Our network, variables for it, the PyTorch network they were carried over from, and its names.

    Raises:
        UserError: torch, or the package of the reference, is not installed; or the weights do not fit.
    """
    info = model_info(name)
    try:
        from jsep.port.reference import build

        theirs = build(reference, info.num_classes, size)
    except ImportError as error:
        raise UserError(f"The reference needs {error.name}: pip install 'jsep[torch]'") from error
    model = create_model(name, **options)
    package = reference.partition(":")[0]
    (names,) = [names for names in layouts(model) if package in names.source]
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables, wrong = convert(model, info.input_shape, state, names)
    if wrong:
        raise UserError(f"{reference} does not fit {name}: {wrong[0]}, and {len(wrong) - 1} more")
    return model, variables, theirs, names


def check(name: str, reference: str, *, size: int | None = None) -> list[Difference]:
    """Carry a random PyTorch network over, and compare all stages and the logits: a row each, the logits last.

    Args:
        name: see `list_models`.
        reference: one of `model_info(name).references`.
        size: height and width of the images; the published ones unless said.

    Raises:
        UserError: as `pair`.
    """
    info = model_info(name)
    side = size or info.input_shape[0]
    model, variables, theirs, names = pair(name, reference, info.references[reference], side)
    images = np.random.default_rng(0).normal(size=(2, side, side, info.input_shape[2])).astype(np.float32)
    run = jax.jit(lambda variables, x: model.apply(variables, x, features=True))
    logits, stages = run(variables, jnp.asarray(images))
    ours = {stage: np.asarray(found.maps) for stage, found in stages.items()} | {"logits": np.asarray(logits)}
    found = _torch_stages(theirs, {stage: names.stage(stage) for stage in stages}, images)
    return [
        Difference(stage, value.shape, float(np.abs(value - found[stage]).max() / np.abs(found[stage]).max()))
        for stage, value in ours.items()
    ]


def _torch_stages(model: Any, stages: Mapping[str, str], images: np.ndarray) -> dict[str, np.ndarray]:
    """What PyTorch's modules give, NHWC by our names, and the logits."""
    import torch

    found: dict[str, np.ndarray] = {}

    def keep(stage: str, module: Any, arguments: Any, output: Any) -> None:
        found[stage] = output.permute(0, 2, 3, 1).numpy().copy()  # a copy: the next layer may work in place

    modules = dict(model.named_modules())
    hooks = [modules[theirs].register_forward_hook(partial(keep, stage)) for stage, theirs in stages.items()]
    with torch.no_grad():
        found["logits"] = model(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    for hook in hooks:
        hook.remove()
    return found
