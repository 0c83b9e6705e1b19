"""Initializers for depthwise kernels.

For a (k, k, 1, C) kernel, `jax.nn.initializers.variance_scaling` computes fan_in = k * k and fan_out = k * k * C. The
first is right for a depthwise convolution, whose outputs see k * k inputs each; the second is C times too large.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray


def keras_glorot_depthwise(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Draw a (kh, kw, 1, c) depthwise kernel from Keras's Glorot uniform distribution.

    Keras stores the kernel as (kh, kw, c, 1) and takes both fans from that shape, so the limit is
    sqrt(6 / (kh * kw * (c + 1))). It is smaller than the fans of a single channel ask for, but networks published in
    Keras were trained with it.
    """
    kh, kw, _, channels = shape
    limit = (6 / (kh * kw * (channels + 1))) ** 0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)
