"""PyramidNet for 32x32 images, with additive widening: every unit is a little wider than the last.

Paper: Han et al., arXiv 1610.02915, section 3 and Table 4. SPyramidNet, the depthwise separable form, is
reconstructed: it replaces the 3x3 of every bottleneck.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import AvgPool, Conv, PointwiseConv, spatial_conv
from jsep.models.network import Network, Output
from jsep.models.registry import option
from jsep.models.stage import Stage

STAGES, STEM = 3, 16
_he = nn.initializers.he_normal()


class PyramidNet(Network):
    """PyramidNet of three stages for 32x32 images.

    Attributes:
        depth: number of layers with weights: 6 n + 2, or 9 n + 2 with bottlenecks.
        alpha: features gained from the first unit to the last.
        bottleneck: units of a 1x1, a 3x3 and a 1x1 convolution instead of two 3x3 ones.
        conv: what the 3x3 convolutions of the units are, see `jsep.layers.spatial_conv`.
    """

    num_classes: int = 10
    depth: int = option(110)
    alpha: int = option(48)
    bottleneck: bool = option(False)
    # groups of input channels that share kernels do not fit widths that grow by less than a group
    conv: Literal["dense", "separable", "separable_bn", "separable_bn_relu"] = option("dense")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        units, rest = divmod(self.depth - 2, 9 if self.bottleneck else 6)
        if rest or units < 1:
            raise UserError(f"option depth={self.depth}: it must be 2 plus a multiple of {9 if self.bottleneck else 6}")
        common: dict[str, Any] = {"kernel_init": _he, "dtype": self.dtype}

        def convolution(kernel: int, channels: int, features: int, stride: int, name: str) -> nn.Module:
            if kernel == 1:
                return PointwiseConv(features, stride, use_bias=False, name=name, **common)
            options: dict[str, Any] = {"separable_init": _he, "axis_name": self.axis_name, "name": name}
            return spatial_conv(self.conv, channels, features, stride, **options, **common)

        def unit(x: Array, width: int, stride: int, name: str) -> Array:
            layers = [(3, width, stride), (3, width, 1)]  # kernel size, features, stride
            if self.bottleneck:
                layers = [(1, width, 1), (3, width, stride), (1, 4 * width, 1)]
            features = layers[-1][1]
            y = self.norm(f"{name}_conv1_norm")(x, train=train)
            # the batch norm behind a convolution is named after the next one; the last has no ReLU
            for i, (kernel, out, step) in enumerate(layers, start=1):
                conv, last = convolution(kernel, y.shape[-1], out, step, f"{name}_conv{i}"), i == len(layers)
                norm = f"{name}_norm" if last else f"{name}_conv{i + 1}_norm"
                y = self.conv_norm(y, conv, None if last else nn.relu, norm=norm, train=train)
            if stride > 1:
                # at an odd size the last windows hold one row or column less, as with ceil_mode in PyTorch
                x = AvgPool(2, padding="SAME", count_padding=False, name=f"{name}_shortcut_pool")(x)
            return y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))

        x = self.conv_norm(x, Conv(STEM, 3, use_bias=False, name="stem", **common), train=train)
        stages, width = {}, float(STEM)
        for stage in range(1, STAGES + 1):
            for i in range(1, units + 1):
                width += self.alpha / (STAGES * units)
                x = unit(x, math.floor(width + 0.5), 2 if stage > 1 and i == 1 else 1, f"stage{stage}_unit{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        x = nn.relu(self.norm("final_norm")(x, train=train))
        return self.classified(x, stages, train=train, features=features)
