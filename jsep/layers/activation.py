"""Activations with parameters."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import fusion
from jsep.ops.lowering import portable


class PReLU(nn.Module):
    """ReLU with a learned slope below zero for each channel, initially 1/4. The shape stays the same.

    Paper: He et al., arXiv 1502.01852, section 2.1.

    Attributes:
        dtype: dtype of the computation.
    """

    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],), jnp.float32)
        if (folded := fusion.prelu(x, slope)) is not None and self.dtype in (None, x.dtype):
            return folded
        x, slope = promote_dtype(x, slope, dtype=self.dtype)
        slope = slope.reshape((1,) * (x.ndim - 1) + (-1,))
        if portable():  # quantisers to int8 know products and sums, but no choice between two arrays
            return x * slope + nn.relu(x) * (1 - slope)
        return jnp.where(x >= 0, x, x * slope)
