"""MixNet: MobileNet V3's kind of blocks with depthwise kernels of several sizes side by side.

Paper: Tan and Le, arXiv 1907.09595, Figure 4; the tables are timm's, whose MACs lie 2 to 7 % below the printed ones.
"""

from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import (
    BatchNorm,
    Conv,
    Dropout,
    GlobalAvgPool,
    MixedDepthwiseConv,
    PointwiseConv,
    SplitPointwiseConv,
    SqueezeExcite,
    StochasticDepth,
    classifier,
    growing_rates,
)
from jsep.models.mobilenet_v2 import scaled
from jsep.models.registry import IMAGENET, Rate, option, register
from jsep.models.stage import Stage

# (blocks, expansion, features, parts of the expansion, kernel sizes, parts of the projection, divisor of the input
#  channels that are the hidden ones of squeeze and excitation or 0 for none, stride of the first)
Row = tuple[int, int, int, int, tuple[int, ...], int, int, int]
SMALL: tuple[tuple[Row, ...], ...] = (
    ((1, 1, 16, 1, (3,), 1, 0, 1),),
    ((1, 6, 24, 2, (3,), 2, 0, 2), (1, 3, 24, 2, (3,), 2, 0, 1)),
    ((1, 6, 40, 1, (3, 5, 7), 1, 2, 2), (3, 6, 40, 2, (3, 5), 2, 2, 1)),
    ((1, 6, 80, 1, (3, 5, 7), 2, 4, 2), (2, 6, 80, 1, (3, 5), 2, 4, 1)),
    ((1, 6, 120, 2, (3, 5, 7), 2, 2, 1), (2, 3, 120, 2, (3, 5, 7, 9), 2, 2, 1)),
    ((1, 6, 200, 1, (3, 5, 7, 9, 11), 1, 2, 2), (2, 6, 200, 1, (3, 5, 7, 9), 2, 2, 1)),
)
MEDIUM: tuple[tuple[Row, ...], ...] = (
    ((1, 1, 24, 1, (3,), 1, 0, 1),),
    ((1, 6, 32, 2, (3, 5, 7), 2, 0, 2), (1, 3, 32, 2, (3,), 2, 0, 1)),
    ((1, 6, 40, 1, (3, 5, 7, 9), 1, 2, 2), (3, 6, 40, 2, (3, 5), 2, 2, 1)),
    ((1, 6, 80, 1, (3, 5, 7), 1, 4, 2), (3, 6, 80, 2, (3, 5, 7, 9), 2, 4, 1)),
    ((1, 6, 120, 1, (3,), 1, 2, 1), (3, 3, 120, 2, (3, 5, 7, 9), 2, 2, 1)),
    ((1, 6, 200, 1, (3, 5, 7, 9), 1, 2, 2), (3, 6, 200, 1, (3, 5, 7, 9), 2, 2, 1)),
)
# size: rows, stem, and the multiplier of all features; the large one is the medium one widened
SIZES = {"s": (SMALL, 16, 1.0), "m": (MEDIUM, 24, 1.0), "l": (MEDIUM, 24, 1.3)}
HEAD = 1536


class MixNet(nn.Module):
    """MixNet for any input size and number of classes.

    size: s, m or l. width: multiplier of every layer's features but the head's. input: "imagenet" has a stem of
    stride 2, "cifar" keeps the size in the stem and in the second stage, for 32x32 images. dropout: before the
    classifier in training.
    stochastic_depth: chance that the last block's branch is left out in training.
    """

    num_classes: int = 1000
    size: Literal["s", "m", "l"] = option("s")
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dropout: Rate = option(0.2)
    stochastic_depth: Rate = option(0.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""

        def normalized(x: Array, layer: Conv | PointwiseConv | MixedDepthwiseConv | SplitPointwiseConv) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{layer.name}_norm")
            return norm(layer(x), train=train)

        def block(x: Array, row: Row, width: int, stride: int, name: str) -> Array:
            _, expansion, _, expand_parts, kernels, project_parts, divisor, _ = row
            act = nn.silu if divisor else nn.relu
            y = x
            if expansion > 1:
                expand = SplitPointwiseConv(expansion * x.shape[-1], expand_parts, self.dtype, name=f"{name}_expand")
                y = act(normalized(y, expand))
            y = act(normalized(y, MixedDepthwiseConv(kernels, stride, self.dtype, name=f"{name}_depthwise")))
            if divisor:
                hidden = x.shape[-1] // divisor
                y = SqueezeExcite(hidden=hidden, act=nn.silu, dtype=self.dtype, name=f"{name}_se")(y)
            y = normalized(y, SplitPointwiseConv(width, project_parts, self.dtype, name=f"{name}_project"))
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        rows, stem, multiplier = SIZES[self.size]
        multiplier *= self.width
        total = 2 if imagenet else 1
        conv = Conv(scaled(stem, multiplier), 3, total, use_bias=False, dtype=self.dtype, name="stem")
        x = nn.relu(normalized(x, conv))
        rates = growing_rates(self.stochastic_depth, sum(row[0] for parts in rows for row in parts))
        stages = {}
        for stage, parts in enumerate(rows, start=1):
            number = 0
            for row in parts:
                first = 1 if stage == 2 and not imagenet else row[-1]
                total *= first
                for i in range(row[0]):
                    number += 1
                    stride = first if i == 0 else 1
                    x = block(x, row, scaled(row[2], multiplier), stride, f"stage{stage}_block{number}")
            stages[f"stage{stage}"] = Stage(x, total)
        x = nn.relu(normalized(x, PointwiseConv(HEAD, use_bias=False, dtype=self.dtype, name="head")))
        x = GlobalAvgPool(name="pool")(x)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _paper(size: str, published: dict[str, str]) -> dict[str, Any]:
    return {
        "paper": "arXiv 1907.09595",
        **IMAGENET,
        "certainty": "certain",
        "references": {f"timm:mixnet_{size}": {}},
        "published": published,
    }


@register(**_paper("s", {"ImageNet top-1, % (from memory)": "75.8", "parameters": "4.1 M"}))
def mixnet_s(**fields: Any) -> MixNet:
    """MixNet, small."""
    return MixNet(**fields)


@register(**_paper("m", {"ImageNet top-1, % (from memory)": "77.0", "parameters": "5.0 M"}))
def mixnet_m(**fields: Any) -> MixNet:
    """MixNet, medium."""
    return MixNet(**{"size": "m", **fields})


@register(**_paper("l", {"ImageNet top-1, %": "78.9", "MACs": "565 M", "parameters": "7.3 M"}))
def mixnet_l(**fields: Any) -> MixNet:
    """MixNet, large."""
    return MixNet(**{"size": "l", **fields})
