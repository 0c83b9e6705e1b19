"""Padding, strides and sizes of windows."""

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jsep.errors import UserError

Pair = tuple[int, int]
Padding = Literal["TORCH", "SAME", "VALID"] | int | Sequence[tuple[int, int]]


class EmptyMap(UserError):
    """A window is larger than the padded map that it should slide over, so that no output is left."""


class Geometry(NamedTuple):
    """Where the windows of a convolution lie, along height and width.

    Attributes:
        strides: distance between neighbouring windows.
        pads: padding before and after the input.
        dilation: distance between neighbouring taps inside a window.
    """

    strides: Pair
    pads: tuple[Pair, Pair]
    dilation: Pair


def pair(value: int | Sequence[int]) -> Pair:
    """Return one number for each of two spatial axes, given one for both or one for each.

    >>> pair(3), pair((3, 5))
    ((3, 3), (3, 5))
    """
    height, width = axes(value, 2)
    return height, width


def axes(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """Return one number for each of `count` spatial axes, given one for all or one for each.

    Raises:
        ValueError: there are more or fewer numbers than axes.

    >>> axes(3, 1), axes((3, 5), 2)
    ((3,), (3, 5))
    """
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ValueError(f"{value}: give one number for all spatial axes, or {count} numbers")
    return values


def explicit_padding(
    padding: Padding,
    size: Sequence[int],
    kernel_size: Sequence[int],
    strides: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> tuple[Pair, Pair]:
    """Return a padding as ((top, bottom), (left, right)), after checking that a window fits the padded input.

    Args:
        padding: "TORCH" pads dilation * (kernel size // 2) on both sides, as PyTorch's networks do. "SAME" pads as
            TensorFlow does, which differs from that for stride 2 on an even size. "VALID" does not pad. A number
            pads all sides by as much, and pairs are taken as they are.
        size: height and width of the input.
        kernel_size: height and width of the kernel.
        strides: stride along height and width.
        dilation: distance between neighbouring taps of the kernel, along height and width.

    Raises:
        EmptyMap: the padded input is smaller than one window, which PyTorch refuses as well.
        ValueError: `padding` is none of these.

    >>> explicit_padding("TORCH", (32, 32), (3, 3), (2, 2))
    ((1, 1), (1, 1))
    >>> explicit_padding("SAME", (32, 32), (3, 3), (2, 2))
    ((0, 1), (0, 1))
    """
    pads = _pads(padding, size, kernel_size, strides, dilation)
    span = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    padded = [side + sum(ends) for side, ends in zip(size, pads, strict=True)]
    if padded[0] < span[0] or padded[1] < span[1]:
        raise EmptyMap(
            f"A window of {span[0]}x{span[1]} does not fit a map of {padded[0]}x{padded[1]}: use larger images"
        )
    return pads


def _pads(
    padding: Padding, size: Sequence[int], kernel_size: Sequence[int], strides: Pair, dilation: Pair
) -> tuple[Pair, Pair]:
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


def pad(x: Array, pads: Sequence[Pair]) -> Array:
    """Pad height and width with zeros; a negative padding cuts."""
    config = [(0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def tap_slices(
    padded: Sequence[int], kernel: Sequence[int], strides: Pair, dilation: Pair
) -> list[tuple[slice, slice]]:
    """Return the rows and columns of the padded input that each tap of a kernel meets, tap by tap, row by row.

    Args:
        padded: shape (n, h, w, c) of the padded input.
        kernel: shape of the kernel, height and width first.
        strides: stride along height and width.
        dilation: distance between neighbouring taps, along height and width.
    """

    def along(axis: int) -> list[slice]:
        k, stride, spread = kernel[axis], strides[axis], dilation[axis]
        size = max(0, (padded[axis + 1] - (k - 1) * spread - 1) // stride + 1)
        return [slice(at, at + max(0, (size - 1) * stride + 1), stride) for at in range(0, k * spread, spread)]

    return list(itertools.product(along(0), along(1)))
