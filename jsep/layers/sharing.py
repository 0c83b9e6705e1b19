"""Kernel sharing convolutions (KSC, WKSC): one k x k kernel for a group of input channels and an output.

Source: H. Zhou, Y.-T. Chen, J. Zhang, W.-H. Fang, "Efficient Weighted Kernel Sharing Convolutional Neural Networks",
2018, and a thesis of NTUST, of both of which only the abstract is readable: the definition is theirs, contiguous
groups, initialisation and the separable forms are reconstructed.
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
from jsep.layers.conv import Conv, DepthwiseConv, PointwiseConv, SeparableConv
from jsep.layers.norm import BatchNorm
from jsep.ops.geometry import Padding, pair


def _he_over_all_channels(channels: int, groups: int) -> nn.initializers.Initializer:
    """He normal with the fan-in of the plain convolution: after ReLU the means of a group add up."""
    return nn.initializers.variance_scaling(2.0 * groups / channels, "fan_in", "normal")


class GroupSum(nn.Module):
    """(Weighted) sum of the channels of each group: (n, h, w, c) -> (n, h, w, groups).

    weighted: a learned scalar for each input channel, 1 at the start unless `weight_init` draws it otherwise.
    interleaved: see `ops.group_sum`.
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

    Computed in the fast form: the group is summed, then a plain convolution takes `groups` channels to `features`.
    With as many groups as channels it is the plain convolution. weighted: WKSC, see `WeightedKernelSharingConv`.
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
    """`KernelSharingConv` with one learned weight for each input channel, the same for all outputs."""

    weighted: bool = True


class PairWeightedKernelSharingConv(nn.Module):
    """For ablations: a weight for each pair of input channel and output. It has no fast form.

    (n, h, w, c) -> (n, h2, w2, features), computed as the plain convolution that it stands for.
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


class SharedSeparableConv(nn.Module):
    """Kernel sharing with a depthwise separable convolution: (n, h, w, c) -> (n, h2, w2, features).

    form "B": the (weighted) group sum, depthwise on `groups` channels, pointwise. form "A": depthwise on all channels,
    then a (weighted) kernel sharing 1x1 convolution. inner: what lies behind the depthwise part, as in `SeparableConv`.
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
        x = DepthwiseConv(self.kernel_size, self.strides, self.padding, name="depthwise", **common)(x)
        if self.inner:
            x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="norm")(x, train=train)
        if self.inner == "bn_relu":
            x = nn.relu(x)
        if self.form == "B":
            return PointwiseConv(self.features, name="pointwise", **common)(x)
        shared: dict[str, Any] = {"weighted": self.weighted, "dtype": self.dtype, "name": "pointwise"}
        return KernelSharingConv(self.features, self.groups, 1, **shared)(x)


Sharing = Literal["dense", "ksc", "wksc", "ds", "wksc_ds"]


def dense_or_shared(
    x: Float[Array, "n h w c"],
    conv: Sharing,
    sharing: int,
    features: int,
    strides: int = 1,
    *,
    name: str,
    kernel_init: nn.initializers.Initializer,
    dtype: Dtype | None,
) -> Float[Array, "n h2 w2 f"]:
    """A 3x3 convolution without bias of the module that calls this, dense, separable ("ds") or with shared kernels.

    `sharing` channels share a kernel. Where that does not divide the channels the convolution stays plain: a warning
    says so, and it stands as Conv in `jsep show`.
    """
    channels = x.shape[-1]
    common: dict[str, Any] = {"dtype": dtype, "name": name}
    if conv == "ds":
        return SeparableConv(features, 3, strides, use_bias=False, **common)(x)
    if conv != "dense" and channels % sharing:
        sentence = f"{name}: sharing={sharing} does not divide its {channels} channels; it stays plain"
        warnings.warn(sentence, stacklevel=2)
    elif conv in ("ksc", "wksc"):
        return KernelSharingConv(features, channels // sharing, 3, strides, weighted=conv == "wksc", **common)(x)
    elif conv == "wksc_ds":
        return SharedSeparableConv(features, channels // sharing, 3, strides, **common)(x)
    return Conv(features, 3, strides, use_bias=False, kernel_init=kernel_init, **common)(x)
