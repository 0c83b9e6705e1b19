"""Exchanging channels between groups."""

from functools import partial, reduce

import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep.ops.conv import pointwise_conv
from jsep.ops.lowering import by_platform


def channel_shuffle(x: Float[Array, "*batch c"], groups: int) -> Float[Array, "*batch c"]:
    """Interleave the channels of groups, so that output channel j * groups + i is channel j of group i.

    Zhang et al., arXiv 1707.01083 (ShuffleNet), section 3.1. A TPU multiplies bfloat16 with a permutation matrix:
    exactly, but a value that is not finite makes all channels at its position NaN.

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
    interleaved, permuted = (partial(f, groups=groups) for f in (_interleaved, _permuted))
    tpu = permuted if x.ndim == 4 and x.dtype == jnp.bfloat16 else None  # float32 takes six passes: no faster
    return by_platform(x, cpu=interleaved, default=interleaved, tpu=tpu)


def _interleaved(x: Array, groups: int) -> Array:
    """Transpose (group, channel)."""
    return jnp.swapaxes(x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups), -1, -2).reshape(x.shape)


def _permuted(x: Array, groups: int) -> Array:
    """Multiply each group with its rows of the permutation matrix, and add up."""
    size, outputs = x.shape[-1] // groups, jnp.arange(x.shape[-1])

    def product(part: Array, group: int) -> Array:
        rows = (jnp.arange(size) * groups + group)[:, None] == outputs[None]
        return pointwise_conv(part, rows.astype(x.dtype)[None, None])

    return reduce(jnp.add, map(product, jnp.split(x, groups, -1), range(groups)))
