"""Exchanging channels between groups."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def channel_shuffle(x: Float[Array, "*batch c"], groups: int) -> Float[Array, "*batch c"]:
    """Interleave the channels of groups, so that output channel j * groups + i is channel j of group i.

    Zhang et al., arXiv 1707.01083 (ShuffleNet), section 3.1.

    Args:
        x: activations.
        groups: number of groups; it divides the number of channels.

    Raises:
        ValueError: the groups do not divide the channels.

    >>> channel_shuffle(jnp.arange(6.0), 2).tolist()
    [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    channels = x.shape[-1]
    if channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels")
    return jnp.swapaxes(x.reshape(*x.shape[:-1], groups, channels // groups), -1, -2).reshape(x.shape)
