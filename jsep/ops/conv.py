"""Dense, grouped and pointwise convolution as pure functions of NHWC activations and HWIO kernels."""

from jax import lax
from jaxtyping import Array, Float

from jsep.ops.geometry import Padding, Pair, explicit_padding, pair

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
    """Convolution; `groups` > 1 splits the channels (the kernel then has c / groups input channels)."""
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


def pointwise_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "1 1 c o"], *, strides: int | Pair = 1
) -> Float[Array, "n h2 w2 o"]:
    """1x1 convolution, as one matrix product over all positions; a stride takes every s-th position."""
    rows, columns = pair(strides)
    x = x[:, ::rows, ::columns]
    n, height, width, channels = x.shape
    y = x.reshape(-1, channels) @ kernel[0, 0]  # (n, h, w, c) -> (n * h * w, o)
    return y.reshape(n, height, width, kernel.shape[-1])
