"""Comparing the function in a file with the network in JAX."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jsep.boxes import Detections
from jsep.export.program import Function

TOLERANCE = 1e-4  # relative to the largest logit, or of detections; rounding alone stays below 2e-5
FLIPPED = 0.01  # share of detections that may differ: rounding decides between boxes that overlap by just the threshold


class Agreement(NamedTuple):
    """How the function in a file compares with the network in JAX.

    Attributes:
        difference: largest difference of any logit, relative to the largest logit. Of detections, the largest distance
            to the nearest of the same class that the other side has, leaving out the farthest in a hundred. It is the
            difference of their scores, or of their boxes as shares of the image's sides, at most 1.
        same: number of images that get the same class or the same detections from both; of a segmenter of pixels.
        compared: number of images or pixels that were compared.
    """

    difference: float
    same: int
    compared: int


def agreement(
    live: Callable[[Any], Any], function: Function, images: UInt8[np.ndarray, "n h w c"], batch: int
) -> Agreement:
    """Compare the function in a file with the network in JAX.

    Args:
        live: the network, for images from 0 to 255, see `jsep.export.program.answer_of`.
        function: the function in the file.
        images: the images to compare on.
        batch: images per call.
    """
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        ours, theirs = jax.device_get(live(part)), function(part.astype(np.float32) / np.float32(255))
        parts.append(
            _of_detections(ours, theirs, part.shape) if isinstance(ours, Detections) else _of_logits(ours, theirs)
        )
    apart, flipped, largest, same = zip(*parts, strict=True)
    distance = np.quantile(np.concatenate(apart), 1 - max(flipped), method="higher")
    scale = max(np.max(largest), np.finfo(np.float32).tiny)
    same = np.concatenate(same)
    return Agreement(float(distance / scale), int(same.sum()), same.size)


# distances, the share of them to leave out, what they are relative to, and what is the same
Part = tuple[Float[np.ndarray, " m"], float, float, Bool[np.ndarray, " k"]]


def _of_logits(ours: Float[np.ndarray, "*n k"], theirs: Float[np.ndarray, "*n k"]) -> Part:
    same = ours.argmax(-1) == theirs.argmax(-1)
    return np.abs(ours - theirs).max(keepdims=True).ravel(), 0, np.abs(ours).max(), same.ravel()


def _of_detections(ours: Detections, theirs: Detections, shape: tuple[int, ...]) -> Part:
    def row(one: Detections, i: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[i], one)

    found = [_distances(row(ours, i), row(theirs, i), shape) for i in range(len(ours.scores))]
    return np.concatenate(found), FLIPPED, 1, np.array([(one <= TOLERANCE).all() for one in found])


def _distances(ours: Detections, theirs: Detections, shape: tuple[int, ...]) -> Float[np.ndarray, " m"]:
    """Return the distance of each detection in a picture to the nearest of the other side: 1 if there is none."""

    def places(one: Any) -> tuple[np.ndarray, np.ndarray]:
        boxes = one.boxes / np.array([shape[2], shape[1]] * 2, np.float32)
        return one.labels[one.valid], np.concatenate([one.scores[:, None], boxes], 1)[one.valid]

    (labels, own), (others, other) = places(ours), places(theirs)
    apart = np.abs(own[:, None] - other[None]).max(-1) + (labels[:, None] != others[None])
    return np.concatenate([apart.min(1, initial=1), apart.min(0, initial=1)])
