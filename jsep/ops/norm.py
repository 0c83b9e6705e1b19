"""Batch normalisation as two pure functions: the moments, and their application."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.precision import accumulation_dtype


def batch_moments(
    x: Float[Array, "*batch c"], axis_name: str | None = None
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Mean and biased variance of each channel over all other axes (and all devices of `axis_name`).

    At least float32 whatever the dtype of `x`; the variance is E[x^2] - E[x]^2, never below zero.
    Every device must hold the same number of examples.
    """
    x = x.astype(accumulation_dtype(x.dtype))
    axes = tuple(range(x.ndim - 1))
    mean, square = jnp.mean(x, axes), jnp.mean(lax.square(x), axes)
    if axis_name is not None:
        mean, square = lax.pmean((mean, square), axis_name)
    return mean, jnp.maximum(square - lax.square(mean), 0)


def batch_norm(
    x: Float[Array, "*batch c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
) -> Float[Array, "*batch c"]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, in the dtype of `x`."""
    factor = scale * lax.rsqrt(variance + epsilon)
    shape = (1,) * (x.ndim - 1) + (-1,)
    centred = x.astype(factor.dtype) - mean.reshape(shape)
    return (centred * factor.reshape(shape) + bias.reshape(shape)).astype(x.dtype)
