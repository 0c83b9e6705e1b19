"""Depthwise convolutions with kernels of several sizes side by side, and pointwise convolutions of split channels."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers.conv import DepthwiseConv, PointwiseConv
from jsep.ops.geometry import Padding


def _splits(channels: int, parts: int) -> list[int]:
    """Return the sizes of equal parts of the channels; the first part takes the remainder."""
    size = channels // parts
    return [channels - size * (parts - 1)] + [size] * (parts - 1)


def _apart(x: Array, parts: int) -> list[Array]:
    return jnp.split(x, np.cumsum(_splits(x.shape[-1], parts))[:-1].tolist(), -1)


class MixedDepthwiseConv(nn.Module):
    """Depthwise convolution without bias and with a kernel size for each part of the channels.

    (n, h, w, c) -> (n, h2, w2, c). Paper: Tan and Le, arXiv 1907.09595, section 3.

    Attributes:
        kernel_sizes: kernel size of each part of the channels; one is the plain depthwise convolution.
        strides: stride in both dimensions.
        padding: see `Conv`.
        dtype: dtype of the computation.
    """

    kernel_sizes: Sequence[int]
    strides: int = 1
    padding: Padding = "TORCH"
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
        found = [
            DepthwiseConv(size, self.strides, self.padding, use_bias=False, dtype=self.dtype, name=f"part{i}")(part)
            for i, (size, part) in enumerate(zip(self.kernel_sizes, _apart(x, len(self.kernel_sizes)), strict=True), 1)
        ]
        return jnp.concatenate(found, -1)


class SplitPointwiseConv(nn.Module):
    """Pointwise convolution without bias of each part of the channels to its part of the features.

    (n, h, w, c) -> (n, h, w, features). With equal parts it is the grouped pointwise convolution.

    Attributes:
        features: output channels of all parts together.
        parts: number of parts; 1 is the plain pointwise convolution.
        dtype: dtype of the computation.
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
