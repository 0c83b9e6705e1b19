"""Batch normalisation with given statistics, and with those of the batch."""

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
    """Return the mean and the biased variance of each channel over all other axes.

    Both are at least float32, whatever the dtype of `x`. The variance is computed as E[x^2] - E[x]^2, and not below 0.

    Args:
        x: activations.
        axis_name: name of a mapped axis over devices to average over, too; each must hold as many examples. None
            means this device only.

    >>> batch_moments(jnp.asarray([[1.0, 2.0], [3.0, 2.0]]))
    (Array([2., 2.], dtype=float32), Array([1., 0.], dtype=float32))
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
    """Return (x - mean) / sqrt(variance + epsilon) * scale + bias, in the dtype of `x`.

    It is computed as x * a + b with one a and b for each channel: a multiply-add that XLA fuses with its neighbours.
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
    """Normalise activations by the moments of the batch.

    The gradient saves only `x`, where automatic differentiation would save the centred activations as well. It passes
    over `x` twice: once for two sums, and once for a * g + b * x + c with constants of each channel. There is no
    forward-mode differentiation.

    Args:
        x: activations.
        scale: scale of each channel.
        bias: bias of each channel.
        epsilon: added to the variance.
        axis_name: name of a mapped axis over devices to take the moments over, see `batch_moments`.

    Returns:
        The normalised activations, and the mean and the variance of the batch, which are for running statistics: no
        gradient flows through them.
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
    # means over this device for the gradients of its scale and bias, and over all devices for dx
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
    """Return the mean of each array over all axes but the last, and over devices."""
    means = tuple(jnp.mean(a, tuple(range(a.ndim - 1))) for a in arrays)
    return means if axis_name is None else lax.pmean(means, axis_name)


def _affine(x: Array, factor: Array, offset: Array) -> Array:
    """Return x * factor + offset, computed in the dtype of `factor`."""
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (x.astype(factor.dtype) * factor.reshape(shape) + offset.reshape(shape)).astype(x.dtype)
