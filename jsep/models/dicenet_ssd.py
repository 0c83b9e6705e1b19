"""DiCENet's SSD: each map is told what the coarser ones see, through a pyramid of depthwise convolutions.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, in the form of the authors' EdgeNets. A reconstruction: their
detector takes the width of DiCENet's last layer for that of its last stage, so that it does not run. Here that stage
has its own width, and all else is theirs, but for 1e-5 that they add to the unions of boxes, and for the selection of
detections, which is SSD's.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jsep import boxes
from jsep.layers import BatchNorm, Conv, DepthwiseConv, PointwiseConv, conv_norm
from jsep.models.backbone import read_backbone
from jsep.models.detector import Answers
from jsep.models.dicenet import DiCENet
from jsep.models.dicenet_pyramid import ENCODER_SIDE, Blocks, enlarge
from jsep.models.registry import model_info, option
from jsep.models.ssd import SIZE, SSD, STEPS

EXTRA = (1024, 512)  # features of the two maps that depthwise separable layers make
LAST = 256  # features of the last map
RATIOS = (2, 3)  # on all maps
CELL = 2 + 2 * len(RATIOS)  # anchors of a cell
REDUCTION = 5  # the features inside of a pyramid are that part of those behind it
LEAST, LARGEST = 0.1, 1.05  # sides of the smallest and of the largest default boxes, as shares of the image
OVERLAP = 0.45  # of an anchor with an object that it is matched with
_xavier = nn.initializers.xavier_uniform()


class DiCENetSSD(SSD):
    """DiCENet's SSD over any backbone, of which it reads the three coarsest sizes of maps.

    Default boxes are 8 to 300 pixels apart at 300x300, and cover images of another size. DiCENet keeps the filters that
    it has for ImageNet: its units scale maps of other images to that size and back.

    Attributes:
        backbone: registered name of the network for classification whose maps are read.
    """

    backbone: str = option("dicenet_x1_0")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        blocks, size = Blocks(_xavier, self.dtype, self.axis_name, train), (x.shape[1], x.shape[2])
        dicenet = issubclass(model_info(self.backbone).network_class(), DiCENet)
        fields: dict[str, Any] = {"image_size": ENCODER_SIDE} if dicenet else {}
        stages, _ = read_backbone(self, self.backbone, x, train=train, **fields)
        maps = [stage.maps for stage in self.coarsest(stages, 3)]
        for number, features in enumerate(EXTRA, start=1):
            y = blocks.convolved(maps[-1], DepthwiseConv(3, 2, name=f"extra{number}_depthwise", **blocks.common))
            maps.append(blocks.convolved(y, PointwiseConv(features, name=f"extra{number}_expand", **blocks.common)))
        conv = Conv(EXTRA[-1], 3, 2, name="extra3_reduce", **blocks.common)
        norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name="extra3_reduce_norm")
        y = conv_norm(maps[-1], conv, norm, nn.relu, train=train)
        maps.append(nn.relu(Conv(LAST, 2, 2, "VALID", name="extra3_expand", **blocks.common)(y)))
        for at in reversed(range(len(maps) - 2)):
            y, features = enlarge(maps[at + 1], maps[at].shape[1:3]), maps[at].shape[-1]
            name = f"pyramid{at + 1}"
            y = blocks.pyramid(jnp.concatenate([y, maps[at]], -1), features // REDUCTION, name)
            maps[at] = blocks.convolved(y, PointwiseConv(features, name=f"{name}_expand", **blocks.common))

        def head(kind: str, each: int) -> list[Array]:
            return [
                PointwiseConv(CELL * each, kernel_init=_xavier, dtype=self.dtype, name=f"{kind}{number}")(y)
                for number, y in enumerate(maps, start=1)
            ]

        anchors = boxes.default_boxes(
            size,
            [(y.shape[1], y.shape[2]) for y in maps],
            _scales(min(size), len(maps)),
            [RATIOS] * len(maps),
            STEPS if size == SIZE else None,
            inside=True,
        )
        return self.answers(head("class", self.num_classes), head("box", 4), anchors)

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        """Return the loss of a batch, see `jsep.boxes.ssd_loss`."""
        shared: dict[str, Any] = {"threshold": OVERLAP, "axis_name": self.axis_name}
        return boxes.ssd_loss(answers.logits, answers.codes, objects, answers.anchors, **shared)


def _scales(side: int, maps: int) -> list[float]:
    """Return the sides of the default boxes, one more than there are maps, as shares of a side of the image."""
    ends = math.ceil(LEAST * side), math.ceil(LARGEST * side)
    return [int(length) / side for length in np.linspace(*ends, maps + 1)]
