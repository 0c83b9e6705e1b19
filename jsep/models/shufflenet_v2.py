"""ShuffleNet V2: half of the channels pass a unit untouched, the other half goes through a separable branch.

Paper: Ma et al., arXiv 1807.11164, section 3 and Table 5. The units are torchvision's by default: the shuffle ends a
unit, and both branches of a unit with stride give half of the channels.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import BatchNorm, Conv, DepthwiseConv, DiCE, GlobalAvgPool, MaxPool, PointwiseConv, classifier
from jsep.models.registry import IMAGENET, option, register
from jsep.models.stage import Stage

REPEATS = (4, 8, 4)
# width: features of the three stages, and of the last 1x1 convolution (Table 5)
FEATURES = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2 for any input size and number of classes.

    width: 0.5, 1.0, 1.5 or 2.0. input: "imagenet" has a stem of stride 2 and a max pool, "cifar" a stem of stride 1
    alone, for 32x32 images. units: torchvision's, or as the authors' own code has them: a unit begins with the shuffle,
    and in a unit with stride the shortcut keeps its number of channels. conv: what each pair of a depthwise and a 1x1
    convolution is, separable, a DiCE unit, or one dense 3x3 convolution (the network that decomposition starts from).
    """

    num_classes: int = 1000
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    units: Literal["torchvision", "authors"] = option("torchvision")
    conv: Literal["separable", "dense", "dice"] = option("separable")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if self.width not in FEATURES:
            raise UserError(f"width={self.width}: it must be one of {', '.join(map(str, FEATURES))}")
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def normalized(x: Array, layer: Conv | DepthwiseConv | PointwiseConv) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{layer.name}_norm")
            return norm(layer(x), train=train)

        def pointwise(x: Array, width: int, name: str) -> Array:
            return nn.relu(normalized(x, PointwiseConv(width, name=name, **common)))

        def separable(x: Array, width: int, stride: int, depthwise: str, name: str) -> Array:
            if self.conv == "dice":
                return DiCE(width, stride, self.axis_name, self.dtype, name=name)(x, train=train)
            if self.conv == "dense":
                return nn.relu(normalized(x, Conv(width, 3, stride, name=name, **common)))
            return pointwise(normalized(x, DepthwiseConv(3, stride, name=depthwise, **common)), width, name)

        imagenet, authors = self.input == "imagenet", self.units == "authors"
        x = nn.relu(normalized(x, Conv(24, 3, 2 if imagenet else 1, name="stem", **common)))
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
        x = GlobalAvgPool(name="pool")(pointwise(x, last, "head"))
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _paper(name: str, error: str, macs: str, params: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1807.11164",
        **IMAGENET,
        "certainty": "certain",
        "references": {f"torchvision:{name}": {}},
        "published": {"ImageNet top-1 error, %": error, "MACs": macs, "parameters": params},
    }


@register(**_paper("shufflenet_v2_x0_5", "38.9", "41 M", "1.4 M"))
def shufflenet_v2_x0_5(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at half the width."""
    return ShuffleNetV2(**{"width": 0.5, **fields})


@register(**_paper("shufflenet_v2_x1_0", "30.6", "146 M", "2.3 M"))
def shufflenet_v2_x1_0(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at full width."""
    return ShuffleNetV2(**fields)


@register(**_paper("shufflenet_v2_x1_5", "27.4", "299 M", "3.5 M"))
def shufflenet_v2_x1_5(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at one and a half times the width."""
    return ShuffleNetV2(**{"width": 1.5, **fields})


@register(**_paper("shufflenet_v2_x2_0", "25.0", "591 M", "7.4 M"))
def shufflenet_v2_x2_0(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at twice the width."""
    return ShuffleNetV2(**{"width": 2.0, **fields})


_EXPANDED: dict[str, Any] = {"paper": "arXiv 1910.09455", **IMAGENET, "certainty": "reconstructed"}


@register(**_EXPANDED)
def shufflenet_v2_x0_5_expanded(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at half the width, each depthwise and 1x1 convolution as one dense 3x3, to be decomposed."""
    return ShuffleNetV2(**{"width": 0.5, "conv": "dense", **fields})


@register(**_EXPANDED)
def shufflenet_v2_x1_0_expanded(**fields: Any) -> ShuffleNetV2:
    """ShuffleNet V2 at full width, each depthwise and 1x1 convolution as one dense 3x3, to be decomposed."""
    return ShuffleNetV2(**{"conv": "dense", **fields})
