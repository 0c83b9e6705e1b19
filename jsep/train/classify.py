"""Classification: one class for each image."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jsep.data import Dataset, Feed, Split, augment, mix, normalize
from jsep.models import registry
from jsep.train.metrics import TOP, Sums, cross_entropy, distillation, eval_sums, sums, targets_of, weighted
from jsep.train.select import BACKBONE, classes_of
from jsep.train.task import Judge, Lesson, Verdict


class Classification:
    """The task of classifiers, see `jsep.train.task.Task`."""

    name: registry.Task = "classification"
    noun = "classifier"
    background = 0
    learned: tuple[str, ...] = ("loss", "accuracy")
    main = "accuracy"
    backbone = BACKBONE
    foreign: Mapping[str, tuple[str, ...]] = {}

    def check(self) -> None:
        """Nothing else is needed."""

    def prepare(
        self,
        lesson: Lesson,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        images: UInt8[Array, "n h w c"],
        targets: Int[Array, " n"],
        positions: Int[Array, " n"],
        params: Any,
    ) -> tuple[Float[Array, "n h w c"], Any]:
        """Return augmented and mixed images, with the probabilities of the classes and the labels."""
        recipe, objective = lesson.recipe, lesson.recipe.objective
        fill = tuple(round(255 * level) for level in lesson.statistics[0])  # erased rectangles get the mean colour
        labels = targets
        images = augment(keys[0], images, positions, recipe.augment, fill)
        targets = targets_of(labels, classes_of(params), objective.label_smoothing)
        shares = {"mixup": objective.mixup, "cutmix": objective.cutmix}
        images, targets = mix(keys[1], images.astype(jnp.float32), targets, positions, **shares)
        if lesson.class_weights is not None:
            targets, own = weighted(targets, lesson.class_weights, objective.label_smoothing)
            targets = targets / lax.pmean(jnp.mean(own), lesson.axis_name)  # the mean of the losses is the weighted one
        return images, (targets, labels)

    def loss(self, lesson: Lesson, output: Any, images: Any, goals: Any, teaching: Any) -> tuple[Array, Sums]:
        """Return the cross-entropy, or a mean of it and of the distillation loss."""
        objective, teacher = lesson.recipe.objective, lesson.teacher
        targets, labels = goals
        losses = cross_entropy(output, targets)
        if teacher:
            theirs: Any = teacher.model.apply(teaching, normalize(images, *teacher.statistics), train=False)
            taught = distillation(output, theirs, objective.temperature)
            losses = (1 - objective.teacher_weight) * losses + objective.teacher_weight * taught
        return jnp.mean(losses), sums(losses, output, labels, jnp.ones_like(losses))

    def measure(
        self, model: nn.Module, output: Any, targets: Any, size: tuple[int, int], mask: Array, axis_name: str
    ) -> tuple[Any, tuple[Array, ...]]:
        """Return the sums of the metrics; and the logits and labels."""
        losses = cross_entropy(output, targets_of(targets, output.shape[-1]))
        return lax.psum(eval_sums(losses, output, targets, mask), axis_name), (output, targets)

    def answer(self, model: nn.Module, output: Any, size: tuple[int, int]) -> Float[Array, "n k"]:
        """Return the logits."""
        return output

    def draw(self, key: PRNGKeyArray, number: int, size: tuple[int, int], classes: int) -> Int[Array, " n"]:
        """Return random labels."""
        return jax.random.randint(key, (number,), 0, classes)

    def judge(self, dataset: Dataset) -> Judge:
        """Return the function that computes the mean "loss" in nats, and the "accuracy" and "top5" from 0 to 1."""

        def verdict(parts: Sequence[Any]) -> Verdict:
            return Verdict(jax.tree.map(lambda *s: np.sum(s, dtype=np.float64), *parts).means(), {})

        return verdict

    def shown(self, classes: int) -> tuple[str, ...]:
        """Return the figures to print; among few classes the top-5 accuracy says nothing."""
        return ("loss", "accuracy", "top5") if classes > TOP else ("loss", "accuracy")

    def count(self, dataset: Dataset, feed: Feed) -> Int[np.ndarray, " k"]:
        """Return the number of training images of each class."""
        part = dataset.train
        labels = part.labels if isinstance(part, Split) else part.labels()
        return np.bincount(np.asarray(labels), minlength=len(dataset.class_names))


CLASSIFICATION = Classification()
