"""Kernel sharing convolutions (KSC, WKSC): the input channels of a group share one k x k kernel for each output.

Sources: H. Zhou, Y.-T. Chen, J. Zhang, W.-H. Fang, "Efficient Weighted Kernel Sharing Convolutional Neural Networks",
2018, and a thesis of NTUST. Only their abstracts could be read. The definition is theirs; contiguous groups, the
initialisation and the separable forms are reconstructed.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv
from jsep.layers.conv_norm import WithBatchNorm, conv_norm
from jsep.layers.norm import BatchNorm
from jsep.ops.geometry import Padding, pair


def _he_over_all_channels(channels: int, groups: int) -> nn.initializers.Initializer:
    """He normal with the fan-in of the dense convolution, because the means of a group add up after ReLU."""
    return nn.initializers.variance_scaling(2.0 * groups / channels, "fan_in", "normal")


class GroupSum(nn.Module):
    """Sum of the channels of each group, optionally weighted: (n, h, w, c) -> (n, h, w, groups).

    Attributes:
        groups: number of groups; must divide the input channels.
        weighted: whether each input channel has a learned weight.
        interleaved: whether a group consists of every `groups`-th channel instead of neighbouring ones.
        weight_init: initializer of the weights.
        dtype: dtype of the computation.
    """

    groups: int
    weighted: bool = False
    interleaved: bool = False
    weight_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w g"]:
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{self.name}: groups={self.groups} must divide the {channels} input channels")
        weights = self.param("weight", self.weight_init, (channels,), jnp.float32) if self.weighted else None
        x, weights = promote_dtype(x, weights, dtype=self.dtype)
        return ops.group_sum(x, self.groups, weights, interleaved=self.interleaved)


class KernelSharingConv(nn.Module):
    """Convolution whose kernels are shared by the input channels of a group: (n, h, w, c) -> (n, h2, w2, features).

    It is computed in the fast form: each group is summed, then a dense convolution takes `groups` channels to
    `features`. With as many groups as channels it is the dense convolution.

    Attributes:
        features: output channels.
        groups: number of groups of input channels.
        kernel_size: see `Conv`.
        strides: see `Conv`.
        padding: see `Conv`.
        dilation: see `Conv`.
        interleaved: see `GroupSum`.
        use_bias: whether a bias is added.
        weighted: whether each input channel has a learned weight (WKSC).
        dtype: dtype of the computation.
    """

    features: int
    groups: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    dilation: int | Sequence[int] = 1
    interleaved: bool = False
    use_bias: bool = False
    weighted: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        channels = x.shape[-1]
        x = GroupSum(self.groups, self.weighted, self.interleaved, dtype=self.dtype, name="sum")(x)
        return Conv(
            self.features,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation,
            use_bias=self.use_bias,
            kernel_init=_he_over_all_channels(channels, self.groups),
            dtype=self.dtype,
            name="conv",
        )(x)


class WeightedKernelSharingConv(KernelSharingConv):
    """`KernelSharingConv` with a learned weight for each input channel, the same for all outputs."""

    weighted: bool = True


class PairWeightedKernelSharingConv(nn.Module):
    """Kernel sharing with a weight for each pair of input channel and output, for ablations.

    (n, h, w, c) -> (n, h2, w2, features). It has no fast form and is computed as a dense convolution.

    Attributes:
        features: output channels.
        groups: number of groups of input channels.
        kernel_size: see `Conv`.
        strides: see `Conv`.
        padding: see `Conv`.
        dilation: see `Conv`.
        interleaved: see `GroupSum`.
        dtype: dtype of the computation.
    """

    features: int
    groups: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    dilation: int | Sequence[int] = 1
    interleaved: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(f"{self.name}: groups={self.groups} must divide the {channels} input channels")
        init = _he_over_all_channels(channels, self.groups)
        kernel = self.param("kernel", init, (*pair(self.kernel_size), self.groups, self.features), jnp.float32)
        weights = self.param("weight", nn.initializers.ones, (channels, self.features), jnp.float32)
        x, kernel, weights = promote_dtype(x, kernel, weights, dtype=self.dtype)
        full = ops.expand_shared_kernel(kernel, channels, weights, interleaved=self.interleaved)
        return ops.conv(x, full, strides=pair(self.strides), padding=self.padding, dilation=pair(self.dilation))


class SharedSeparableConv(WithBatchNorm):
    """Kernel sharing with a depthwise separable convolution: (n, h, w, c) -> (n, h2, w2, features).

    Attributes:
        features: output channels.
        groups: number of groups of input channels.
        kernel_size: kernel size of the depthwise part.
        strides: strides of the depthwise part.
        padding: see `Conv`.
        form: "B" sums the groups, then convolves the sums depthwise and pointwise; "A" convolves all channels
            depthwise, then uses a kernel sharing 1x1 convolution.
        weighted: whether each input channel has a learned weight.
        inner: what follows the depthwise part, see `SeparableConv`.
        axis_name: mapped axis whose devices share batch statistics.
        dtype: dtype of the computation.
    """

    features: int
    groups: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    form: Literal["A", "B"] = "B"
    weighted: bool = True
    inner: Literal["", "bn", "bn_relu"] = ""
    axis_name: str | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Float[Array, "n h2 w2 f"]:
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
        if self.form == "B":
            x = GroupSum(self.groups, self.weighted, dtype=self.dtype, name="sum")(x)
        depthwise = DepthwiseConv(self.kernel_size, self.strides, self.padding, name="depthwise", **common)
        if self.inner:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="norm")
            x = conv_norm(x, depthwise, norm, nn.relu if self.inner == "bn_relu" else None, train=train)
        else:
            x = depthwise(x)
        if self.form == "B":
            return PointwiseConv(self.features, name="pointwise", **common)(x)
        shared: dict[str, Any] = {"weighted": self.weighted, "dtype": self.dtype, "name": "pointwise"}
        return KernelSharingConv(self.features, self.groups, 1, **shared)(x)


def groups_of(channels: int, sharing: int, name: str) -> int | None:
    """Return the number of groups if `sharing` channels share a kernel; None, with a warning, if it does not divide."""
    if channels % sharing:
        sentence = f"{name}: sharing={sharing} does not divide its {channels} channels; no kernels are shared"
        warnings.warn(sentence, stacklevel=2)
        return None
    return channels // sharing
