"""ANTNet: MobileNet V2 with channel attention between the depthwise convolution and a grouped projection.

Paper: Xiong, Kim, Hedau, arXiv 1904.03775. The block is the paper's. The ratios of the attention are from the public
code of dhananjaisharma10/ANTNet; the paper prints sizes that are 0.1 M parameters smaller (third-party).
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import Conv, DepthwiseConv, PointwiseConv, SqueezeExcite
from jsep.models.mobilenet_v2 import HEAD, STAGES, scaled
from jsep.models.network import Network, Output
from jsep.models.registry import option
from jsep.models.stage import Stage

RATIOS = (8, 8, 12, 16, 24, 32, 64)  # of the attention, by stage


class ANTNet(Network):
    """ANTNet for any input size.

    Attributes:
        width: multiplier of the features of all layers; of the last 1x1 convolution only if it is above 1.
        groups: groups of every projection.
        input: "imagenet" has a stem of stride 2; "cifar", for 32x32 images, has stride 1 in the stem and in the second
            stage.
    """

    width: float = option(1.0)
    groups: int = option(1)
    input: Literal["imagenet", "cifar"] = option("imagenet")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        if any(scaled(base, self.width) % self.groups for base in (32, *(row[1] for row in STAGES))):
            raise UserError(f"option groups={self.groups}: it must divide all features, as 1, 2, 4 and 8 do")
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def block(x: Array, expansion: int, width: int, stride: int, ratio: int, name: str) -> Array:
            y = x
            if expansion > 1:
                y = conv_norm(y, PointwiseConv(expansion * x.shape[-1], name=f"{name}_expand", **common), nn.relu6)
            y = conv_norm(y, DepthwiseConv(3, stride, name=f"{name}_depthwise", **common), nn.relu6)
            y = SqueezeExcite(ratio, dtype=self.dtype, name=f"{name}_se")(y)
            y = conv_norm(y, Conv(width, 1, groups=self.groups, name=f"{name}_project", **common))
            return x + y if x.shape == y.shape else y

        imagenet = self.input == "imagenet"
        total = 2 if imagenet else 1
        x = conv_norm(x, Conv(scaled(32, self.width), 3, total, name="stem", **common), nn.relu6)
        stages = {}
        for stage, ((expansion, base, blocks, first), ratio) in enumerate(zip(STAGES, RATIOS, strict=True), start=1):
            first = 1 if stage == 2 and not imagenet else first
            total *= first
            for i in range(1, blocks + 1):
                stride = first if i == 1 else 1
                x = block(x, expansion, scaled(base, self.width), stride, ratio, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, total)
        x = conv_norm(x, PointwiseConv(scaled(HEAD, max(1.0, self.width)), name="head", **common), nn.relu6)
        return self.classified(x, stages, train=train, features=features)
