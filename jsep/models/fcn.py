"""FCN: a 3x3 and a 1x1 convolution turn the maps of a dilated classifier into a class at each pixel.

Paper: Long, Shelhamer, Darrell, arXiv 1411.4038, in torchvision's form: without skips, over dilated maps.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import Conv, Dropout, PointwiseConv
from jsep.models.registry import Rate, option
from jsep.models.segmenter import BackboneSegmenter, Maps, Segmenter, to_pixels

DROPOUT = 0.1


class FCN(BackboneSegmenter):
    """Fully convolutional network over any classifier.

    Attributes:
        dropout: rate in front of the last convolutions.
        auxiliary: whether training has a second head of the same kind, over the last stage but one.
    """

    dropout: Rate = option(DROPOUT)
    auxiliary: bool = option(False)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Maps:
        """Return logits at each pixel, in training also the auxiliary ones if there are any."""
        _, middle, last = self.read(x, train=train)
        logits = to_pixels(fcn_head(self, last, self.dropout, train=train), x)
        if not self.auxiliary or not (train or self.is_initializing()):
            return Maps(logits)
        return Maps(logits, to_pixels(fcn_head(self, middle, self.dropout, "auxiliary_", train=train), x))


def fcn_head(
    model: Segmenter, x: Float[Array, "n h w c"], dropout: float, prefix: str = "", *, train: bool
) -> Float[Array, "n h w k"]:
    """Return logits from maps, by layers of a network.

    Args:
        model: the network.
        x: the maps.
        dropout: rate between the two convolutions.
        prefix: beginning of the names of the layers.
        train: normalise by the statistics of the batch, and apply dropout.
    """
    conv = Conv(x.shape[-1] // 4, 3, use_bias=False, dtype=model.dtype, name=f"{prefix}head")
    x = model.conv_norm(x, conv, nn.relu, train=train)
    x = Dropout(dropout, model.axis_name, name=f"{prefix}dropout")(x, train=train)
    return PointwiseConv(model.num_classes, dtype=model.dtype, name=f"{prefix}classifier")(x)
