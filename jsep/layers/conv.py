"""Convolutions. Their parameters are named and shaped like those of `flax.linen.Conv`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import fusion
from jsep.layers.conv_norm import WithBatchNorm, conv_norm
from jsep.layers.norm import BatchNorm
from jsep.ops.geometry import Padding, axes, pair

_default_init = nn.initializers.lecun_normal()


class Conv(nn.Module):
    """Dense or grouped convolution: (n, h, w, c) -> (n, h2, w2, features).

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, or one number for both.
        strides: strides of the rows and columns, or one number for both.
        padding: "TORCH" pads k // 2 positions (times the dilation) on each side, "SAME" pads as TensorFlow does,
            "VALID" not at all; or a number of positions, or a pair (before, after) for each dimension.
        dilation: distance between the positions that a kernel reads.
        groups: groups of input channels that do not see each other; must divide `features` and the input channels.
        shift: how the input is shifted first, see `jsep.ops.Shift`; None for not at all.
        use_bias: whether a bias is added.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.

    Example:

    >>> layer = layers.Conv(16, 3, strides=2, use_bias=False)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((1, 16, 16, 16), (3, 3, 3, 16))
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    shift: ops.Shift | None = None
    use_bias: bool = True
    kernel_init: Initializer = _default_init
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        if x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(
                f"{self.name}: groups={self.groups} must divide the {x.shape[-1]} input channels "
                f"and the {self.features} features"
            )
        shape = (*pair(self.kernel_size), x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        options: dict[str, Any] = {
            "strides": pair(self.strides),
            "padding": self.padding,
            "dilation": pair(self.dilation),
            "groups": self.groups,
        }
        op = ops.conv
        if self.shift and fusion.fusing(x):
            x = ops.shifted(x, self.shift)
        elif self.shift:
            op = partial(ops.shifted_conv, shift=self.shift)
        return _with_bias(self, _convolved(self, op, x, kernel, options))


class PointwiseConv(nn.Module):
    """Pointwise (1x1) convolution: (n, h, w, c) -> (n, ceil(h / stride), ceil(w / stride), features).

    Attributes:
        features: output channels.
        strides: every how many positions an output is computed.
        use_bias: whether a bias is added.
        kernel_init: initializer of the kernel.
        bias_init: initializer of the bias.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.
    """

    features: int
    strides: int | Sequence[int] = 1
    use_bias: bool = True
    kernel_init: Initializer = _default_init
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 f"]:
        shape = (1, 1, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        return _with_bias(self, _convolved(self, ops.pointwise_conv, x, kernel, {"strides": pair(self.strides)}))


class DepthwiseConv(nn.Module):
    """Depthwise convolution: (n, h, w, c) -> (n, h2, w2, c * multiplier).

    An input of three dimensions is convolved in one: (n, length, c) -> (n, length2, c * multiplier).

    Attributes:
        kernel_size: size of the kernel in each dimension, or one number for all.
        strides: stride in each dimension, or one number for all.
        padding: see `Conv`.
        dilation: distance between the positions that a kernel reads.
        multiplier: filters for each input channel.
        use_bias: whether a bias is added.
        kernel_init: initializer of the kernel; the default draws with the fan-in of one channel, k * k.
        bias_init: initializer of the bias.
        dtype: dtype of the computation.
        param_dtype: dtype of the parameters.

    Example:

    >>> layer = layers.DepthwiseConv(3, use_bias=False)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 16)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((1, 8, 8, 16), (3, 3, 1, 16))
    """

    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    dilation: int | Sequence[int] = 1
    multiplier: int = 1
    use_bias: bool = True
    kernel_init: Initializer = _default_init
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "n *hw c"]) -> Float[Array, "n *hw2 cm"]:
        shape = (*axes(self.kernel_size, x.ndim - 2), 1, x.shape[-1] * self.multiplier)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        options: dict[str, Any] = {
            "strides": axes(self.strides, x.ndim - 2),
            "padding": self.padding,
            "dilation": axes(self.dilation, x.ndim - 2),
        }
        return _with_bias(self, _convolved(self, ops.depthwise_conv, x, kernel, options))


class ExchangedConv(DepthwiseConv):
    """Depthwise convolution of stride 1 without bias, whose channels have changed places with positions.

    (n, *hw, c) -> (n, *hw, c), see `jsep.ops.exchanged_conv`.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "n *hw c"]) -> Float[Array, "n *hw c"]:
        shape = (*axes(self.kernel_size, x.ndim - 2), 1, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        return ops.exchanged_conv(*promote_dtype(x, kernel, dtype=self.dtype))


class SeparableConv(WithBatchNorm):
    """Depthwise separable convolution, depthwise then pointwise: (n, h, w, c) -> (n, h2, w2, features).

    The depthwise part has the stride and no bias, like that of Keras's SeparableConv2D.

    Attributes:
        features: output channels.
        kernel_size: kernel size of the depthwise part.
        strides: strides of the depthwise part.
        padding: see `Conv`.
        use_bias: whether the pointwise part has a bias.
        depthwise_init: initializer of the depthwise kernel.
        pointwise_init: initializer of the pointwise kernel.
        inner: what lies between the two parts: nothing (""), batch norm ("bn"), or batch norm and ReLU ("bn_relu").
        axis_name: mapped axis whose devices share batch statistics.
        dtype: dtype of the computation.

    Example:

    >>> layer = layers.SeparableConv(32, strides=2)
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 16)))
    >>> y.shape, sorted(variables["params"])
    ((1, 4, 4, 32), ['depthwise', 'pointwise'])
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    use_bias: bool = True
    depthwise_init: Initializer = _default_init
    pointwise_init: Initializer = _default_init
    inner: Literal["", "bn", "bn_relu"] = ""
    axis_name: str | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Float[Array, "n h2 w2 f"]:
        if self.inner not in ("", "bn", "bn_relu"):
            raise ValueError(f'inner={self.inner!r}: it must be "", "bn" or "bn_relu"')
        depthwise = DepthwiseConv(
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=False,
            kernel_init=self.depthwise_init,
            dtype=self.dtype,
            name="depthwise",
        )
        if self.inner:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="norm")
            x = conv_norm(x, depthwise, norm, nn.relu if self.inner == "bn_relu" else None, train=train)
        else:
            with fusion.norm_follows(False):
                x = depthwise(x)
        return PointwiseConv(
            self.features,
            use_bias=self.use_bias,
            kernel_init=self.pointwise_init,
            dtype=self.dtype,
            name="pointwise",
        )(x)


def _convolved(
    layer: Conv | PointwiseConv | DepthwiseConv,
    op: Callable[..., Array],
    x: Array,
    kernel: Array | np.ndarray,
    options: dict[str, Any],
) -> Array:
    """Return the convolution of a layer, fused with its neighbours where it can be."""
    wide, kernel = promote_dtype(x, kernel, dtype=layer.dtype)
    if not fusion.fusing(x):
        return op(wide, kernel, **options)
    moments = fusion.norm_is_next() and not layer.use_bias
    return fusion.convolve(wide, kernel, x, depthwise=op is ops.depthwise_conv, moments=moments, **options)


def _with_bias(layer: Conv | PointwiseConv | DepthwiseConv, y: Array) -> Array:
    if not layer.use_bias:
        return y
    bias = layer.param("bias", layer.bias_init, (y.shape[-1],), layer.param_dtype)
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
