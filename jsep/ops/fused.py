"""A convolution together with what lies before and behind it: one pass over its input and one over its output.

In a network, batch norm and an activation lie between two convolutions. By themselves they read and write the maps
several times, and a CPU waits for its memory more than it computes. Here the next convolution applies them while it
reads the maps, and the previous one sums up the moments while it writes them. On a CPU with native kernels this is one
call; everywhere else it is the plain form, which XLA fuses as well as it can.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.conv import conv
from jsep.ops.depthwise import depthwise_conv
from jsep.ops.fold import Fold, apply_fold
from jsep.ops.geometry import Geometry, Padding, explicit_padding, pair
from jsep.ops.lowering import by_platform
from jsep.ops.native_conv import Job, native_conv, usable
from jsep.ops.norm import shifted_moments
from jsep.ops.precision import accumulation_dtype


class Moments(NamedTuple):
    """Mean and biased variance of each channel over all other axes, at least in float32.

    Attributes:
        mean: the mean, rounded.
        rest: what rounding left out of the mean, or as much of it as is known.
        variance: the variance.
    """

    mean: Float[Array, " c"]
    rest: Float[Array, " c"]
    variance: Float[Array, " c"]

    @classmethod
    def of(cls, x: Float[Array, "*batch c"]) -> "Moments":
        """Return the moments of an array."""
        shift, offset, variance = shifted_moments(x)
        mean = shift + offset
        return cls(mean, (shift - mean) + offset, variance)

    def over_devices(self, axis_name: str | None) -> "Moments":
        """Return the moments over all devices of a mapped axis, each of which holds as many values."""
        if axis_name is None:
            return self
        shift = lax.stop_gradient(lax.all_gather(self.mean, axis_name)[0])
        own = (self.mean - shift) + self.rest
        offset = lax.pmean(own, axis_name)
        variance = lax.pmean(self.variance + lax.square(own - offset), axis_name)
        mean = shift + offset
        return Moments(mean, (shift - mean) + offset, variance)


def fused_conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw i o"],
    fold: Fold | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "TORCH",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    depthwise: bool = False,
    moments: bool = True,
) -> tuple[Float[Array, "n h2 w2 o"], Moments | None]:
    """Convolution of act((x - mean) * factor + bias), with the moments of its output. Padding is zeros behind `act`.

    Args:
        x: activations.
        kernel: kernel with i = c / groups input channels, or (kh, kw, 1, c * multiplier) of a depthwise convolution.
        fold: what happens to the activations first; None for nothing.
        strides: stride along height and width.
        padding: see `explicit_padding`.
        dilation: distance between neighbouring taps of the kernel, along height and width.
        groups: groups of channels of a kernel that is not depthwise.
        depthwise: whether the kernel is depthwise, see `depthwise_conv`.
        moments: whether the moments are wanted.

    Returns:
        The output, in the dtype of `x`, and its moments or None.

    >>> fold = Fold(jnp.zeros(8), jnp.ones(8), jnp.ones(8), "relu")
    >>> y, moments = fused_conv(jnp.zeros((2, 4, 4, 8)), jnp.ones((1, 1, 8, 16)), fold)
    >>> y.shape, moments.mean.shape, float(y[0, 0, 0, 0]), float(moments.mean[0])
    ((2, 4, 4, 16), (16,), 8.0, 8.0)
    """
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)
    geometry, dtype = Geometry(strides, pads, dilation), accumulation_dtype(x.dtype)

    def plain(x: Array, kernel: Array, rows: Array) -> tuple[Array, Array]:
        folded = x if fold is None else apply_fold(x, Fold(rows[0], rows[1], rows[2], fold.act, rows[3]))
        where = {"strides": strides, "padding": pads, "dilation": dilation}
        y = depthwise_conv(folded, kernel, **where) if depthwise else conv(folded, kernel, groups=groups, **where)
        if not moments:
            return y, jnp.zeros((3, 0), dtype)
        return y, jnp.stack(Moments.of(y))

    rows = jnp.zeros((4, 0), dtype) if fold is None else fold.rows(dtype)
    if usable(x, kernel):
        count = x.shape[-1] if depthwise else groups
        job = Job(geometry, count, depthwise, "none" if fold is None else fold.act, moments)
        y, found = by_platform(x, kernel, rows, cpu=partial(native_conv, job=job), default=plain)
    else:
        y, found = plain(x, kernel, rows)
    return y, Moments(*found) if moments else None
