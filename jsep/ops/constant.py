"""Convolutions with constant kernels, which move or add up data where that is what a TPU does fastest.

A TPU lays out an image so that its channels, or the images of a batch, fill the lanes of a register. Slices, reshapes
and transpositions of such arrays move them about between memories; a convolution reads and writes them in place.
The kernels here are exact: every product with them is. What is not finite does not stay in its place, however: zero
times infinity is NaN, in all outputs whose window meets it.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jsep.ops.geometry import Geometry
from jsep.ops.native_conv import xla_conv

EXACT = lax.Precision.HIGHEST  # a TPU rounds the factors of a product in float32 to bfloat16 otherwise
IN_PLACE = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1))


def constant_depthwise(x: Array, kernel: np.ndarray, geometry: Geometry) -> Array:
    """Return the depthwise convolution of `x` with a constant kernel (kh, kw, 1, c)."""
    return xla_conv(x, jnp.asarray(kernel, x.dtype), geometry, x.shape[-1], EXACT)


def constant_pointwise(x: Array, kernel: Array) -> Array:
    """Return the 1x1 convolution of `x` with a constant matrix (c, o) of ones and zeros."""
    return xla_conv(x, kernel.astype(x.dtype)[None, None], IN_PLACE, 1, EXACT)
