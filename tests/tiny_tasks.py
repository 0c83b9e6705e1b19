"""A tiny detector and a tiny segmenter with data for them, for tests of training and evaluation."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsep import boxes
from jsep.data import Dataset
from jsep.data.feed import rows_of, steps_per_epoch
from jsep.layers import BatchNorm, Conv, PointwiseConv
from jsep.models import registry
from jsep.models.detector import Answers, Detector
from jsep.models.segmenter import IGNORED, Maps, Segmenter

SIDE, STRIDE, ANCHORS = 32, 4, 4
COLOURS = np.array([[220, 40, 40], [40, 40, 220]], np.uint8)  # of the two classes


class Backbone(nn.Module):
    """Maps of stride 4."""

    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(Conv(8, STRIDE, STRIDE, padding="VALID", dtype=self.dtype, name="stem")(x))
        x = Conv(16, 3, use_bias=False, dtype=self.dtype, name="body")(x)
        x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="body_norm")(x, train=train)
        return nn.relu(x)


class TinyDetector(Detector):
    @nn.compact
    def __call__(self, x, *, train: bool = False) -> Answers:
        size = (x.shape[1], x.shape[2])
        x = Backbone(self.dtype, self.axis_name, name="backbone")(x, train)
        logits = PointwiseConv(ANCHORS * self.num_classes, dtype=self.dtype, name="class1")(x)
        codes = PointwiseConv(ANCHORS * 4, dtype=self.dtype, name="box1")(x)
        anchors = boxes.default_boxes(size, [(x.shape[1], x.shape[2])], [0.3, 0.5], [[2]])
        logits, codes = (y.reshape(y.shape[0], len(anchors), -1) for y in (logits, codes))
        return Answers(logits, codes, jnp.asarray(anchors, codes.dtype), (len(anchors),))

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        return boxes.ssd_loss(answers.logits, answers.codes, objects, answers.anchors, axis_name=self.axis_name)

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        def one(logits, codes):
            found = boxes.clip(boxes.decode(codes, answers.anchors), *size)
            limits: dict[str, Any] = {"score": 0.01, "candidates": 20, "overlap": 0.5, "limit": 10}
            return boxes.select_by_class(jax.nn.softmax(logits), found, **limits)

        return jax.vmap(one)(answers.logits, answers.codes)


class TinySegmenter(Segmenter):
    @nn.compact
    def __call__(self, x, *, train: bool = False) -> Maps:
        x = Backbone(self.dtype, self.axis_name, name="backbone")(x, train)
        logits = PointwiseConv(self.num_classes, dtype=self.dtype, name="head")(x)
        return Maps(logits.repeat(STRIDE, 1).repeat(STRIDE, 2))

    @nn.nowrap
    def loss(self, maps: Maps, masks, class_weights=None):
        counted = masks != IGNORED
        classes = jnp.where(counted, masks, 0)
        weights = jnp.ones(self.num_classes) if class_weights is None else class_weights
        weights = jnp.where(counted, weights[classes], 0)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(maps.logits), classes[..., None], -1)[..., 0]
        total = weights.sum()
        if self.axis_name:
            total = lax.pmean(total, self.axis_name)
        return (losses * weights).sum() / total


TASKS: dict[registry.Task, type[nn.Module]] = {"detection": TinyDetector, "segmentation": TinySegmenter}


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Let the registry know tiny_detection and tiny_segmentation."""
    facts: dict[str, Any] = {"paper": "", "certainty": "certain", "data": registry.Images((SIDE, SIDE, 3), 3, "unit")}
    names = [f"tiny_{task}" for task in TASKS]
    try:
        for name, (task, family) in zip(names, TASKS.items(), strict=True):
            registry.register(name, family, "", task=task, **facts)
        yield
    finally:
        for name in names:
            registry._registry.pop(name, None)


class Examples:
    """Records of pictures with squares of two colours, with images of one size, their targets and ground truth."""

    def __init__(self, task: Literal["detection", "segmentation"], number: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.task = task
        self.images = rng.integers(90, 160, (number, SIDE, SIDE, 3)).astype(np.uint8)
        self.masks = np.zeros((number, SIDE, SIDE), np.uint8)
        most = 3
        self.boxes, self.labels = np.zeros((number, most, 4), np.float32), np.zeros((number, most), np.int32)
        self.valid = np.arange(most) < (np.arange(number) % (most + 1))[:, None]  # some have no object
        for i, k in zip(*np.nonzero(self.valid), strict=True):
            (x, y), side, label = rng.integers(0, SIDE - 14, 2), int(rng.integers(8, 14)), int(rng.integers(0, 2))
            self.images[i, y : y + side, x : x + side] = COLOURS[label]
            self.masks[i, y : y + side, x : x + side] = label + 1
            self.boxes[i, k], self.labels[i, k] = (x, y, x + side, y + side), label + 1
        self.masks[:, :2] = IGNORED

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a record of a picture that is twice as wide and three times as high as the network's input."""
        there = self.valid[index]
        found = self.boxes[index][there] * np.array([2, 3, 2, 3], np.float32)
        objects = {"boxes": found, "labels": self.labels[index][there] - 1, "crowd": np.zeros(len(found), bool)}
        objects["area"] = np.prod(found[:, 2:] - found[:, :2], 1)
        return {"objects": objects, "size": (3 * SIDE, 2 * SIDE)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]

    def targets(self, rows) -> Any:
        if self.task == "segmentation":
            return self.masks[rows]
        return boxes.Objects(self.boxes[rows], self.labels[rows], self.valid[rows])  # type: ignore[arg-type]


class TinyFeed:
    """A feed of `Examples`, see `jsep.data.Feed`."""

    constants, crops = (), False

    def __init__(self, examples: Any, *_: Any):
        self.size, self._examples = len(examples), examples

    @staticmethod
    def fetch(constants: Any, batch: Any) -> Any:
        return batch

    def training(self, batch_size: int, seed: int, first_step: int, part: tuple[int, int] = (0, 1)) -> Any:
        steps, rows = steps_per_epoch(self.size, batch_size), rows_of(part, batch_size)
        while True:
            epoch, step = divmod(first_step, steps)
            order = np.random.default_rng([seed, epoch]).permutation(self.size)
            taken = order[step * batch_size : (step + 1) * batch_size][rows]
            yield self._examples.images[taken], self._examples.targets(taken)
            first_step += 1

    def evaluation(self, batch_size: int, part: tuple[int, int] = (0, 1)) -> Iterator[tuple[Any, np.ndarray]]:
        rows = rows_of(part, batch_size)
        for start in range(0, self.size, batch_size):
            taken = np.arange(start, start + batch_size)[rows]
            mask = (taken < self.size).astype(np.float32)
            taken = np.minimum(taken, self.size - 1)  # padding repeats the last one
            yield (self._examples.images[taken], self._examples.targets(taken)), mask


def dataset(task: Literal["detection", "segmentation"], train: int = 32, test: int = 21) -> Dataset:
    """Return a data set of `Examples`."""
    names = ("red", "blue") if task == "detection" else ("none", "red", "blue")
    one: Any = Examples(task, train)
    other: Any = Examples(task, test, seed=1)
    return Dataset("squares", one, other, names, (SIDE, SIDE, 3), (0.5,) * 3, (0.25,) * 3)
