"""Losses of detectors over a batch; they do not depend on the number of devices that share it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jsep.boxes.coder import PLAIN_WEIGHTS, SSD_WEIGHTS, decode, encode
from jsep.boxes.geometry import generalized_iou, iou
from jsep.boxes.matching import IGNORED, match, match_ssd
from jsep.ops.precision import accumulation_dtype


class Objects(NamedTuple):
    """The objects of pictures, padded to the same number.

    Attributes:
        boxes: boxes in pixels of the network's input.
        labels: their classes.
        valid: which of them there are.
    """

    boxes: Float[Array, "n m 4"]
    labels: Int[Array, "n m"]
    valid: Bool[Array, "n m"]


class Losses(NamedTuple):
    """Parts of a detector's loss, to be added.

    Attributes:
        classes: of the classes.
        boxes: of the boxes.
    """

    classes: Float[Array, ""]
    boxes: Float[Array, ""]


def smooth_l1(error: Float[Array, "*n"], beta: float = 1.0) -> Float[Array, "*n"]:
    """Return the absolute error less half of `beta`, and a parabola below `beta`. Paper: arXiv 1504.08083, section 2.3.

    >>> smooth_l1(jnp.asarray([0.5, -3.0])).tolist()
    [0.125, 2.5]
    """
    size = jnp.abs(error)
    return jnp.where(size < beta, 0.5 * error**2 / beta, size - 0.5 * beta)


def focal(
    logits: Float[Array, "*n"], targets: Float[Array, "*n"], alpha: float = 0.25, gamma: float = 2.0
) -> Float[Array, "*n"]:
    """Return the focal loss: cross entropy of a sigmoid, the less of it the surer the answer is.

    Paper: Lin et al., arXiv 1708.02002, section 3.2.

    Args:
        logits: answers.
        targets: 1 for what is there, 0 for what is not.
        alpha: weight of what is there; what is not has 1 - alpha.
        gamma: power of the probability of the wrong answer.

    >>> float(focal(jnp.asarray(0.0), jnp.asarray(1.0)))  # doctest: +ELLIPSIS
    0.0433...
    """
    towards = jnp.where(targets > 0, logits, -logits)
    wrong = jax.nn.sigmoid(-towards)
    return jnp.where(targets > 0, alpha, 1 - alpha) * wrong**gamma * jax.nn.softplus(-towards)


def hard_negatives(losses: Float[Array, "*n a"], positive: Bool[Array, "*n a"], ratio: int = 3) -> Bool[Array, "*n a"]:
    """Return which anchors of each picture are its hardest negatives: `ratio` times as many as it has positives.

    Paper: Liu et al., arXiv 1512.02325, section 2.2.

    Args:
        losses: loss of each anchor's class.
        positive: anchors that are matched with an object.
        ratio: negatives for each positive.

    >>> hard_negatives(jnp.asarray([4.0, 1.0, 3.0, 2.0]), jnp.asarray([True, False, False, False]), 2).tolist()
    [False, False, True, True]
    """
    order = jnp.argsort(-jnp.where(positive, -jnp.inf, losses), -1, stable=True)
    rank = jnp.argsort(order, -1)
    return (rank < ratio * positive.sum(-1, keepdims=True)) & ~positive


def ssd_loss(
    logits: Float[Array, "n a c"],
    codes: Float[Array, "n a 4"],
    objects: Objects,
    anchors: Float[Array, "a 4"],
    *,
    threshold: float = 0.5,
    axis_name: str | None = None,
) -> Losses:
    """Return the loss of an SSD. Paper: Liu et al., arXiv 1512.02325, section 2.2.

    Cross entropy of the matched anchors and of the hardest others, three times as many in each picture, and smooth L1
    of the codes of matched anchors; both are divided by the number of matched anchors in the whole batch.

    Args:
        logits: of each class at each anchor; class 0 is background.
        codes: codes of the boxes.
        objects: what is there, with classes from 1.
        anchors: default boxes.
        threshold: see `match_ssd`.
        axis_name: mapped axis of the devices that share the batch; the mean of their losses is that of the whole.
    """
    matched = jax.vmap(lambda o: match_ssd(iou(o.boxes, anchors), o.valid, threshold))(objects)
    positive, anchors = matched >= 0, jnp.broadcast_to(anchors, codes.shape)
    boxes, labels = _targets(objects, matched, anchors)
    away = smooth_l1(codes - encode(boxes, anchors, SSD_WEIGHTS)).sum(-1)
    logits = logits.astype(accumulation_dtype(logits.dtype))
    wanted = jnp.take_along_axis(logits, jnp.where(positive, labels, 0)[..., None], -1)[..., 0]
    losses = jax.nn.logsumexp(logits, -1) - wanted
    counted = positive | hard_negatives(lax.stop_gradient(losses), positive)
    count, devices = positive.sum(), 1
    if axis_name:
        count, devices = lax.psum(count, axis_name), lax.psum(1, axis_name)
    share = devices / jnp.maximum(count, 1).astype(losses.dtype)
    return Losses(jnp.where(counted, losses, 0).sum() * share, jnp.where(positive, away, 0).sum() * share)


def retinanet_loss(
    logits: Float[Array, "n a c"],
    codes: Float[Array, "n a 4"],
    objects: Objects,
    anchors: Float[Array, "a 4"],
    *,
    generalized: bool = False,
) -> Losses:
    """Return the loss of RetinaNet. Paper: Lin et al., arXiv 1708.02002, section 4.1, in torchvision's form.

    The focal loss of all anchors that are not ignored, and the distance of the boxes of matched ones; both are divided
    by the number of matched anchors of a picture, then averaged over pictures.

    Args:
        logits: of each class at each anchor.
        codes: codes of the boxes.
        objects: what is there.
        anchors: anchors.
        generalized: the distance is 1 less the generalized IoU of the boxes, rather than L1 of their codes.
    """
    matched = jax.vmap(lambda o: match(iou(o.boxes, anchors), o.valid))(objects)
    positive, anchors = matched >= 0, jnp.broadcast_to(anchors, codes.shape)
    boxes, labels = _targets(objects, matched, anchors)
    logits = logits.astype(accumulation_dtype(logits.dtype))
    wanted = jax.nn.one_hot(jnp.where(positive, labels, -1), logits.shape[-1])
    losses = jnp.where(matched == IGNORED, 0, focal(logits, wanted).sum(-1))
    if generalized:
        away = 1 - generalized_iou(decode(codes, anchors, PLAIN_WEIGHTS), boxes)
    else:
        away = jnp.abs(codes - encode(boxes, anchors, PLAIN_WEIGHTS)).sum(-1)
    count = jnp.maximum(positive.sum(-1), 1).astype(losses.dtype)
    return Losses((losses.sum(-1) / count).mean(), (jnp.where(positive, away, 0).sum(-1) / count).mean())


def _targets(objects: Objects, matched: Array, anchors: Array) -> tuple[Array, Array]:
    """Return the box and the label of each anchor's object; without one, the anchor itself, whose code is 0."""
    at = jnp.maximum(matched, 0)
    boxes = jnp.take_along_axis(objects.boxes, at[..., None], 1)
    labels = jnp.take_along_axis(objects.labels, at, 1)
    return jnp.where((matched >= 0)[..., None], boxes, anchors), labels
