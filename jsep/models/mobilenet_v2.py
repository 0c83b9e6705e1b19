"""MobileNet V2: thin ends, a wide depthwise middle, and a linear projection, with a shortcut between the thin ends.

Paper: Sandler et al., arXiv 1801.04381, Table 2, as torchvision and timm have it. Attention, where chosen, sits at the
end of each block: Wang et al., arXiv 1910.03151, Table 2 (its squeeze and excitation: ratio 8, inferred from the size).
"""

from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    EfficientChannelAttention,
    GlobalAvgPool,
    PointwiseConv,
    SqueezeExcite,
    StochasticDepth,
    classifier,
    growing_rates,
)
from jsep.models.registry import IMAGENET, Certainty, Rate, option, register
from jsep.models.stage import Stage

# (expansion, features, blocks, stride of the first): Table 2 from its second row on
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
HEAD = 1280


def scaled(features: float, width: float) -> int:
    """A multiple of 8 near features * width, never more than a tenth below it.

    >>> [scaled(24, width) for width in (0.35, 0.5, 1.4)]
    [8, 16, 32]
    """
    exact = features * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


class MobileNetV2(nn.Module):
    """MobileNet V2 for any input size and number of classes.

    width: multiplier of every layer's features, the last 1x1's only where above 1. input: "imagenet" has a stem of
    stride 2, "cifar" keeps the size in the stem and in the second stage, for 32x32 images. attention: none, squeeze
    and excitation without biases (se, se_ratio), or efficient channel attention (eca) with the released kernels: 1 on
    fewer than 96 features, else 3. dropout: before the classifier in training.
    stochastic_depth: chance that the last block's branch is left out in training.
    """

    num_classes: int = 1000
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    attention: Literal["none", "se", "eca"] = option("none")
    se_ratio: int = option(8)
    dropout: Rate = option(0.2)
    stochastic_depth: Rate = option(0.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def normalized(x: Array, layer: Conv | DepthwiseConv | PointwiseConv) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{layer.name}_norm")
            return norm(layer(x), train=train)

        def attended(x: Array, name: str) -> Array:
            if self.attention == "se":
                return SqueezeExcite(self.se_ratio, use_bias=False, dtype=self.dtype, name=f"{name}_se")(x)
            if self.attention == "eca":
                size = 1 if x.shape[-1] < 96 else 3
                return EfficientChannelAttention(size, dtype=self.dtype, name=f"{name}_eca")(x)
            return x

        def block(x: Array, expansion: int, width: int, stride: int, name: str) -> Array:
            y = x
            if expansion > 1:
                expand = PointwiseConv(expansion * x.shape[-1], name=f"{name}_expand", **common)
                y = nn.relu6(normalized(y, expand))
            y = nn.relu6(normalized(y, DepthwiseConv(3, stride, name=f"{name}_depthwise", **common)))
            y = attended(normalized(y, PointwiseConv(width, name=f"{name}_project", **common)), name)
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        total = 2 if imagenet else 1
        x = nn.relu6(normalized(x, Conv(scaled(32, self.width), 3, total, name="stem", **common)))
        rates = growing_rates(self.stochastic_depth, sum(row[2] for row in STAGES))
        stages = {}
        for stage, (expansion, base, blocks, first) in enumerate(STAGES, start=1):
            first = 1 if stage == 2 and not imagenet else first
            total *= first
            for i in range(1, blocks + 1):
                stride = first if i == 1 else 1
                x = block(x, expansion, scaled(base, self.width), stride, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, total)
        x = nn.relu6(normalized(x, PointwiseConv(scaled(HEAD, max(1.0, self.width)), name="head", **common)))
        x = GlobalAvgPool(name="pool")(x)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _facts(paper: str, certainty: Certainty = "certain", **more: Any) -> dict[str, Any]:
    return {"paper": paper, "certainty": certainty, **IMAGENET, **more}


@register(
    **_facts("arXiv 1801.04381", references={"torchvision:mobilenet_v2": {}, "timm:mobilenetv2_100": {}}),
    published={"ImageNet top-1, %": "72.0", "MACs": "300 M", "parameters": "3.4 M"},
)
def mobilenet_v2(**fields: Any) -> MobileNetV2:
    """MobileNet V2 at full width."""
    return MobileNetV2(**fields)


@register(
    **_facts("arXiv 1801.04381", references={"timm:mobilenetv2_140": {}}),
    published={"ImageNet top-1, %": "74.7", "MACs": "585 M", "parameters": "6.9 M"},
)
def mobilenet_v2_140(**fields: Any) -> MobileNetV2:
    """MobileNet V2 at 1.4 times the width."""
    return MobileNetV2(**{"width": 1.4, **fields})


@register(
    **_facts("arXiv 1801.04381", references={"timm:mobilenetv2_050": {}}),
    published={"ImageNet top-1, %": "65.4", "MACs": "97 M", "parameters": "1.95 M"},
)
def mobilenet_v2_050(**fields: Any) -> MobileNetV2:
    """MobileNet V2 at half the width."""
    return MobileNetV2(**{"width": 0.5, **fields})


@register(**_facts("arXiv 1910.03151"), published={"ImageNet top-1 / top-5, %": "72.56 / 90.81"})
def eca_mobilenet_v2(**fields: Any) -> MobileNetV2:
    """MobileNet V2 with efficient channel attention, kernels as released."""
    return MobileNetV2(**{"attention": "eca", **fields})


@register(**_facts("arXiv 1910.03151", "reconstructed"))
def se_mobilenet_v2(**fields: Any) -> MobileNetV2:
    """MobileNet V2 with squeeze and excitation at the end of each block."""
    return MobileNetV2(**{"attention": "se", **fields})
