"""Attention over channels."""

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops


class SqueezeExcite(nn.Module):
    """Scale each channel by what two dense layers make of all channels' means: (n, h, w, c) -> (n, h, w, c).

    Paper: Hu et al., arXiv 1709.01507, section 3. The hidden layer has c // ratio features, at least `min_width`.
    """

    ratio: int = 16
    use_bias: bool = True
    min_width: int = 1
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        channels = x.shape[-1]
        hidden = max(self.min_width, channels // self.ratio)
        y = ops.global_avg_pool(x)  # (n, h, w, c) -> (n, c)
        y = nn.relu(nn.Dense(hidden, use_bias=self.use_bias, dtype=self.dtype, name="reduce")(y))
        y = nn.Dense(channels, use_bias=self.use_bias, dtype=self.dtype, name="expand")(y)
        return x * nn.sigmoid(y)[:, None, None, :]
