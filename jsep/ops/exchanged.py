"""Depthwise convolution of maps whose channels have changed places with the positions along an axis.

On a TPU the exchange becomes a part of XLA's convolution, which then takes minutes to compile and most of the time of a
DiCE unit. There it is a sum of shifted slices, into which an exchange of axes fuses at no cost.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.depthwise import depthwise_conv
from jsep.ops.geometry import explicit_padding, pad, tap_slices
from jsep.ops.lowering import by_platform
from jsep.ops.precision import accumulation_dtype


def exchanged_conv(x: Float[Array, "n *hw c"], kernel: Float[Array, "*k 1 c"]) -> Float[Array, "n *hw c"]:
    """Depthwise convolution of stride 1 for arrays in which h or w holds the channels, and c positions.

    It is `depthwise_conv` of the same arrays. There is no forward-mode differentiation.

    Args:
        x: activations, in one or two dimensions.
        kernel: kernel of odd size.

    >>> x = jnp.ones((1, 8, 5, 16))  # 16 channels
    >>> exchanged_conv(jnp.swapaxes(x, 1, -1), jnp.ones((3, 3, 1, 8))).shape
    (1, 16, 5, 8)
    """
    if x.ndim == 3:
        return exchanged_conv(x[:, :, None], kernel[:, None])[:, :, 0]
    return by_platform(x, kernel, cpu=depthwise_conv, default=depthwise_conv, tpu=_sums)


@jax.custom_vjp
def _sums(x: Array, kernel: Array) -> Array:
    """Sum (shifted slice) * (tap vector) over the taps."""
    dtype, taps = accumulation_dtype(x.dtype), kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
    padded, slices = _padded(x, kernel)
    total: Any = sum(padded[:, *at] * tap.astype(dtype) for at, tap in zip(slices, taps, strict=True))
    return total.astype(x.dtype)


def _sums_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _sums(x, kernel), (x, kernel)


def _sums_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    padded, slices = _padded(x, kernel)
    wide = g.astype(padded.dtype)
    dkernel = jnp.stack([jnp.sum(padded[:, *at] * wide, (0, 1, 2)) for at in slices])
    return _sums(g, kernel[::-1, ::-1]), dkernel.reshape(kernel.shape).astype(kernel.dtype)


_sums.defvjp(_sums_fwd, _sums_bwd)


def _padded(x: Array, kernel: Array) -> tuple[Array, list[tuple[slice, slice]]]:
    """Return the padded maps, in the dtype to accumulate in, and what each tap reads of them.

    The barrier makes the compiler store them: otherwise every tap would pad and convert them for itself.
    """
    pads = explicit_padding("TORCH", x.shape[1:3], kernel.shape[:2])
    padded = lax.optimization_barrier(pad(x.astype(accumulation_dtype(x.dtype)), pads))
    return padded, tap_slices(padded.shape, kernel.shape, (1, 1), (1, 1))
