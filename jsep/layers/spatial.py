"""The 3x3 convolution of a network by the name of its kind."""

from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype, Initializer

from jsep.layers.conv import Conv, SeparableConv
from jsep.layers.dice import DiCE
from jsep.layers.sharing import KernelSharingConv, SharedSeparableConv, groups_of

SpatialKind = Literal[
    "dense", "separable", "separable_bn", "separable_bn_relu", "ksc", "wksc", "wksc_separable", "dice"
]
SHARED_KINDS = ("ksc", "wksc", "wksc_separable")  # those whose kernels several input channels share

_default_init = nn.initializers.lecun_normal()


def spatial_conv(
    kind: SpatialKind,
    channels: int,
    features: int,
    strides: int = 1,
    *,
    dilation: int = 1,
    sharing: int = 4,
    kernel_init: Initializer = _default_init,
    separable_init: Initializer = _default_init,
    axis_name: str | None = None,
    dtype: Dtype | None = None,
    name: str,
) -> nn.Module:
    """Return a 3x3 convolution without bias, padded to keep the size at stride 1, as a layer of the calling module.

    This is what the option `conv` of a network chooses. Apply the layer with `conv_norm` or `call_conv`.

    Args:
        kind: "dense"; depthwise "separable", with batch norm ("separable_bn") or batch norm and ReLU
            ("separable_bn_relu") between its two parts; "ksc", kernels shared by groups of input channels, "wksc", the
            same with a weight for each channel, "wksc_separable", a separable convolution on the weighted sums of the
            groups; or "dice", a unit of dimension-wise convolutions.
        channels: input channels.
        features: output channels.
        strides: stride in both dimensions.
        dilation: distance between the positions that a dense kernel reads; other kinds have none.
        sharing: input channels that share a kernel in "ksc", "wksc" and "wksc_separable". If it does not divide
            `channels` the convolution is dense, and a warning says so.
        kernel_init: initializer of the dense kernel.
        separable_init: initializer of both kernels of a separable convolution.
        axis_name: mapped axis whose devices share batch statistics.
        dtype: dtype of the computation.
        name: name of the layer.
    """
    common: dict[str, Any] = {"dtype": dtype, "name": name}
    groups = groups_of(channels, sharing, name) if kind in ("ksc", "wksc", "wksc_separable") else None
    if kind == "dice":
        return DiCE(features, strides, axis_name, **common)
    if kind.startswith("separable"):
        inner: Any = kind.removeprefix("separable").removeprefix("_")
        init: dict[str, Any] = {"depthwise_init": separable_init, "pointwise_init": separable_init}
        return SeparableConv(features, 3, strides, use_bias=False, inner=inner, axis_name=axis_name, **init, **common)
    if groups and kind == "wksc_separable":
        return SharedSeparableConv(features, groups, 3, strides, **common)
    if groups:
        return KernelSharingConv(features, groups, 3, strides, weighted=kind == "wksc", **common)
    return Conv(features, 3, strides, dilation=dilation, use_bias=False, kernel_init=kernel_init, **common)
