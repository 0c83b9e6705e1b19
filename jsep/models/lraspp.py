"""LR-ASPP: two 1x1 convolutions, one of them behind a gate, turn the maps of a classifier into a class at each pixel.

Paper: Howard et al., arXiv 1905.02244, section 6.4, in torchvision's form, whose gate sees the mean of the whole map.
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import PointwiseConv
from jsep.models.registry import option
from jsep.models.segmenter import BackboneSegmenter, Maps, to_pixels


class LRASPP(BackboneSegmenter):
    """Lite reduced atrous spatial pyramid pooling over any classifier.

    Attributes:
        features: features of the last maps behind their 1x1 convolution.
    """

    features: int = option(128)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Maps:
        """Return logits at each pixel."""
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
        early, _, last = self.read(x, train=train)
        gate = nn.Dense(self.features, name="gate", **common)(ops.global_avg_pool(last))
        y = self.conv_norm(last, PointwiseConv(self.features, name="head", **common), nn.relu, train=train)
        y = ops.resize(y * nn.sigmoid(gate)[:, None, None, :], early.shape[1:3])
        logits = PointwiseConv(self.num_classes, dtype=self.dtype, name="classifier")(y)
        logits += PointwiseConv(self.num_classes, dtype=self.dtype, name="early_classifier")(early)
        return Maps(to_pixels(logits, x))
