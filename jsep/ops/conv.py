"""Dense, grouped and pointwise convolution of NHWC activations with HWIO kernels.

XLA's own convolution is fast on GPU and TPU, and on every platform for dense kernels on many channels. On a CPU it
makes poor use of vector instructions on few channels, and computes a grouped convolution ten to a hundred times slower
than its groups one after another. With native kernels (`jsep.native`) they compute all of these on a CPU. A TPU
computes 1x1 convolutions as such, not as products of reshaped maps, which it would lay out anew; and small groups as
one dense convolution, since it multiplies with zeros faster than it moves channels about.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsep.ops.geometry import Geometry, Padding, Pair, explicit_padding, pad, pair, tap_slices
from jsep.ops.lowering import by_platform, portable
from jsep.ops.native_conv import Job, natively, xla_conv

Lowering = Literal["auto", "products", "xla"]

FEW_CHANNELS = 4  # input channels up to which a convolution is one matrix product over gathered windows
TILE = 128  # rows and columns of a TPU's matrix unit
MANY_GROUPS = 64  # groups above which the convolution is left to XLA: each group is one more product to compile


def conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: int | Pair = 1,
    padding: Padding = "TORCH",
    dilation: int | Pair = 1,
    groups: int = 1,
    lowering: Lowering = "auto",
) -> Float[Array, "n h2 w2 o"]:
    """Two-dimensional convolution, dense or grouped.

    Args:
        x: activations.
        kernel: kernel with i = c / groups input channels.
        strides: stride along height and width.
        padding: see `explicit_padding`.
        dilation: distance between neighbouring taps of the kernel, along height and width.
        groups: number of groups that input and output channels are split into.
        lowering: how the convolution is computed. "auto" chooses by the platform that the program is compiled for;
            "products" is the choice for CPUs without native kernels (groups one after another, 1x1 kernels and few
            channels as matrix products), "xla" that for all other platforms. The last two are for tests and benchmarks.

    Returns:
        The activations after the convolution.

    >>> conv(jnp.ones((1, 8, 8, 6)), jnp.ones((3, 3, 2, 9)), strides=2, groups=3).shape
    (1, 4, 4, 9)
    """
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)
    geometry = Geometry(strides, pads, dilation)
    products, direct = (partial(f, geometry=geometry, groups=groups) for f in (_products, xla_conv))
    match lowering:
        case "products":
            return products(x, kernel)
        case "xla":
            return direct(x, kernel)
        case "auto":
            native = natively(x, kernel, Job(geometry, groups))
            dense = groups > 1 and dense_is_better(kernel.shape, groups)
            tpu = partial(_dense, geometry=geometry, groups=groups) if dense else None
            return by_platform(x, kernel, cpu=native or products, default=direct, tpu=tpu)
    raise ValueError(f'lowering {lowering!r}: use "auto", "products" or "xla"')


def pointwise_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "1 1 c o"], *, strides: int | Pair = 1
) -> Float[Array, "n h2 w2 o"]:
    """Convolution with a 1x1 kernel: one matrix product over all positions.

    Args:
        x: activations.
        kernel: kernel.
        strides: stride along height and width; a stride of s takes every s-th position.

    >>> pointwise_conv(jnp.ones((1, 8, 8, 6)), jnp.ones((1, 1, 6, 9)), strides=2).shape
    (1, 4, 4, 9)
    """
    geometry = Geometry(pair(strides), ((0, 0), (0, 0)), (1, 1))
    direct = partial(xla_conv, geometry=geometry, groups=1)
    if portable():
        return direct(x, kernel)
    product = partial(_product, strides=geometry.strides)
    # JAX 0.11.2 ends the process where it compiles a product over a strided slice for a GPU
    default = product if geometry.strides == (1, 1) else direct
    native = natively(x, kernel, Job(geometry))
    return by_platform(x, kernel, cpu=native or product, default=default, tpu=direct)


def _product(x: Array, kernel: Array, strides: Pair) -> Array:
    rows, columns = strides
    x = x[:, ::rows, ::columns]
    n, height, width, channels = x.shape
    y = x.reshape(-1, channels) @ kernel[0, 0]  # (n, h, w, c) -> (n * h * w, o)
    return y.reshape(n, height, width, kernel.shape[-1])


def dense_is_better(shape: Sequence[int], groups: int) -> bool:
    """Return whether a TPU computes the groups of a kernel (kh, kw, i, o) faster as one dense convolution.

    That is where it is 1x1, and fills no more tiles of the matrix unit as a dense kernel than in groups.
    """

    def tiles(inputs: int, outputs: int) -> int:
        return math.ceil(inputs / TILE) * math.ceil(outputs / TILE)

    height, width, inputs, outputs = shape
    few = tiles(groups * inputs, outputs) <= groups * tiles(inputs, outputs // groups)
    return height == width == 1 and few


def block_diagonal(kernel: Float[Array, "kh kw i o"], groups: int) -> Float[Array, "kh kw c o"]:
    """Return the dense kernel of a grouped convolution: zero between channels of different groups.

    >>> block_diagonal(jnp.ones((1, 1, 1, 4)), 2)[0, 0]
    Array([[1., 1., 0., 0.],
           [0., 0., 1., 1.]], dtype=float32)
    """
    inputs, outputs = kernel.shape[2:]
    rows, columns = np.arange(groups * inputs) // inputs, np.arange(outputs) // (outputs // groups)
    own = (rows[:, None] == columns)[None, None]
    return jnp.where(own, jnp.tile(kernel, (1, 1, groups, 1)), 0)


def _dense(x: Array, kernel: Array, geometry: Geometry, groups: int) -> Array:
    """Compute all groups as one dense convolution."""
    return xla_conv(x, block_diagonal(kernel, groups), geometry, 1)


def _products(x: Array, kernel: Array, geometry: Geometry, groups: int) -> Array:
    if not x.size or groups > MANY_GROUPS:
        return xla_conv(x, kernel, geometry, groups)
    if groups > 1:
        parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([_products(part, own, geometry, 1) for part, own in parts], -1)
    if kernel.shape[:2] == (1, 1) and not any(map(any, geometry.pads)):
        return _product(x, kernel, geometry.strides)
    if x.shape[-1] <= FEW_CHANNELS:
        padded = pad(x, geometry.pads)
        slices = tap_slices(padded.shape, kernel.shape, geometry.strides, geometry.dilation)
        windows = jnp.concatenate([padded[:, *at] for at in slices], axis=-1)  # -> (n, h2, w2, k * k * c)
        flat = windows.reshape(-1, windows.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
        return flat.reshape(*windows.shape[:3], kernel.shape[-1])
    return xla_conv(x, kernel, geometry, groups)
