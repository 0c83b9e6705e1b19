"""ResNet for 32x32 images: three stages of basic or bottleneck blocks, post- or pre-activation, dense or separable.

Papers: He et al., arXiv 1512.03385, section 4.2 (basic blocks, post-activation); arXiv 1603.05027 (pre-activation and
bottlenecks). SResNet, its depthwise separable form, is reconstructed: the 3x3 of every bottleneck is replaced.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    BatchNorm,
    Conv,
    GlobalAvgPool,
    PointwiseConv,
    Separable,
    SqueezeExcite,
    StochasticDepth,
    classifier,
    dense_or_separable,
    growing_rates,
)
from jsep.models.registry import CIFAR10, Certainty, Rate, errors, option, register
from jsep.models.stage import Stage

WIDTHS = (16, 32, 64)
_he = nn.initializers.he_normal()


class CifarResNet(nn.Module):
    """ResNet of three stages.

    depth: number of layers with weights: 6 n + 2, or 9 n + 2 with bottlenecks. preact: batch norm and ReLU before each
    convolution. shortcut: where a block changes the shape, "pad" takes every second position and pads the missing
    channels with zeros behind, "pad_split" on both sides, "projection" is a 1x1 convolution. stride_on: which
    convolution of a bottleneck carries the stride. separable: what the 3x3 convolutions of the blocks become, with or
    without batch norm and ReLU between their two parts. se: squeeze and excitation at the end of each branch.
    stochastic_depth: chance that the last block's branch is left out in training.
    """

    num_classes: int = 10
    depth: int = option(20)
    bottleneck: bool = option(False)
    preact: bool = option(False)
    shortcut: Literal["pad", "pad_split", "projection"] = option("pad")
    stride_on: Literal["3x3", "1x1"] = option("3x3")
    separable: Separable = option("none")
    se: bool = option(False)
    stochastic_depth: Rate = option(0.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        blocks, rest = divmod(self.depth - 2, 9 if self.bottleneck else 6)
        if rest or blocks < 1:
            raise UserError(f"depth={self.depth}: it must be 2 plus a multiple of {9 if self.bottleneck else 6}")
        conv = partial(Conv, use_bias=False, kernel_init=_he, dtype=self.dtype)

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        x = conv(WIDTHS[0], 3, name="stem")(x)
        if not self.preact:
            x = nn.relu(norm(x, "stem"))
        rates = growing_rates(self.stochastic_depth, len(WIDTHS) * blocks)
        stages = {}
        for stage, width in enumerate(WIDTHS, start=1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                x = self._block(x, width, stride, next(rates), f"stage{stage}_block{block}", norm, train)
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        if self.preact:
            x = nn.relu(norm(x, "final"))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits

    def _block(self, x: Array, width: int, stride: int, rate: float, name: str, norm: Any, train: bool) -> Array:
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def spatial(y: Array, stride: int, name: str) -> Array:
            options: dict[str, Any] = {"kernel_init": _he, "axis_name": self.axis_name, "dtype": self.dtype}
            return dense_or_separable(y, self.separable, width, stride, train=train, name=name, **options)

        def pointwise(y: Array, features: int, stride: int, name: str) -> Array:
            return PointwiseConv(features, stride, kernel_init=_he, name=name, **common)(y)

        features = 4 * width if self.bottleneck else width
        on_first, on_second = (stride, 1) if self.stride_on == "1x1" else (1, stride)
        if self.bottleneck:
            layers = [
                partial(pointwise, features=width, stride=on_first),
                partial(spatial, stride=on_second),
                partial(pointwise, features=features, stride=1),
            ]
        else:
            layers = [partial(spatial, stride=stride), partial(spatial, stride=1)]

        y, source = x, x
        for i, layer in enumerate(layers, start=1):
            if self.preact:
                y = nn.relu(norm(y, f"{name}_conv{i}"))
                # a block that changes the shape shares its first activation with the shortcut
                source = y if i == 1 and x.shape[-1] != features else source
                y = layer(y, name=f"{name}_conv{i}")
            else:
                y = norm(layer(y, name=f"{name}_conv{i}"), f"{name}_conv{i}")
                y = nn.relu(y) if i < len(layers) else y
        if self.se:
            y = SqueezeExcite(dtype=self.dtype, name=f"{name}_se")(y)
        y = StochasticDepth(rate, self.axis_name, name=f"{name}_drop")(y, train=train)
        y = y + self._shortcut(source, features, stride, name, norm)
        return y if self.preact else nn.relu(y)

    def _shortcut(self, x: Array, features: int, stride: int, name: str, norm: Any) -> Array:
        missing = features - x.shape[-1]
        if not missing and stride == 1:
            return x
        if self.shortcut == "projection":
            layer = PointwiseConv(
                features, stride, use_bias=False, kernel_init=_he, dtype=self.dtype, name=f"{name}_shortcut"
            )
            return layer(x) if self.preact else norm(layer(x), f"{name}_shortcut")
        before = missing // 2 if self.shortcut == "pad_split" else 0
        x = x[:, ::stride, ::stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, missing - before)))


def _paper(
    paper: str, reference: str | None = None, certainty: Certainty = "certain", **figures: str
) -> dict[str, Any]:
    return {
        "paper": paper,
        **CIFAR10,
        "certainty": certainty,
        # pytorchcv has projections throughout, and no other shortcut
        "references": {f"pytorchcv:{reference}": {"shortcut": "projection"}} if reference else {},
        "published": errors(**figures),
    }


_post, _pre = partial(_paper, "arXiv 1512.03385"), partial(_paper, "arXiv 1603.05027")


@register(**_post("resnet20_cifar10", C10_augmented="8.75 (from memory)"))
def resnet20(**fields: Any) -> CifarResNet:
    """ResNet-20 for 32x32 images, shortcuts padded."""
    return CifarResNet(**fields)


@register(**_post(C10_augmented="7.51 (from memory)"))
def resnet32(**fields: Any) -> CifarResNet:
    """ResNet-32 for 32x32 images, shortcuts padded."""
    return CifarResNet(**{"depth": 32, **fields})


@register(**_post(C10_augmented="7.17 (from memory)"))
def resnet44(**fields: Any) -> CifarResNet:
    """ResNet-44 for 32x32 images, shortcuts padded."""
    return CifarResNet(**{"depth": 44, **fields})


@register(**_post("resnet56_cifar10", C10_augmented="6.97 (from memory)"))
def resnet56(**fields: Any) -> CifarResNet:
    """ResNet-56 for 32x32 images, shortcuts padded."""
    return CifarResNet(**{"depth": 56, **fields})


@register(**_post("resnet110_cifar10", C10_augmented="6.43 (from memory)"))
def resnet110(**fields: Any) -> CifarResNet:
    """ResNet-110 for 32x32 images, shortcuts padded."""
    return CifarResNet(**{"depth": 110, **fields})


@register(**_post("seresnet110_cifar10"))
def se_resnet110(**fields: Any) -> CifarResNet:
    """ResNet-110 with squeeze and excitation and projection shortcuts."""
    return CifarResNet(**{"depth": 110, "se": True, "shortcut": "projection", **fields})


@register(**_post("resnet164bn_cifar10"))
def resnet164(**fields: Any) -> CifarResNet:
    """ResNet-164 of bottlenecks for 32x32 images, shortcuts padded."""
    return CifarResNet(**{"depth": 164, "bottleneck": True, **fields})


@register(**_pre("preresnet110_cifar10"))
def preresnet110(**fields: Any) -> CifarResNet:
    """Pre-activation ResNet-110 for 32x32 images, projection shortcuts."""
    return CifarResNet(**{"depth": 110, "preact": True, "shortcut": "projection", **fields})


@register(**_pre("preresnet164bn_cifar10", C10="11.26", C10_augmented="5.46", C100="35.58", C100_augmented="24.33"))
def preresnet164(**fields: Any) -> CifarResNet:
    """Pre-activation ResNet-164 of bottlenecks for 32x32 images, projection shortcuts."""
    return CifarResNet(**{"depth": 164, "bottleneck": True, "preact": True, "shortcut": "projection", **fields})


@register(**_post("resnet164bn_cifar10+sep_bn_relu", certainty="reconstructed"))
def sresnet164(**fields: Any) -> CifarResNet:
    """SResNet-164: the 3x3 of every bottleneck separable, batch norm and ReLU between its parts."""
    return CifarResNet(**{"depth": 164, "bottleneck": True, "separable": "sep_bn_relu", **fields})
