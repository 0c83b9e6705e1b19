"""ShuffleNet V2: half of the channels pass a unit untouched, the other half goes through a separable branch.

Paper: Ma et al., arXiv 1807.11164, section 3 and Table 5. By default the units are torchvision's: the shuffle ends a
unit, and both branches of a unit with stride give half of the channels.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import Conv, DepthwiseConv, DiCE, MaxPool, PointwiseConv
from jsep.models.network import Network, Output
from jsep.models.registry import option
from jsep.models.stage import Stage

REPEATS = (4, 8, 4)
# width: features of the three stages, and of the last 1x1 convolution (Table 5)
FEATURES = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


class ShuffleNetV2(Network):
    """ShuffleNet V2 for any input size.

    Attributes:
        width: 0.5, 1.0, 1.5 or 2.0.
        input: "imagenet" has a stem of stride 2 and a max pool, "cifar" only a stem of stride 1, for 32x32 images.
        units: as in torchvision, or as in the authors' code, where a unit begins with the shuffle and the shortcut of a
            unit with stride keeps its number of channels.
        conv: what each pair of a depthwise and a 1x1 convolution is: "separable" (the paper's: each with batch norm),
            "dice" (a DiCE unit), or "dense" (one 3x3 convolution: the network that decomposition starts from).
    """

    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    units: Literal["torchvision", "authors"] = option("torchvision")
    conv: Literal["separable", "dense", "dice"] = option("separable")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        if self.width not in FEATURES:
            raise UserError(f"option width={self.width}: it must be one of {', '.join(map(str, FEATURES))}")
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def pointwise(x: Array, width: int, name: str) -> Array:
            return conv_norm(x, PointwiseConv(width, name=name, **common), nn.relu)

        def separable(x: Array, width: int, stride: int, depthwise: str, name: str) -> Array:
            if self.conv == "dice":
                return DiCE(width, stride, self.axis_name, self.dtype, name=name)(x, train=train)
            if self.conv == "dense":
                return conv_norm(x, Conv(width, 3, stride, name=name, **common), nn.relu)
            return pointwise(conv_norm(x, DepthwiseConv(3, stride, name=depthwise, **common)), width, name)

        imagenet, authors = self.input == "imagenet", self.units == "authors"
        x = conv_norm(x, Conv(24, 3, 2 if imagenet else 1, name="stem", **common), nn.relu)
        if imagenet:
            x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        *widths, last = FEATURES[self.width]
        stages = {}
        for stage, (width, repeats) in enumerate(zip(widths, REPEATS, strict=True), start=2):
            half = width // 2
            for unit in range(1, repeats + 1):
                name, stride = f"stage{stage}_unit{unit}", 2 if unit == 1 else 1
                if stride == 2:
                    kept = x.shape[-1] if authors else half
                    shortcut, y = separable(x, kept, 2, f"{name}_shortcut_depthwise", f"{name}_shortcut"), x
                elif authors:
                    shortcut, y = x[..., ::2], x[..., 1::2]
                else:
                    shortcut, y = jnp.split(x, 2, -1)
                y = pointwise(y, half, f"{name}_expand")
                y = separable(y, width - shortcut.shape[-1], stride, f"{name}_depthwise", f"{name}_project")
                x = jnp.concatenate([shortcut, y], -1)
                x = x if authors else ops.channel_shuffle(x, 2)
            stages[f"stage{stage}"] = Stage(x, (4 if imagenet else 1) * 2 ** (stage - 1))
        return self.classified(pointwise(x, last, "head"), stages, train=train, features=features)
