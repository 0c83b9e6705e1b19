"""The numbers by which a detector says where a box lies: its distance from an anchor and the ratio of their sizes.

Paper: Girshick et al., arXiv 1311.2524, appendix C.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = tuple[float, float, float, float]
SSD_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
PLAIN_WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)
LARGEST = math.log(1000 / 16)  # of the logarithm of a ratio of sizes, as in torchvision; there is no least one


def encode(
    boxes: Float[Array, "*n 4"], anchors: Float[Array, "*n 4"], weights: Weights = SSD_WEIGHTS
) -> Float[Array, "*n 4"]:
    """Return the codes (dx, dy, dw, dh) of boxes: what a detector should answer at their anchors.

    Args:
        boxes: boxes with positive sides.
        anchors: the anchor of each.
        weights: factors of the four numbers.

    >>> encode(jnp.asarray([1.0, 0.0, 5.0, 4.0]), jnp.asarray([0.0, 0.0, 4.0, 4.0])).tolist()
    [2.5, 0.0, 0.0, 0.0]
    """
    (center, size), (there, unit) = _centers(boxes), _centers(anchors)
    codes = jnp.concatenate([(center - there) / unit, jnp.log(size / unit)], -1)
    return codes * jnp.broadcast_to(jnp.asarray(weights, codes.dtype), codes.shape)


def decode(
    codes: Float[Array, "*n 4"], anchors: Float[Array, "*n 4"], weights: Weights = SSD_WEIGHTS
) -> Float[Array, "*n 4"]:
    """Return the boxes of codes: the inverse of `encode` for boxes at most 62.5 times as large as their anchors.

    Args:
        codes: what a detector answers.
        anchors: the anchor of each code.
        weights: factors of the four numbers.

    >>> decode(jnp.asarray([2.5, 0.0, 0.0, 0.0]), jnp.asarray([0.0, 0.0, 4.0, 4.0])).tolist()
    [1.0, 0.0, 5.0, 4.0]
    """
    there, unit = _centers(anchors)
    codes = codes / jnp.broadcast_to(jnp.asarray(weights, codes.dtype), codes.shape)
    shift, ratio = jnp.split(codes, 2, -1)
    center, half = there + shift * unit, jnp.exp(jnp.minimum(ratio, LARGEST)) * unit / 2
    return jnp.concatenate([center - half, center + half], -1)


def _centers(boxes: Array) -> tuple[Array, Array]:
    """Return the centers and the sizes (width, height) of boxes."""
    low, high = jnp.split(boxes, 2, -1)
    return (low + high) / 2, high - low
