"""Dense, grouped and pointwise convolution as pure functions of NHWC activations and HWIO kernels."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.geometry import Padding, Pair, explicit_padding, pad, pair, tap_slices

FEW_CHANNELS = 4

_NHWC = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: int | Pair = 1,
    padding: Padding = "TORCH",
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolution; `groups` > 1 splits the channels (the kernel then has c / groups input channels).

    A dense one on few channels (a stem on images) becomes one matrix product over gathered windows on a CPU, where
    XLA's own convolution wastes its vectors; forward and both gradients are then half the time.
    """
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)

    def direct(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            rhs_dilation=dilation,
            dimension_numbers=_NHWC,
            feature_group_count=groups,
        )

    def gathered(x: Array, kernel: Array) -> Array:
        padded = pad(x, pads)
        windows = [padded[:, *at] for at in tap_slices(padded.shape, kernel.shape, strides, dilation)]
        columns = jnp.concatenate(windows, axis=-1)  # (n, h2, w2, c) k * k times -> (n, h2, w2, k * k * c)
        flat = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
        return flat.reshape(*columns.shape[:3], kernel.shape[-1])

    if groups == 1 and x.shape[-1] <= FEW_CHANNELS and x.size:
        return lax.platform_dependent(x, kernel, cpu=gathered, default=direct)
    return direct(x, kernel)


def pointwise_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "1 1 c o"], *, strides: int | Pair = 1
) -> Float[Array, "n h2 w2 o"]:
    """1x1 convolution, as one matrix product over all positions; a stride takes every s-th position."""
    rows, columns = pair(strides)
    x = x[:, ::rows, ::columns]
    n, height, width, channels = x.shape
    y = x.reshape(-1, channels) @ kernel[0, 0]  # (n, h, w, c) -> (n * h * w, o)
    return y.reshape(n, height, width, kernel.shape[-1])
