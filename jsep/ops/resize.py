"""Resizing one axis as PyTorch does; `jax.image.resize` places its samples at half pixels, which gives other values."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def resize_axis(x: Float[Array, "..."], axis: int, size: int) -> Float[Array, "..."]:
    """Resize an axis: enlarge it by linear interpolation with aligned corners, reduce it by adaptive average pooling.

    When the axis grows, output i lies at i * (length - 1) / (size - 1). When it shrinks, output i is the mean of the
    inputs from floor(i * length / size) to ceil((i + 1) * length / size); these windows may overlap.

    Args:
        x: any array.
        axis: the axis to resize.
        size: its new length.

    >>> resize_axis(jnp.asarray([0.0, 1.0, 4.0]), 0, 5).tolist()
    [0.0, 0.5, 1.0, 2.5, 4.0]
    >>> resize_axis(jnp.asarray([0.0, 1.0, 4.0]), 0, 2).tolist()
    [0.5, 2.5]
    """
    length = x.shape[axis]
    if length == size:
        return x
    weights = jnp.asarray(_upwards(length, size) if size > length else _downwards(length, size), x.dtype)
    return jnp.moveaxis(jnp.tensordot(x, weights, (axis, 1)), -1, axis)


def _upwards(length: int, size: int) -> np.ndarray:
    at = np.arange(size) * (length - 1) / (size - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))


def _downwards(length: int, size: int) -> np.ndarray:
    first = np.arange(size) * length // size
    last = -(-(np.arange(size) + 1) * length // size)
    inside = (np.arange(length) >= first[:, None]) & (np.arange(length) < last[:, None])
    return inside / inside.sum(1, keepdims=True)
