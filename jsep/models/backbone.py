"""A classifier inside another network, which reads its maps."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import watch
from jsep.models.network import Network
from jsep.models.stage import Stage


def read_backbone(
    parent: nn.Module, network: nn.Module, x: Float[Array, "n h w c"], *endings: str, train: bool, **fields: Any
) -> tuple[dict[str, Stage], dict[str, Array]]:
    """Run a classifier without its last layers, as the submodule "backbone" of another network.

    Args:
        parent: the other network, inside its compact method.
        network: the classifier.
        x: images.
        *endings: ends of the names of layers whose outputs are wanted, too.
        train: normalise by the statistics of the batch.
        **fields: other values for fields of the classifier.

    Returns:
        The stages by name, the last of which is called head (see `jsep.models.network.Network`), and the outputs of
        the layers by name.
    """
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
