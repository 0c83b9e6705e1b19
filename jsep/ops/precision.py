"""The precision of sums."""

import jax.numpy as jnp
from jax.typing import DTypeLike


def accumulation_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Return the dtype to sum in: float64 for float64, otherwise float32.

    In bfloat16 and float16, long sums lose their small terms.
    """
    return jnp.dtype(jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32)
