"""What is done differently for classifiers, detectors and segmenters.

There is one training step, one evaluation and one loop for all of them. Wherever the kind of network matters, they ask
its `Task`: `jsep.train.classify`, `jsep.train.detect` or `jsep.train.segment`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jsep.data import Dataset, Feed
from jsep.errors import UserError
from jsep.models import registry
from jsep.train.metrics import Sums
from jsep.train.recipe import Recipe

# mean and standard deviation of each channel, for values from 0 to 1
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


class Verdict(NamedTuple):
    """Figures measured on all test images.

    Attributes:
        figures: the figures of the task by name.
        by_class: arrays by name whose first axis is the class; none of a classifier, see `jsep.train.per_class`.
    """

    figures: dict[str, float]
    by_class: Mapping[str, np.ndarray]


Judge = Callable[[Sequence[Any]], Verdict]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained network that another one learns from.

    Attributes:
        model: the network.
        statistics: mean and standard deviation that its images are normalised with.
    """

    model: nn.Module
    statistics: Statistics


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a training step knows of its run.

    Attributes:
        model: the network, created with the same `axis_name`.
        statistics: mean and standard deviation that images are normalised with.
        recipe: the augmentation, the loss and the seed.
        axis_name: name of the mapped axis of devices.
        teacher: a trained network to learn from, if any.
        class_weights: weights of the classes in the loss, whose mean becomes a weighted one; None for no weights.
    """

    model: nn.Module
    statistics: Statistics
    recipe: Recipe
    axis_name: str
    teacher: Teacher | None = None
    class_weights: Float[np.ndarray, " k"] | None = None


class Task(Protocol):
    """What is done differently for one kind of network.

    Attributes:
        name: the task as the registry calls it.
        noun: what its networks are called in sentences.
        background: outputs of a network that come before those of the data set's classes.
        learned: figures of the training images of an epoch that mean something.
        main: the figure of an evaluation by which the best epoch is chosen, see `jsep.results.FIGURES`.
        backbone: the wildcard that the word backbone in `freeze` stands for, see `jsep.train.select.matches`.
        foreign: fields of each part of a recipe that mean nothing for it.
    """

    name: registry.Task
    noun: str
    background: int
    learned: tuple[str, ...]
    main: str
    backbone: str
    foreign: Mapping[str, tuple[str, ...]]

    def check(self) -> None:
        """Check that all is installed that the task needs. Raises `UserError` if it is not."""
        ...

    def prepare(
        self,
        lesson: Lesson,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
        images: UInt8[Array, "n h w c"],
        targets: Any,
        positions: Int[Array, " n"],
        params: Any,
    ) -> tuple[Float[Array, "n h w c"], Any]:
        """Return the images of a step, changed at random, and what the network should say of them.

        Args:
            lesson: what the step knows of its run.
            keys: keys of this step, for the images themselves and for mixing them.
            images: a device's share of the batch.
            targets: what is known of them, see `jsep.data.Feed`.
            positions: their positions in the whole batch.
            params: the network's parameters.

        Returns:
            Images of values from 0 to 255, and a tree of arrays whose first axis is the batch.
        """
        ...

    def loss(self, lesson: Lesson, output: Any, images: Any, goals: Any, teaching: Any) -> tuple[Array, Sums]:
        """Return the loss of some images, whose mean over devices is that of the whole batch, and their metrics.

        Args:
            lesson: what the step knows of its run.
            output: what the network says of them.
            images: the images, of values from 0 to 255.
            goals: what it should say, from `prepare`.
            teaching: the teacher's variables, if there is one.
        """
        ...

    def measure(
        self, model: nn.Module, output: Any, targets: Any, size: tuple[int, int], mask: Array, axis_name: str
    ) -> tuple[Any, tuple[Array, ...]]:
        """Return what an evaluation keeps of a batch.

        Args:
            model: the network.
            output: what it says of a device's share of the batch.
            targets: what is known of these images.
            size: their height and width.
            mask: 1 for an image, 0 for padding, which is left out.
            axis_name: name of the mapped axis of devices.

        Returns:
            A tree of arrays of the whole batch, the same on all devices, from which the judge makes figures; and
            arrays with a row for each image of the share, for those who ask what was said of each.
        """
        ...

    def answer(self, model: nn.Module, output: Any, size: tuple[int, int]) -> Any:
        """Return what is to be told of images: logits, detections, or the class of each pixel.

        Args:
            model: the network.
            output: what it says of the images.
            size: their height and width.
        """
        ...

    def draw(self, key: PRNGKeyArray, number: int, size: tuple[int, int], classes: int) -> Any:
        """Return random targets of images, as a feed gives them: for timings, and for their shapes.

        Args:
            key: the source of randomness.
            number: number of images.
            size: their height and width.
            classes: number of outputs of the network, of a detector with the background.
        """
        ...

    def judge(self, dataset: Dataset) -> Judge:
        """Return a function from what `measure` kept of all batches of the test images to what that says of them.

        The figures are NaN where there is nothing to measure.
        """
        ...

    def shown(self, classes: int) -> tuple[str, ...]:
        """Return which figures of an evaluation are printed, with a data set of so many classes."""
        ...

    def count(self, dataset: Dataset, feed: Feed) -> Int[np.ndarray, " k"]:
        """Return how often each class occurs in the training images, for weights of the classes.

        Args:
            dataset: the data set.
            feed: its training images.
        """
        ...


def check_recipe(task: Task, recipe: Recipe, model: str) -> None:
    """Check that every setting of a recipe means something for a task, and that all is installed that it needs.

    Raises:
        UserError: it is not.
    """
    task.check()
    recipe.augment.check(task.name)
    for part, names in task.foreign.items():
        held = getattr(recipe, part)
        usual = type(held)()
        for name in names:
            if (value := getattr(held, name)) != getattr(usual, name):
                raise UserError(f"`{name}`={value}: it has no meaning for {task.noun}s such as {model}; leave it out")
