"""Pooling of NHWC activations."""

import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.geometry import Padding, Pair, explicit_padding, pair
from jsep.ops.lowering import portable
from jsep.ops.precision import accumulation_dtype


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

    dtype = accumulation_dtype(x.dtype)

    def sums(x: Array) -> Array:
        return lax.reduce_window(x.astype(dtype), 0.0, lax.add, (1, *window, 1), (1, *strides, 1), pads)

    whole = count_padding or not any(map(any, pads))
    counted = window[0] * window[1] if whole else sums(jnp.ones((1, *x.shape[1:3], 1), dtype))
    return (sums(x) / counted).astype(x.dtype)


def global_avg_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """Return the mean over all positions."""
    return jnp.mean(x, (1, 2))


def _geometry(
    x: Array, window: int | Pair, strides: int | Pair | None, padding: Padding
) -> tuple[Pair, Pair, tuple[Pair, Pair, Pair, Pair]]:
    window = pair(window)
    strides = window if strides is None else pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    return window, strides, ((0, 0), *pads, (0, 0))
