"""Segmentation: a class for each pixel, measured by a confusion matrix of pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from jsep.data import Dataset, Feed, augment_with
from jsep.models import registry
from jsep.models.segmenter import IGNORED, Maps
from jsep.train.metrics import Sums
from jsep.train.select import BACKBONE
from jsep.train.task import Judge, Lesson, Verdict

CHUNK = 32  # images whose masks are read at a time


class Segmentation:
    """The task of segmenters, see `jsep.train.task.Task`.

    The network is a `jsep.models.segmenter.Segmenter`.
    """

    name: registry.Task = "segmentation"
    noun = "segmenter"
    background = 0
    learned: tuple[str, ...] = ("loss", "accuracy")
    main = "miou"
    backbone = f"{BACKBONE}/*"
    foreign: Mapping[str, tuple[str, ...]] = {
        "objective": ("label_smoothing", "mixup", "cutmix", "teacher"),
    }

    def check(self) -> None:
        """Nothing else is needed."""

    def prepare(
        self,
        lesson: Lesson,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        images: UInt8[Array, "n h w c"],
        targets: UInt8[Array, "n h w"],
        positions: Int[Array, " n"],
        params: Any,
    ) -> tuple[Float[Array, "n h w c"], Int[Array, "n h w"]]:
        """Return the images and their masks, mirrored together."""
        images, targets = augment_with(keys[0], images, targets, positions, lesson.recipe.augment)
        return images.astype(jnp.float32), targets.astype(jnp.int32)

    def loss(self, lesson: Lesson, output: Maps, images: Any, goals: Any, teaching: Any) -> tuple[Array, Sums]:
        """Return the mean loss of the pixels; an image counts by the share of its pixels that are right."""
        model: Any = lesson.model
        weights = None if lesson.class_weights is None else jnp.asarray(lesson.class_weights)
        loss, number = model.loss(output, goals, weights), jnp.float32(images.shape[0])
        right, counted = _right(output.logits, goals)
        shares = right.sum((1, 2)) / jnp.maximum(counted.sum((1, 2)), 1)
        return loss, Sums(loss.astype(jnp.float32) * number, shares.astype(jnp.float32).sum(), number)

    def measure(
        self, model: nn.Module, output: Maps, targets: Any, size: tuple[int, int], mask: Array, axis_name: str
    ) -> tuple[Any, tuple[Array, ...]]:
        """Return the losses of all pixels summed by row, which the judge adds in float64, and the confusion matrix."""
        targets = jnp.where((mask > 0)[:, None, None], targets.astype(jnp.int32), IGNORED)
        logits = output.logits.astype(jnp.float32)
        _, counted = _right(logits, targets)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(counted, targets, 0))
        kept = jnp.where(counted, losses, 0).sum(-1), confusion(logits.argmax(-1), targets, logits.shape[-1])
        return lax.psum(kept, axis_name), ()

    def answer(self, model: nn.Module, output: Maps, size: tuple[int, int]) -> UInt8[Array, "n h w"]:
        """Return the class of each pixel."""
        return output.logits.argmax(-1).astype(jnp.uint8)

    def draw(self, key: PRNGKeyArray, number: int, size: tuple[int, int], classes: int) -> UInt8[Array, "n h w"]:
        """Return random masks."""
        return jax.random.randint(key, (number, *size), 0, classes).astype(jnp.uint8)

    def judge(self, dataset: Dataset) -> Judge:
        """Return the function that computes the mean "loss" of a pixel in nats, "miou" and "accuracy" from 0 to 1.

        Of each class it gives "iou", see `iou_by_class`, "pixels", the number of its pixels, and "confusion", its row
        of the confusion matrix.
        """

        def verdict(parts: Sequence[Any]) -> Verdict:
            losses, matrices = zip(*parts, strict=True)
            matrix = np.stack(matrices).astype(np.int64).sum(0)
            loss = sum(np.sum(one, dtype=np.float64) for one in losses)
            with np.errstate(invalid="ignore"):  # 0 / 0 becomes NaN
                mean, right = np.array([loss, matrix.trace()]) / matrix.sum()
            figures = {"loss": float(mean), "miou": mean_iou(matrix), "accuracy": float(right)}
            return Verdict(figures, {"iou": iou_by_class(matrix), "pixels": matrix.sum(1), "confusion": matrix})

        return verdict

    def shown(self, classes: int) -> tuple[str, ...]:
        """Return all figures: of the loss, mIoU and the share of the pixels that are right."""
        return ("loss", "miou", "accuracy")

    def count(self, dataset: Dataset, feed: Feed) -> Int[np.ndarray, " k"]:
        """Return the number of pixels of each class in the training images."""
        counts = np.zeros(IGNORED + 1, np.int64)
        for batch, mask in feed.evaluation(min(CHUNK, feed.size)):
            _, masks = feed.fetch(feed.constants, batch)
            counts += np.bincount(np.asarray(masks)[mask > 0].ravel(), minlength=len(counts))
        return counts[: len(dataset.class_names)]


def _right(logits: Array, masks: Array) -> tuple[Bool[Array, "n h w"], Bool[Array, "n h w"]]:
    """Return which pixels are right, and which are counted."""
    counted = masks != IGNORED
    return counted & (logits.argmax(-1).astype(masks.dtype) == masks), counted


def confusion(found: Int[Array, "n h w"], masks: Int[Array, "n h w"], classes: int) -> Int[Array, "k k"]:
    """Return the number of pixels of each class (rows) for which each class was found (columns).

    >>> confusion(jnp.asarray([[[0, 1, 1]]]), jnp.asarray([[[0, 0, 255]]]), 2).tolist()
    [[1, 1], [0, 0]]

    Args:
        found: the class that was found at each pixel.
        masks: the right class, 255 where pixels are not counted.
        classes: number of classes.
    """
    cells = jnp.where(masks == IGNORED, classes**2, masks * classes + found.astype(masks.dtype))
    return jnp.bincount(cells.ravel(), length=classes**2 + 1)[:-1].reshape(classes, classes)


def iou_by_class(matrix: Int[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Return the intersection over union of each class, NaN for one that neither occurs in the masks nor was found.

    The intersection is what was found rightly; the union is what is or was found of the class.

    >>> iou_by_class(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])).tolist()
    [0.6666666666666666, 0.5, nan]

    Args:
        matrix: the confusion matrix of all pixels, see `confusion`.
    """
    right = matrix.diagonal()
    with np.errstate(invalid="ignore"):  # 0 / 0 becomes NaN
        return right / (matrix.sum(0) + matrix.sum(1) - right)


def mean_iou(matrix: Int[np.ndarray, "k k"]) -> float:
    """Return the mean intersection over union of the classes that occur in the masks or were found.

    A class that neither occurs nor was found counts nowhere, and one that was found without occurring counts as 0.

    >>> mean_iou(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]]))
    0.5833333333333333

    Args:
        matrix: the confusion matrix of all pixels, see `confusion`.
    """
    each = iou_by_class(matrix)
    there = ~np.isnan(each)
    return float(np.mean(each[there])) if there.any() else float("nan")


SEGMENTATION = Segmentation()
