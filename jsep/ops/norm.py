"""Batch normalisation with given statistics, and with those of the batch."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.precision import accumulation_dtype

Vector = Float[Array | np.ndarray, " c"]  # one value for each channel, which an exported network holds on the host


def batch_moments(
    x: Float[Array, "*batch c"], axis_name: str | None = None
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Return the mean and the biased variance of each channel over all other axes.

    Both are at least float32, whatever the dtype of `x`. The variance is E[(x - s)^2] - E[x - s]^2 and at least 0. The
    shift s of each channel is the mean over a few positions of the maps, so the two sums need one pass over `x`, and
    the variance keeps its digits where the mean is thousands of deviations away from zero.

    Args:
        x: activations.
        axis_name: name of a mapped axis over devices to average over, too; each must hold as many examples. None
            means this device only.

    >>> batch_moments(jnp.asarray([[1.0, 2.0], [3.0, 2.0]]))
    (Array([2., 2.], dtype=float32), Array([1., 0.], dtype=float32))
    """
    shift, offset, variance = shifted_moments(x, axis_name)
    return shift + offset, variance


def batch_norm(
    x: Float[Array, "*batch c"],
    mean: Vector,
    variance: Vector,
    scale: Vector,
    bias: Vector,
    epsilon: float,
) -> Float[Array, "*batch c"]:
    """Return (x - mean) / sqrt(variance + epsilon) * scale + bias, in the dtype of `x`.

    The mean is subtracted first: x * a + (bias - mean * a) would lose the digits of activations far from zero.
    """
    factor = scale * lax.rsqrt(variance + epsilon)
    y = (x.astype(factor.dtype) - by_channel(mean, x)) * by_channel(factor, x) + by_channel(bias, x)
    return y.astype(x.dtype)


def batch_norm_train(
    x: Float[Array, "*batch c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, "*batch c"], Float[Array, " c"], Float[Array, " c"]]:
    """Normalise activations by the moments of the batch.

    The gradient saves only `x`, where automatic differentiation would save the centred activations as well. It passes
    over `x` twice: once for two sums, and once for a * g + b * (x - mean) + c with constants of each channel. There is
    no forward-mode differentiation.

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
    return _train_fwd(x, scale, bias, epsilon, axis_name)[0]


def _train_fwd(x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None):
    shift, offset, variance = shifted_moments(x, axis_name)
    mean = shift + offset
    rest = (shift - mean) + offset  # what the rounded mean leaves out
    y = batch_norm(x, mean, variance, scale, bias - rest * scale * lax.rsqrt(variance + epsilon), epsilon)
    return (y, mean, variance), (x, scale, mean, rest, variance)


def _train_bwd(epsilon: float, axis_name: str | None, saved: tuple[Array, ...], cotangents: tuple[Array, ...]):
    x, scale, mean, rest, variance = saved
    dtype = accumulation_dtype(x.dtype)
    wide_x, wide_g = x.astype(dtype), cotangents[0].astype(dtype)
    inverse = lax.rsqrt(variance + epsilon)
    # means over this device for the gradients of its scale and bias, and over all devices for dx; x + -mean as above
    own = _means(wide_g, wide_g * (wide_x + by_channel(-mean, x)))
    mean_g, mean_gx = own if axis_name is None else lax.pmean(own, axis_name)
    count = x.size // x.shape[-1]
    dbias = own[0] * count
    dscale = (own[1] - own[0] * rest) * inverse * count
    # dx = scale * inverse * (g - mean(g) - xhat * mean(g * xhat)), as a * g + b * (x - mean) + c
    a = scale * inverse
    b = -a * (mean_gx - mean_g * rest) * lax.square(inverse)
    c = -a * mean_g - b * rest
    dx = wide_g * by_channel(a, x) + (wide_x - by_channel(mean, x)) * by_channel(b, x) + by_channel(c, x)
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(scale.dtype)


_train.defvjp(_train_fwd, _train_bwd)


def shifted_moments(x: Array, axis_name: str | None = None) -> tuple[Array, Array, Array]:
    """Return a shift near the mean of each channel, the mean of x - shift, and the variance, see `batch_moments`.

    Where the mean is large, it is only exact as the sum of the two. The shift is the mean over up to four positions of
    each map: several, since one alone may be an outlier. All devices take that of the first.
    """
    wide = x.astype(accumulation_dtype(x.dtype))
    (shift,) = _means(wide[:, *(slice(None, None, size // 2 + 1) for size in x.shape[1:-1])])
    shift = lax.stop_gradient(shift)
    # written in two ways, since XLA on a CPU stores a difference that two operations share
    offset, square = _means(wide + by_channel(-shift, x), lax.square(wide - by_channel(shift, x)))
    variance = square - lax.square(offset)
    if axis_name is not None:
        shifts, offsets, variances = lax.all_gather((shift, offset, variance), axis_name)
        shift, offsets = shifts[0], shifts - shifts[:1] + offsets
        offset, variance = jnp.mean(offsets, 0), jnp.mean(variances, 0) + jnp.var(offsets, 0)
    return shift, offset, jnp.maximum(variance, 0)


def _means(*arrays: Array) -> tuple[Array, ...]:
    """Return the mean of each array over all axes but the last."""
    return tuple(jnp.mean(a, tuple(range(a.ndim - 1))) for a in arrays)


def by_channel(values: Vector, x: Array) -> Array | np.ndarray:
    """Return one value for each channel in a shape that broadcasts to `x`."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
