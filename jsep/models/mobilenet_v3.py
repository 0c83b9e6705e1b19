"""MobileNet V3, large and small: MobileNet V2's blocks with squeeze and excitation and hard-swish, found by search.

Paper: Howard et al., arXiv 1905.02244, Tables 1 and 2, as torchvision has them: batch norm with epsilon 0.001 that
keeps 0.99 of its statistics, and squeeze and excitation gated by a hard sigmoid.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    GlobalAvgPool,
    PointwiseConv,
    SqueezeExcite,
    StochasticDepth,
    classifier,
    growing_rates,
)
from jsep.models.mobilenet_v2 import scaled
from jsep.models.registry import IMAGENET, Rate, option, register
from jsep.models.stage import Stage

Row = tuple[int, int, int, bool, str, int]
# (kernel size, expanded features, features, squeeze and excitation, activation, stride)
LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    *[(5, 120, 40, True, "relu", 1)] * 2,
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    *[(3, 184, 80, False, "hard_swish", 1)] * 2,
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    *[(5, 960, 160, True, "hard_swish", 1)] * 2,
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    *[(5, 240, 40, True, "hard_swish", 1)] * 2,
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    *[(5, 576, 96, True, "hard_swish", 1)] * 2,
)
STEM, HEAD = 16, {"large": 1280, "small": 1024}
ACTIVATIONS = {"relu": nn.relu, "hard_swish": nn.hard_swish}


def places(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Stage and number of each row's block; a stride of 2 begins a stage."""
    found: list[tuple[int, int]] = []
    for *_, stride in rows:
        stage, number = found[-1] if found else (1, 0)
        found.append((stage + 1, 1) if found and stride > 1 else (stage, number + 1))
    return found


class MobileNetV3(nn.Module):
    """MobileNet V3 for any input size and number of classes.

    size: large or small. width: multiplier of every layer's features, the last dense one's only where above 1. input:
    "imagenet" has a stem of stride 2, "cifar" keeps the size in the stem and in the first block of stride 2, for 32x32
    images. dropout: before the classifier in training.
    stochastic_depth: chance that the last block's branch is left out in training.
    """

    num_classes: int = 1000
    size: Literal["large", "small"] = option("large")
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
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def normalized(x: Array, layer: Conv | DepthwiseConv | PointwiseConv) -> Array:
            norm = BatchNorm(0.99, 1e-3, self.axis_name, self.dtype, name=f"{layer.name}_norm")
            return norm(layer(x), train=train)

        def block(x: Array, row: Row, base: int, stride: int, name: str) -> Array:
            kernel, expanded, width, squeeze, act, _ = row
            # the factor of expansion belongs to the network, so that a narrow input is expanded as much as a wide one
            expanded, activation = scaled(x.shape[-1] * expanded / base, 1.0), ACTIVATIONS[act]
            y = x
            if expanded != x.shape[-1]:
                y = activation(normalized(y, PointwiseConv(expanded, name=f"{name}_expand", **common)))
            y = activation(normalized(y, DepthwiseConv(kernel, stride, name=f"{name}_depthwise", **common)))
            if squeeze:
                gate: dict[str, Any] = {"hidden": scaled(expanded // 4, 1.0), "gate": nn.hard_sigmoid}
                y = SqueezeExcite(**gate, dtype=self.dtype, name=f"{name}_se")(y)
            y = normalized(y, PointwiseConv(scaled(width, self.width), name=f"{name}_project", **common))
            rate = next(rates)
            if x.shape != y.shape:
                return y
            return x + StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)

        imagenet = self.input == "imagenet"
        rows = LARGE if self.size == "large" else SMALL
        total = 2 if imagenet else 1
        x = nn.hard_swish(normalized(x, Conv(scaled(STEM, self.width), 3, total, name="stem", **common)))
        keep_size = not imagenet
        rates = growing_rates(self.stochastic_depth, len(rows))
        stages, base = {}, STEM
        for row, (stage, number) in zip(rows, places(rows), strict=True):
            stride = row[-1]
            if stride > 1 and keep_size:
                stride, keep_size = 1, False
            total *= stride
            x, base = block(x, row, base, stride, f"stage{stage}_block{number}"), row[2]
            stages[f"stage{stage}"] = Stage(x, total)
        head = 6 * x.shape[-1]
        x = nn.hard_swish(normalized(x, PointwiseConv(head, name="head", **common)))
        x = GlobalAvgPool(name="pool")(x)
        hidden = scaled(HEAD[self.size], max(1.0, self.width))
        x = nn.hard_swish(nn.Dense(hidden, dtype=self.dtype, name="dense")(x))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


_FACTS: dict[str, Any] = {
    "paper": "arXiv 1905.02244",
    **IMAGENET,
    "certainty": "certain",
}


@register(
    **_FACTS,
    references={"torchvision:mobilenet_v3_large": {}},
    published={"ImageNet top-1, %": "75.2", "MACs": "219 M", "parameters": "5.4 M"},
)
def mobilenet_v3_large(**fields: Any) -> MobileNetV3:
    """MobileNet V3 large."""
    return MobileNetV3(**fields)


@register(
    **_FACTS,
    references={"torchvision:mobilenet_v3_small": {}},
    published={"ImageNet top-1, % (from memory)": "67.4", "MACs": "56 M", "parameters": "2.5 M"},
)
def mobilenet_v3_small(**fields: Any) -> MobileNetV3:
    """MobileNet V3 small."""
    return MobileNetV3(**{"size": "small", **fields})
