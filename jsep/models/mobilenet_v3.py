"""MobileNet V3, large and small: MobileNet V2's blocks with squeeze and excitation and hard-swish, found by search.

Paper: Howard et al., arXiv 1905.02244, Tables 1 and 2, in torchvision's form: batch norm has epsilon 0.001 and keeps
0.99 of its statistics, and a hard sigmoid gates squeeze and excitation.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import Conv, DepthwiseConv, GlobalAvgPool, PointwiseConv, SqueezeExcite, StochasticDepth, growing_rates
from jsep.models.mobilenet_v2 import scaled
from jsep.models.network import Network, Output
from jsep.models.registry import Fraction, Rate, option
from jsep.models.stage import Stage


class Row(NamedTuple):
    """A block: one row of Tables 1 and 2."""

    kernel: int
    expanded: int
    features: int
    squeeze: bool
    act: Literal["relu", "hard_swish"]
    stride: int


LARGE = (
    Row(3, 16, 16, False, "relu", 1),
    Row(3, 64, 24, False, "relu", 2),
    Row(3, 72, 24, False, "relu", 1),
    Row(5, 72, 40, True, "relu", 2),
    *[Row(5, 120, 40, True, "relu", 1)] * 2,
    Row(3, 240, 80, False, "hard_swish", 2),
    Row(3, 200, 80, False, "hard_swish", 1),
    *[Row(3, 184, 80, False, "hard_swish", 1)] * 2,
    Row(3, 480, 112, True, "hard_swish", 1),
    Row(3, 672, 112, True, "hard_swish", 1),
    Row(5, 672, 160, True, "hard_swish", 2),
    *[Row(5, 960, 160, True, "hard_swish", 1)] * 2,
)
SMALL = (
    Row(3, 16, 16, True, "relu", 2),
    Row(3, 72, 24, False, "relu", 2),
    Row(3, 88, 24, False, "relu", 1),
    Row(5, 96, 40, True, "hard_swish", 2),
    *[Row(5, 240, 40, True, "hard_swish", 1)] * 2,
    Row(5, 120, 48, True, "hard_swish", 1),
    Row(5, 144, 48, True, "hard_swish", 1),
    Row(5, 288, 96, True, "hard_swish", 2),
    *[Row(5, 576, 96, True, "hard_swish", 1)] * 2,
)
STEM, HEAD = 16, {"large": 1280, "small": 1024}
ACTIVATIONS = {"relu": nn.relu, "hard_swish": nn.hard_swish}


def places(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the stage and the number of each block, both from 1; a stride of 2 begins a stage."""
    found: list[tuple[int, int]] = []
    for row in rows:
        stage, number = found[-1] if found else (1, 0)
        found.append((stage + 1, 1) if found and row.stride > 1 else (stage, number + 1))
    return found


def reduced(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the blocks with half of the features from the last stride on."""
    last = max(at for at, row in enumerate(rows) if row.stride > 1)
    halved = [row._replace(expanded=row.expanded // 2, features=row.features // 2) for row in rows[last + 1 :]]
    return (*rows[:last], rows[last]._replace(features=rows[last].features // 2), *halved)


class MobileNetV3(Network):
    """MobileNet V3 for any input size.

    Attributes:
        size: large or small.
        width: multiplier of the features of all layers; of the stem only from 0.75 on, and of the last dense layer
            only above 1.
        input: "imagenet" has a stem of stride 2; "cifar", for 32x32 images, has stride 1 in the stem and in the first
            block of stride 2.
        dropout: rate in front of the classifier.
        stochastic_depth: probability that the branch of the last block is left out in training.
        padding: "TORCH" pads as PyTorch does, "SAME" as TensorFlow and Keras do.
        tail: "reduced" halves the features of the last stage and of what follows, as detectors do (section 6.3).
        epsilon: number that batch norms add to the variance; 1e-5 in timm's networks without "tf_".
        output_stride: largest stride of a stage. Where it would be exceeded, dilation takes the place of strides: the
            depthwise convolution that loses its stride and those behind it read positions further apart.
    """

    size: Literal["large", "small"] = option("large")
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dropout: Rate = option(0.2)
    stochastic_depth: Rate = option(0.0)
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    tail: Literal["full", "reduced"] = option("full")
    epsilon: Fraction = option(1e-3)
    output_stride: Literal[8, 16, 32] = option(32)
    norm_momentum: float = 0.99

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def block(x: Array, row: Row, base: int, stride: int, dilation: int, name: str) -> Array:
            # the factor of expansion belongs to the network: a narrow input is expanded as much as a wide one
            expanded, act = scaled(x.shape[-1] * row.expanded / base, 1.0), ACTIVATIONS[row.act]
            y = x
            if expanded != x.shape[-1]:
                y = conv_norm(y, PointwiseConv(expanded, name=f"{name}_expand", **common), act)
                expansions[name] = y
            depthwise = DepthwiseConv(row.kernel, stride, self.padding, dilation, name=f"{name}_depthwise", **common)
            y = conv_norm(y, depthwise, act)
            if row.squeeze:
                gate: dict[str, Any] = {"hidden": scaled(expanded // 4, 1.0), "gate": nn.hard_sigmoid}
                y = SqueezeExcite(**gate, dtype=self.dtype, name=f"{name}_se")(y)
            y = conv_norm(y, PointwiseConv(scaled(row.features, self.width), name=f"{name}_project", **common))
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        rows, part = LARGE if self.size == "large" else SMALL, 1
        if self.tail == "reduced":
            rows, part = reduced(rows), 2
        total = 2 if imagenet else 1
        stem = scaled(STEM, self.width if self.width >= 0.75 else 1.0)  # timm and Keras leave it alone
        x = conv_norm(x, Conv(stem, 3, total, self.padding, name="stem", **common), nn.hard_swish)
        keep_size = not imagenet
        rates = growing_rates(self.stochastic_depth, len(rows))
        stages, expansions, base, dilation = {}, {}, STEM, 1
        for row, (stage, number) in zip(rows, places(rows), strict=True):
            stride = row.stride
            if stride > 1 and keep_size:
                stride, keep_size = 1, False
            if total * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            total *= stride
            x, base = block(x, row, base, stride, dilation, f"stage{stage}_block{number}"), row.features
            stages[f"stage{stage}"] = Stage(x, total, expansions.get(f"stage{stage}_block1"))
        x = conv_norm(x, PointwiseConv(scaled(6 * base, self.width), name="head", **common), nn.hard_swish)
        width = scaled(HEAD[self.size] // part, max(1.0, self.width))

        def pooled(x: Array) -> Array:
            x = GlobalAvgPool(name="pool")(x)
            return nn.hard_swish(nn.Dense(width, dtype=self.dtype, name="dense")(x))

        return self.classified(x, stages, train=train, features=features, dropout=self.dropout, pooled=pooled)
