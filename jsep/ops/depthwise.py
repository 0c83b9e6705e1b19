"""Depthwise convolution that is fast on every platform.

XLA compiles a grouped convolution to good code on GPU and TPU, but on a CPU to code that is tens of times slower than
necessary, and its gradients to even slower code (jax-ml/jax#23713). On a CPU native kernels compute it (`jsep.native`).
Where there are none, it is a sum of shifted slices over the taps, which takes one pass over the activations. So does
the gradient of the input, which is computed separately for each residue of the stride.

The price of the custom gradient is forward-mode differentiation: `jax.jvp`, `jax.jacfwd` and `jax.hessian` do not pass
through a `custom_vjp` on any platform. They work with `lowering="xla"`.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jsep.ops.conv import conv
from jsep.ops.geometry import Geometry, Padding, Pair, axes, explicit_padding, pad, pair, tap_slices
from jsep.ops.lowering import by_platform
from jsep.ops.native_conv import Job, natively
from jsep.ops.precision import accumulation_dtype

Lowering = Literal["auto", "taps", "xla"]

WIDE_MAP = 512  # output positions from which the kernel gradient takes images in pairs and both halves of the rows


def depthwise_conv(
    x: Float[Array, "n *hw c"],
    kernel: Float[Array, "*k 1 cm"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "TORCH",
    dilation: int | Sequence[int] = 1,
    lowering: Lowering = "auto",
) -> Float[Array, "n *hw2 cm"]:
    """Depthwise convolution in one or two dimensions: each input channel has its own filters.

    With a channel multiplier m = cm / c, output channel o is computed from input channel o // m. This is the order of
    grouped convolutions in `lax` and PyTorch.

    Args:
        x: activations (n, h, w, c), or (n, length, c) in one dimension.
        kernel: kernel (kh, kw, 1, cm), or (k, 1, cm) in one dimension.
        strides: stride along each spatial axis.
        padding: see `explicit_padding`.
        dilation: distance between neighbouring taps of the kernel, along each spatial axis.
        lowering: how the convolution is computed. "auto" chooses by the platform that the program is compiled for;
            "taps" is the choice for CPUs without native kernels, "xla" that for all other platforms. The last two are
            for tests and benchmarks.

    Returns:
        The activations after the convolution.

    Raises:
        ValueError: the kernel does not fit the activations.

    >>> depthwise_conv(jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 1, 8)), strides=2).shape
    (1, 2, 2, 8)
    >>> depthwise_conv(jnp.ones((1, 10, 8)), jnp.ones((5, 1, 8)), padding="VALID").shape
    (1, 6, 8)
    """
    channels = x.shape[-1]
    if kernel.ndim != x.ndim or x.ndim not in (3, 4) or kernel.shape[-2] != 1 or kernel.shape[-1] % channels:
        raise ValueError(
            f"a depthwise kernel for {channels} channels has the shape (kh, kw, 1, {channels} * multiplier), "
            f"or (k, 1, ...) in one dimension, not {kernel.shape} for an input {x.shape}"
        )
    if x.ndim == 3:  # an image whose rows have one position
        (stride,), (spread,) = axes(strides, 1), axes(dilation, 1)
        ends = padding if isinstance(padding, str) else ((padding, padding), (0, 0))
        if not isinstance(padding, int | str):
            ends = (*padding, (0, 0))
        options: Any = {"strides": (stride, 1), "padding": ends, "dilation": (spread, 1), "lowering": lowering}
        return depthwise_conv(x[:, :, None], kernel[:, None], **options)[:, :, 0]
    strides, dilation = pair(strides), pair(dilation)
    pads = explicit_padding(padding, x.shape[1:3], kernel.shape[:2], strides, dilation)
    geometry = Geometry(strides, pads, dilation)
    match lowering:
        case "taps":
            return _taps(x, kernel, geometry)
        case "xla":
            return _grouped(x, kernel, geometry)
        case "auto":
            return _by_platform(x, kernel, geometry)
    raise ValueError(f'lowering {lowering!r}: use "auto", "taps" or "xla"')


def _grouped(x: Array, kernel: Array, geometry: Geometry) -> Array:
    strides, pads, dilation = geometry
    groups = x.shape[-1]
    return conv(x, kernel, strides=strides, padding=pads, dilation=dilation, groups=groups, lowering="xla")


def _by_platform(x: Array, kernel: Array, geometry: Geometry) -> Array:
    taps, grouped = (partial(f, geometry=geometry) for f in (_taps, _grouped))
    native = natively(x, kernel, Job(geometry, x.shape[-1], depthwise=True))
    return by_platform(x, kernel, cpu=native or taps, default=grouped)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _taps(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """Pad once, then sum (shifted slice) * (tap vector) over the taps, in one pass."""
    padded = pad(_repeat_channels(x, kernel), geometry.pads)
    slices = tap_slices(padded.shape, kernel.shape, geometry.strides, geometry.dilation)
    vectors, dtype = _tap_vectors(kernel), accumulation_dtype(x.dtype)
    total: Any = sum(padded[:, *at].astype(dtype) * vector for at, vector in zip(slices, vectors, strict=True))
    return total.astype(x.dtype)


def _taps_fwd(x: Array, kernel: Array, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    return _taps(x, kernel, geometry), (x, kernel)


def _taps_bwd(geometry: Geometry, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return _input_gradient(x.shape, kernel, g, geometry), _kernel_gradient(x, kernel, g, geometry)


_taps.defvjp(_taps_fwd, _taps_bwd)


def _input_gradient(shape: tuple[int, ...], kernel: Array, g: Array, geometry: Geometry) -> Array:
    """Sum over the taps for each residue of the stride, and interleave the sums.

    Position i of the input meets tap t at output (i + pad - t * dilation) / stride if that is a whole number. Positions
    with the same residue modulo the stride meet the same taps, at consecutive outputs.
    """
    n, height, width, channels = shape
    rows, columns = (_residues(axis, shape, kernel.shape, g.shape, geometry) for axis in (0, 1))
    padded = pad(g, (rows.pads, columns.pads))
    dtype = accumulation_dtype(g.dtype)
    vectors = _tap_vectors(kernel).reshape(*kernel.shape[:2], 1, 1, 1, -1)

    def plane(row_taps: list[tuple[int, int]], column_taps: list[tuple[int, int]]) -> Array:
        terms = [
            padded[:, top : top + rows.size, left : left + columns.size].astype(dtype) * vectors[i, j]
            for (i, top), (j, left) in itertools.product(row_taps, column_taps)
        ]
        total: Any = sum(terms) if terms else jnp.zeros((n, rows.size, columns.size, g.shape[-1]))
        return total.astype(g.dtype)

    planes = [[plane(r, c) for c in columns.taps] for r in rows.taps]
    # (n, height / s, width / s, c) for each pair of residues -> (n, height / s, s, width / s, s, c)
    whole = jnp.stack([jnp.stack(row, axis=3) for row in planes], axis=2)
    whole = whole.reshape(n, rows.size * len(rows.taps), columns.size * len(columns.taps), g.shape[-1])
    whole = whole[:, :height, :width]
    multiplier = g.shape[-1] // channels
    return whole if multiplier == 1 else whole.reshape(*shape, multiplier).sum(-1)


class _Residues(NamedTuple):
    """How the positions along one axis of the input meet the outputs, by their residue modulo the stride.

    Attributes:
        size: number of positions with each residue.
        taps: for each residue, the taps that it meets, each with its first position in the padded output.
        pads: padding of the output.
    """

    size: int
    taps: list[list[tuple[int, int]]]
    pads: Pair


def _residues(axis: int, x: Sequence[int], kernel: Sequence[int], g: Sequence[int], geometry: Geometry) -> _Residues:
    stride, low, spread = geometry.strides[axis], geometry.pads[axis][0], geometry.dilation[axis]
    size = -(-x[axis + 1] // stride)
    places = [[(tap, residue + low - tap * spread) for tap in range(kernel[axis])] for residue in range(stride)]
    taps = [[(tap, place // stride) for tap, place in row if place % stride == 0] for row in places]
    firsts = [first for row in taps for _, first in row] or [0]
    before = max(0, -min(firsts))
    after = max(0, max(firsts) + size - g[axis + 1])
    return _Residues(size, [[(tap, first + before) for tap, first in row] for row in taps], (before, after))


def _kernel_gradient(x: Array, kernel: Array, g: Array, geometry: Geometry) -> Array:
    """Sum over the images elementwise, in one array per tap, and reduce over height and width once at the end.

    Inside a fusion XLA reduces over (n, h, w) badly: a plain sum of products is eight times slower.
    """
    wide = g.shape[0] > 0 and g.shape[1] * g.shape[2] >= WIDE_MAP
    sums = (_add_folded if wide else _add_images)(_repeat_channels(x, kernel), kernel.shape, g, geometry)
    return jnp.sum(jnp.stack(sums), (1, 2)).reshape(kernel.shape).astype(kernel.dtype)


def _add_images(x: Array, kernel: Sequence[int], g: Array, geometry: Geometry) -> tuple[Array, ...]:
    """Return a sum over the images (h2, w2, c) for each tap, image by image: small maps stay in the cache."""
    padded = pad(x, geometry.pads)
    slices = tap_slices(padded.shape, kernel, geometry.strides, geometry.dilation)
    dtype = accumulation_dtype(g.dtype)

    def add(sums: tuple[Array, ...], one: tuple[Array, Array]) -> tuple[tuple[Array, ...], None]:
        image, grad = (a.astype(dtype) for a in one)
        return tuple(s + image[at] * grad for s, at in zip(sums, slices, strict=True)), None

    sums, _ = lax.scan(add, tuple(jnp.zeros(g.shape[1:], dtype) for _ in slices), (padded, g))
    return sums


def _add_folded(x: Array, kernel: Sequence[int], g: Array, geometry: Geometry) -> tuple[Array, ...]:
    """Return a sum over images and halves of rows (h2 / 2, w2, c) for each tap.

    Both halves of the rows are added at once, and images in pairs where their number is even, which takes a quarter of
    the additions to memory. The pair is carried through the scan, padded: XLA would fuse the slicing of a scan's input
    into the loop of every tap, and these loops would no longer be vectorised.
    """
    n, height, width, channels = g.shape
    rows, pair_size = -(-height // 2), 2 - n % 2
    needed = (2 * rows - 1) * geometry.strides[0] + (kernel[0] - 1) * geometry.dilation[0] + 1
    (top, _), columns = geometry.pads
    pads = ((top, needed - top - x.shape[1]), columns)
    xs, gs = (a.reshape(n // pair_size, pair_size, *a.shape[1:]) for a in (x, g))
    dtype = accumulation_dtype(g.dtype)

    def load(i: int | Array) -> tuple[Array, Array]:
        images, grads = (lax.dynamic_index_in_dim(a, i, keepdims=False).astype(dtype) for a in (xs, gs))
        return pad(images, pads), pad(grads, ((0, 2 * rows - height), (0, 0)))

    shape = (1, needed - rows * geometry.strides[0], x.shape[2] + sum(columns), channels)
    slices = tap_slices(shape, kernel, geometry.strides, geometry.dilation)

    def products(images: Array, grads: Array, at: tuple[slice, slice]) -> list[Array]:
        jump = rows * geometry.strides[0]
        return [
            images[i, half * jump + at[0].start : half * jump + at[0].stop : at[0].step, at[1]]
            * grads[i, half * rows : (half + 1) * rows]
            for i, half in itertools.product(range(pair_size), range(2))
        ]

    def add(carry: tuple[tuple[Array, ...], tuple[Array, Array]], i: Array) -> tuple[Any, None]:
        sums, now = carry
        sums = tuple(sum(products(*now, at), start=s) for s, at in zip(sums, slices, strict=True))
        return (sums, load(jnp.minimum(i, len(xs) - 1))), None

    zeros = tuple(jnp.zeros((rows, width, channels), dtype) for _ in slices)
    (sums, _), _ = lax.scan(add, (zeros, load(0)), jnp.arange(1, len(xs) + 1))
    return sums


def _repeat_channels(x: Array, kernel: Array) -> Array:
    """Repeat each channel for its filters: (n, h, w, c) -> (n, h, w, c * multiplier)."""
    multiplier = kernel.shape[-1] // x.shape[-1]
    return x if multiplier == 1 else jnp.repeat(x, multiplier, axis=-1)


def _tap_vectors(kernel: Array) -> Array:
    """Split a kernel by taps, in the dtype to accumulate in: (kh, kw, 1, c) -> (kh * kw, 1, 1, 1, c)."""
    return kernel.astype(accumulation_dtype(kernel.dtype)).reshape(-1, 1, 1, 1, kernel.shape[-1])
