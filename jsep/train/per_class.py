"""Predictions for each test image, and scores of a network on each class."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jsep.train.evaluate import make_evaluation
from jsep.train.setup import Setup


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The prediction for each test image, in their order.

    Attributes:
        labels: the right class.
        predicted: the class with the largest probability.
        confidence: its probability.
        own: the probability of the right class.
    """

    labels: Int[np.ndarray, " n"]
    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    own: Float[np.ndarray, " n"]

    def worst(self, number: int) -> Int[np.ndarray, " m"]:
        """Return the indices of at most `number` mistakes, those with the most probable wrong class first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:number]


def predict_all(setup: Setup, variables: Any) -> tuple[dict[str, float], Predictions]:
    """Evaluate a network on every test image once, and keep what it says about each.

    Args:
        setup: the network, the test images and the devices of this process.
        variables: the network's variables, replicated over the devices.

    Returns:
        The means that `make_evaluation` computes, and the predictions.
    """
    batches: list[tuple[np.ndarray, ...]] = []

    def receive(logits: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> None:
        predicted, probabilities, rows = logits.argmax(1), softmax(logits), np.arange(len(labels))
        batches.append((labels, predicted, probabilities[rows, predicted], probabilities[rows, labels]))

    means = make_evaluation(setup)(variables, receive)
    return means, Predictions(*map(np.concatenate, zip(*batches, strict=True)))


def softmax(logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Return the probabilities of the classes, in double precision.

    >>> softmax(np.log(np.array([[1.0, 3.0]]))).tolist()
    [[0.25, 0.75]]
    """
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def confusion(predictions: Predictions, classes: int) -> Int[np.ndarray, "k k"]:
    """Return the number of images of each class (rows) for which each class was predicted (columns)."""
    cells = predictions.labels.astype(np.int64) * classes + predictions.predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


@dataclasses.dataclass(frozen=True)
class PerClass:
    """How well a network does on each class.

    Attributes:
        precision: share of the images it takes for the class that are of the class; NaN where there is none.
        recall: share of the images of the class that it takes for it; NaN where there is none.
        f1: harmonic mean of both; NaN where the class neither occurs nor is predicted.
        support: number of images of the class.

    >>> scores = PerClass.of(np.array([[3, 1], [0, 4]]))
    >>> scores.precision.tolist(), scores.recall.tolist(), scores.support.tolist()
    ([1.0, 0.8], [0.75, 1.0], [4, 4])
    """

    precision: Float[np.ndarray, " k"]
    recall: Float[np.ndarray, " k"]
    f1: Float[np.ndarray, " k"]
    support: Int[np.ndarray, " k"]

    @classmethod
    def of(cls, matrix: Int[np.ndarray, "k k"]) -> "PerClass":
        """Return the scores that a confusion matrix implies."""
        right, support, taken = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        with np.errstate(invalid="ignore"):  # 0 / 0 becomes NaN
            return cls(right / taken, right / support, 2 * right / (support + taken), support)
