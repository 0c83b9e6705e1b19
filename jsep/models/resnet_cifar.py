"""ResNet for 32x32 images: three stages of basic or bottleneck blocks, with post- or pre-activation.

Papers: He et al., arXiv 1512.03385, section 4.2 (basic blocks, post-activation); arXiv 1603.05027 (pre-activation and
bottlenecks). SResNet, the depthwise separable form, is reconstructed: it replaces the 3x3 of every bottleneck.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    SHARED_KINDS,
    Attention,
    Conv,
    PointwiseConv,
    SpatialKind,
    StochasticDepth,
    attended,
    call_conv,
    growing_rates,
    spatial_conv,
)
from jsep.models.network import Network, Output
from jsep.models.registry import Rate, option
from jsep.models.stage import Stage

WIDTHS = (16, 32, 64)
_he = nn.initializers.he_normal()


class CifarResNet(Network):
    """ResNet of three stages for 32x32 images.

    Attributes:
        depth: number of layers with weights: 6 n + 2, or 9 n + 2 with bottlenecks.
        bottleneck: blocks of a 1x1, a 3x3 and a 1x1 convolution instead of two 3x3 ones.
        preact: batch norm and ReLU come before each convolution.
        shortcut: where a block changes the shape, "pad" takes every second position and appends channels of zeros,
            "pad_split" puts half of them in front, "projection" is a 1x1 convolution.
        stride_on: which convolution of a bottleneck has the stride.
        conv: what the 3x3 convolutions of the blocks are, see `jsep.layers.spatial_conv`.
        sharing: input channels that share a kernel in "ksc", "wksc" and "wksc_separable".
        attention: channel attention at the end of each branch: squeeze and excitation ("se") or efficient channel
            attention ("eca").
        se_ratio: squeeze and excitation has features // se_ratio hidden features.
        se_bias: whether the dense layers of squeeze and excitation have biases.
        stochastic_depth: probability that the branch of the last block is left out in training.
    """

    num_classes: int = 10
    depth: int = option(20)
    bottleneck: bool = option(False)
    preact: bool = option(False)
    shortcut: Literal["pad", "pad_split", "projection"] = option("pad")
    stride_on: Literal["3x3", "1x1"] = option("3x3")
    conv: SpatialKind = option("dense")
    sharing: int = option(4, needs={"conv": SHARED_KINDS})
    attention: Attention = option("none")
    se_ratio: int = option(16)
    se_bias: bool = option(True)
    stochastic_depth: Rate = option(0.0)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        blocks, rest = divmod(self.depth - 2, 9 if self.bottleneck else 6)
        if rest or blocks < 1:
            raise UserError(f"option depth={self.depth}: it must be 2 plus a multiple of {9 if self.bottleneck else 6}")
        conv_norm = partial(self.conv_norm, train=train)

        def norm(x: Array, name: str) -> Array:
            return self.norm(f"{name}_norm")(x, train=train)

        def convolution(kernel: int, channels: int, features: int, stride: int, name: str) -> nn.Module:
            common: dict[str, Any] = {"kernel_init": _he, "dtype": self.dtype, "name": name}
            if kernel == 1:
                return PointwiseConv(features, stride, use_bias=False, **common)
            options: dict[str, Any] = {"sharing": self.sharing, "separable_init": _he, "axis_name": self.axis_name}
            return spatial_conv(self.conv, channels, features, stride, **options, **common)

        def shortcut(x: Array, features: int, stride: int, name: str) -> Array:
            missing = features - x.shape[-1]
            if not missing and stride == 1:
                return x
            if self.shortcut == "projection":
                conv = convolution(1, x.shape[-1], features, stride, f"{name}_shortcut")
                return conv(x) if self.preact else conv_norm(x, conv)
            before = missing // 2 if self.shortcut == "pad_split" else 0
            return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (before, missing - before)))

        def block(x: Array, width: int, stride: int, name: str) -> Array:
            layers = [(3, width, stride), (3, width, 1)]  # kernel size, features, stride
            if self.bottleneck:
                first, second = (stride, 1) if self.stride_on == "1x1" else (1, stride)
                layers = [(1, width, first), (3, width, second), (1, 4 * width, 1)]
            features = layers[-1][1]
            y, source = x, x
            for i, (kernel, out, step) in enumerate(layers, start=1):
                conv = convolution(kernel, y.shape[-1], out, step, f"{name}_conv{i}")
                if self.preact:
                    y = nn.relu(norm(y, f"{name}_conv{i}"))
                    # a block that changes the shape shares its first activation with the shortcut
                    source = y if i == 1 and x.shape[-1] != features else source
                    y = call_conv(conv, y, train=train)
                else:
                    y = conv_norm(y, conv, nn.relu if i < len(layers) else None)
            se: dict[str, Any] = {"se_ratio": self.se_ratio, "se_bias": self.se_bias}
            y = attended(y, self.attention, name, **se, dtype=self.dtype)
            y = StochasticDepth(next(rates), self.axis_name, name=f"{name}_drop")(y, train=train)
            y = y + shortcut(source, features, stride, name)
            return y if self.preact else nn.relu(y)

        rates = growing_rates(self.stochastic_depth, len(WIDTHS) * blocks)
        stem = Conv(WIDTHS[0], 3, use_bias=False, kernel_init=_he, dtype=self.dtype, name="stem")
        x = stem(x) if self.preact else conv_norm(x, stem, nn.relu)
        stages = {}
        for stage, width in enumerate(WIDTHS, start=1):
            for i in range(1, blocks + 1):
                x = block(x, width, 2 if stage > 1 and i == 1 else 1, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        if self.preact:
            x = nn.relu(norm(x, "final"))
        return self.classified(x, stages, train=train, features=features)
