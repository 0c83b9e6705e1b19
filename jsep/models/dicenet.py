"""DiCENet: ShuffleNet V2's shape with DiCE units, whose kernels slide along all three dimensions.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516. Widths, head and activations are those of the authors' EdgeNets,
whose MACs are the FLOPs of the paper to the last printed digit.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import Conv, DepthwiseConv, DiCE, GlobalAvgPool, MaxPool, PointwiseConv, PReLU
from jsep.models.network import Network, Output
from jsep.models.registry import Rate, option
from jsep.models.stage import Stage

UNITS = (4, 8, 4)
# width: features of the stem, of the three stages, and of the grouped 1x1 convolution before the classifier
FEATURES = {
    0.1: (8, 16, 32, 64, 512),
    0.2: (16, 32, 64, 128, 1024),
    0.5: (24, 48, 96, 192, 1024),
    0.75: (24, 86, 172, 344, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.25: (24, 144, 288, 576, 1024),
    1.5: (24, 176, 352, 704, 1024),
    1.75: (24, 210, 420, 840, 1024),
    2.0: (24, 244, 488, 976, 1024),
    2.4: (24, 278, 556, 1112, 1280),
    3.0: (48, 384, 768, 1536, 2048),
}
HEAD_GROUPS = 4
_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class DiCENet(Network):
    """DiCENet. Its units have filters for the size of the images that it is initialised with.

    Attributes:
        width: one of the authors' eleven, 0.1 to 3.0.
        input: "imagenet" has a stem of stride 2 and a max pool, "cifar" only a stem of stride 1, for 32x32 images.
        dropout: rate in front of the classifier.
        stages: number of stages.
        image_size: side of the images that a new network has filters for; 0 for that of the images it is initialised
            with.
    """

    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dropout: Rate = option(0.1)
    stages: int = len(UNITS)
    image_size: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        if self.width not in FEATURES:
            raise UserError(f"option width={self.width}: it must be one of {', '.join(map(str, FEATURES))}")
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def conv_norm(x: Array, conv: nn.Module) -> Array:
            return self.conv_norm(x, conv, PReLU(dtype=self.dtype, name=f"{conv.name}_act"), train=train)

        def pointwise(x: Array, width: int, name: str) -> Array:
            return conv_norm(x, PointwiseConv(width, name=name, **common))

        def dice(x: Array, stride: int, name: str) -> Array:
            side = -(-self.image_size // total)
            unit = DiCE(x.shape[-1], stride, self.axis_name, self.dtype, side, name=f"{name}_dice")
            return unit(x, train=train)

        def strided_unit(x: Array, name: str) -> Array:
            """(n, h, w, c) -> (n, h / 2, w / 2, 2 * c)"""
            channels = x.shape[-1]
            left = conv_norm(x, DepthwiseConv(3, 2, name=f"{name}_shortcut_depthwise", **common))
            left = pointwise(left, channels, f"{name}_shortcut")
            right = pointwise(dice(x, 2, name), channels, f"{name}_project")
            return ops.channel_shuffle(jnp.concatenate([left, right], -1), 2)

        def unit(x: Array, width: int, name: str) -> Array:
            left, right = jnp.split(x, 2, -1)
            right = dice(pointwise(right, width - left.shape[-1], f"{name}_expand"), 1, name)
            return ops.channel_shuffle(jnp.concatenate([left, right], -1), 2)

        imagenet = self.input == "imagenet"
        stem, *widths, last = FEATURES[self.width]
        x = conv_norm(x, Conv(stem, 3, 2 if imagenet else 1, name="stem", **common))
        if imagenet:
            x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages, total = {}, 4 if imagenet else 1
        shapes = list(zip(widths, UNITS, strict=True))[: self.stages]
        for stage, (width, units) in enumerate(shapes, start=1):
            total *= 2
            x = strided_unit(x, f"stage{stage}_unit1")
            for i in range(2, units + 1):
                x = unit(x, width, f"stage{stage}_unit{i}")
            stages[f"stage{stage}"] = Stage(x, total)

        def pooled(x: Array) -> Array:
            x = GlobalAvgPool(name="pool")(x)[:, None, None, :]
            return Conv(last, 1, groups=HEAD_GROUPS, name="head", **common)(x)[:, 0, 0]

        return self.classified(x, stages, train=train, features=features, dropout=self.dropout, pooled=pooled)
