"""MixNet: blocks like MobileNet V3's, with depthwise kernels of several sizes side by side.

Paper: Tan and Le, arXiv 1907.09595, Figure 4. The tables are timm's, whose MACs are 2 to 7 % below the printed ones.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import (
    Conv,
    MixedDepthwiseConv,
    PointwiseConv,
    SplitPointwiseConv,
    SqueezeExcite,
    StochasticDepth,
    growing_rates,
)
from jsep.models.mobilenet_v2 import scaled
from jsep.models.network import Network, Output
from jsep.models.registry import Fraction, Rate, option
from jsep.models.stage import Stage


class Row(NamedTuple):
    """Blocks of one kind. se_divisor: squeeze and excitation has input channels // se_divisor hidden features, or none.

    Blocks with squeeze and excitation have swish, the others ReLU. Only the first block has the stride.
    """

    blocks: int
    expansion: int
    features: int
    expand_parts: int
    kernels: tuple[int, ...]
    project_parts: int
    se_divisor: int
    stride: int


# a line for each stage
SMALL = (
    (Row(1, 1, 16, 1, (3,), 1, 0, 1),),
    (Row(1, 6, 24, 2, (3,), 2, 0, 2), Row(1, 3, 24, 2, (3,), 2, 0, 1)),
    (Row(1, 6, 40, 1, (3, 5, 7), 1, 2, 2), Row(3, 6, 40, 2, (3, 5), 2, 2, 1)),
    (Row(1, 6, 80, 1, (3, 5, 7), 2, 4, 2), Row(2, 6, 80, 1, (3, 5), 2, 4, 1)),
    (Row(1, 6, 120, 2, (3, 5, 7), 2, 2, 1), Row(2, 3, 120, 2, (3, 5, 7, 9), 2, 2, 1)),
    (Row(1, 6, 200, 1, (3, 5, 7, 9, 11), 1, 2, 2), Row(2, 6, 200, 1, (3, 5, 7, 9), 2, 2, 1)),
)
MEDIUM = (
    (Row(1, 1, 24, 1, (3,), 1, 0, 1),),
    (Row(1, 6, 32, 2, (3, 5, 7), 2, 0, 2), Row(1, 3, 32, 2, (3,), 2, 0, 1)),
    (Row(1, 6, 40, 1, (3, 5, 7, 9), 1, 2, 2), Row(3, 6, 40, 2, (3, 5), 2, 2, 1)),
    (Row(1, 6, 80, 1, (3, 5, 7), 1, 4, 2), Row(3, 6, 80, 2, (3, 5, 7, 9), 2, 4, 1)),
    (Row(1, 6, 120, 1, (3,), 1, 2, 1), Row(3, 3, 120, 2, (3, 5, 7, 9), 2, 2, 1)),
    (Row(1, 6, 200, 1, (3, 5, 7, 9), 1, 2, 2), Row(3, 6, 200, 1, (3, 5, 7, 9), 2, 2, 1)),
)
# size: rows by stage, features of the stem, and multiplier of all features; the large one is the medium one widened
SIZES = {"s": (SMALL, 16, 1.0), "m": (MEDIUM, 24, 1.0), "l": (MEDIUM, 24, 1.3)}
HEAD = 1536


class MixNet(Network):
    """MixNet for any input size.

    Attributes:
        size: small, medium or large.
        width: multiplier of the features of all layers but the last 1x1 convolution.
        input: "imagenet" has a stem of stride 2; "cifar", for 32x32 images, has stride 1 in the stem and in the second
            stage.
        dropout: rate in front of the classifier.
        stochastic_depth: probability that the branch of the last block is left out in training.
        padding: "TORCH" pads as PyTorch does, "SAME" as TensorFlow and Keras do.
        epsilon: number that batch norms add to the variance; 1e-3 in TensorFlow and Keras.
    """

    size: Literal["s", "m", "l"] = option("s")
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dropout: Rate = option(0.2)
    stochastic_depth: Rate = option(0.0)
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    epsilon: Fraction = option(1e-5)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        conv_norm = partial(self.conv_norm, train=train)

        def block(x: Array, row: Row, width: int, stride: int, name: str) -> Array:
            act = nn.silu if row.se_divisor else nn.relu
            y = x
            if row.expansion > 1:
                expanded = row.expansion * x.shape[-1]
                expand = SplitPointwiseConv(expanded, row.expand_parts, self.dtype, name=f"{name}_expand")
                y = conv_norm(y, expand, act)
            depthwise: dict[str, Any] = {"padding": self.padding, "dtype": self.dtype, "name": f"{name}_depthwise"}
            y = conv_norm(y, MixedDepthwiseConv(row.kernels, stride, **depthwise), act)
            if row.se_divisor:
                hidden = x.shape[-1] // row.se_divisor
                y = SqueezeExcite(hidden=hidden, act=nn.silu, dtype=self.dtype, name=f"{name}_se")(y)
            y = conv_norm(y, SplitPointwiseConv(width, row.project_parts, self.dtype, name=f"{name}_project"))
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        rows, stem, multiplier = SIZES[self.size]
        multiplier *= self.width
        total = 2 if imagenet else 1
        conv = Conv(scaled(stem, multiplier), 3, total, self.padding, use_bias=False, dtype=self.dtype, name="stem")
        x = conv_norm(x, conv, nn.relu)
        rates = growing_rates(self.stochastic_depth, sum(row.blocks for kinds in rows for row in kinds))
        stages = {}
        for stage, kinds in enumerate(rows, start=1):
            number = 0
            for row in kinds:
                first = 1 if stage == 2 and not imagenet else row.stride
                total *= first
                for i in range(row.blocks):
                    number += 1
                    stride = first if i == 0 else 1
                    x = block(x, row, scaled(row.features, multiplier), stride, f"stage{stage}_block{number}")
            stages[f"stage{stage}"] = Stage(x, total)
        x = conv_norm(x, PointwiseConv(HEAD, use_bias=False, dtype=self.dtype, name="head"), nn.relu)
        return self.classified(x, stages, train=train, features=features, dropout=self.dropout)
