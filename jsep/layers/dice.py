"""Dimension-wise convolution and fusion: kernels slide over rows and columns, over rows and channels, and so on.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, section 3, as the authors' EdgeNets has it: there the fusion
over all positions holds a 3x3 grouped convolution that the paper's words do not mention.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers.activation import PReLU
from jsep.layers.conv import Conv, DepthwiseConv
from jsep.layers.norm import BatchNorm
from jsep.layers.pool import AvgPool
from jsep.layers.sharing import GroupSum

_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class DiCE(nn.Module):
    """The DiCE unit: (n, h, w, c) -> (n, h / strides, w / strides, features).

    Three depthwise 3x3 convolutions, whose channels are the channels, the rows and the columns; a combination of the
    three maps of each channel; a 3x3 convolution in as many groups as can be, scaled by a gate on all channels. The
    rows and columns that a unit has filters for are those of the first input it sees, at initialisation: later inputs
    of another size are resized to them and back. A stride is an average pool before.
    """

    features: int
    strides: int = 1
    axis_name: str | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h2 w2 f"]:
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def activated(x: Array, name: str) -> Array:
            x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)
            return PReLU(dtype=self.dtype, name=f"{name}_act")(x)

        def along(axis: int, name: str) -> Array:
            """Depthwise with the positions of an axis as channels, and the channels in their place."""
            size = x.shape[axis]
            y = jnp.swapaxes(ops.resize_axis(x, axis, self._built_for(name, size)), axis, -1)
            y = DepthwiseConv(3, name=name, **common)(y)
            return ops.resize_axis(jnp.swapaxes(y, axis, -1), axis, size)

        if self.strides > 1:
            x = AvgPool(3, self.strides, padding=1, name="pool")(x)
        channels = x.shape[-1]
        depth = DepthwiseConv(3, name="depth", **common)(x)
        x = jnp.concatenate([depth, along(1, "height"), along(2, "width")], -1)  # -> (n, h, w, 3 * c)
        x = activated(x, "branches")
        # what a shuffle and a grouped 1x1 convolution give, without moving anything: -> (n, h, w, c)
        init = nn.initializers.normal((2 / channels) ** 0.5)
        fuse = GroupSum(channels, weighted=True, interleaved=True, weight_init=init, dtype=self.dtype, name="fuse")
        x = activated(fuse(x), "fuse")
        gate = nn.relu(nn.Dense(channels // 4, name="reduce", **common)(ops.global_avg_pool(x)))
        gate = nn.sigmoid(nn.Dense(self.features, name="expand", **common)(gate))
        if self.features % channels == 0:
            project = DepthwiseConv(3, multiplier=self.features // channels, name="project", **common)
        else:
            project = Conv(self.features, 3, groups=math.gcd(channels, self.features), name="project", **common)
        return activated(project(x), "project") * gate[:, None, None, :]

    def _built_for(self, branch: str, size: int) -> int:
        """The positions that a branch has filters for: its parameters say so, once there are any."""
        params = self.variables.get("params", {}).get(branch)
        return params["kernel"].shape[-1] if params else size
