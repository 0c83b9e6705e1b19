"""The base of every detector: what it answers at each anchor, its loss, and how its answers become detections."""

from typing import NamedTuple

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import boxes


class Answers(NamedTuple):
    """What a detector says of each anchor.

    Attributes:
        logits: of each class.
        codes: where the object lies, see `jsep.boxes.decode`.
        anchors: the anchors, in pixels.
        levels: number of anchors on each map, in their order.
    """

    logits: Float[Array, "n a k"]
    codes: Float[Array, "n a 4"]
    anchors: Float[Array, "a 4"]
    levels: tuple[int, ...]


class Detector(nn.Module):
    """Base of every detector. A family adds its options, `__call__(x, *, train=False) -> Answers`, loss and detect.

    Attributes:
        num_classes: number of classes with the background, which is class 0.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics and the counts of the loss; None outside `pmap`.
    """

    num_classes: int = 91
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        """Return the loss of a batch; the mean over the devices that share it is that of the whole."""
        raise NotImplementedError

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        """Return the detections of a batch, in pixels of the network's input of a height and width."""
        raise NotImplementedError
