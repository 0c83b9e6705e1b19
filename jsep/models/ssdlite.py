"""SSDLite: an SSD of depthwise separable layers, which reads two maps of a classifier and makes four more.

Paper: Sandler et al., arXiv 1801.04381, section 6.2, in the form of torchvision's ssdlite320_mobilenet_v3_large.
"""

from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep import boxes
from jsep.layers import BatchNorm, DepthwiseConv, PointwiseConv, conv_norm
from jsep.models.backbone import read_backbone
from jsep.models.detector import Answers
from jsep.models.registry import Rule, option
from jsep.models.ssd import SSD

LARGEST = 0.95  # side of the default boxes on the coarsest map, as a share of the image
RATIOS = (2, 3)  # on all maps
CELL = 2 + 2 * len(RATIOS)  # anchors of a cell
EXTRA = (512, 256, 256, 128)
MOMENTUM, EPSILON = 0.97, 1e-3
WITH_TAIL = ("mobilenet_v3_large", "mobilenet_v3_small")
Side = Annotated[float, Rule("a number greater than 0 and at most 0.5", lambda side: 0 < side <= 0.5)]
_normal = nn.initializers.normal(0.03)


class SSDLite(SSD):
    """SSDLite over any backbone.

    It reads the two coarsest sizes of maps. Where the first block of the last stride begins with an expansion, as in
    MobileNet V2 and V3, that expansion is the finer map.

    Attributes:
        tail: "reduced" halves the features of the last stage of MobileNet V3.
        smallest: side of the default boxes on the finest map, as a share of the image. Those of the other maps follow
            in equal steps. Objects that are smaller on most pictures are hardly found.
    """

    backbone: str = option("mobilenet_v3_large")
    tail: Literal["reduced", "full"] = option("reduced", needs={"backbone": WITH_TAIL})
    smallest: Side = option(0.2)

    selection: ClassVar[dict[str, Any]] = {"score": 0.001, "candidates": 300, "overlap": 0.55, "limit": 300}

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _normal, "dtype": self.dtype}

        def convolved(x: Array, conv: nn.Module) -> Array:
            norm = BatchNorm(MOMENTUM, EPSILON, self.axis_name, self.dtype, name=f"{conv.name}_norm")
            return conv_norm(x, conv, norm, nn.relu6, train=train)

        options = {"tail": self.tail} if self.backbone in WITH_TAIL else {}
        stages, _ = read_backbone(self, self.backbone, x, train=train, options=options, norm_momentum=MOMENTUM)
        fine, coarse = self.coarsest(stages, 2)
        entered = next(stage for stage in stages.values() if stage.stride == coarse.stride)
        maps = [fine.maps if entered.expanded is None else entered.expanded, coarse.maps]
        for number, features in enumerate(EXTRA, start=1):
            y = convolved(maps[-1], PointwiseConv(features // 2, name=f"extra{number}_reduce", **common))
            y = convolved(y, DepthwiseConv(3, 2, name=f"extra{number}_depthwise", **common))
            maps.append(convolved(y, PointwiseConv(features, name=f"extra{number}_expand", **common)))

        def head(kind: str, each: int) -> list[Array]:
            found = []
            for number, y in enumerate(maps, start=1):
                y = convolved(y, DepthwiseConv(3, name=f"{kind}{number}_depthwise", **common))
                last = PointwiseConv(CELL * each, kernel_init=_normal, dtype=self.dtype, name=f"{kind}{number}")
                found.append(last(y))
            return found

        size = (x.shape[1], x.shape[2])
        apart, last = LARGEST - self.smallest, len(maps) - 1
        scales = [*(self.smallest + apart * number / last for number in range(len(maps))), 1.0]
        anchors = boxes.default_boxes(size, [(y.shape[1], y.shape[2]) for y in maps], scales, [RATIOS] * len(maps))
        return self.answers(head("class", self.num_classes), head("box", 4), anchors)
