"""A PyTorch state dict becomes the variables of a Flax network: by name, layer by layer, or not at all."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jsep.errors import UserError
from jsep.models import create_model, format_options, model_info
from jsep.port.names import Names, layouts

State = Mapping[str, np.ndarray]
# the last part of our names: PyTorch's
LEAVES = {"kernel": "weight", "scale": "weight", "slope": "weight", "weight": "weight", "bias": "bias"}
LEAVES |= {"mean": "running_mean", "var": "running_var"}


def from_torch(name: str, state: State, **options: Any) -> dict[str, Any]:
    """The variables of the network `name` from a PyTorch state dict.

    The layout (pytorchcv's, torchvision's, timm's, ...) is found by the names; a prefix "module." is dropped. The
    number of classes is the state dict's own.

    Args:
        name: see `list_models`.
        state: arrays by PyTorch's names.
        **options: as for `create_model`; they must be those of the network that the state dict belongs to.

    Raises:
        UserError: a layer is missing, left over, or of another shape; they are named.
    """
    state = {key.removeprefix("module."): value for key, value in state.items()}
    info, known = model_info(name), layouts(create_model(name, **options))
    if not known:
        raise UserError(f"{name} has no PyTorch names to read: there is no public reference for it")
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
        f"The state dict is not that of {name}{given}, by the names of {layout.source}"
        f" (options: {', '.join(info.options)}):\n  {_shortened(wrong)}"
    )


def convert(
    model: nn.Module, input_shape: tuple[int, int, int], state: State, layout: Names
) -> tuple[dict[str, Any], list[str]]:
    """The variables of `model`, and a line for all that does not fit."""
    x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    wanted: dict[str, Any] = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), x), sep="/")
    left = {key for key in state if not key.endswith("num_batches_tracked")}  # a counter of PyTorch's batch norm
    found, wrong = {}, []
    for path, leaf in wanted.items():
        theirs = torch_name(path, layout)
        if theirs not in state:
            wrong.append(f"{path} needs {theirs}, which is not there")
            continue
        left.discard(theirs)
        array = np.asarray(state[theirs])
        # OIHW -> HWIO, OIL -> LIO, (O, I) -> (I, O), also from a 1x1 convolution where ours is a dense layer, and
        # from a grouped 1x1 convolution where ours are the weights of a sum over every groups-th channel
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 and leaf.ndim in (1, 4) else array
        array = array.ravel() if array.ndim == 4 and leaf.ndim == 1 else array
        array = array.transpose() if array.ndim == leaf.ndim == 3 else array
        array = array.reshape(array.shape[:2]).T if leaf.ndim == 2 and array.ndim in (2, 4) else array
        if array.shape != leaf.shape:
            wrong.append(f"{path} has the shape {leaf.shape}, {theirs} comes as {array.shape}")
            continue
        found[path] = jnp.asarray(array, leaf.dtype)
    wrong += [f"nothing of ours takes {name}" for name in sorted(left)]
    return unflatten_dict(found, sep="/"), wrong


def torch_name(path: str, layout: Names) -> str:
    """What PyTorch calls one of our leaves: "params/stem/kernel" -> "features.init_block.conv.weight"."""
    _, *layers, kind = path.split("/")
    return f"{layout.torch('/'.join(layers))}.{LEAVES[kind]}"


def flat(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Variables as arrays by names such as "params/stem/kernel", for safetensors."""
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(dict(variables), sep="/").items()}


def _shortened(lines: list[str], most: int = 20) -> str:
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n  ".join(lines[:most] + more)
