"""Ours and PyTorch's, side by side: the same weights, the same images, the difference at every stage."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsep.errors import UserError
from jsep.models import create_model, model_info
from jsep.port.convert import convert
from jsep.port.names import layouts

TOLERANCE = 1e-4  # of the largest value of a stage, float32


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one stage, or the logits, are apart: the largest difference over the largest value of PyTorch's."""

    stage: str
    shape: tuple[int, ...]
    relative: float


def check(
    name: str, reference: str, *, size: int | None = None, batch: int = 2, seed: int = 0
) -> tuple[dict[str, Any], list[Difference]]:
    """Carry a random PyTorch network over and compare all stages and the logits.

    Args:
        name: see `list_models`.
        reference: one of `model_info(name).references`.
        size: height and width of the images; the published ones unless said.

    Returns:
        The options that make our network equal to the reference, and a row a stage, the logits last.

    Raises:
        UserError: torch, or the package of the reference, is not installed; or the weights do not fit.
    """
    try:
        import torch

        from jsep.port.reference import build

        info = model_info(name)
        theirs = build(reference, info.num_classes, seed)
    except ImportError as error:
        raise UserError(f"The reference needs {error.name}: pip install 'jsep[torch]'") from error
    options = dict(info.references[reference])
    model = create_model(name, **options)
    side = size or info.input_shape[0]
    images = np.random.default_rng(seed).normal(size=(batch, side, side, info.input_shape[2])).astype(np.float32)
    package = reference.partition(":")[0]
    (layout,) = [names for names in layouts(model) if package in names.source]
    state = {key: value.numpy() for key, value in theirs.state_dict().items() if "num_batches" not in key}
    variables, wrong = convert(model, info.input_shape, state, layout)
    if wrong:
        raise UserError(f"{reference} does not fit {name}: {wrong[0]}, and {len(wrong) - 1} more")

    run = jax.jit(lambda variables, x: model.apply(variables, x, features=True))
    logits, stages = run(variables, jnp.asarray(images))
    ours = {stage: np.asarray(found.maps) for stage, found in stages.items()} | {"logits": np.asarray(logits)}

    found: dict[str, np.ndarray] = {}

    def keep(stage: str) -> Any:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            # NCHW -> NHWC; a copy, since the next layer may work in place
            found[stage] = output.detach().permute(0, 2, 3, 1).numpy().copy()

        return hook

    modules = dict(theirs.named_modules())
    for stage in stages:
        modules[layout.stage(stage)].register_forward_hook(keep(stage))
    with torch.no_grad():
        found["logits"] = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    rows = [
        Difference(stage, value.shape, float(np.abs(value - found[stage]).max() / np.abs(found[stage]).max()))
        for stage, value in ours.items()
    ]
    return options, rows
