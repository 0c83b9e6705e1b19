"""Kernel sharing: the input channels of a group meet the same kernel, so they are added before the convolution."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def group_sum(
    x: Float[Array, "n h w c"], groups: int, weights: Float[Array, " c"] | None = None, *, interleaved: bool = False
) -> Float[Array, "n h w groups"]:
    """The (weighted) sum of the channels of each of `groups` groups.

    A group is a run of c / groups neighbours or, where `interleaved`, every groups-th channel.

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
    """The kernel of the plain convolution that a shared kernel stands for; weights of shape (c,) or (c, o).

    >>> expand_shared_kernel(jnp.ones((3, 3, 2, 5)), 6).shape
    (3, 3, 6, 5)
    """
    sharing = channels // kernel.shape[2]
    full = jnp.tile(kernel, (1, 1, sharing, 1)) if interleaved else jnp.repeat(kernel, sharing, axis=2)
    return full if weights is None else full * weights.reshape(1, 1, channels, -1)
