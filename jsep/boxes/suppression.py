"""Non-maximum suppression, exact and on static shapes."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jsep.boxes.geometry import iou
from jsep.ops.lowering import by_platform


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    threshold: float,
    *,
    valid: Bool[Array, " n"] | None = None,
    classes: Int[Array, " n"] | None = None,
) -> Bool[Array, " n"]:
    """Return which boxes are kept: those that overlap no kept box of a higher score by more than a threshold.

    Boxes are taken by falling score, those of equal scores in the order given. This is the greedy suppression of
    torchvision. A CPU goes from box to box; other platforms let all boxes suppress others at once, until nothing
    changes, which takes as many sweeps as the longest chain of boxes that decide on each other: usually under ten. No
    gradient goes through the decision.

    Args:
        boxes: boxes.
        scores: their scores.
        threshold: greatest IoU of two boxes that are both kept.
        valid: which boxes there are; all by default.
        classes: class of each box: only boxes of one class suppress each other. By default all do.

    >>> boxes = jnp.asarray([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [8.0, 8.0, 9.0, 9.0]])
    >>> nms(boxes, jnp.asarray([0.5, 0.9, 0.1]), 0.5).tolist()
    [False, True, True]
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    valid = jnp.ones(scores.shape, bool) if valid is None else valid
    classes = jnp.zeros(scores.shape, jnp.int32) if classes is None else classes
    scores = jnp.where(valid, scores, -jnp.inf)

    # overlaps are compared with the threshold itself: rounded up, it would keep some that exceed it
    rounded = np.asarray(threshold, boxes.dtype)
    rounded = np.nextafter(rounded, -np.inf, dtype=boxes.dtype) if float(rounded) > threshold else rounded
    return by_platform(boxes, scores, valid, classes, jnp.asarray(rounded), cpu=_by_row, default=_by_sweep)


def _near(boxes: Array, classes: Array, threshold: Array) -> Array:
    """Return which boxes (columns) overlap which (rows), within a class."""
    return (iou(boxes, boxes) > threshold) & (classes[:, None] == classes[None])


def _by_row(boxes: Array, scores: Array, valid: Array, classes: Array, threshold: Array) -> Array:
    _, order = lax.top_k(scores, len(scores))  # which XLA has in a faster form than sorting
    later = jnp.tri(len(order), k=-1, dtype=bool).T
    # all rows at once: one in each iteration takes five times as long
    suppresses = _near(boxes[order], classes[order], threshold) & later
    keep = lax.fori_loop(0, len(order), lambda i, keep: keep & ~(keep[i] & suppresses[i]), valid[order])
    return jnp.zeros_like(valid).at[order].set(keep, unique_indices=True)


def _by_sweep(boxes: Array, scores: Array, valid: Array, classes: Array, threshold: Array) -> Array:
    numbers = jnp.arange(len(scores))
    mine, other = scores[:, None], scores[None]
    before = (mine > other) | ((mine == other) & (numbers[:, None] < numbers[None]))
    suppresses = _near(boxes, classes, threshold) & before

    # numbers are carried, since converted programs cannot choose between truth values
    def sweep(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        swept = (valid & ~(suppresses & (keep > 0)[:, None]).any(0)).astype(jnp.int32)
        return swept, (swept != keep).sum(dtype=jnp.int32)

    first = valid.astype(jnp.int32)
    return lax.while_loop(lambda state: state[1] > 0, sweep, (first, first.sum(dtype=jnp.int32)))[0] > 0
