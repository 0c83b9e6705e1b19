"""ANTNet: MobileNet V2 with channel attention nested between the depthwise convolution and a grouped projection.

Paper: Xiong, Kim, Hedau, arXiv 1904.03775. The block is the paper's; the attention's ratios are from the public code
of dhananjaisharma10/ANTNet, and the sizes, which the paper prints 0.1 M smaller, follow from both (third-party).
"""

from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import BatchNorm, Conv, DepthwiseConv, GlobalAvgPool, PointwiseConv, SqueezeExcite, classifier
from jsep.models.mobilenet_v2 import HEAD, STAGES, scaled
from jsep.models.registry import IMAGENET, option, register
from jsep.models.stage import Stage

RATIOS = (8, 8, 12, 16, 24, 32, 64)  # of the attention, by stage


class ANTNet(nn.Module):
    """ANTNet for any input size and number of classes.

    width: as in MobileNet V2. groups: of every projection. input: "imagenet" has a stem of stride 2, "cifar" keeps the
    size in the stem and in the second stage, for 32x32 images.
    """

    num_classes: int = 1000
    width: float = option(1.0)
    groups: int = option(1)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if not self.groups or scaled(STAGES[0][1], self.width) % self.groups:
            raise UserError(f"groups={self.groups}: it must divide all features, as 1, 2, 4 and 8 do")
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def normalized(x: Array, layer: Conv | DepthwiseConv | PointwiseConv) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{layer.name}_norm")
            return norm(layer(x), train=train)

        def block(x: Array, expansion: int, width: int, stride: int, ratio: int, name: str) -> Array:
            y = x
            if expansion > 1:
                expand = PointwiseConv(expansion * x.shape[-1], name=f"{name}_expand", **common)
                y = nn.relu6(normalized(y, expand))
            y = nn.relu6(normalized(y, DepthwiseConv(3, stride, name=f"{name}_depthwise", **common)))
            y = SqueezeExcite(ratio, dtype=self.dtype, name=f"{name}_se")(y)
            y = normalized(y, Conv(width, 1, groups=self.groups, name=f"{name}_project", **common))
            return x + y if x.shape == y.shape else y

        imagenet = self.input == "imagenet"
        total = 2 if imagenet else 1
        x = nn.relu6(normalized(x, Conv(scaled(32, self.width), 3, total, name="stem", **common)))
        stages = {}
        for stage, ((expansion, base, blocks, first), ratio) in enumerate(zip(STAGES, RATIOS, strict=True), start=1):
            first = 1 if stage == 2 and not imagenet else first
            total *= first
            for i in range(1, blocks + 1):
                stride = first if i == 1 else 1
                x = block(x, expansion, scaled(base, self.width), stride, ratio, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, total)
        x = nn.relu6(normalized(x, PointwiseConv(scaled(HEAD, max(1.0, self.width)), name="head", **common)))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


_FACTS: dict[str, Any] = {
    "paper": "arXiv 1904.03775",
    **IMAGENET,
    "certainty": "third-party",
}


@register(**_FACTS)
def antnet_g1(**fields: Any) -> ANTNet:
    """ANTNet with ungrouped projections."""
    return ANTNet(**fields)


@register(**_FACTS, published={"ImageNet top-1, % (the model is g=2 by its compute)": "72.8"})
def antnet_g2(**fields: Any) -> ANTNet:
    """ANTNet with projections in two groups."""
    return ANTNet(**{"groups": 2, **fields})
