"""Dropout whose mask depends on the example, not on the device that computes it."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray


def batch_positions(number: int, axis_name: str | None) -> Int[Array, " n"]:
    """Return the positions of this device's examples in the whole batch.

    Args:
        number: number of examples on this device.
        axis_name: name of the mapped axis over devices; None means there is only one device.
    """
    first = jnp.int32(0) if axis_name is None else lax.axis_index(axis_name) * number
    return first + jnp.arange(number, dtype=jnp.int32)


def dropout(
    key: PRNGKeyArray, x: Float[Array, "n h ..."], rate: float, *, axis_name: str | None = None
) -> Float[Array, "n h ..."]:
    """Set elements to zero with probability `rate`, and scale the others by 1 / (1 - rate).

    Each example has its own key, folded with its position in the whole batch, so that the result does not depend on
    the number of devices. An element takes 16 random bits, so that the rate is exact to 1 / 65536: on a CPU random bits
    cost as much as a convolution, and half of the usual number is enough.

    Args:
        key: key of this step and layer.
        x: activations of one device's examples.
        rate: probability of an element to be dropped, at least 0 and less than 1.
        axis_name: name of the mapped axis over devices; None means there is only one device.

    Raises:
        ValueError: the rate is out of range.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout rate {rate}: it must be at least 0 and less than 1")
    if rate == 0 or x.size == 0:
        return x
    dropped = min(round(rate * 2**16), 2**16 - 1)
    rows, *rest = x.shape[1:]

    def kept(position: Array) -> Array:
        # the two halves of an example share words, not neighbouring rows: a TPU cannot split words in place
        words = jax.random.bits(jax.random.fold_in(key, position), (-(-rows // 2), *rest), jnp.uint32)
        return jnp.concatenate([words & 0xFFFF >= dropped, words >> 16 >= dropped])[:rows]

    mask = jax.vmap(kept)(batch_positions(x.shape[0], axis_name))
    return jnp.where(mask, x / (1 - dropped / 2**16), jnp.zeros_like(x))
