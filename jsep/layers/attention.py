"""Channel attention: every channel is scaled by a factor between 0 and 1 computed from the channels' means."""

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers.conv import ExchangedConv

Attention = Literal["none", "se", "eca"]


class SqueezeExcite(nn.Module):
    """Squeeze and excitation: two dense layers turn the means of all channels into a factor for each.

    (n, h, w, c) -> (n, h, w, c). Paper: Hu et al., arXiv 1709.01507, section 3.

    Attributes:
        ratio: the hidden layer has c // ratio features.
        use_bias: whether the two dense layers have biases.
        min_width: least number of hidden features.
        hidden: number of hidden features; 0 derives it from `ratio` and `min_width`.
        act: activation of the hidden layer.
        gate: function that maps the output of the second layer to factors.
        dtype: dtype of the computation.
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
    """Return the kernel size of efficient channel attention by the formula of its paper, section 3.2.

    It is (log2(channels) + 1) / 2 without its fraction, plus 1 if that is even.

    >>> [eca_kernel_size(c) for c in (64, 128, 512, 2048)]
    [3, 5, 5, 7]
    """
    size = int(abs((math.log2(channels) + 1) / 2))
    return size if size % 2 else size + 1


class EfficientChannelAttention(nn.Module):
    """Efficient channel attention: a 1-D convolution over the means of neighbouring channels gives the factors.

    (n, h, w, c) -> (n, h, w, c). Paper: Wang et al., arXiv 1910.03151, section 3.

    Attributes:
        kernel_size: number of neighbouring channels, odd; 0 uses the formula of `eca_kernel_size`.
        dtype: dtype of the computation.
    """

    kernel_size: int = 0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        size = self.kernel_size or eca_kernel_size(x.shape[-1])
        y = ops.global_avg_pool(x)[..., None]  # (n, h, w, c) -> (n, c, 1): channels are the length
        y = ExchangedConv(size, use_bias=False, dtype=self.dtype, name="conv")(y)[..., 0]
        return x * nn.sigmoid(y)[:, None, None, :]


def attended(
    x: Float[Array, "n h w c"],
    attention: Attention,
    name: str,
    *,
    se_ratio: int = 16,
    se_bias: bool = True,
    eca_kernel: int = 0,
    dtype: Dtype | None = None,
) -> Float[Array, "n h w c"]:
    """Apply the channel attention that the option `attention` of a network chooses, in the calling module.

    Args:
        x: input maps.
        attention: "none", "se" (squeeze and excitation) or "eca" (efficient channel attention).
        name: name of the branch; the layer is called {name}_se or {name}_eca.
        se_ratio: `ratio` of `SqueezeExcite`.
        se_bias: `use_bias` of `SqueezeExcite`.
        eca_kernel: `kernel_size` of `EfficientChannelAttention`.
        dtype: dtype of the computation.
    """
    if attention == "se":
        return SqueezeExcite(se_ratio, se_bias, dtype=dtype, name=f"{name}_se")(x)
    if attention == "eca":
        return EfficientChannelAttention(eca_kernel, dtype=dtype, name=f"{name}_eca")(x)
    return x
