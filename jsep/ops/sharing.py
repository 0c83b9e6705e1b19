"""Kernel sharing: all input channels of a group have the same kernel, and so are added before the convolution."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.lowering import by_platform


def group_sum(
    x: Float[Array, "n h w c"], groups: int, weights: Float[Array, " c"] | None = None, *, interleaved: bool = False
) -> Float[Array, "n h w groups"]:
    """Return the sum over the channels of each group.

    On a TPU it is a matrix product, which spreads a NaN or an infinity of one channel to all groups.

    Args:
        x: activations.
        groups: number of groups.
        weights: weight of each channel; None means a plain sum.
        interleaved: a group is every groups-th channel, instead of c / groups neighbouring channels.

    >>> group_sum(jnp.arange(6.0).reshape(1, 1, 1, 6), 2).ravel()
    Array([ 3., 12.], dtype=float32)
    >>> group_sum(jnp.arange(6.0).reshape(1, 1, 1, 6), 2, interleaved=True).ravel()
    Array([6., 9.], dtype=float32)
    """
    summed, product = (partial(f, groups=groups, interleaved=interleaved) for f in (_summed, _product))
    return by_platform(x, weights, cpu=summed, default=summed, tpu=product)


def _summed(x: Array, weights: Array | None, groups: int, interleaved: bool) -> Array:
    x = x if weights is None else x * weights.reshape(1, 1, 1, -1)
    n, height, width, channels = x.shape
    if interleaved:
        return x.reshape(n, height, width, channels // groups, groups).sum(-2)
    return x.reshape(n, height, width, groups, channels // groups).sum(-1)


def _product(x: Array, weights: Array | None, groups: int, interleaved: bool) -> Array:
    """Multiply with a matrix (c, groups) that holds the weight of each channel in the column of its group.

    A TPU lays the channels along the lanes of its vectors, so that a sum over a part of them moves all of them about.
    """
    channels = np.arange(x.shape[-1])
    group = channels % groups if interleaved else channels // (len(channels) // groups)
    member = group[:, None] == np.arange(groups)
    matrix = jnp.where(member, jnp.ones((), x.dtype) if weights is None else weights[:, None], 0)
    return jnp.einsum("nhwc,cg->nhwg", x, matrix, precision=lax.Precision.HIGHEST)


def expand_shared_kernel(
    kernel: Float[Array, "kh kw g o"], channels: int, weights: Array | None = None, *, interleaved: bool = False
) -> Float[Array, "kh kw c o"]:
    """Return the kernel of the dense convolution that equals a convolution with a shared kernel.

    Args:
        kernel: shared kernel, one slice for each of g groups.
        channels: number of input channels.
        weights: weight of each channel (c,), or of each pair of input and output channels (c, o); None means 1.
        interleaved: how channels are grouped, see `group_sum`.

    >>> expand_shared_kernel(jnp.ones((3, 3, 2, 5)), 6).shape
    (3, 3, 6, 5)
    """
    sharing = channels // kernel.shape[2]
    full = jnp.tile(kernel, (1, 1, sharing, 1)) if interleaved else jnp.repeat(kernel, sharing, axis=2)
    return full if weights is None else full * weights.reshape(1, 1, channels, -1)
