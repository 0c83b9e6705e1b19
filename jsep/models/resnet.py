"""ResNet for ImageNet: four stages of basic or bottleneck blocks, plain, with attention, or with other convolutions.

Papers: He et al., arXiv 1512.03385, Table 1, in torchvision's form (the stride of a bottleneck is on its 3x3);
attention at the end of each branch as in Wang et al., arXiv 1910.03151, Table 2 (squeeze and excitation has no biases).
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    SHARED_KINDS,
    Attention,
    Conv,
    MaxPool,
    PointwiseConv,
    SpatialKind,
    StochasticDepth,
    attended,
    growing_rates,
    spatial_conv,
)
from jsep.models.network import Network, Output, floored
from jsep.models.registry import Rate, option
from jsep.models.stage import Stage

# depth: blocks of each stage, and whether they are bottlenecks
BLOCKS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
# depth: kernel sizes by stage of the models that ECA's authors released; set by hand, not by their formula
RELEASED_ECA = {18: (3, 5, 7, 7), 34: (3, 3, 5, 7), 50: (3, 5, 5, 7), 101: (3, 3, 5, 7), 152: (3, 3, 5, 7)}
WIDTHS = (64, 128, 256, 512)
_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet(Network):
    """ResNet of 18, 34, 50, 101 or 152 layers for any input size.

    Attributes:
        depth: number of layers with weights; 50 and more have bottlenecks.
        width: multiplier of the features of all layers.
        input: "imagenet" has a stem of stride 2 and a max pool, "cifar" a 3x3 stem of stride 1 for 32x32 images.
        attention: channel attention at the end of each branch: squeeze and excitation ("se") or efficient channel
            attention ("eca").
        se_ratio: squeeze and excitation has features // se_ratio hidden features.
        se_bias: whether the dense layers of squeeze and excitation have biases.
        eca_kernels: kernel sizes of efficient channel attention: as in the released models, or by the paper's formula.
        conv: what the 3x3 convolutions of the blocks are, see `jsep.layers.spatial_conv`.
        sharing: input channels that share a kernel in "ksc", "wksc" and "wksc_separable".
        stochastic_depth: probability that the branch of the last block is left out in training.
        output_stride: largest stride of a stage. Where it would be exceeded, dilation takes the place of strides: the
            3x3 convolution that loses its stride stays as it is, and those behind it read positions further apart.
    """

    depth: int = option(18)
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    attention: Attention = option("none")
    se_ratio: int = option(16)
    se_bias: bool = option(False)
    eca_kernels: Literal["released", "formula"] = option("released")
    conv: SpatialKind = option("dense")
    sharing: int = option(4, needs={"conv": SHARED_KINDS})
    stochastic_depth: Rate = option(0.0)
    output_stride: Literal[8, 16, 32] = option(32, needs={"conv": ("dense",)})

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        if self.depth not in BLOCKS:
            raise UserError(f"option depth={self.depth}: it must be one of {', '.join(map(str, BLOCKS))}")
        blocks, bottleneck = BLOCKS[self.depth]
        conv_norm = partial(self.conv_norm, train=train)

        def convolution(kernel: int, channels: int, features: int, stride: int, dilation: int, name: str) -> nn.Module:
            common: dict[str, Any] = {"kernel_init": _he, "dtype": self.dtype, "name": name}
            if kernel == 1:
                return PointwiseConv(features, stride, use_bias=False, **common)
            options: dict[str, Any] = {"dilation": dilation, "sharing": self.sharing, "axis_name": self.axis_name}
            return spatial_conv(self.conv, channels, features, stride, **options, **common)

        def block(x: Array, width: int, stride: int, spread: int, dilation: int, eca_kernel: int, name: str) -> Array:
            layers = [(3, width, stride, spread), (3, width, 1, dilation)]  # kernel size, features, stride, dilation
            if bottleneck:
                layers = [(1, width, 1, 1), (3, width, stride, spread), (1, 4 * width, 1, 1)]
            y = x
            for i, (kernel, out, step, apart) in enumerate(layers, start=1):
                conv = convolution(kernel, y.shape[-1], out, step, apart, f"{name}_conv{i}")
                y = conv_norm(y, conv, nn.relu if i < len(layers) else None)
            se: dict[str, Any] = {"se_ratio": self.se_ratio, "se_bias": self.se_bias}
            y = attended(y, self.attention, name, **se, eca_kernel=eca_kernel, dtype=self.dtype)
            if stride > 1 or x.shape != y.shape:
                x = conv_norm(x, convolution(1, x.shape[-1], y.shape[-1], stride, 1, f"{name}_shortcut"))
            y = StochasticDepth(next(rates), self.axis_name, name=f"{name}_drop")(y, train=train)
            return nn.relu(x + y)

        rates = growing_rates(self.stochastic_depth, sum(blocks))
        eca_kernels = RELEASED_ECA[self.depth] if self.eca_kernels == "released" else (0, 0, 0, 0)
        imagenet = self.input == "imagenet"
        kernel, stride = (7, 2) if imagenet else (3, 1)
        stem: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype, "name": "stem"}
        x = conv_norm(x, Conv(floored(64, self.width), kernel, stride, **stem), nn.relu)
        if imagenet:
            x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages, total, dilation = {}, 4 if imagenet else 1, 1
        for stage, (base, repeats, eca_kernel) in enumerate(zip(WIDTHS, blocks, eca_kernels, strict=True), start=1):
            stride, spread = 2 if stage > 1 else 1, dilation
            if total * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            total *= stride
            for i in range(1, repeats + 1):
                width, name = floored(base, self.width), f"stage{stage}_block{i}"
                x = block(x, width, stride, spread, dilation, eca_kernel, name)
                stride, spread = 1, dilation
            stages[f"stage{stage}"] = Stage(x, total)
        return self.classified(x, stages, train=train, features=features)
