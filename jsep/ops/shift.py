"""Shifts in place of convolutions, shuffles and additions: data moves, nothing is computed.

Paper: He et al., arXiv 1809.08458 (AddressNet), of which the abstract is readable; free numbers are reconstructed.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float


def channel_shift(x: Float[Array, "n h w c"], steps: int) -> Float[Array, "n h w c"]:
    """Roll the channels: channel i of the output is channel i + steps of the input.

    >>> channel_shift(jnp.arange(6.0).reshape(1, 1, 1, 6), 2).ravel()
    Array([2., 3., 4., 5., 0., 1.], dtype=float32)
    """
    return jnp.roll(x, -steps, -1)


def address_shift(x: Float[Array, "n h w c"], *, mode: Literal["zero", "address"] = "zero") -> Float[Array, "n h w c"]:
    """Move four groups of channels by one position: up, down, left, right.

    mode: what enters at the edge, zeros or, as when only the address of a row-major buffer moves, what lies there:
    the opposite edge for up and down, the neighbouring row's for left and right. In the interior both are the same.

    >>> address_shift(jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1) * jnp.ones(4).reshape(1, 1, 1, 4))[0, :, :, 2]
    Array([[2., 0.],
           [4., 0.]], dtype=float32)
    """
    n, height, width, channels = x.shape
    if channels % 4:
        raise ValueError(f"address_shift needs a multiple of 4 channels, not {channels}")
    up, down, left, right = jnp.split(x, 4, -1)
    if mode == "address":
        steps = (-width, width, -1, 1)
        flat = (part.reshape(n, height * width, -1) for part in (up, down, left, right))
        moved = [jnp.roll(part, step, 1) for part, step in zip(flat, steps, strict=True)]
        return jnp.concatenate(moved, -1).reshape(x.shape)
    none = (0, 0)
    return jnp.concatenate(
        [
            jnp.pad(up[:, 1:], (none, (0, 1), none, none)),
            jnp.pad(down[:, :-1], (none, (1, 0), none, none)),
            jnp.pad(left[:, :, 1:], (none, none, (0, 1), none)),
            jnp.pad(right[:, :, :-1], (none, none, (1, 0), none)),
        ],
        -1,
    )


def shortcut_shift(state: Float[Array, "n h w c"], new: Float[Array, "n h w k"]) -> Float[Array, "n h w c"]:
    """Append new channels to a window of channels; the oldest fall out, and nothing is added up.

    >>> shortcut_shift(jnp.arange(4.0).reshape(1, 1, 1, 4), jnp.full((1, 1, 1, 1), 9.0)).ravel()
    Array([1., 2., 3., 9.], dtype=float32)
    """
    return jnp.concatenate([state[..., new.shape[-1] :], new], -1)
