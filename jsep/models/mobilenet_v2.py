"""MobileNet V2: thin ends, a wide depthwise middle and a linear projection, with a shortcut between the thin ends.

Paper: Sandler et al., arXiv 1801.04381, Table 2, in the form of torchvision and timm. The optional attention is at the
end of each block: Wang et al., arXiv 1910.03151, Table 2 (the ratio 8 of its squeeze and excitation is inferred from
the number of parameters).
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import (
    Attention,
    Conv,
    DepthwiseConv,
    PointwiseConv,
    StochasticDepth,
    attended,
    growing_rates,
)
from jsep.models.network import Network, Output
from jsep.models.registry import Fraction, Rate, option
from jsep.models.stage import Stage

# expansion, features, blocks, and stride of the first block: Table 2 from its second row on
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
HEAD = 1280


def scaled(features: float, width: float) -> int:
    """Return a multiple of 8 near features * width that is at most a tenth below it.

    >>> [scaled(24, width) for width in (0.35, 0.5, 1.4)]
    [8, 16, 32]
    """
    exact = features * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class MobileNetV2(Network):
    """MobileNet V2 for any input size.

    Attributes:
        width: multiplier of the features of all layers; of the last 1x1 convolution only if it is above 1.
        input: "imagenet" has a stem of stride 2; "cifar", for 32x32 images, has stride 1 in the stem and in the second
            stage.
        attention: channel attention at the end of each block: squeeze and excitation ("se") or efficient channel
            attention ("eca").
        se_ratio: squeeze and excitation has features // se_ratio hidden features.
        se_bias: whether the dense layers of squeeze and excitation have biases.
        eca_kernels: kernel sizes of efficient channel attention: as in the released model (1 below 96 features, else
            3), or by the paper's formula.
        dropout: rate in front of the classifier.
        stochastic_depth: probability that the branch of the last block is left out in training.
        padding: "TORCH" pads as PyTorch does, "SAME" as TensorFlow and Keras do.
        epsilon: number that batch norms add to the variance; 1e-3 in TensorFlow and Keras.
        output_stride: largest stride of a stage. Where it would be exceeded, dilation takes the place of strides: the
            depthwise convolution that loses its stride stays as it is, and those behind it read positions further
            apart.
    """

    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    attention: Attention = option("none")
    se_ratio: int = option(8)
    se_bias: bool = option(False)
    eca_kernels: Literal["released", "formula"] = option("released")
    dropout: Rate = option(0.2)
    stochastic_depth: Rate = option(0.0)
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    epsilon: Fraction = option(1e-5)
    output_stride: Literal[8, 16, 32] = option(32)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def attention(x: Array, name: str) -> Array:
            released = 1 if x.shape[-1] < 96 else 3
            se: dict[str, Any] = {"se_ratio": self.se_ratio, "se_bias": self.se_bias}
            eca_kernel = released if self.eca_kernels == "released" else 0
            return attended(x, self.attention, name, **se, eca_kernel=eca_kernel, dtype=self.dtype)

        def block(x: Array, expansion: int, width: int, stride: int, dilation: int, name: str) -> Array:
            y = x
            if expansion > 1:
                y = conv_norm(y, PointwiseConv(expansion * x.shape[-1], name=f"{name}_expand", **common), nn.relu6)
                expansions[name] = y
            depthwise = DepthwiseConv(3, stride, self.padding, dilation, name=f"{name}_depthwise", **common)
            y = conv_norm(y, depthwise, nn.relu6)
            y = attention(conv_norm(y, PointwiseConv(width, name=f"{name}_project", **common)), name)
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        total = 2 if imagenet else 1
        x = conv_norm(x, Conv(scaled(32, self.width), 3, total, self.padding, name="stem", **common), nn.relu6)
        rates = growing_rates(self.stochastic_depth, sum(row[2] for row in STAGES))
        stages, expansions, dilation = {}, {}, 1
        for stage, (expansion, base, blocks, stride) in enumerate(STAGES, start=1):
            stride, spread = 1 if stage == 2 and not imagenet else stride, dilation
            if total * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            total *= stride
            for i in range(1, blocks + 1):
                x = block(x, expansion, scaled(base, self.width), stride, spread, f"stage{stage}_block{i}")
                stride, spread = 1, dilation
            stages[f"stage{stage}"] = Stage(x, total, expansions.get(f"stage{stage}_block1"))
        x = conv_norm(x, PointwiseConv(scaled(HEAD, max(1.0, self.width)), name="head", **common), nn.relu6)
        return self.classified(x, stages, train=train, features=features, dropout=self.dropout)
