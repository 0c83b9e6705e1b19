"""Shifts that replace convolutions, shuffles and additions: they move data and compute nothing.

He et al., arXiv 1809.08458 (AddressNet). Only the abstract was accessible; all numbers are reconstructions.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsep.ops.constant import constant_depthwise
from jsep.ops.conv import block_diagonal, conv, dense_is_better
from jsep.ops.geometry import Geometry
from jsep.ops.lowering import by_platform


class Shift(NamedTuple):
    """A channel shift followed by an address shift: what AddressNet does to maps before a convolution reads them.

    Attributes:
        steps: steps of the `channel_shift`.
        mode: mode of the `address_shift`.
    """

    steps: int
    mode: Literal["zero", "address"] = "zero"


def shifted(x: Float[Array, "n h w c"], shift: Shift) -> Float[Array, "n h w c"]:
    """Shift channels, then addresses.

    >>> shifted(jnp.arange(1.0, 5.0).reshape(1, 1, 1, 4) * jnp.ones((1, 1, 2, 1)), Shift(1))[0, 0]
    Array([[0., 0., 4., 0.],
           [0., 0., 0., 1.]], dtype=float32)
    """
    return address_shift(channel_shift(x, shift.steps), mode=shift.mode)


def shifted_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw i o"], *, shift: Shift, **options: Any
) -> Float[Array, "n h2 w2 o"]:
    """Convolution of shifted maps. On a TPU, the rows of a 1x1 kernel move in place of the channels.

    Args:
        x: activations.
        kernel: kernel.
        shift: the shift.
        **options: those of `conv`.

    >>> x, kernel = jnp.ones((1, 8, 8, 12)), jnp.ones((1, 1, 4, 9))
    >>> float(shifted_conv(x, kernel, shift=Shift(2), groups=3)[0, 4, 4, 0])
    4.0
    """

    def apart(x: Array, kernel: Array) -> Array:
        return conv(shifted(x, shift), kernel, **options)

    dense = shift.mode == "zero" and dense_is_better(kernel.shape, options.get("groups", 1))
    tpu = partial(_folded, shift=shift, **options) if dense else None
    return by_platform(x, kernel, cpu=apart, default=apart, tpu=tpu)


def _folded(x: Array, kernel: Array, shift: Shift, groups: int = 1, **options: Any) -> Array:
    """Convolve with rows that are moved instead of the channels."""
    rows = jnp.roll(block_diagonal(kernel, groups), shift.steps, 2)
    return conv(shift_by_kernel(x, shift.steps), rows, **options)


def channel_shift(x: Float[Array, "n h w c"], steps: int) -> Float[Array, "n h w c"]:
    """Roll the channels, so that output channel i is input channel i + steps.

    >>> channel_shift(jnp.arange(6.0).reshape(1, 1, 1, 6), 2).ravel()
    Array([2., 3., 4., 5., 0., 1.], dtype=float32)
    """
    return jnp.roll(x, -steps, -1)


def address_shift(x: Float[Array, "n h w c"], *, mode: Literal["zero", "address"] = "zero") -> Float[Array, "n h w c"]:
    """Move four groups of channels by one position: up, down, left and right.

    On a TPU, a value that is not finite makes its neighbours in the same channel NaN under "zero": there it is a
    convolution.

    Args:
        x: activations; the number of channels is a multiple of 4.
        mode: what enters at the edges. "zero" moves in zeros. "address" moves only the start address of a row-major
            buffer, so that the opposite edge enters from above and below, and the edge of the neighbouring row from
            left and right. Away from the edges both are the same.

    Raises:
        ValueError: the number of channels is not a multiple of 4.

    >>> address_shift(jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1) * jnp.ones(4).reshape(1, 1, 1, 4))[0, :, :, 2]
    Array([[2., 0.],
           [4., 0.]], dtype=float32)
    """
    if x.shape[-1] % 4:
        raise ValueError(f"address_shift needs a multiple of 4 channels, not {x.shape[-1]}")
    moved = partial(_moved, mode=mode)
    return by_platform(x, cpu=moved, default=moved, tpu=shift_by_kernel if mode == "zero" else None)


def _moved(x: Array, mode: str) -> Array:
    """Move the groups as slices."""
    n, height, width, _ = x.shape
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


def shift_by_kernel(x: Array, first: int = 0) -> Array:
    """Move the groups, of which the first begins at channel `first` and the last goes on from channel 0.

    As a depthwise convolution: the kernel of each channel has a single one.
    """
    kernel = np.zeros((3, 3, 1, 4, x.shape[-1] // 4), np.float32)
    for group, tap in enumerate(((2, 1), (0, 1), (1, 2), (1, 0))):  # up reads the row below, and so on
        kernel[*tap, 0, group] = 1
    kernel = np.roll(kernel.reshape(3, 3, 1, -1), first, -1)
    return constant_depthwise(x, kernel, Geometry((1, 1), ((1, 1), (1, 1)), (1, 1)))


def shortcut_shift(state: Float[Array, "n h w c"], new: Float[Array, "n h w k"]) -> Float[Array, "n h w c"]:
    """Append new channels and drop as many of the oldest, instead of adding a shortcut.

    >>> shortcut_shift(jnp.arange(4.0).reshape(1, 1, 1, 4), jnp.full((1, 1, 1, 1), 9.0)).ravel()
    Array([1., 2., 3., 9.], dtype=float32)
    """
    return jnp.concatenate([state[..., new.shape[-1] :], new], -1)
