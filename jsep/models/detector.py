"""The base of every detector: what it answers at each anchor, its loss, and how its answers become detections."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import boxes
from jsep.errors import UserError
from jsep.models.network import refusing_small_images
from jsep.models.registry import option
from jsep.models.stage import Stage
from jsep.ops.precision import accumulation_dtype


@struct.dataclass
class Answers:
    """What a detector says of each anchor, in at least float32.

    Attributes:
        logits: of each class.
        codes: where the object lies, see `jsep.boxes.decode`.
        anchors: the anchors, in pixels.
        levels: number of anchors on each map, in their order.
    """

    logits: Float[Array, "n a k"]
    codes: Float[Array, "n a 4"]
    anchors: Float[Array, "a 4"]
    levels: tuple[int, ...] = struct.field(pytree_node=False)


class Detector(nn.Module):
    """Base of every detector. A family adds its options, `__call__(x, *, train=False) -> Answers`, loss and detect.

    Attributes:
        num_classes: number of classes with the background, which is class 0.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics and the counts of the loss; None outside `pmap`.
        backbone: registered name of the network for classification whose maps are read.
    """

    num_classes: int = 91
    dtype: Dtype | None = None
    axis_name: str | None = None
    backbone: str = option("mobilenet_v3_large")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = refusing_small_images(cls.__call__)

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        """Return the loss of a batch; the mean over the devices that share it is that of the whole."""
        raise NotImplementedError

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        """Return the detections of a batch, in pixels of the network's input of a height and width."""
        raise NotImplementedError

    @nn.nowrap
    def coarsest(self, stages: dict[str, Stage], number: int) -> list[Stage]:
        """Return the last stage of each of so many strides, the coarsest, in order."""
        found = list({stage.stride: stage for stage in stages.values()}.values())[-number:]
        if len(found) < number:
            needs = f"{type(self).__name__} reads maps of {number} sizes, of which it has {len(found)}"
            raise UserError(f"option backbone={self.backbone}: {needs}; choose another")
        return found

    @nn.nowrap
    def answers(
        self,
        logits: Sequence[Float[Array, "n _ _ _"]],
        codes: Sequence[Float[Array, "n _ _ _"]],
        anchors: Float[Any, "a 4"],
    ) -> Answers:
        """Return the answers of all maps: by map, row, column and anchor.

        Args:
            logits: maps (n, h, w, anchors of a cell * num_classes), one for each level.
            codes: maps (n, h, w, anchors of a cell * 4).
            anchors: the anchors of all maps.
        """

        def joined(maps: Sequence[Array], each: int) -> list[Array]:
            parts = [y.reshape(y.shape[0], math.prod(y.shape[1:]) // each, each) for y in maps]
            return [part.astype(accumulation_dtype(part.dtype)) for part in parts]

        classes, places = joined(logits, self.num_classes), joined(codes, 4)
        return Answers(
            logits=jnp.concatenate(classes, 1),
            codes=jnp.concatenate(places, 1),
            anchors=jnp.asarray(anchors, places[0].dtype),
            levels=tuple(part.shape[1] for part in places),
        )
