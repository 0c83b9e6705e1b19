"""Initializers that know what a depthwise kernel is.

`jax.nn.initializers.variance_scaling` takes the fans of a (k, k, 1, C) kernel for fan_in = k*k and fan_out = k*k*C.
The first is right for a depthwise convolution (each output sees k*k inputs); the second is C times too large.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray


def keras_glorot_depthwise(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Glorot uniform as Keras draws a depthwise kernel, for a (kh, kw, 1, c) kernel of multiplier 1.

    Keras keeps the kernel as (kh, kw, c, 1) and takes both fans from that shape, so the limit is
    sqrt(6 / (kh * kw * (c + 1))): smaller than the fans of a group would ask for, and part of what was published.
    """
    kh, kw, _, channels = shape
    limit = (6 / (kh * kw * (channels + 1))) ** 0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)
