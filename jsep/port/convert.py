"""Converting PyTorch state dicts to variables of Flax networks: by name, layer by layer, completely or not at all.

Weights of Keras arrive as a state dict too, see `jsep.port.keras_files`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jsep import ops
from jsep.errors import UserError, typed
from jsep.layers.dice import follows_image_size
from jsep.models import create_model, format_options, model_info
from jsep.port.architectures import Architecture
from jsep.port.keras_names import keras_layouts, numbered_by_keras
from jsep.port.names import SILENT, Names, layouts
from jsep.port.states import find_state, to_numpy
from jsep.trees import as_weights, flatten, unflatten

State = Mapping[str, np.ndarray]
# Flax's names of the arrays of a layer, and PyTorch's
LEAVES = {"kernel": "weight", "scale": "weight", "slope": "weight", "weight": "weight", "bias": "bias"}
LEAVES |= {"mean": "running_mean", "var": "running_var", "scale_weight": "scale_weight"}
HEADS = ("params/classifier/", "params/dense/")  # the last layers of a network, which have to do with its classes
# what the families call their first convolution
STEMS = ("stem", "stem1", "stem1_conv1", "backbone/stem", "backbone/conv1_1")


class Ported(NamedTuple):
    """A network with the weights of a state dict.

    Attributes:
        variables: parameters and running statistics.
        options: options of the network: those that were given, and those that follow from where the weights come from.
        settled: the latter, as far as they differ from the defaults of the name.
        layout: the names that the state dict has.
        architecture: the network of another package that the weights are known to be of, if any.
        image_shape: height, width and channels of the images that the weights are for.
        num_classes: number of logits.
        unused: names of arrays that are left out, because they only train.
        unknown: options that neither the weights nor the user settled, with the values that they were taken to have.
    """

    variables: dict[str, Any]
    options: dict[str, Any]
    settled: dict[str, Any]
    layout: Names
    architecture: Architecture | None
    image_shape: tuple[int, int, int]
    num_classes: int
    unused: tuple[str, ...]
    unknown: dict[str, Any]


@typed
def from_torch(
    name: str, state: Mapping[str, Any], *, num_classes: int | None = None, **options: Any
) -> dict[str, Any]:
    """Convert a PyTorch state dict to the variables of a network.

    The package that it comes from (pytorchcv, torchvision, timm, ...) is recognised by its names. Prefixes such as
    "module." and "_orig_mod." are dropped, and so is an auxiliary head. The numbers of classes and of input channels
    are taken from the state dict.

    Args:
        name: registered name of the network.
        state: tensors or arrays by PyTorch's names, as `read_state` returns them.
        num_classes: number of logits, to be checked; None takes that of the state dict.
        **options: options of the network that the state dict belongs to, as for `create_model`.

    Returns:
        Parameters and running statistics, as the network's `init` would return them.

    Raises:
        UserError: an array is missing, left over, of another shape or not finite, or the names belong to a network
            with other options; the message names them.

    >>> variables = from_torch("resnet20", read_state(Path("resnet20.th")), shortcut="pad_split")  # doctest: +SKIP
    >>> model = create_model("resnet20", shortcut="pad_split")  # doctest: +SKIP
    >>> logits = model.apply(variables, images, train=False)  # doctest: +SKIP
    """
    found = port_state(name, state, options, num_classes=num_classes)
    if found.settled:
        needed = ", ".join(f"{key}={value!r}" for key, value in found.settled.items())
        raise UserError(
            f"The state dict has the names of {found.layout.source}, whose {name} needs {needed}: give that here and "
            "to create_model"
        )
    return found.variables


def port_state(
    name: str,
    state: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    num_classes: int | None = None,
    architectures: Sequence[Architecture] = (),
    source: object = "The state dict",
) -> Ported:
    """Convert a PyTorch state dict, and find the options that follow from where it comes from.

    Args:
        name: registered name of the network.
        state: tensors or arrays by PyTorch's names.
        options: options of the network that the user knows.
        num_classes: number of logits, to be checked; None takes that of the state dict.
        architectures: networks that the weights are known to be of.
        source: where the state dict comes from, for messages.

    Returns:
        The network and its weights.

    Raises:
        UserError: as for `from_torch`.
    """
    info, plain = model_info(name), create_model(name, **options)
    package, named = ("Keras", keras_layouts) if state and numbered_by_keras(state) else ("PyTorch", layouts)
    if not (known := named(plain)):
        raise UserError(
            f"{name} has no public {package} reference, so that its weights have no {package} names: choose another "
            "network"
        )
    arrays = {
        key: to_numpy(key, value, source)
        for key, value in find_state(state, source).arrays.items()
        if not key.endswith("num_batches_tracked")  # a counter of PyTorch's batch norm
    }
    arrays = as_weights(arrays, source)
    attempts = []
    for layout in known:
        architecture = next((one for one in architectures if one.package in layout.source), None)
        implied = {**layout.implies, **(architecture.options if architecture else {})}
        if missing := {key: implied[key] for key in implied if key not in {*info.options, *options}}:
            raise UserError(
                f"{source} needs {format_options(missing)}, an option that {name} does not have: choose other weights"
            )
        chosen = {**implied, **options}
        settled = {key: value for key, value in chosen.items() if value != getattr(plain, key)}
        head, each = layout.head
        classes = _size(arrays, f"{layout.torch(head)}.weight", 0) // each or info.num_classes
        channels = next(filter(None, (_size(arrays, f"{layout.torch(stem)}.weight", 1) for stem in STEMS)), 3)
        height, width, _ = info.input_shape
        model = create_model(name, num_classes=classes, **options, **settled)
        used = {key: array for key, array in arrays.items() if not key.startswith(layout.unused)}
        variables, wrong = convert(model, (height, width, channels), used, layout)
        if not wrong:
            break
        lost = f"its names are like {', '.join(list(arrays)[:3])}, none of which this network has"
        attempts.append((wrong if variables else [lost], len(wrong), layout.source))
    else:
        wrong, _, given = min(attempts, key=lambda attempt: attempt[1])
        if all(line.startswith(HEADS) and line.endswith("which is missing") for line in wrong):
            raise UserError(
                f"{source} holds {name} without its classifier (Keras: include_top=False): give a file that was saved "
                "with it"
            )
        with_options = f" with {format_options(options)}" if options else ""
        raise UserError(
            f"{source} does not belong to {name}{with_options}, going by the names of {given}: {_shortened(wrong)}; "
            f"the network has the options {', '.join(info.options)}"
        )
    if num_classes not in (None, classes):
        raise UserError(f"`num_classes`={num_classes}: the weights have {classes} classes; leave it out")
    side = _image_size(model, (height, width, channels), variables)
    return Ported(
        variables=variables,
        options={**settled, **options},
        settled=settled,
        layout=layout,
        architecture=architecture,
        image_shape=(side, side, channels),
        num_classes=classes,
        unused=tuple(key for key in arrays if key not in used),
        unknown={
            key: getattr(model, key) for key in SILENT if key in info.options and key not in chosen and not architecture
        },
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
    with ops.portable_operations():  # which are traced soonest
        wanted = flatten(jax.eval_shape(model.init, jax.random.key(0), x))
    left = {key for key in state if not key.endswith("num_batches_tracked")}
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
        given = (*array.shape[:-1], leaf.shape[-1]) if follows_image_size(path) else array.shape
        if given != leaf.shape:
            wrong.append(f"{path} has the shape {leaf.shape}, and {theirs} gives {array.shape}")
            continue
        found[path] = jnp.asarray(array, leaf.dtype)
    wrong += [f"{name} belongs to no layer of the network" for name in sorted(left)]
    return unflatten(found), wrong


def torch_name(path: str, layout: Names) -> str:
    """Return PyTorch's name of a leaf, such as features.init_block.conv.weight for params/stem/kernel."""
    _, *layers, kind = path.split("/")
    return f"{layout.torch('/'.join(layers))}.{LEAVES[kind]}"


def _size(arrays: State, name: str, axis: int) -> int:
    """Return the size of an axis of a kernel, or 0 if there is no such kernel."""
    return arrays[name].shape[axis] if name in arrays and arrays[name].ndim in (2, 4) else 0


def _image_size(model: nn.Module, image_shape: tuple[int, int, int], variables: Mapping[str, Any]) -> int:
    """Return the side of the images that weights are for: `image_shape`, unless a kernel follows that size."""
    given = {path: leaf for path, leaf in flatten(variables).items() if follows_image_size(path)}
    if not given:
        return image_shape[0]
    x = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    wanted = flatten(jax.eval_shape(model.init, jax.random.key(0), x))
    path = next(iter(given))
    return image_shape[0] * given[path].shape[-1] // wanted[path].shape[-1]


def _shortened(lines: Sequence[str], most: int = 3) -> str:
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")
