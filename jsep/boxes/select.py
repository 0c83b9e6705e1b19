"""From the answers of a detector to its detections: a fixed number a picture, with a mask."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jsep.boxes.coder import PLAIN_WEIGHTS, decode
from jsep.boxes.geometry import clip
from jsep.boxes.suppression import nms


class Detections(NamedTuple):
    """Detected objects of a picture, the highest score first. Arrays of a batch have further axes in front.

    Attributes:
        boxes: boxes in pixels.
        labels: their classes.
        scores: their scores; 0 where there is none.
        valid: which of them there are.
    """

    boxes: Float[Array, "*n k 4"]
    labels: Int[Array, "*n k"]
    scores: Float[Array, "*n k"]
    valid: Bool[Array, "*n k"]


def select_by_class(
    probabilities: Float[Array, "a c"],
    boxes: Float[Array, "a 4"],
    *,
    score: float,
    candidates: int,
    overlap: float,
    limit: int,
) -> Detections:
    """Select the detections of one picture as an SSD: the best candidates of each class, then suppression within it.

    Args:
        probabilities: of each class at each anchor; class 0 is background and never detected.
        boxes: decoded boxes.
        score: probability that a candidate must exceed.
        candidates: greatest number of candidates of a class.
        overlap: greatest IoU of two detections of a class.
        limit: greatest number of detections.

    >>> one = jnp.asarray([[0.1, 0.9], [0.3, 0.7], [0.9, 0.1]])
    >>> boxes = jnp.asarray([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [8.0, 8.0, 9.0, 9.0]])
    >>> found = select_by_class(one, boxes, score=0.05, candidates=3, overlap=0.5, limit=3)
    >>> found.valid.tolist(), found.labels.tolist()
    ([True, True, False], [1, 1, 0])
    """
    by_class = probabilities.T[1:]
    scores, at = lax.top_k(jnp.where(by_class > score, by_class, -jnp.inf), min(candidates, len(boxes)))
    there = scores > -jnp.inf
    keep = jax.vmap(lambda *own: nms(own[0], own[1], overlap, valid=own[2]))(boxes[at], scores, there)
    labels = jnp.broadcast_to(1 + jnp.arange(len(scores))[:, None], scores.shape)
    return _best(boxes[at].reshape(-1, 4), labels.ravel(), jnp.where(keep, scores, -jnp.inf).ravel(), limit)


def select_by_level(
    logits: Sequence[Float[Array, "_ c"]],
    codes: Sequence[Float[Array, "_ 4"]],
    anchors: Sequence[Float[Array, "_ 4"]],
    size: tuple[int, int],
    *,
    score: float = 0.05,
    candidates: int = 1000,
    overlap: float = 0.5,
    limit: int = 300,
) -> Detections:
    """Select the detections of one picture as RetinaNet: the best pairs of anchor and class of each level.

    Args:
        logits: of each class at the anchors of each level; a sigmoid makes them probabilities.
        codes: codes of the boxes.
        anchors: anchors of each level.
        size: height and width of the picture, which boxes are clipped to.
        score: probability that a candidate must exceed.
        candidates: greatest number of candidates of a level.
        overlap: greatest IoU of two detections of a class.
        limit: greatest number of detections.
    """
    found = []
    for own, code, anchor in zip(logits, codes, anchors, strict=True):
        classes = own.shape[-1]
        probabilities = jax.nn.sigmoid(own).ravel()
        masked = jnp.where(probabilities > score, probabilities, -jnp.inf)
        scores, at = lax.top_k(masked, min(candidates, masked.size))
        boxes = decode(code[at // classes], anchor[at // classes], PLAIN_WEIGHTS)
        found.append((clip(boxes, *size), at % classes, scores))
    boxes, labels, scores = (jnp.concatenate(parts) for parts in zip(*found, strict=True))
    keep = nms(boxes, scores, overlap, valid=scores > -jnp.inf, classes=labels)
    return _best(boxes, labels, jnp.where(keep, scores, -jnp.inf), limit)


def _best(boxes: Array, labels: Array, scores: Array, limit: int) -> Detections:
    missing = max(0, limit - len(scores))
    scores = jnp.pad(scores, (0, missing), constant_values=-jnp.inf)
    scores, at = lax.top_k(scores, limit)
    valid = scores > -jnp.inf
    boxes, labels = jnp.pad(boxes, ((0, missing), (0, 0)))[at], jnp.pad(labels, (0, missing))[at]
    return Detections(
        jnp.where(valid[:, None], boxes, 0), jnp.where(valid, labels, 0), jnp.where(valid, scores, 0), valid
    )
