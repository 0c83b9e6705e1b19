"""Dimension-wise convolution and fusion (DiCE): kernels slide over rows and columns, rows and channels, and so on.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, section 3, in the form of the authors' EdgeNets, where the
fusion over all positions holds a 3x3 grouped convolution that the text of the paper does not mention.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers.activation import PReLU
from jsep.layers.conv import Conv, DepthwiseConv, ExchangedConv
from jsep.layers.conv_norm import WithBatchNorm, conv_norm
from jsep.layers.norm import BatchNorm
from jsep.layers.pool import AvgPool
from jsep.layers.sharing import GroupSum

_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class DiCE(WithBatchNorm):
    """DiCE unit: (n, h, w, c) -> (n, h / strides, w / strides, features).

    It consists of three depthwise 3x3 convolutions, across the channels, the rows and the columns; a weighted sum of
    the three resulting maps of each channel; and a 3x3 convolution in gcd(c, features) groups, scaled by a gate
    computed from all channels. The unit has filters for the rows and columns of one size: `side`, or that of the input
    it is initialised with. Inputs of another size are resized to that size and back.

    Attributes:
        features: output channels.
        strides: stride of an average pool in front; 1 for none.
        axis_name: mapped axis whose devices share batch statistics.
        dtype: dtype of the computation.
        side: number of rows and of columns that a new unit has filters for; 0 for those of its input.
    """

    features: int
    strides: int = 1
    axis_name: str | None = None
    dtype: Dtype | None = None
    side: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h2 w2 f"]:
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def norm_act(name: str) -> tuple[BatchNorm, PReLU]:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
            return norm, PReLU(dtype=self.dtype, name=f"{name}_act")

        def along(axis: int, name: str) -> Array:
            """Depthwise convolution with the positions of an axis and the channels exchanged."""
            size = x.shape[axis]
            y = jnp.swapaxes(ops.resize_axis(x, axis, self._built_for(name, size)), axis, -1)
            y = ExchangedConv(3, name=name, **common)(y)
            return ops.resize_axis(jnp.swapaxes(y, axis, -1), axis, size)

        if self.strides > 1:
            x = AvgPool(3, self.strides, padding=1, name="pool")(x)
        channels = x.shape[-1]
        if channels < 4:  # the gate has a quarter of them
            sentence = f"a DiCE unit needs at least 4 channels, not {channels}; choose a wider network"
            raise UserError(f"{self.name}: {sentence}")
        depth = DepthwiseConv(3, name="depth", **common)(x)
        x = jnp.concatenate([depth, along(1, "height"), along(2, "width")], -1)  # -> (n, h, w, 3 * c)
        norm, act = norm_act("branches")
        x = act(norm(x, train=train))
        # equals a shuffle and a grouped 1x1 convolution, without moving data: -> (n, h, w, c)
        init = nn.initializers.normal((2 / channels) ** 0.5)
        fuse = GroupSum(channels, weighted=True, interleaved=True, weight_init=init, dtype=self.dtype, name="fuse")
        x = conv_norm(x, fuse, *norm_act("fuse"), train=train)
        gate = nn.relu(nn.Dense(channels // 4, name="reduce", **common)(ops.global_avg_pool(x)))
        gate = nn.sigmoid(nn.Dense(self.features, name="expand", **common)(gate))
        if self.features % channels == 0:
            project = DepthwiseConv(3, multiplier=self.features // channels, name="project", **common)
        else:
            project = Conv(self.features, 3, groups=math.gcd(channels, self.features), name="project", **common)
        return conv_norm(x, project, *norm_act("project"), train=train) * gate[:, None, None, :]

    def _built_for(self, branch: str, size: int) -> int:
        """Return the number of positions a branch has filters for: that of its parameters, once there are any."""
        params = self.variables.get("params", {}).get(branch)
        return params["kernel"].shape[-1] if params else self.side or size


def follows_image_size(path: str) -> bool:
    """Return whether a parameter of a network has a filter for each row or column of the maps.

    Its last axis has the size of the maps at initialisation; the layer resizes parameters of any other size.

    Args:
        path: path of the parameter, such as params/stage1_unit1_dice/height/kernel.
    """
    return path.endswith(("_dice/height/kernel", "_dice/width/kernel"))
