"""SSD: a detector that reads the maps of a classifier and of a few more layers, with default boxes on each.

Paper: Liu et al., arXiv 1512.02325, in the form of torchvision's ssd300_vgg16. Over other networks than VGG-16 it is a
reconstruction: it reads their three coarsest sizes of maps, without the norm that VGG's first map needs, and has the
last three of SSD's four extra maps.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import boxes
from jsep.layers import Conv, L2Norm, MaxPool, PointwiseConv
from jsep.models.backbone import read_backbone
from jsep.models.detector import Answers, Detector
from jsep.models.registry import option

SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)  # sides of the default boxes on each map, as shares of the image
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
SIZE, STEPS = (300, 300), (8, 16, 32, 64, 100, 300)  # of the published network
EXTRA = ((256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1))  # features of a 1x1 and a 3x3 convolution, stride
VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # features and convolutions of each block of VGG-16
DENSE = 1024  # features of what were its dense layers
_xavier = nn.initializers.xavier_uniform()


class VGG16(nn.Module):
    """What SSD reads of VGG-16: the maps of stride 8 in front of its fourth pool, and those of its first dense layers.

    Attributes:
        dtype: dtype of the computation.
    """

    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"]) -> list[Array]:
        """Return the two maps."""
        common: dict[str, Any] = {"kernel_init": _xavier, "dtype": self.dtype}
        maps: list[Array] = []
        for block, (features, layers) in enumerate(VGG, start=1):
            for layer in range(1, layers + 1):
                x = nn.relu(Conv(features, 3, name=f"conv{block}_{layer}", **common)(x))
            if block == 4:
                maps.append(L2Norm(nn.initializers.constant(20.0), name="norm")(x))
            if block < len(VGG):  # an odd side of the third block is rounded up
                x = MaxPool(2, padding=((0, 1), (0, 1)) if block == 3 else "VALID", name=f"pool{block}")(x)
        x = MaxPool(3, 1, padding=1, name="pool5")(x)
        x = nn.relu(Conv(DENSE, 3, dilation=6, name="fc6", **common)(x))
        return [*maps, nn.relu(PointwiseConv(DENSE, name="fc7", **common)(x))]


class SSD(Detector):
    """SSD over any backbone. Default boxes are 8 to 300 pixels apart at 300x300, and cover images of another size.

    Attributes:
        backbone: registered name of the network for classification whose maps are read; or "vgg16", as published, whose
            dense layers are convolutions.
    """

    backbone: str = option("mobilenet_v1")

    selection: ClassVar[dict[str, Any]] = {"score": 0.01, "candidates": 400, "overlap": 0.45, "limit": 200}

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        common: dict[str, Any] = {"kernel_init": _xavier, "dtype": self.dtype}
        size = (x.shape[1], x.shape[2])
        if self.backbone == "vgg16":
            maps = VGG16(self.dtype, name="backbone")(x)
        else:
            stages, _ = read_backbone(self, self.backbone, x, train=train)
            maps = [stage.maps for stage in self.coarsest(stages, 3)]
        for number, (hidden, features, stride) in list(enumerate(EXTRA, start=1))[len(maps) - len(RATIOS) :]:
            y = nn.relu(PointwiseConv(hidden, name=f"extra{number}_reduce", **common)(maps[-1]))
            padding = "TORCH" if stride > 1 else "VALID"
            maps.append(nn.relu(Conv(features, 3, stride, padding, name=f"extra{number}_expand", **common)(y)))

        def head(kind: str, each: int) -> list[Array]:
            counts = [(2 + 2 * len(ratios)) * each for ratios in RATIOS]
            return [
                Conv(count, 3, name=f"{kind}{number}", **common)(y)
                for number, (y, count) in enumerate(zip(maps, counts, strict=True), start=1)
            ]

        steps = STEPS if size == SIZE else None
        anchors = boxes.default_boxes(size, [(y.shape[1], y.shape[2]) for y in maps], SCALES, RATIOS, steps)
        return self.answers(head("class", self.num_classes), head("box", 4), anchors)

    @nn.nowrap
    def loss(self, answers: Answers, objects: boxes.Objects) -> boxes.Losses:
        """Return the loss of a batch, see `jsep.boxes.ssd_loss`."""
        return boxes.ssd_loss(answers.logits, answers.codes, objects, answers.anchors, axis_name=self.axis_name)

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        """Return the detections of a batch, see `jsep.boxes.select_by_class`."""

        def one(logits: Array, codes: Array) -> boxes.Detections:
            found = boxes.clip(boxes.decode(codes, answers.anchors), *size)
            return boxes.select_by_class(jax.nn.softmax(logits), found, **self.selection)

        return jax.vmap(one)(answers.logits, answers.codes)
