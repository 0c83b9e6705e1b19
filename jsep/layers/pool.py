"""Pooling as modules, so that the layer counter of `jsep.costs` sees it."""

import flax.linen as nn
from jaxtyping import Array, Float

from jsep import ops
from jsep.ops.geometry import Padding


class MaxPool(nn.Module):
    """Maximum over windows: (n, h, w, c) -> (n, h2, w2, c).

    Attributes:
        window: side of the square window.
        strides: stride in both dimensions; None for that of the window.
        padding: see `Conv`.
    """

    window: int = 2
    strides: int | None = None
    padding: Padding = "VALID"

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        return ops.max_pool(x, self.window, strides=self.strides, padding=self.padding)


class AvgPool(nn.Module):
    """Mean over windows: (n, h, w, c) -> (n, h2, w2, c).

    Attributes:
        window: side of the square window.
        strides: stride in both dimensions; None for that of the window.
        padding: see `Conv`.
        count_padding: whether padding enters the mean as zeros, as in PyTorch.
    """

    window: int = 2
    strides: int | None = None
    padding: Padding = "VALID"
    count_padding: bool = True

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        return ops.avg_pool(
            x,
            self.window,
            strides=self.strides,
            padding=self.padding,
            count_padding=self.count_padding,
        )


class GlobalAvgPool(nn.Module):
    """Mean of each channel: (n, h, w, c) -> (n, c)."""

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
        return ops.global_avg_pool(x)
