"""jsep's own networks as plain Flax computes them: the rival that differs in its convolutions alone."""

from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
from jax import Array

from jsep.layers import Conv, DepthwiseConv, PointwiseConv
from jsep.ops.geometry import axes


def plain_convolutions() -> AbstractContextManager:
    """While it lasts, every convolution of jsep.layers is computed by `flax.linen.Conv` with the same parameters.

    A jitted function keeps what it was traced with, so trace it inside.
    """
    return nn.intercept_methods(_as_flax)


def _as_flax(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    layer = context.module
    ours = isinstance(layer, Conv | DepthwiseConv | PointwiseConv)
    if not ours or context.method_name != "__call__" or layer.is_initializing():
        return call(*args, **kwargs)
    (x,) = args
    # detached, so that it finds its parameters here and not in the network
    return _twin(layer, x).apply({"params": layer.variables["params"]}, x)


def _twin(layer: Conv | DepthwiseConv | PointwiseConv, x: Array) -> nn.Conv:
    spatial = x.ndim - 2
    strides = axes(layer.strides, spatial)
    common: dict[str, Any] = {"use_bias": layer.use_bias, "dtype": layer.dtype, "parent": None}
    if isinstance(layer, PointwiseConv):
        return nn.Conv(layer.features, (1, 1), strides, "VALID", **common)
    kernel, dilation = axes(layer.kernel_size, spatial), axes(layer.dilation, spatial)
    pads = layer.padding  # but for PyTorch's, Flax knows them all
    if pads == "TORCH":
        pads = [(d * (k // 2), d * (k // 2)) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(layer, Conv):
        features, groups = layer.features, layer.groups
    else:
        features, groups = x.shape[-1] * layer.multiplier, x.shape[-1]
    return nn.Conv(features, kernel, strides, pads, kernel_dilation=dilation, feature_group_count=groups, **common)
