"""Batch normalisation as pure functions: with given statistics, and with those of the batch itself."""

from functools import partial
from typing import Any

import jax
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
    mean, square = _means((x, lax.square(x)), axis_name)
    return mean, jnp.maximum(square - lax.square(mean), 0)


def batch_norm(
    x: Float[Array, "*batch c"],
    mean: Float[Array, " c"],
    variance: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
) -> Float[Array, "*batch c"]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, in the dtype of `x`.

    Computed as x * a + b with a and b of each channel, so that it is one multiply-add in its neighbour's pass.
    """
    factor = scale * lax.rsqrt(variance + epsilon)
    return _affine(x, factor, bias - mean * factor)


def batch_norm_train(
    x: Float[Array, "*batch c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, "*batch c"], Float[Array, " c"], Float[Array, " c"]]:
    """Normalise by the batch's own moments; gives (y, mean, variance).

    The gradient saves `x` alone and passes over it twice: once for two sums, once for a * g + b * x + c of each
    channel (autodiff stores the centred input as well). Mean and variance are for running statistics: no gradient
    flows through them. No forward-mode differentiation.
    """
    outputs: Any = _train(x, scale, bias, epsilon, axis_name)
    return outputs


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _train(x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None) -> tuple[Array, ...]:
    mean, variance = batch_moments(x, axis_name)
    return batch_norm(x, mean, variance, scale, bias, epsilon), mean, variance


def _train_fwd(x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None):
    outputs: Any = _train(x, scale, bias, epsilon, axis_name)
    return outputs, (x, scale, *outputs[1:])


def _train_bwd(epsilon: float, axis_name: str | None, saved: tuple[Array, ...], cotangents: tuple[Array, ...]):
    x, scale, mean, variance = saved
    g = cotangents[0]
    dtype = accumulation_dtype(x.dtype)
    wide_g, wide_x = g.astype(dtype), x.astype(dtype)
    inverse = lax.rsqrt(variance + epsilon)
    # means over this device, as gradients of its own scale and bias; over all devices, as parts of dx
    own = _means((wide_g, wide_g * wide_x), None)
    mean_g, mean_gx = own if axis_name is None else lax.pmean(own, axis_name)
    count = x.size // x.shape[-1]
    dbias = own[0] * count
    dscale = (own[1] - own[0] * mean) * inverse * count
    # dx = scale * inverse * (g - mean(g) - xhat * mean(g * xhat)), as a * g + b * x + c
    a = scale * inverse
    b = -a * (mean_gx - mean_g * mean) * lax.square(inverse)
    c = -a * mean_g - b * mean
    shape = (1,) * (x.ndim - 1) + (-1,)
    dx = wide_g * a.reshape(shape) + wide_x * b.reshape(shape) + c.reshape(shape)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(scale.dtype)


_train.defvjp(_train_fwd, _train_bwd)


def _means(arrays: tuple[Array, ...], axis_name: str | None) -> tuple[Array, ...]:
    """The mean of each array over all axes but the last."""
    means = tuple(jnp.mean(a, tuple(range(a.ndim - 1))) for a in arrays)
    return means if axis_name is None else lax.pmean(means, axis_name)


def _affine(x: Array, factor: Array, offset: Array) -> Array:
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x.astype(factor.dtype) * factor.reshape(shape) + offset.reshape(shape)).astype(x.dtype)
