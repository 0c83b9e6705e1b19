"""Dense, depthwise and pointwise convolution as pure functions of NHWC activations and HWIO kernels.

The lowering of a depthwise convolution is chosen by the platform that the program is compiled for: XLA turns a
grouped convolution into good code on GPU and TPU and into very slow code on a CPU (jax-ml/jax#23713), where a
sum over the taps of shifted slices is many times faster.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.precision import accumulation_dtype

Padding = Literal["TORCH", "SAME", "VALID"] | int | Sequence[tuple[int, int]]
Lowering = Literal["auto", "taps", "xla"]
Pair = tuple[int, int]

_NHWC = ("NHWC", "HWIO", "NHWC")


def pair(value: int | Sequence[int]) -> Pair:
    """One number for both spatial axes, or one for each."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


def explicit_padding(
    padding: Padding,
    size: Sequence[int],
    kernel_size: Sequence[int],
    strides: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> tuple[Pair, Pair]:
    """Padding as ((top, bottom), (left, right)).

    `"TORCH"` pads `dilation * (k // 2)` on both sides, as PyTorch's networks do; `"SAME"` pads as TensorFlow does,
    which for stride 2 on an even size differs from it; `"VALID"` pads nothing; a number pads all sides alike.

    >>> explicit_padding("TORCH", (32, 32), (3, 3), (2, 2))
    ((1, 1), (1, 1))
    >>> explicit_padding("SAME", (32, 32), (3, 3), (2, 2))
    ((0, 1), (0, 1))
    """
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if isinstance(padding, str):
        match padding:
            case "VALID":
                return (0, 0), (0, 0)
            case "TORCH":
                height, width = (d * (k // 2) for k, d in zip(kernel_size, dilation, strict=True))
                return (height, height), (width, width)
            case "SAME":
                span = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
                rows, columns = lax.padtype_to_pads(size, span, strides, "SAME")
                return rows, columns
        raise ValueError(f'padding {padding!r}: use "TORCH", "SAME", "VALID", a number or pairs')
    (top, bottom), (left, right) = padding
    return (top, bottom), (left, right)


def conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw i o"],
    *,
    strides: int | Pair = 1,
    padding: Padding = "TORCH",
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Float[Array, "n h2 w2 o"]:
    """Convolution; `groups` > 1 splits the channels (the kernel then has c / groups input channels)."""
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=_NHWC,
        feature_group_count=groups,
    )


def pointwise_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "1 1 c o"], *, strides: int | Pair = 1
) -> Float[Array, "n h2 w2 o"]:
    """1x1 convolution, as one matrix product over all positions; a stride takes every s-th position."""
    rows, columns = pair(strides)
    x = x[:, ::rows, ::columns]
    n, height, width, channels = x.shape
    y = x.reshape(-1, channels) @ kernel[0, 0]  # (n, h, w, c) -> (n * h * w, o)
    return y.reshape(n, height, width, kernel.shape[-1])


def depthwise_conv(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw 1 cm"],
    *,
    strides: int | Pair = 1,
    padding: Padding = "TORCH",
    dilation: int | Pair = 1,
    lowering: Lowering = "auto",
) -> Float[Array, "n h2 w2 cm"]:
    """Depthwise convolution: each input channel has its own m filters (channel multiplier m = cm / c).

    Output channel o sees input channel o // m, as `lax` and PyTorch order a grouped convolution.
    `lowering` names a formulation for tests and benchmarks; "auto" takes the one for the platform.

    >>> depthwise_conv(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 1, 8)), strides=2).shape
    (1, 2, 2, 8)
    """
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)

    def taps(x: Array, kernel: Array) -> Array:
        return _depthwise_taps(x, kernel, strides, pads, dilation)

    def xla(x: Array, kernel: Array) -> Array:
        return conv(x, kernel, strides=strides, padding=pads, dilation=dilation, groups=x.shape[-1])

    match lowering:
        case "taps":
            return taps(x, kernel)
        case "xla":
            return xla(x, kernel)
        case "auto":
            return lax.platform_dependent(x, kernel, cpu=taps, default=xla)


def _sum_of_taps(x: Array, kernel: Array, strides: Pair, pads: tuple[Pair, Pair], dilation: Pair) -> Array:
    """Pad once, then sum over the k*k taps of (shifted slice) * (tap vector): one pass on a CPU."""
    x = _repeat_channels(x, kernel)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    slices = _tap_slices(padded.shape, kernel.shape, strides, dilation)
    vectors = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])  # (kh, kw, 1, c) -> (kh * kw, 1, 1, 1, c)
    return sum(padded[:, *at] * vectors[i] for i, at in enumerate(slices))  # type: ignore[return-value]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _depthwise_taps(x: Array, kernel: Array, strides: Pair, pads: tuple[Pair, Pair], dilation: Pair) -> Array:
    return _sum_of_taps(x, kernel, strides, pads, dilation)


def _depthwise_taps_fwd(
    x: Array, kernel: Array, strides: Pair, pads: tuple[Pair, Pair], dilation: Pair
) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise_taps(x, kernel, strides, pads, dilation), (x, kernel)


def _depthwise_taps_bwd(
    strides: Pair, pads: tuple[Pair, Pair], dilation: Pair, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    _, transpose = jax.vjp(lambda x: _sum_of_taps(x, kernel, strides, pads, dilation), x)
    (dx,) = transpose(g)

    # XLA reduces over (n, h, w) badly inside a fusion, so: add up over the images one by one, elementwise, and
    # reduce over (h, w) once at the end
    padded = jnp.pad(_repeat_channels(x, kernel), ((0, 0), *pads, (0, 0)))
    slices = _tap_slices(padded.shape, kernel.shape, strides, dilation)
    accumulate = accumulation_dtype(g.dtype)

    def add(sums: tuple[Array, ...], one: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        image, grad = (a.astype(accumulate) for a in one)
        return tuple(s + image[at] * grad for s, at in zip(sums, slices, strict=True)), None

    zeros = tuple(jnp.zeros(g.shape[1:], accumulate) for _ in slices)
    sums, _ = lax.scan(add, zeros, (padded, g))
    dkernel = jnp.stack([jnp.sum(s, (0, 1)) for s in sums])
    return dx, dkernel.reshape(kernel.shape).astype(kernel.dtype)


_depthwise_taps.defvjp(_depthwise_taps_fwd, _depthwise_taps_bwd)


def _repeat_channels(x: Array, kernel: Array) -> Array:
    """(n, h, w, c) -> (n, h, w, c * multiplier)"""
    multiplier = kernel.shape[-1] // x.shape[-1]
    return x if multiplier == 1 else jnp.repeat(x, multiplier, axis=-1)


def _tap_slices(
    padded: tuple[int, ...], kernel: tuple[int, ...], strides: Pair, dilation: Pair
) -> list[tuple[slice, slice]]:
    """For each tap, row by row, the rows and columns of the padded input that it multiplies."""

    def along(axis: int) -> list[slice]:
        k, stride, spread = kernel[axis], strides[axis], dilation[axis]
        size = (padded[axis + 1] - (k - 1) * spread - 1) // stride + 1
        starts = [tap * spread for tap in range(k)]
        return [slice(start, start + (size - 1) * stride + 1, stride) for start in starts]

    return list(itertools.product(along(0), along(1)))
