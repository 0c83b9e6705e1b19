"""A classifier inside another network, which reads its maps."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import watch
from jsep.models.network import Network
from jsep.models.registry import create_model, model_info
from jsep.models.stage import Stage


def check_backbone(name: str) -> None:
    """Check that a registered network is a classifier, which others can read the maps of.

    Raises:
        UserError: it is not.
    """
    if (task := model_info(name).task) != "classification":
        raise UserError(f"option backbone={name}: it must be a network for classification, not {task}")


def read_backbone(
    parent: Any,
    name: str,
    x: Float[Array, "n h w c"],
    *endings: str,
    train: bool,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> tuple[dict[str, Stage], dict[str, Array]]:
    """Run a classifier without its last layers, as the submodule "backbone" of another network.

    Args:
        parent: the other network, a detector or segmenter inside its compact method.
        name: registered name of the classifier.
        x: images.
        *endings: ends of the names of layers whose outputs are wanted, too.
        train: normalise by the statistics of the batch.
        options: options of the classifier.
        **fields: other values for its fields.

    Returns:
        The stages by name, the last of which is called head (see `jsep.models.network.Network`), and the outputs of
        the layers by name.

    Raises:
        UserError: the network is no classifier, or has no such option.
    """
    check_backbone(name)
    network = create_model(name, dtype=parent.dtype, axis_name=parent.axis_name, **(options or {}))
    assert isinstance(network, Network)
    outputs: dict[str, Array] = {}

    def note(layer: nn.Module, call: Any, *args: Any, **kwargs: Any) -> Any:
        y = call(*args, **kwargs)
        if layer.name and layer.name.endswith(endings):
            outputs[layer.name] = y
        return y

    backbone = network.clone(num_classes=0, parent=parent, name="backbone", **fields)
    with watch(note):
        return backbone(x, train=train), outputs
