"""Kernel sharing: all input channels of a group have the same kernel, and so are added before the convolution."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def group_sum(
    x: Float[Array, "n h w c"], groups: int, weights: Float[Array, " c"] | None = None, *, interleaved: bool = False
) -> Float[Array, "n h w groups"]:
    """Return the sum over the channels of each group.

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
    x = x if weights is None else x * weights.reshape(1, 1, 1, -1)
    n, height, width, channels = x.shape
    if interleaved:
        return x.reshape(n, height, width, channels // groups, groups).sum(-2)
    return x.reshape(n, height, width, groups, channels // groups).sum(-1)


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
