"""Dropout whose mask belongs to the example and not to the device that computes it."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray


def batch_positions(number: int, axis_name: str | None) -> Int[Array, " n"]:
    """The places of this device's examples in the whole batch over the devices of `axis_name`."""
    first = jnp.int32(0) if axis_name is None else lax.axis_index(axis_name) * number
    return first + jnp.arange(number, dtype=jnp.int32)


def dropout(
    key: PRNGKeyArray, x: Float[Array, "n h ..."], rate: float, *, axis_name: str | None = None
) -> Float[Array, "n h ..."]:
    """Set a share `rate` of `x` to zero and scale the rest by 1 / (1 - rate).

    Each example draws from a key of its own, folded from its place in the whole batch over the devices of
    `axis_name`, so that a step does not depend on how many devices share it. A draw has 16 bits (the rate is met
    to 1 / 65536): on a CPU random bits cost as much as a convolution, and half of them will do.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate}: it must be at least 0 and less than 1")
    if rate == 0 or x.size == 0:
        return x
    dropped = min(round(rate * 2**16), 2**16 - 1)
    rows, *rest = x.shape[1:]

    def kept(position: Array) -> Array:
        # halves of the example, not neighbours, share a word: a TPU cannot take words apart in place
        words = jax.random.bits(jax.random.fold_in(key, position), (-(-rows // 2), *rest), jnp.uint32)
        return jnp.concatenate([words & 0xFFFF >= dropped, words >> 16 >= dropped])[:rows]

    mask = jax.vmap(kept)(batch_positions(x.shape[0], axis_name))
    return jnp.where(mask, x / (1 - dropped / 2**16), jnp.zeros_like(x))
