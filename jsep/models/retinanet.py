"""RetinaNet: a pyramid of maps over a classifier, and two heads that all of its levels share.

Papers: Lin et al., arXiv 1708.02002 (RetinaNet) and 1612.03144 (the pyramid), in the form of torchvision's
retinanet_resnet50_fpn and retinanet_resnet50_fpn_v2; with ECA-ResNet as in Wang et al., arXiv 1910.03151, Table 5.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsep import boxes
from jsep.layers import Conv, GroupNorm, PointwiseConv
from jsep.models.backbone import read_backbone
from jsep.models.detector import Answers, Detector
from jsep.models.registry import option

LEVELS = (3, 4, 5)  # the maps of the backbone, called by the logarithm of their stride; two more follow
FEATURES = 256
SIDES = [[side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))] for side in (32, 64, 128, 256, 512)]
RATIOS = (0.5, 1.0, 2.0)
CELL = len(RATIOS) * len(SIDES[0])  # anchors of a cell
_kaiming = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
_small = nn.initializers.normal(0.01)
_rare = nn.initializers.constant(-math.log(99))  # every object is at first given a probability of 0.01


class RetinaNet(Detector):
    """RetinaNet over any backbone, whose three coarsest sizes of maps it reads.

    Attributes:
        version: 1 has plain heads, makes its sixth map of the fifth of the pyramid, and measures boxes by L1. Version 2
            has group norms in its heads, makes the sixth map of the backbone's last, and measures boxes by their
            generalized IoU.
        frozen_norm: the batch norms of the backbone are constants, as for weights of a classifier; without such weights
            they have to train.
        zero_epsilon: the batch norms of the backbone add nothing to the variance, as with torchvision's trained weights
            of version 1.
    """

    backbone: str = option("resnet50")
    version: Literal[1, 2] = option(1)
    frozen_norm: bool = option(True)
    zero_epsilon: bool = option(False)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        pyramid = self._pyramid(x, train)

        def head(kind: str, each: int, bias_init: Any) -> list[Array]:
            common: dict[str, Any] = {"kernel_init": _small, "dtype": self.dtype}
            layers = []
            for number in range(1, 5):
                name = f"{kind}_conv{number}"
                layers.append(Conv(FEATURES, 3, use_bias=self.version == 1, name=name, **common))
                if self.version == 2:
                    layers.append(GroupNorm(dtype=self.dtype, name=f"{name}_norm"))
                layers.append(nn.relu)
            layers.append(Conv(CELL * each, 3, bias_init=bias_init, name=kind, **common))
            return [_applied(layers, y) for y in pyramid]

        size = (x.shape[1], x.shape[2])
        anchors = boxes.grid_anchors(size, [(y.shape[1], y.shape[2]) for y in pyramid], SIDES, RATIOS)
        logits = head("class", self.num_classes, _rare)
        return self.answers(logits, head("box", 4, nn.initializers.zeros), anchors)

    @nn.nowrap
    def _pyramid(self, x: Array, train: bool) -> list[Array]:
        """Return the five maps of the pyramid, the finest first."""
        common: dict[str, Any] = {"kernel_init": _kaiming, "dtype": self.dtype}
        fields: dict[str, Any] = {"frozen_norm": self.frozen_norm} | ({"epsilon": 0.0} if self.zero_epsilon else {})
        stages, _ = read_backbone(self, self.backbone, x, train=train, **fields)
        maps = [stage.maps for stage in self.coarsest(stages, len(LEVELS))]
        found: list[Array] = []
        above = None
        for level, y in reversed(list(zip(LEVELS, maps, strict=True))):
            own = PointwiseConv(FEATURES, name=f"lateral{level}", **common)(y)
            above = own if above is None else own + _enlarged(above, own.shape[1:3])
            found.insert(0, Conv(FEATURES, 3, name=f"output{level}", **common)(above))
        sixth = Conv(FEATURES, 3, 2, name="p6", **common)(found[-1] if self.version == 1 else maps[-1])
        return [*found, sixth, Conv(FEATURES, 3, 2, name="p7", **common)(nn.relu(sixth))]

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        """Return the loss of a batch, see `jsep.boxes.retinanet_loss`."""
        generalized = self.version == 2
        return boxes.retinanet_loss(answers.logits, answers.codes, objects, answers.anchors, generalized=generalized)

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        """Return the detections of a batch, see `jsep.boxes.select_by_level`. Class 0 is nobody's and never found."""
        ends = np.cumsum(answers.levels)[:-1].tolist()
        anchors = jnp.split(answers.anchors, ends)

        def one(logits: Array, codes: Array) -> boxes.Detections:
            found = boxes.select_by_level(jnp.split(logits[:, 1:], ends), jnp.split(codes, ends), anchors, size)
            return found._replace(labels=jnp.where(found.valid, found.labels + 1, 0))

        return jax.vmap(one)(answers.logits, answers.codes)


def _applied(layers: list[Any], x: Array) -> Array:
    for layer in layers:
        x = layer(x)
    return x


def _enlarged(x: Array, size: tuple[int, ...]) -> Array:
    """Return maps of another size whose positions hold the nearest value before them."""
    for axis, length in enumerate(size, start=1):
        x = jnp.take(x, np.arange(length) * x.shape[axis] // length, axis)
    return x
