"""Detection: boxes with classes and scores, measured as COCO does."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jsep.boxes import Detections, Objects
from jsep.data import Dataset, Feed, augment_with
from jsep.data.pictures import each
from jsep.models import registry
from jsep.train.coco import Found, Truth, import_hotcoco, precisions
from jsep.train.metrics import Sums
from jsep.train.select import BACKBONE
from jsep.train.task import Judge, Lesson, Verdict

DRAWN = 8  # random objects of an image; COCO's have 7.3 on average


class Detection:
    """The task of detectors, see `jsep.train.task.Task`. Their first class is the background.

    The network is a `jsep.models.detector.Detector`.
    """

    name: registry.Task = "detection"
    noun = "detector"
    background = 1
    learned: tuple[str, ...] = ("loss",)
    main = "ap"
    backbone = f"{BACKBONE}/*"
    foreign: Mapping[str, tuple[str, ...]] = {
        "objective": ("label_smoothing", "class_weights", "mixup", "cutmix", "teacher"),
        "schedule": ("monitor",),  # an evaluation has no loss
    }

    def check(self) -> None:
        """Check that hotcoco is installed, which measures the average precision."""
        import_hotcoco()

    def prepare(
        self,
        lesson: Lesson,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        images: UInt8[Array, "n h w c"],
        targets: Objects,
        positions: Int[Array, " n"],
        params: Any,
    ) -> tuple[Float[Array, "n h w c"], Objects]:
        """Return the images and their objects, mirrored together."""
        images, targets = augment_with(keys[0], images, targets, positions, lesson.recipe.augment)
        return images.astype(jnp.float32), targets

    def loss(self, lesson: Lesson, output: Any, images: Any, goals: Objects, teaching: Any) -> tuple[Array, Sums]:
        """Return the sum of the losses of classes and boxes."""
        model: Any = lesson.model
        parts = model.loss(output, goals)
        loss, number = parts.classes + parts.boxes, jnp.float32(images.shape[0])
        return loss, Sums(loss.astype(jnp.float32) * number, jnp.float32(0), number)

    def measure(
        self, model: nn.Module, output: Any, targets: Objects, size: tuple[int, int], mask: Array, axis_name: str
    ) -> tuple[Any, tuple[Array, ...]]:
        """Return the detections of the whole batch, their boxes as shares of the images' sides."""
        found = self.answer(model, output, size)
        sides = jnp.asarray([size[1], size[0]] * 2, jnp.float32)
        boxes = found.boxes.astype(jnp.float32) / jnp.broadcast_to(sides, found.boxes.shape)
        kept = found._replace(boxes=boxes, scores=found.scores.astype(jnp.float32))

        def gathered(own: Array) -> Array:
            every = lax.all_gather(own, axis_name)
            return every.reshape(-1, *own.shape[1:])

        return jax.tree.map(gathered, (kept, mask)), ()

    def answer(self, model: nn.Module, output: Any, size: tuple[int, int]) -> Detections:
        """Return the detections, their boxes in pixels of the images."""
        detector: Any = model
        return detector.detect(output, size)

    def draw(self, key: PRNGKeyArray, number: int, size: tuple[int, int], classes: int) -> Objects:
        """Return `DRAWN` random objects of each image."""
        corner_key, side_key, label_key = jax.random.split(key, 3)
        shape = (number, DRAWN, 2)
        sides = jnp.broadcast_to(jnp.asarray([size[1], size[0]], jnp.float32), shape)
        corner = jax.random.uniform(corner_key, shape, maxval=0.5) * sides
        opposite = corner + jax.random.uniform(side_key, shape, minval=0.05, maxval=0.5) * sides
        labels = jax.random.randint(label_key, shape[:2], 1, classes)
        return Objects(jnp.concatenate([corner, opposite], -1), labels, jnp.ones(shape[:2], bool))

    def judge(self, dataset: Dataset) -> Judge:
        """Return the function that computes COCO's figures, see `jsep.train.coco.average_precision`.

        Of each class it gives "ap", "ap50" and "objects", see `jsep.train.coco.precisions`.
        """
        records: Any = dataset.test

        def known(record: dict[str, Any]) -> tuple[Float[np.ndarray, " 4"], Truth]:
            (height, width), objects = record["size"], record["objects"]
            return np.array([width, height] * 2, np.float32), Truth(**objects)

        sides, truths = zip(*each(records, known), strict=True)

        def verdict(parts: Sequence[Any]) -> Verdict:
            whole, masks = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
            found = []
            for row, own in zip(np.flatnonzero(masks > 0), sides, strict=True):
                boxes, labels, scores = (array[row][whole.valid[row]] for array in whole[:3])
                found.append(Found(boxes * own, labels - self.background, scores))
            return Verdict(*precisions(truths, found, len(dataset.class_names)))

        return verdict

    def shown(self, classes: int) -> tuple[str, ...]:
        """Return the two figures that most papers give."""
        return ("ap", "ap50")

    def count(self, dataset: Dataset, feed: Feed) -> Int[np.ndarray, " k"]:
        """Detectors have no weights of classes."""
        raise NotImplementedError


DETECTION = Detection()
