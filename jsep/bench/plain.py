"""jsep's networks with plain Flax convolutions: a contender that differs in nothing else."""

from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
from jax import Array

from jsep.layers import Conv, DepthwiseConv, PointwiseConv, watch
from jsep.ops.geometry import axes


def plain_convolutions() -> AbstractContextManager[None]:
    """Return a context in which `flax.linen.Conv` computes every convolution of `jsep.layers`, with its parameters.

    A jitted function keeps the convolutions that it was traced with, so it must be traced inside the context.
    """
    return watch(_as_flax, Conv, DepthwiseConv, PointwiseConv)


def _as_flax(layer: Conv | DepthwiseConv | PointwiseConv, call: Any, x: Array) -> Array:
    if layer.is_initializing():
        return call(x)
    # a module without a parent, which takes its parameters from here and not from the network
    y: Any = _twin(layer, x).apply({"params": layer.variables["params"]}, x)
    return y


def _twin(layer: Conv | DepthwiseConv | PointwiseConv, x: Array) -> nn.Conv:
    spatial = x.ndim - 2
    strides = axes(layer.strides, spatial)
    common: dict[str, Any] = {"use_bias": layer.use_bias, "dtype": layer.dtype, "parent": None}
    if isinstance(layer, PointwiseConv):
        return nn.Conv(layer.features, (1, 1), strides, "VALID", **common)
    kernel, dilation = axes(layer.kernel_size, spatial), axes(layer.dilation, spatial)
    pads = layer.padding  # Flax knows all of them but PyTorch's
    if pads == "TORCH":
        pads = [(d * (k // 2), d * (k // 2)) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(layer, Conv):
        features, groups = layer.features, layer.groups
    else:
        features, groups = x.shape[-1] * layer.multiplier, x.shape[-1]
    return nn.Conv(features, kernel, strides, pads, kernel_dilation=dilation, feature_group_count=groups, **common)
