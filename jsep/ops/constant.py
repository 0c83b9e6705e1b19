"""Depthwise convolutions with constant kernels, which move or add up maps where that is what a TPU does fastest.

A TPU lays out maps so that channels, or the images of a batch, fill the lanes of a register. Slices, reshapes and
transpositions of such arrays move them about between memories; a convolution reads and writes them in place. What is
not finite does not stay in its place, however: zero times infinity is NaN, in all outputs whose window meets it.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jsep.ops.geometry import Geometry
from jsep.ops.native_conv import xla_conv


def constant_depthwise(x: Array, kernel: np.ndarray, geometry: Geometry) -> Array:
    """Return the depthwise convolution of `x` with a constant kernel (kh, kw, 1, c), exact in float32, too."""
    exact = lax.Precision.HIGHEST  # a TPU rounds the factors of a product in float32 to bfloat16 otherwise
    return xla_conv(x, jnp.asarray(kernel, x.dtype), geometry, x.shape[-1], exact)
