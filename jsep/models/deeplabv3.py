"""DeepLabv3: convolutions of several dilations side by side see objects of all sizes (ASPP).

Paper: Chen et al., arXiv 1706.05587, section 3.3, in torchvision's form: dilations 12, 24, 36 at every output stride.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep.layers import Conv, Dropout, PointwiseConv
from jsep.models.fcn import DROPOUT, fcn_head
from jsep.models.registry import Rate, option
from jsep.models.segmenter import BackboneSegmenter, Maps, to_pixels

DILATIONS = (12, 24, 36)


class DeepLabV3(BackboneSegmenter):
    """DeepLabv3 over any classifier.

    Attributes:
        features: features of each branch.
        dropout: rate behind the branches.
        auxiliary: whether training has a second head, that of FCN over the last stage but one.
    """

    features: int = option(256)
    dropout: Rate = option(0.5)
    auxiliary: bool = option(False)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Maps:
        """Return logits at each pixel, in training also the auxiliary ones if there are any."""
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def convolved(x: Array, conv: nn.Module) -> Array:
            return self.conv_norm(x, conv, nn.relu, train=train)

        _, middle, last = self.read(x, train=train)
        branches = [convolved(last, PointwiseConv(self.features, name="branch1", **common))]
        for number, dilation in enumerate(DILATIONS, start=2):
            conv = Conv(self.features, 3, dilation=dilation, name=f"branch{number}", **common)
            branches.append(convolved(last, conv))
        mean = convolved(last.mean((1, 2), keepdims=True), PointwiseConv(self.features, name="pooled", **common))
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        y = convolved(jnp.concatenate(branches, -1), PointwiseConv(self.features, name="project", **common))
        y = Dropout(self.dropout, self.axis_name, name="dropout")(y, train=train)
        y = convolved(y, Conv(self.features, 3, name="head", **common))
        logits = to_pixels(PointwiseConv(self.num_classes, dtype=self.dtype, name="classifier")(y), x)
        if not self.auxiliary or not (train or self.is_initializing()):
            return Maps(logits)
        return Maps(logits, to_pixels(fcn_head(self, middle, DROPOUT, "auxiliary_", train=train), x))
