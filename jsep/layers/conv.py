"""Convolutions. Parameters are named and shaped as those of `flax.linen.Conv`."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers.norm import BatchNorm
from jsep.ops.geometry import Padding, axes, pair

Separable = Literal["none", "sep", "sep_bn", "sep_bn_relu"]

_default_init = nn.initializers.lecun_normal()


class Conv(nn.Module):
    """Dense (or, with `groups`, grouped) convolution: (n, h, w, c) -> (n, h2, w2, features)."""

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "TORCH"
    dilation: int | Sequence[int] = 1
    groups: int = 1
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
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = ops.conv(
            x,
            kernel,
            strides=pair(self.strides),
            padding=self.padding,
            dilation=pair(self.dilation),
            groups=self.groups,
        )
        return _with_bias(self, y)


class PointwiseConv(nn.Module):
    """1x1 convolution: (n, h, w, c) -> (n, h / strides, w / strides, features)."""

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
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return _with_bias(self, ops.pointwise_conv(x, kernel, strides=pair(self.strides)))


class DepthwiseConv(nn.Module):
    """Depthwise convolution with `multiplier` filters a channel: (n, h, w, c) -> (n, h2, w2, c * multiplier).

    In one dimension (n, length, c) -> (n, length2, c * multiplier), as the input says.
    The default initializer draws with the fan of one group, k * k.
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
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = ops.depthwise_conv(
            x,
            kernel,
            strides=axes(self.strides, x.ndim - 2),
            padding=self.padding,
            dilation=axes(self.dilation, x.ndim - 2),
        )
        return _with_bias(self, y)


class SeparableConv(nn.Module):
    """Depthwise convolution, then pointwise: (n, h, w, c) -> (n, h2, w2, features).

    The depthwise part has no bias and carries the stride; the bias, if any, belongs to the pointwise part
    (Keras's SeparableConv2D). `inner` is what lies between the two: nothing, "bn" or "bn_relu".
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
            raise ValueError(f'inner={self.inner!r}: use "", "bn" or "bn_relu"')
        x = DepthwiseConv(
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=False,
            kernel_init=self.depthwise_init,
            dtype=self.dtype,
            name="depthwise",
        )(x)
        if self.inner:
            x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="norm")(x, train=train)
        if self.inner == "bn_relu":
            x = nn.relu(x)
        return PointwiseConv(
            self.features,
            use_bias=self.use_bias,
            kernel_init=self.pointwise_init,
            dtype=self.dtype,
            name="pointwise",
        )(x)


def dense_or_separable(
    x: Float[Array, "n h w c"],
    separable: Separable,
    features: int,
    strides: int = 1,
    *,
    train: bool,
    name: str,
    kernel_init: Initializer,
    axis_name: str | None,
    dtype: Dtype | None,
) -> Float[Array, "n h2 w2 f"]:
    """A 3x3 convolution without bias, dense or as `separable` says, of the module that calls this."""
    common: dict[str, Any] = {"use_bias": False, "dtype": dtype, "name": name}
    if separable == "none":
        return Conv(features, 3, strides, kernel_init=kernel_init, **common)(x)
    init = {"depthwise_init": kernel_init, "pointwise_init": kernel_init}
    inner: Any = separable.removeprefix("sep").removeprefix("_")
    return SeparableConv(features, 3, strides, inner=inner, axis_name=axis_name, **init, **common)(x, train=train)


def _with_bias(layer: Conv | PointwiseConv | DepthwiseConv, y: Array) -> Array:
    if not layer.use_bias:
        return y
    bias = layer.param("bias", layer.bias_init, (y.shape[-1],), layer.param_dtype)
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
