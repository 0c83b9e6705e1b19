"""Converting PyTorch state dicts to variables of Flax networks: by name, layer by layer, completely or not at all."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsep.errors import UserError
from jsep.models import create_model, format_options, model_info
from jsep.port.names import Names, layouts
from jsep.trees import flatten, unflatten

State = Mapping[str, np.ndarray]
# Flax's names of the arrays of a layer, and PyTorch's
LEAVES = {"kernel": "weight", "scale": "weight", "slope": "weight", "weight": "weight", "bias": "bias"}
LEAVES |= {"mean": "running_mean", "var": "running_var"}


def from_torch(name: str, state: State, **options: Any) -> dict[str, Any]:
    """Convert a PyTorch state dict to the variables of a network.

    The package that it comes from (pytorchcv, torchvision, timm, ...) is recognised by its names, and a prefix
    "module." is dropped. The number of classes is taken from the state dict.

    Args:
        name: registered name of the network.
        state: arrays by PyTorch's names, as `read_state` returns them.
        **options: options of the network that the state dict belongs to, as for `create_model`.

    Returns:
        Parameters and running statistics, as the network's `init` would return them.

    Raises:
        UserError: an array is missing, left over or of another shape; the message names them.

    >>> variables = from_torch("resnet20", read_state(Path("resnet20.th")))  # doctest: +SKIP
    >>> logits = create_model("resnet20").apply(variables, images, train=False)  # doctest: +SKIP
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    info, known = model_info(name), layouts(create_model(name, **options))
    if not known:
        raise UserError(
            f"{name} has no public PyTorch reference, so that its weights have no PyTorch names: choose another network"
        )
    attempts = []
    for layout in known:
        classifier = f"{layout.torch('classifier')}.weight"
        classes = len(state[classifier]) if classifier in state else None
        model = create_model(name, num_classes=classes, **options)
        found, wrong = convert(model, info.input_shape, state, layout)
        if not wrong:
            return found
        attempts.append((wrong, layout))
    wrong, layout = min(attempts, key=lambda attempt: len(attempt[0]))
    given = f" with {format_options(options)}" if options else ""
    raise UserError(
        f"The state dict does not belong to {name}{given}, going by the names of {layout.source}; the network has the "
        f"options {', '.join(info.options)}:\n  {_shortened(wrong)}"
    )


def convert(
    model: nn.Module, input_shape: tuple[int, int, int], state: State, layout: Names
) -> tuple[dict[str, Any], list[str]]:
    """Convert a state dict as far as it fits.

    Args:
        model: the network.
        input_shape: height, width and channels of an image.
        state: arrays by PyTorch's names.
        layout: PyTorch's names of the layers.

    Returns:
        The variables that were found, and a line for each array that is missing, left over or of another shape.
    """
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    wanted = flatten(jax.eval_shape(model.init, jax.random.key(0), x))
    left = {key for key in state if not key.endswith("num_batches_tracked")}  # a counter of PyTorch's batch norm
    found, wrong = {}, []
    for path, leaf in wanted.items():
        theirs = torch_name(path, layout)
        if theirs not in state:
            wrong.append(f"{path} needs {theirs}, which is missing")
            continue
        left.discard(theirs)
        array = np.asarray(state[theirs])
        # OIHW -> HWIO, OIL -> LIO, (O, I) -> (I, O); the last also from a 1x1 convolution where ours is a dense layer,
        # and a grouped 1x1 convolution becomes the weights of a sum over every groups-th channel
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 and leaf.ndim in (1, 4) else array
        array = array.ravel() if array.ndim == 4 and leaf.ndim == 1 else array
        array = array.transpose() if array.ndim == leaf.ndim == 3 else array
        array = array.reshape(array.shape[:2]).T if leaf.ndim == 2 and array.ndim in (2, 4) else array
        if array.shape != leaf.shape:
            wrong.append(f"{path} has the shape {leaf.shape}, and {theirs} gives {array.shape}")
            continue
        found[path] = jnp.asarray(array, leaf.dtype)
    wrong += [f"{name} belongs to no layer of the network" for name in sorted(left)]
    return unflatten(found), wrong


def torch_name(path: str, layout: Names) -> str:
    """Return PyTorch's name of a leaf, such as features.init_block.conv.weight for params/stem/kernel."""
    _, *layers, kind = path.split("/")
    return f"{layout.torch('/'.join(layers))}.{LEAVES[kind]}"


def _shortened(lines: list[str], most: int = 20) -> str:
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n  ".join(lines[:most] + more)
