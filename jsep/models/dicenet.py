"""DiCENet: ShuffleNet V2's shape with DiCE units, whose kernels slide along all three dimensions.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516; widths, head and activations from the authors' EdgeNets, MACs of
which are the paper's FLOPs to the last printed digit.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    DiCE,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    PointwiseConv,
    PReLU,
    classifier,
)
from jsep.models.registry import IMAGENET, Rate, option, register
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


class DiCENet(nn.Module):
    """DiCENet for any number of classes; its units have filters for the size of image it is initialised with.

    width: one of the authors' eleven, 0.1 to 3.0. input: "imagenet" has a stem of stride 2 and a max pool, "cifar" a
    stem of stride 1 alone, for 32x32 images. dropout: before the classifier in training.
    """

    num_classes: int = 1000
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    dropout: Rate = option(0.1)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if self.width not in FEATURES:
            raise UserError(f"width={self.width}: it must be one of {', '.join(map(str, FEATURES))}")
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def activated(x: Array, layer: Conv | DepthwiseConv | PointwiseConv) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{layer.name}_norm")
            return PReLU(dtype=self.dtype, name=f"{layer.name}_act")(norm(layer(x), train=train))

        def pointwise(x: Array, width: int, name: str) -> Array:
            return activated(x, PointwiseConv(width, name=name, **common))

        def dice(x: Array, stride: int, name: str) -> Array:
            unit = DiCE(x.shape[-1], stride, self.axis_name, self.dtype, name=f"{name}_dice")
            return unit(x, train=train)

        def strided_unit(x: Array, name: str) -> Array:
            """(n, h, w, c) -> (n, h / 2, w / 2, 2 * c)"""
            channels = x.shape[-1]
            left = activated(x, DepthwiseConv(3, 2, name=f"{name}_shortcut_depthwise", **common))
            left = pointwise(left, channels, f"{name}_shortcut")
            right = pointwise(dice(x, 2, name), channels, f"{name}_project")
            return ops.channel_shuffle(jnp.concatenate([left, right], -1), 2)

        def unit(x: Array, width: int, name: str) -> Array:
            left, right = jnp.split(x, 2, -1)
            right = dice(pointwise(right, width - left.shape[-1], f"{name}_expand"), 1, name)
            return ops.channel_shuffle(jnp.concatenate([left, right], -1), 2)

        imagenet = self.input == "imagenet"
        stem, *widths, last = FEATURES[self.width]
        x = activated(x, Conv(stem, 3, 2 if imagenet else 1, name="stem", **common))
        if imagenet:
            x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages = {}
        for stage, (width, units) in enumerate(zip(widths, UNITS, strict=True), start=1):
            x = strided_unit(x, f"stage{stage}_unit1")
            for i in range(2, units + 1):
                x = unit(x, width, f"stage{stage}_unit{i}")
            stages[f"stage{stage}"] = Stage(x, (4 if imagenet else 1) * 2**stage)
        x = GlobalAvgPool(name="pool")(x)[:, None, None, :]
        x = Conv(last, 1, groups=HEAD_GROUPS, name="head", **common)(x)[:, 0, 0]
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _paper(top1: str, macs: str, **more: Any) -> dict[str, Any]:
    published = {"ImageNet top-1 / top-5, %": top1, "MACs": macs}
    return {"paper": "arXiv 1906.03516", **IMAGENET, "certainty": "certain", "published": published, **more}


@register(**_paper("46.19 / 70.64", "14.90 M", references={"pytorchcv:dicenet_wd5": {}}))
def dicenet_x0_2(**fields: Any) -> DiCENet:
    """DiCENet at a fifth of the width."""
    return DiCENet(**{"width": 0.2, **fields})


@register(**_paper("54.04 / 77.42", "24.71 M", references={"pytorchcv:dicenet_wd2": {}}))
def dicenet_x0_5(**fields: Any) -> DiCENet:
    """DiCENet at half the width."""
    return DiCENet(**{"width": 0.5, **fields})


@register(**_paper("62.80 / 84.24", "46.83 M", references={"pytorchcv:dicenet_w3d4": {}}))
def dicenet_x0_75(**fields: Any) -> DiCENet:
    """DiCENet at three quarters of the width."""
    return DiCENet(**{"width": 0.75, **fields})


@register(**_paper("66.45 / 86.64", "70.71 M", references={"pytorchcv:dicenet_w1": {}}))
def dicenet_x1_0(**fields: Any) -> DiCENet:
    """DiCENet at full width."""
    return DiCENet(**fields)


@register(**_paper("69.51 / 88.76", "135.48 M", references={"pytorchcv:dicenet_w3d2": {}}))
def dicenet_x1_5(**fields: Any) -> DiCENet:
    """DiCENet at one and a half times the width."""
    return DiCENet(**{"width": 1.5, "dropout": 0.2, **fields})


@register(**_paper("70.99 / 89.80", "236.29 M", references={"pytorchcv:dicenet_w2": {}}))
def dicenet_x2_0(**fields: Any) -> DiCENet:
    """DiCENet at twice the width."""
    return DiCENet(**{"width": 2.0, "dropout": 0.2, **fields})


@register(
    paper="arXiv 1906.03516",
    **IMAGENET,
    certainty="certain",
    published={"ImageNet top-1, % (the width follows from the compute)": "75.1"},
)
def dicenet_x3_0(**fields: Any) -> DiCENet:
    """DiCENet at three times the width."""
    return DiCENet(**{"width": 3.0, "dropout": 0.2, **fields})
