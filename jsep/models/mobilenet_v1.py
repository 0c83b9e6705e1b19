"""MobileNet V1: depthwise 3x3, batch norm, ReLU, pointwise, batch norm, ReLU, thirteen times.

Paper: Howard et al., arXiv 1704.04861, Table 1. The table prints stride 2 for its last depthwise convolution, but the
size stays the same: it is stride 1. Padding and batch norm are PyTorch's; the activation is the paper's ReLU (TF-slim,
Keras and timm use ReLU6).
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import Conv, DepthwiseConv, DiCE, GroupSum, PointwiseConv, groups_of
from jsep.models.network import Network, Output, floored
from jsep.models.registry import Fraction, option
from jsep.models.stage import Stage

# features, stride of the first block, and number of blocks: Table 1 from its second row on
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))
ACTIVATIONS = {"relu": nn.relu, "relu6": nn.relu6, "leaky_relu": partial(nn.leaky_relu, negative_slope=0.1)}


class MobileNetV1(Network):
    """MobileNet V1 for any input size.

    Attributes:
        width: multiplier of the features of all layers.
        input: "imagenet" has a stem of stride 2, "cifar" one of stride 1 for 32x32 images.
        act: activation behind each batch norm; "leaky_relu" has a slope of 0.1 below zero, as in RetinaFace.
        padding: padding of the 3x3 convolutions: PyTorch's, or SAME as in TF-slim and Keras.
        shallow: leave out the five blocks of 512 features and stride 1.
        conv: what a block is: "separable" (the paper's: a depthwise and a pointwise convolution, each with batch norm
            and activation), "wksc_separable" (the same on weighted sums of groups of input channels, as form B of
            `jsep.layers.SharedSeparableConv`), "dense" (a 3x3 convolution with batch norm and activation), or "dice"
            (a DiCE unit).
        sharing: input channels in a group of "wksc_separable". Where it does not divide the channels, the block is
            "separable", and a warning says so.
        epsilon: number that batch norms add to the variance, except in DiCE units; 1e-3 in TF-slim and Keras.
    """

    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    act: Literal["relu", "relu6", "leaky_relu"] = option("relu")
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    shallow: bool = option(False)
    conv: Literal["separable", "wksc_separable", "dense", "dice"] = option("separable")
    sharing: int = option(4, needs={"conv": ("wksc_separable",)})
    epsilon: Fraction = option(1e-5)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        conv_norm = partial(self.conv_norm, act=ACTIVATIONS[self.act], train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def block(x: Array, width: int, stride: int, name: str) -> Array:
            if self.conv == "dice":
                return DiCE(width, stride, self.axis_name, self.dtype, name=f"{name}_dice")(x, train=train)
            if self.conv == "dense":
                return conv_norm(x, Conv(width, 3, stride, self.padding, name=f"{name}_conv", **common))
            if self.conv == "wksc_separable" and (groups := groups_of(x.shape[-1], self.sharing, name)):
                x = GroupSum(groups, weighted=True, dtype=self.dtype, name=f"{name}_sum")(x)
            x = conv_norm(x, DepthwiseConv(3, stride, self.padding, name=f"{name}_depthwise", **common))
            return conv_norm(x, PointwiseConv(width, name=f"{name}_pointwise", **common))

        stem_stride = 2 if self.input == "imagenet" else 1
        x = conv_norm(x, Conv(floored(32, self.width), 3, stem_stride, self.padding, name="stem", **common))
        stages = {}
        for stage, (base, first_stride, blocks) in enumerate(STAGES, start=1):
            for i in range(1, 2 if self.shallow and base == 512 else blocks + 1):
                x = block(x, floored(base, self.width), first_stride if i == 1 else 1, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, stem_stride * 2 ** (stage - 1))
        return self.classified(x, stages, train=train, features=features)
