"""DiCENet's decoder for segmentation: pyramids of depthwise convolutions, one after each doubling of the maps.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, in the form of the authors' EdgeNets.
"""

import math
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import Conv, PointwiseConv
from jsep.models.backbone import read_backbone
from jsep.models.dicenet_pyramid import ENCODER_SIDE, Blocks, enlarge
from jsep.models.registry import CountOrNone, option
from jsep.models.segmenter import Maps, Segmenter, to_pixels

_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class DiCENetSegmentation(Segmenter):
    """DiCENet's first two stages with the authors' decoder.

    Attributes:
        width: one of the authors' eleven, see `jsep.models.dicenet.DiCENet`.
        decoder: the decoder has 4, 3 and 2 times as many features; 16 for Pascal VOC and Cityscapes, 32 for COCO.
        reduced: features inside the pyramids; 0 for half the number of classes, but at most `decoder`.
    """

    width: float = option(1.0)
    decoder: int = option(16)
    reduced: CountOrNone = option(0)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Maps:
        """Return logits at each pixel."""
        reduced = self.reduced or max(1, min(self.num_classes // 2, self.decoder))
        blocks = Blocks(_he, self.dtype, self.axis_name, train)

        def gated(x: Array, features: int, name: str) -> Array:
            """(n, h, w, c) -> (n, h, w, features)"""
            conv = Conv(features, 3, groups=math.gcd(x.shape[-1], features), name=name, **blocks.common)
            y = blocks.convolved(x, conv)
            gate = nn.Dense(features, name=f"{name}_gate", **blocks.common)(ops.global_avg_pool(x))
            return y * nn.sigmoid(gate)[:, None, None, :]

        known: dict[str, Any] = {"options": {"width": self.width}, "stages": 2, "image_size": ENCODER_SIDE}
        stages, layers = read_backbone(self, "dicenet_x1_0", x, "stem_act", "stem_pool", train=train, **known)
        skips = (stages["stage1"].maps, layers["stem_pool"], layers["stem_act"])
        y = stages["stage2"].maps
        for number, (factor, skip) in enumerate(zip((4, 3, 2), skips, strict=True), start=1):
            width, name = factor * self.decoder, f"pyramid{number}"
            conv = PointwiseConv(width, name=f"{name}_expand", **blocks.common)
            y = blocks.convolved(blocks.pyramid(y, reduced, name), conv)
            y = enlarge(y, skip.shape[1:3]) + gated(skip, width, f"skip{number}")
            y = blocks.norm_act(y, f"sum{number}")
        y = blocks.pyramid(y, reduced, "pyramid4")
        logits = PointwiseConv(self.num_classes, dtype=self.dtype, name="classifier")(y)
        return Maps(to_pixels(logits, x, align_corners=True))
