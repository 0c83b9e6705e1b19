"""Pooling as modules, so that a cost table can see it."""

import flax.linen as nn
from jaxtyping import Array, Float

from jsep import ops
from jsep.ops.geometry import Padding


class MaxPool(nn.Module):
    """(n, h, w, c) -> (n, h2, w2, c); the stride is the window unless said."""

    window: int = 2
    strides: int | None = None
    padding: Padding = "VALID"

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        return ops.max_pool(x, self.window, strides=self.strides, padding=self.padding)


class AvgPool(nn.Module):
    """(n, h, w, c) -> (n, h2, w2, c); padding counts as zeros, as in PyTorch, unless `count_padding` is off."""

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
    """(n, h, w, c) -> (n, c)."""

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
        return ops.global_avg_pool(x)
