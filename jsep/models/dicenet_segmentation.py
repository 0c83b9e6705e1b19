"""DiCENet's decoder for segmentation: pyramids of depthwise convolutions, one after each doubling of the maps.

Paper: Mehta, Hajishirzi, Rastegari, arXiv 1906.03516, in the form of the authors' EdgeNets.
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import BatchNorm, Conv, DepthwiseConv, PointwiseConv, PReLU
from jsep.models.backbone import read_backbone
from jsep.models.registry import CountOrNone, option
from jsep.models.segmenter import Maps, Segmenter, to_pixels

SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)  # of the maps, for each branch of a pyramid
LEAST_SIDE = 5  # of scaled maps
ENCODER_SIDE = 224  # the encoder keeps the filters that it has for ImageNet
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
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}
        reduced = self.reduced or max(1, min(self.num_classes // 2, self.decoder))

        def norm_act(x: Array, name: str) -> Array:
            x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)
            return PReLU(dtype=self.dtype, name=f"{name}_act")(x)

        def convolved(x: Array, conv: nn.Module) -> Array:
            return self.conv_norm(x, conv, PReLU(dtype=self.dtype, name=f"{conv.name}_act"), train=train)

        def pyramid(x: Array, name: str) -> Array:
            """(n, h, w, c) -> (n, h, w, reduced): depthwise convolutions of the maps at several sizes."""
            x, side = convolved(x, PointwiseConv(reduced, name=f"{name}_reduce", **common)), x.shape[1:3]
            branches = []
            for number, scale in enumerate(SCALES, start=1):
                scaled = side if scale == 1 else [max(LEAST_SIDE, math.ceil(scale * length)) for length in side]
                y = _enlarge(x, scaled) if scale > 1 else ops.adaptive_avg_pool(x, scaled)
                y = DepthwiseConv(3, name=f"{name}_scale{number}", **common)(y)
                branches.append(ops.adaptive_avg_pool(y, side) if scale > 1 else _enlarge(y, side))
            y = ops.channel_shuffle(norm_act(jnp.concatenate(branches, -1), f"{name}_branches"), len(SCALES))
            return convolved(y, Conv(reduced, 3, groups=reduced, name=f"{name}_merge", **common))

        def gated(x: Array, features: int, name: str) -> Array:
            """(n, h, w, c) -> (n, h, w, features)"""
            y = convolved(x, Conv(features, 3, groups=math.gcd(x.shape[-1], features), name=name, **common))
            gate = nn.Dense(features, name=f"{name}_gate", **common)(ops.global_avg_pool(x))
            return y * nn.sigmoid(gate)[:, None, None, :]

        known: dict[str, Any] = {"options": {"width": self.width}, "stages": 2, "image_size": ENCODER_SIDE}
        stages, layers = read_backbone(self, "dicenet_x1_0", x, "stem_act", "stem_pool", train=train, **known)
        skips = (stages["stage1"].maps, layers["stem_pool"], layers["stem_act"])
        y = stages["stage2"].maps
        for number, (factor, skip) in enumerate(zip((4, 3, 2), skips, strict=True), start=1):
            width, name = factor * self.decoder, f"pyramid{number}"
            y = convolved(pyramid(y, name), PointwiseConv(width, name=f"{name}_expand", **common))
            y = _enlarge(y, skip.shape[1:3]) + gated(skip, width, f"skip{number}")
            y = norm_act(y, f"sum{number}")
        logits = PointwiseConv(self.num_classes, dtype=self.dtype, name="classifier")(pyramid(y, "pyramid4"))
        return Maps(to_pixels(logits, x, align_corners=True))


def _enlarge(x: Array, size: Any) -> Array:
    return ops.resize(x, size, align_corners=True)
