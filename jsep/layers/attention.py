"""Attention over channels."""

import math
from collections.abc import Callable

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers.conv import DepthwiseConv


class SqueezeExcite(nn.Module):
    """Scale each channel by what two dense layers make of all channels' means: (n, h, w, c) -> (n, h, w, c).

    Paper: Hu et al., arXiv 1709.01507, section 3. The hidden layer has c // ratio features, at least `min_width`, or
    `hidden` where that is said. act: behind the first layer. gate: what makes factors of the second layer's output.
    """

    ratio: int = 16
    use_bias: bool = True
    min_width: int = 1
    hidden: int = 0
    act: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        channels = x.shape[-1]
        hidden = self.hidden or max(self.min_width, channels // self.ratio)
        y = ops.global_avg_pool(x)  # (n, h, w, c) -> (n, c)
        y = self.act(nn.Dense(hidden, use_bias=self.use_bias, dtype=self.dtype, name="reduce")(y))
        y = nn.Dense(channels, use_bias=self.use_bias, dtype=self.dtype, name="expand")(y)
        return x * self.gate(y)[:, None, None, :]


def eca_kernel_size(channels: int) -> int:
    """The paper's rule: the odd number at or above (log2(channels) + 1) / 2, whose fraction is dropped first.

    >>> [eca_kernel_size(c) for c in (64, 128, 512, 2048)]
    [3, 5, 5, 7]
    """
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


class EfficientChannelAttention(nn.Module):
    """Scale each channel by what a 1-D convolution over neighbouring channels' means gives: shapes stay.

    Paper: Wang et al., arXiv 1910.03151, section 3. kernel_size: 0 takes the paper's rule, `eca_kernel_size`.
    """

    kernel_size: int = 0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        size = self.kernel_size or eca_kernel_size(x.shape[-1])
        y = ops.global_avg_pool(x)[..., None]  # (n, h, w, c) -> (n, c, 1): channels are the length
        y = DepthwiseConv(size, use_bias=False, dtype=self.dtype, name="conv")(y)[..., 0]
        return x * nn.sigmoid(y)[:, None, None, :]
