"""Areas and overlaps of boxes (x1, y1, x2, y2)."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def area(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Return the areas of boxes in square pixels; a box from 0 to 1 has area 1.

    >>> float(area(jnp.asarray([0.0, 0.0, 2.0, 3.0])))
    6.0
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip(boxes: Float[Array, "*n 4"], height: int, width: int) -> Float[Array, "*n 4"]:
    """Return the parts of boxes that lie in a picture.

    >>> clip(jnp.asarray([-1.0, 2.0, 9.0, 5.0]), height=4, width=8).tolist()
    [0.0, 2.0, 8.0, 4.0]
    """
    sides = jnp.asarray([width, height, width, height], boxes.dtype)
    return jnp.clip(boxes, 0, jnp.broadcast_to(sides, boxes.shape))


def iou(a: Float[Array, "m 4"], b: Float[Array, "n 4"]) -> Float[Array, "m n"]:
    """Return the intersection over the union of each box of one set and each of another.

    It is 1 for equal boxes, and 0 for boxes apart or without extent.

    >>> one = jnp.asarray([[0.0, 0.0, 2.0, 2.0]])
    >>> iou(one, jnp.asarray([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 4.0], [2.0, 0.0, 4.0, 2.0]])).tolist()
    [[1.0, 0.5, 0.0]]
    """
    inside, union = _overlap(a[:, None], b[None])
    return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1), 0)


def generalized_iou(a: Float[Array, "*n 4"], b: Float[Array, "*n 4"], epsilon: float = 1e-7) -> Float[Array, "*n"]:
    """Return the IoU of pairs of boxes less the share of their common hull that neither covers: from -1 to 1.

    Unlike the IoU it has a gradient where boxes lie apart. Paper: Rezatofighi et al., arXiv 1902.09630.

    Args:
        a: boxes.
        b: the other box of each pair.
        epsilon: number that is added to what is divided by.

    >>> float(generalized_iou(jnp.asarray([0.0, 0.0, 1.0, 1.0]), jnp.asarray([3.0, 0.0, 4.0, 1.0])))
    -0.5
    """
    inside, union = _overlap(a, b)
    hull = area(jnp.concatenate([jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])], -1))
    return inside / (union + epsilon) - (hull - union) / (hull + epsilon)


def _overlap(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the areas of the intersections and of the unions."""
    sides = jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0)
    inside = sides[..., 0] * sides[..., 1]
    return inside, area(a) + area(b) - inside
