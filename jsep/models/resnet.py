"""ResNet for ImageNet: four stages of basic or bottleneck blocks, plain, with attention, or with shared kernels.

Papers: He et al., arXiv 1512.03385, Table 1, in torchvision's form (the stride of a bottleneck is on its 3x3);
attention as in Wang et al., arXiv 1910.03151, Table 2: at the end of each branch; squeeze and excitation has no biases.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    BatchNorm,
    Conv,
    DiCE,
    EfficientChannelAttention,
    GlobalAvgPool,
    MaxPool,
    PointwiseConv,
    SqueezeExcite,
    StochasticDepth,
    classifier,
    dense_or_shared,
    growing_rates,
)
from jsep.models.registry import IMAGENET, SHARING_PAPER, Rate, option, register
from jsep.models.stage import Stage

# depth: blocks of each stage, and whether they are bottlenecks
BLOCKS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# depth: kernel sizes of the models that ECA's authors released, by stage; set by hand, not by their rule
RELEASED_ECA = {18: (3, 5, 7, 7), 34: (3, 3, 5, 7), 50: (3, 5, 5, 7), 101: (3, 3, 5, 7), 152: (3, 3, 5, 7)}
WIDTHS = (64, 128, 256, 512)
_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(nn.Module):
    """ResNet of 18, 34, 50, 101 or 152 layers for any input size and number of classes.

    width: multiplier of every layer's features. input: "imagenet" has a stem of stride 2 and a max pool, "cifar" a 3x3
    stem of stride 1 alone, for 32x32 images. attention: none, squeeze and excitation (se; se_ratio, se_bias), or
    efficient channel attention (eca) with kernels as released or by the paper's formula. conv: what the 3x3
    convolutions of the blocks are: see `VGG` (`sharing` input channels share a kernel), or DiCE units (dice).
    stochastic_depth: chance that the last block's branch is left out in training.
    """

    num_classes: int = 1000
    depth: int = option(18)
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    attention: Literal["none", "se", "eca"] = option("none")
    se_ratio: int = option(16)
    se_bias: bool = option(False)
    eca_kernels: Literal["released", "formula"] = option("released")
    conv: Literal["dense", "ksc", "wksc", "ds", "wksc_ds", "dice"] = option("dense")
    sharing: int = option(4)
    stochastic_depth: Rate = option(0.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if self.depth not in BLOCKS:
            raise UserError(f"depth={self.depth}: it must be one of {', '.join(map(str, BLOCKS))}")
        blocks, bottleneck = BLOCKS[self.depth]
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        def spatial(x: Array, width: int, stride: int, name: str) -> Array:
            if self.conv == "dice":
                return norm(DiCE(width, stride, self.axis_name, self.dtype, name=name)(x, train=train), name)
            options: dict[str, Any] = {"kernel_init": _he, "dtype": self.dtype}
            return norm(dense_or_shared(x, self.conv, self.sharing, width, stride, name=name, **options), name)

        def pointwise(x: Array, width: int, stride: int, name: str) -> Array:
            return norm(PointwiseConv(width, stride, name=name, **common)(x), name)

        def attended(x: Array, stage: int, name: str) -> Array:
            if self.attention == "se":
                return SqueezeExcite(self.se_ratio, self.se_bias, dtype=self.dtype, name=f"{name}_se")(x)
            if self.attention == "eca":
                size = RELEASED_ECA[self.depth][stage - 1] if self.eca_kernels == "released" else 0
                return EfficientChannelAttention(size, dtype=self.dtype, name=f"{name}_eca")(x)
            return x

        def block(x: Array, width: int, stride: int, stage: int, name: str) -> Array:
            layers = [partial(spatial, width=width, stride=stride), partial(spatial, width=width, stride=1)]
            if bottleneck:
                first, last = partial(pointwise, width=width), partial(pointwise, width=4 * width)
                layers = [partial(first, stride=1), layers[0], partial(last, stride=1)]
            y = x
            for i, layer in enumerate(layers, start=1):
                y = layer(y, name=f"{name}_conv{i}")
                y = nn.relu(y) if i < len(layers) else attended(y, stage, name)
            if stride > 1 or x.shape != y.shape:
                x = pointwise(x, y.shape[-1], stride, f"{name}_shortcut")
            y = StochasticDepth(next(rates), self.axis_name, name=f"{name}_drop")(y, train=train)
            return nn.relu(x + y)

        rates = growing_rates(self.stochastic_depth, sum(blocks))
        imagenet = self.input == "imagenet"
        stem = Conv(int(64 * self.width), 7 if imagenet else 3, 2 if imagenet else 1, name="stem", **common)
        x = nn.relu(norm(stem(x), "stem"))
        if imagenet:
            x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages = {}
        for stage, (base, repeats) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
            for i in range(1, repeats + 1):
                stride = 2 if stage > 1 and i == 1 else 1
                x = block(x, int(base * self.width), stride, stage, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, (4 if imagenet else 1) * 2 ** (stage - 1))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _plain(depth: int, top1: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1512.03385",
        "certainty": "certain",
        **IMAGENET,
        "published": {"ImageNet top-1, % (torchvision's first weights)": top1},
        "references": {f"torchvision:resnet{depth}": {}, f"timm:resnet{depth}": {}},
    }


def _eca(depth: int, accuracy: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1910.03151",
        "certainty": "certain",
        **IMAGENET,
        "published": {"ImageNet top-1 / top-5, %": accuracy},
        "references": {
            f"timm:resnet{depth}/eca": {"attention": "eca", "eca_kernels": "formula"},
            f"timm:resnet{depth}/released_eca": {},
        },
    }


_SE: dict[str, Any] = {"paper": "arXiv 1709.01507", "certainty": "certain", **IMAGENET}
_SHARING: dict[str, Any] = {"paper": SHARING_PAPER, "certainty": "reconstructed", **IMAGENET}


@register(**_plain(18, "69.758"))
def resnet18(**fields: Any) -> ResNet:
    """ResNet-18."""
    return ResNet(**fields)


@register(**_plain(34, "73.314"))
def resnet34(**fields: Any) -> ResNet:
    """ResNet-34."""
    return ResNet(**{"depth": 34, **fields})


@register(**_plain(50, "76.130"))
def resnet50(**fields: Any) -> ResNet:
    """ResNet-50."""
    return ResNet(**{"depth": 50, **fields})


@register(**_plain(101, "77.374"))
def resnet101(**fields: Any) -> ResNet:
    """ResNet-101."""
    return ResNet(**{"depth": 101, **fields})


@register(**_plain(152, "78.312"))
def resnet152(**fields: Any) -> ResNet:
    """ResNet-152."""
    return ResNet(**{"depth": 152, **fields})


@register(**_eca(18, "70.92 / 89.93"))
def eca_resnet18(**fields: Any) -> ResNet:
    """ResNet-18 with efficient channel attention, kernels as released."""
    return ResNet(**{"attention": "eca", **fields})


@register(**_eca(34, "74.21 / 91.83"))
def eca_resnet34(**fields: Any) -> ResNet:
    """ResNet-34 with efficient channel attention, kernels as released."""
    return ResNet(**{"depth": 34, "attention": "eca", **fields})


@register(**_eca(50, "77.42 / 93.62"))
def eca_resnet50(**fields: Any) -> ResNet:
    """ResNet-50 with efficient channel attention, kernels as released."""
    return ResNet(**{"depth": 50, "attention": "eca", **fields})


@register(**_eca(101, "78.65 / 94.34"))
def eca_resnet101(**fields: Any) -> ResNet:
    """ResNet-101 with efficient channel attention, kernels as released."""
    return ResNet(**{"depth": 101, "attention": "eca", **fields})


@register(**_eca(152, "78.92 / 94.55"))
def eca_resnet152(**fields: Any) -> ResNet:
    """ResNet-152 with efficient channel attention, kernels as released."""
    return ResNet(**{"depth": 152, "attention": "eca", **fields})


@register(**_SE)
def se_resnet18(**fields: Any) -> ResNet:
    """ResNet-18 with squeeze and excitation without biases."""
    return ResNet(**{"attention": "se", **fields})


@register(**_SE, references={"timm:seresnet50": {"se_bias": True}})
def se_resnet50(**fields: Any) -> ResNet:
    """ResNet-50 with squeeze and excitation without biases."""
    return ResNet(**{"depth": 50, "attention": "se", **fields})


@register(**_SHARING)
def resnet18_ksc4(**fields: Any) -> ResNet:
    """ResNet-18, four input channels to a 3x3 kernel."""
    return ResNet(**{"conv": "ksc", **fields})


@register(**_SHARING)
def resnet18_wksc4(**fields: Any) -> ResNet:
    """ResNet-18, four weighted input channels to a 3x3 kernel."""
    return ResNet(**{"conv": "wksc", **fields})


@register(**_SHARING)
def resnet18_wksc8(**fields: Any) -> ResNet:
    """ResNet-18, eight weighted input channels to a 3x3 kernel."""
    return ResNet(**{"conv": "wksc", "sharing": 8, **fields})
