"""Resizing as PyTorch does it: each axis by a matrix of constants, which no gradient has to scatter.

`jax.image.resize` smooths what it reduces, and has no aligned corners.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def resize(
    x: Float[Array, "n h w c"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Array, "n h2 w2 c"]:
    """Resize maps by bilinear interpolation: PyTorch's `interpolate(mode="bilinear")`, without smoothing.

    Args:
        x: maps.
        size: new height and width.
        align_corners: whether the centres of the outermost pixels stay where they are, rather than the borders of the
            image.

    >>> resize(jnp.asarray([0.0, 4.0]).reshape(1, 1, 2, 1), (1, 4)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    >>> resize(jnp.asarray([0.0, 3.0]).reshape(1, 1, 2, 1), (1, 4), align_corners=True).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    for axis, to in enumerate(size, start=1):
        if (length := x.shape[axis]) != to:
            x = _multiply(x, axis, _interpolation(length, to, align_corners))
    return x


def adaptive_avg_pool(x: Float[Array, "n h w c"], size: Sequence[int]) -> Float[Array, "n h2 w2 c"]:
    """Resize maps by the means of windows: PyTorch's `adaptive_avg_pool2d`.

    Output i of an axis is the mean of the inputs from floor(i * length / size) to ceil((i + 1) * length / size); these
    windows may overlap.

    Args:
        x: maps.
        size: new height and width.

    >>> adaptive_avg_pool(jnp.asarray([0.0, 1.0, 4.0]).reshape(1, 1, 3, 1), (1, 2)).ravel().tolist()
    [0.5, 2.5]
    """
    for axis, to in enumerate(size, start=1):
        if (length := x.shape[axis]) != to:
            x = _multiply(x, axis, _means(length, to))
    return x


def resize_axis(x: Float[Array, "..."], axis: int, size: int) -> Float[Array, "..."]:
    """Resize an axis: enlarge it by linear interpolation with aligned corners, reduce it by adaptive average pooling.

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
    return _multiply(x, axis, _interpolation(length, size, True) if size > length else _means(length, size))


def _multiply(x: Array, axis: int, weights: np.ndarray) -> Array:
    return jnp.moveaxis(jnp.tensordot(x, jnp.asarray(weights, x.dtype), (axis, 1)), -1, axis)


def _interpolation(length: int, size: int, align_corners: bool) -> np.ndarray:
    """Return the share (size, length) of each input in each output."""
    if align_corners:
        at = np.arange(size) * (length - 1) / max(1, size - 1)
    else:
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))


def _means(length: int, size: int) -> np.ndarray:
    """Return the share (size, length) of each input in each output."""
    first = np.arange(size) * length // size
    last = -(-(np.arange(size) + 1) * length // size)
    inside = (np.arange(length) >= first[:, None]) & (np.arange(length) < last[:, None])
    return inside / inside.sum(1, keepdims=True)
