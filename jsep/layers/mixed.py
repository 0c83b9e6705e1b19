"""Depthwise convolutions with kernels of several sizes side by side, and the split pointwise ones that go with them."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers.conv import DepthwiseConv, PointwiseConv


def _splits(channels: int, parts: int) -> list[int]:
    """Equal parts; what is left over goes to the first."""
    size = channels // parts
    return [channels - size * (parts - 1)] + [size] * (parts - 1)


def _apart(x: Array, parts: int) -> list[Array]:
    return jnp.split(x, np.cumsum(_splits(x.shape[-1], parts))[:-1].tolist(), -1)


class MixedDepthwiseConv(nn.Module):
    """Depthwise convolution, a kernel size to each part of the channels: (n, h, w, c) -> (n, h2, w2, c).

    Paper: Tan and Le, arXiv 1907.09595, section 3. No bias. With one size it is the plain depthwise convolution.
    """

    kernel_sizes: Sequence[int]
    strides: int = 1
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        found = [
            DepthwiseConv(size, self.strides, use_bias=False, dtype=self.dtype, name=f"part{i}")(part)
            for i, (size, part) in enumerate(zip(self.kernel_sizes, _apart(x, len(self.kernel_sizes)), strict=True), 1)
        ]
        return jnp.concatenate(found, -1)


class SplitPointwiseConv(nn.Module):
    """1x1 convolutions of each part of the channels to its part of the features: (n, h, w, c) -> (n, h, w, features).

    No bias. With one part it is the plain pointwise convolution, with equal parts the grouped one.
    """

    features: int
    parts: int = 1
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        found = [
            PointwiseConv(features, use_bias=False, dtype=self.dtype, name=f"part{i}")(part)
            for i, (features, part) in enumerate(
                zip(_splits(self.features, self.parts), _apart(x, self.parts), strict=True), 1
            )
        ]
        return jnp.concatenate(found, -1)
