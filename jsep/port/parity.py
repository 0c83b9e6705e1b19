"""Comparing a network with its PyTorch reference: same weights, same images, the difference at every stage."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jsep import ops
from jsep.errors import UserError
from jsep.models import create_model, model_info
from jsep.models.detector import Detector
from jsep.models.segmenter import Segmenter
from jsep.port.convert import Ported, convert
from jsep.port.names import Names, layouts

TOLERANCE = 1e-4  # relative to the largest value of a stage, in float32
ANSWERS = {"logits": "cls_logits", "codes": "bbox_regression", "anchors": "anchors"}  # of a detector, ours and theirs


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much the outputs of a stage, or the logits, differ.

    Attributes:
        stage: name of the stage, or "logits"; of a detector "logits", "codes" and "anchors".
        shape: shape of the output.
        relative: largest absolute difference over the largest absolute value of PyTorch's output.
    """

    stage: str
    shape: tuple[int, ...]
    relative: float


def build_pair(
    name: str, reference: str, options: Mapping[str, Any], size: int
) -> tuple[nn.Module, dict[str, Any], Any, Names]:
    """Build a network and its randomly initialised PyTorch reference, and carry the weights over.

    Args:
        name: registered name of the network.
        reference: package and name of the PyTorch network, such as "pytorchcv:resnet20_cifar10".
        options: options of the network under which it equals the reference.
        size: height and width of the images that the reference draws its statistics from.

    Returns:
        The network, its variables, the PyTorch network, and the names of its layers.

    Raises:
        UserError: torch or the package of the reference is not installed, or the weights do not fit.
    """
    info = model_info(name)
    theirs = _build(reference, info.num_classes, size)
    model = create_model(name, **options)
    package = reference.partition(":")[0]
    (names,) = [names for names in layouts(model) if package in names.source]
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables, wrong = convert(model, info.input_shape, state, names)
    if wrong:
        raise UserError(f"{reference} does not fit {name}: {wrong[0]}, and {len(wrong) - 1} more")
    return model, variables, theirs, names


def compare_with_torch(name: str, reference: str, *, size: int | None = None) -> list[Difference]:
    """Compare the outputs of a network with those of its randomly initialised PyTorch reference.

    Args:
        name: registered name of the network.
        reference: one of `model_info(name).references`.
        size: height and width of the images; None means the network's published input size.

    Returns:
        The differences of all stages, in order, and then of the logits.

    Raises:
        UserError: torch or the package of the reference is not installed, or the weights do not fit.
    """
    info = model_info(name)
    side = size or info.input_shape[0]
    model, variables, theirs, names = build_pair(name, reference, info.references[reference], side)
    return _differences(model, variables, theirs, names, (side, side, info.input_shape[2]))


def compare_with_weights(name: str, ported: Ported, state: Mapping[str, np.ndarray]) -> dict[str, list[Difference]]:
    """Compare a network that has weights of PyTorch with PyTorch's own network with these weights, on random images.

    Args:
        name: registered name of the network.
        ported: the network and its weights.
        state: the state dict that they were made from.

    Returns:
        The differences of all stages and of the logits, by the name of each reference that equals the network.

    Raises:
        UserError: there is no such reference, or torch or its package is not installed.
    """
    layout, special = ported.layout, ported.architecture
    model = create_model(name, **ported.options)
    known = dict(model_info(name).references)
    if special:
        known[f"{special.package}:{special.name}"] = special.options
    equal = [
        reference
        for reference, options in known.items()
        if reference.partition(":")[0] in layout.source and create_model(name, **options) == model
    ]
    if not equal or ported.image_shape[-1] != 3:
        raise UserError(
            f"`check_images`: there is no reference by the names of {layout.source} for {name} with these options and "
            "images; leave it out"
        )
    found = {}
    for reference in equal:
        theirs = _build(reference, ported.num_classes, ported.image_shape[0])
        import torch  # here, so that `_build` has said what is missing

        theirs.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in state.items()}, strict=False)
        clone = model.clone(num_classes=ported.num_classes)
        found[reference] = _differences(clone, ported.variables, theirs, layout, ported.image_shape)
    return found


def _build(reference: str, num_classes: int, size: int) -> Any:
    """Build the PyTorch network of a reference, see `jsep.port.reference.build`."""
    try:
        from jsep.port.reference import build

        return build(reference, num_classes, size)
    except ImportError as error:
        raise UserError(f"The reference needs {error.name}, not installed here: pip install 'jsep[torch]'") from error
    except AssertionError as error:  # pytorchcv's networks for CIFAR have 10 or 100 classes
        raise UserError(f"{reference} cannot be built with {num_classes} classes: leave the comparison out") from error


def _differences(
    model: nn.Module, variables: dict[str, Any], theirs: Any, names: Names, image_shape: tuple[int, int, int]
) -> list[Difference]:
    images = np.random.default_rng(0).normal(size=(2, *image_shape)).astype(np.float32)
    if isinstance(model, Detector):
        answers = ops.jit_inference(model.apply)(variables, jnp.asarray(images))
        ours = {name: np.asarray(getattr(answers, name)) for name in ANSWERS}
        found = _torch_answers(theirs, images)
    else:
        if isinstance(model, Segmenter):
            (logits, _), stages = ops.jit_inference(model.apply)(variables, jnp.asarray(images)), {}
        else:
            run = ops.jit_inference(lambda variables, x: model.apply(variables, x, features=True))
            logits, stages = run(variables, jnp.asarray(images))
        ours = {stage: np.asarray(found.maps) for stage, found in stages.items()} | {"logits": np.asarray(logits)}
        found = _torch_stages(theirs, {stage: names.stage(stage) for stage in stages}, images)
    return [
        Difference(stage, value.shape, float(np.abs(value - found[stage]).max() / np.abs(found[stage]).max()))
        for stage, value in ours.items()
    ]


def _torch_answers(model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the answers of PyTorch's detector by our names."""
    import torch

    from jsep.port.reference import answers

    with torch.no_grad():
        found = answers(model, torch.from_numpy(images.transpose(0, 3, 1, 2)))
    return {ours: found[theirs].numpy() for ours, theirs in ANSWERS.items()}


def _torch_stages(model: Any, stages: Mapping[str, str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs (n, h, w, c) of PyTorch's modules by the names of our stages, and the logits."""
    import torch

    found: dict[str, np.ndarray] = {}

    def keep(stage: str, module: Any, arguments: Any, output: Any) -> None:
        found[stage] = output.permute(0, 2, 3, 1).numpy().copy()  # a copy: the next layer may work in place

    modules = dict(model.named_modules())
    hooks = [modules[theirs].register_forward_hook(partial(keep, stage)) for stage, theirs in stages.items()]
    with torch.no_grad():
        y = model(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    found["logits"] = (y["out"].permute(0, 2, 3, 1) if isinstance(y, dict) else y).numpy()
    for hook in hooks:
        hook.remove()
    return found
