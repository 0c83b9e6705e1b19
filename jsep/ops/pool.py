"""Pooling of NHWC activations."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.constant import constant_depthwise
from jsep.ops.geometry import Geometry, Padding, Pair, explicit_padding, pair
from jsep.ops.lowering import by_platform, portable
from jsep.ops.precision import accumulation_dtype

Pads = tuple[Pair, Pair, Pair, Pair]  # padding of each axis of (n, h, w, c)


def max_pool(
    x: Float[Array, "n h w c"],
    window: int | Pair,
    *,
    strides: int | Pair | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "n h2 w2 c"]:
    """Max pooling. The gradient goes to the first of equal values, as in PyTorch.

    Args:
        x: activations.
        window: height and width of the window.
        strides: stride along height and width; None means that of the window.
        padding: see `explicit_padding`; padding counts as -inf.
    """
    window, strides, pads = _geometry(x, window, strides, padding)
    if strides == window and not any(map(any, pads)) and not portable():
        return _disjoint_max_pool(x, window)
    return lax.reduce_window(x, -np.inf, lax.max, (1, *window, 1), (1, *strides, 1), pads)


def _disjoint_max_pool(x: Array, window: Pair) -> Array:
    """Pool windows that do not overlap, tap by tap: on a CPU the gradient of `reduce_window` is ten times slower."""
    height, width = x.shape[1] // window[0], x.shape[2] // window[1]
    x = x[:, : height * window[0], : width * window[1]]
    y = x[:, :: window[0], :: window[1]]
    for i, j in list(itertools.product(range(window[0]), range(window[1])))[1:]:
        other = x[:, i :: window[0], j :: window[1]]
        y = jnp.where((y >= other) | jnp.isnan(y), y, other)
    return y


def avg_pool(
    x: Float[Array, "n h w c"],
    window: int | Pair,
    *,
    strides: int | Pair | None = None,
    padding: Padding = "VALID",
    count_padding: bool = True,
) -> Float[Array, "n h2 w2 c"]:
    """Average pooling.

    Args:
        x: activations.
        window: height and width of the window.
        strides: stride along height and width; None means that of the window.
        padding: see `explicit_padding`.
        count_padding: divide by the size of the window, as PyTorch does, instead of by the number of its positions
            inside the image, as TensorFlow does.
    """
    window, strides, pads = _geometry(x, window, strides, padding)
    mean = partial(_mean, window=window, strides=strides, pads=pads, count_padding=count_padding)
    by_windows = partial(mean, sums=_sums)
    tpu = partial(mean, sums=_sums_by_kernel) if max(strides) > 1 else None
    return by_platform(x, cpu=by_windows, default=by_windows, tpu=tpu)


def _mean(x: Array, window: Pair, strides: Pair, pads: Pads, count_padding: bool, sums: Callable[..., Array]) -> Array:
    """Divide the sums of windows, in float32."""
    size, y, left = window[0] * window[1], x.astype(accumulation_dtype(x.dtype)), pads
    if portable() and min(map(min, pads)) >= 0:  # converters know the average of whole windows, after a padding
        y, left = jnp.pad(y, pads), "VALID"
    y = sums(y, window, strides, left) / size
    if not count_padding and any(map(any, pads)):
        y = y * (size / _inside(x.shape[1:3], window, strides, pads[1:3])).astype(y.dtype)
    return y.astype(x.dtype)


def _sums(y: Array, window: Pair, strides: Pair, pads: Pads | str) -> Array:
    return lax.reduce_window(y, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), pads)


def _sums_by_kernel(y: Array, window: Pair, strides: Pair, pads: Pads) -> Array:
    """Return the sums as a depthwise convolution: with strides, a TPU spreads the gradient of the others by copying."""
    kernel = np.ones((*window, 1, y.shape[-1]), np.float32)
    return constant_depthwise(y, kernel, Geometry(strides, pads[1:3], (1, 1)))


def _inside(shape: Sequence[int], window: Pair, strides: Pair, pads: Sequence[Pair]) -> np.ndarray:
    """Return how many positions of each window lie inside the image, at least 1: (1, h2, w2, 1)."""

    def along(size: int, window: int, stride: int, pad: Pair) -> np.ndarray:
        first = np.arange(-pad[0], size + pad[1] - window + 1, stride)
        return np.minimum(first + window, size) - np.maximum(first, 0)

    rows, columns = map(along, shape, window, strides, pads)
    return np.maximum(np.outer(rows, columns), 1)[None, :, :, None]


def global_avg_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Return the mean over all positions."""
    return jnp.mean(x, (1, 2))


def _geometry(x: Array, window: int | Pair, strides: int | Pair | None, padding: Padding) -> tuple[Pair, Pair, Pads]:
    window = pair(window)
    strides = window if strides is None else pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    return window, strides, ((0, 0), *pads, (0, 0))
