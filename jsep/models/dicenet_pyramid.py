"""The layers that DiCENet's decoders for segmentation and detection are made of.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, in the form of the authors' EdgeNets.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import BatchNorm, Conv, DepthwiseConv, PointwiseConv, PReLU, conv_norm

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)  # of the maps, for each branch of a pyramid
LEAST_SIDE = 5  # of scaled maps
ENCODER_SIDE = 224  # in front of a decoder DiCENet keeps the filters that it has for ImageNet


class Blocks(NamedTuple):
    """Settings that the layers of one network share, and the layers, which become submodules of its compact method.

    Attributes:
        kernel_init: how kernels are drawn.
        dtype: dtype of the computation.
        axis_name: mapped axis whose devices share batch statistics.
        train: normalise by the statistics of the batch.
    """

    kernel_init: Callable[..., Any]
    dtype: Dtype | None
    axis_name: str | None
    train: bool

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every convolution."""
        return {"use_bias": False, "kernel_init": self.kernel_init, "dtype": self.dtype}

    def norm_act(self, x: Float[Array, "n h w c"], name: str) -> Float[Array, "n h w c"]:
        """Return normalised maps behind a PReLU."""
        norm, act = self._norm_act(name)
        return act(norm(x, train=self.train))

    def convolved(self, x: Float[Array, "n h w c"], conv: nn.Module) -> Float[Array, "n h2 w2 f"]:
        """Return maps behind a convolution, its batch norm and its PReLU."""
        return conv_norm(x, conv, *self._norm_act(str(conv.name)), train=self.train)

    def pyramid(self, x: Float[Array, "n h w c"], features: int, name: str) -> Float[Array, "n h w f"]:
        """Return depthwise convolutions of the maps at several sizes, merged.

        Args:
            x: maps.
            features: features inside of the pyramid, and of its output.
            name: beginning of the names of its layers.
        """
        x, side = self.convolved(x, PointwiseConv(features, name=f"{name}_reduce", **self.common)), x.shape[1:3]
        branches = []
        for number, scale in enumerate(SCALES, start=1):
            scaled = side if scale == 1 else [max(LEAST_SIDE, math.ceil(scale * length)) for length in side]
            y = enlarge(x, scaled) if scale > 1 else ops.adaptive_avg_pool(x, scaled)
            y = DepthwiseConv(3, name=f"{name}_scale{number}", **self.common)(y)
            branches.append(ops.adaptive_avg_pool(y, side) if scale > 1 else enlarge(y, side))
        y = ops.channel_shuffle(self.norm_act(jnp.concatenate(branches, -1), f"{name}_branches"), len(SCALES))
        return self.convolved(y, Conv(features, 3, groups=features, name=f"{name}_merge", **self.common))

    def _norm_act(self, name: str) -> tuple[BatchNorm, PReLU]:
        norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
        return norm, PReLU(dtype=self.dtype, name=f"{name}_act")


def enlarge(x: Float[Array, "n h w c"], size: Any) -> Float[Array, "n h2 w2 c"]:
    """Return maps of another size, whose corners are those of the maps."""
    return ops.resize(x, size, align_corners=True)
