"""DenseNet and DenseNet-BC for 32x32 images: every layer sees the maps of all layers before it in its block.

Paper: Huang et al., arXiv 1608.06993, section 3 and Table 2 (CIFAR and SVHN). No convolution has a bias.
SDenseNet, the depthwise separable form, is reconstructed: it replaces the 3x3 of every layer. Where it had squeeze and
excitation, and in which other orders its layers worked, is unknown.
"""

import math
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    SHARED_KINDS,
    Attention,
    AvgPool,
    Conv,
    Dropout,
    PointwiseConv,
    SpatialKind,
    attended,
    call_conv,
    fusion,
    spatial_conv,
)
from jsep.models.network import Network, Output
from jsep.models.registry import CountOrNone, Fraction, Rate, option
from jsep.models.stage import Stage

BLOCKS, PRE_ACTIVATION = 3, "BN-ReLU-Conv"
_he = nn.initializers.he_normal()


class DenseNet(Network):
    """DenseNet of three blocks for 32x32 images.

    Attributes:
        depth: number of layers with weights: 3 n + 4, or 6 n + 4 with bottlenecks.
        growth: maps that each layer adds.
        stem: features of the first convolution; 0 for those of the paper: 16, or 2 * growth with bottlenecks.
        bottleneck: a 1x1 convolution to 4 * growth maps before each 3x3.
        compression: share of the maps that a transition keeps.
        order: what a layer does, in sequence, such as "ReLU-Conv-BN-ReLU-Conv-BN"; its last convolution is the 3x3.
            Empty for the order of the paper: BN-ReLU before each convolution.
        dropout: rate after each convolution but the first (0.2 in the paper if images are not augmented).
        conv: what the 3x3 convolution of each layer is, see `jsep.layers.spatial_conv`.
        sharing: input channels that share a kernel in "ksc", "wksc" and "wksc_separable".
        attention: channel attention: squeeze and excitation ("se") or efficient channel attention ("eca").
        attention_at: what the attention is applied to: the maps that a layer adds ("growth"), its bottleneck ("mid"),
            its input ("concat"), the input of each transition ("trans"), the output of each block ("block"), or the
            outputs of each block and each transition ("block+trans", as in the Keras network of titu1994).
        se_ratio: squeeze and excitation has features // se_ratio hidden features.
        se_bias: whether the dense layers of squeeze and excitation have biases.
    """

    num_classes: int = 10
    depth: int = option(40)
    growth: int = option(12)
    stem: CountOrNone = option(0)
    bottleneck: bool = option(False)
    compression: Fraction = option(1.0)
    order: str = option("")
    dropout: Rate = option(0.0)
    conv: SpatialKind = option("dense")
    sharing: int = option(4, needs={"conv": SHARED_KINDS})
    attention: Attention = option("none")
    attention_at: Literal["growth", "mid", "concat", "trans", "block", "block+trans"] = option("growth")
    se_ratio: int = option(16)
    se_bias: bool = option(True)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each dense block by name."""
        convolutions = 2 if self.bottleneck else 1
        layers, rest = divmod(self.depth - 4, BLOCKS * convolutions)
        if rest or layers < 1:
            raise UserError(f"option depth={self.depth}: it must be 4 plus a multiple of {BLOCKS * convolutions}")
        order = (self.order or "-".join([PRE_ACTIVATION] * convolutions)).split("-")
        if not set(order) <= {"Conv", "BN", "ReLU"} or order.count("Conv") != convolutions:
            sentence = f"it must be {convolutions} times Conv, BN and ReLU, joined by dashes"
            raise UserError(f"option order={self.order}: {sentence}")
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def dropped(x: Array, name: str) -> Array:
            return Dropout(self.dropout, axis_name=self.axis_name, name=f"{name}_dropout")(x, train=train)

        def attention(x: Array, places: tuple[str, ...], name: str) -> Array:
            if self.attention_at not in places:
                return x
            se: dict[str, Any] = {"se_ratio": self.se_ratio, "se_bias": self.se_bias}
            return attended(x, self.attention, name, **se, dtype=self.dtype)

        def convolution(x: Array, number: int, name: str) -> Array:
            if number < convolutions:
                x = dropped(PointwiseConv(4 * self.growth, name=name, **common)(x), name)
                return attention(x, ("mid",), name)
            options: dict[str, Any] = {"sharing": self.sharing, "axis_name": self.axis_name, "dtype": self.dtype}
            options |= {"kernel_init": _he, "separable_init": _he, "name": name}
            conv = spatial_conv(self.conv, x.shape[-1], self.growth, **options)
            return dropped(call_conv(conv, x, train=train), name)

        def layer(x: Array, name: str) -> Array:
            x = attention(x, ("concat",), name)
            done = {"Conv": 0, "BN": 0}
            for token in order:
                if token == "ReLU":
                    x = fusion.activate(nn.relu, x)
                    continue
                done[token] += 1
                number = done[token]
                if token == "Conv":
                    with fusion.norm_follows(train):  # the next in this layer, or that of the block's maps
                        x = convolution(x, number, f"{name}_conv{number}")
                else:
                    x = self.norm(f"{name}_norm{number}")(x, train=train)
            return attention(x, ("growth",), name)

        with fusion.norm_follows(train):
            x = Conv(self.stem or (2 * self.growth if self.bottleneck else 16), 3, name="stem", **common)(x)
        stages = {}
        for block in range(1, BLOCKS + 1):
            for number in range(1, layers + 1):
                # (n, h, w, c) -> (n, h, w, c + growth)
                x = fusion.concatenate([x, layer(x, f"block{block}_layer{number}")])
            x = attention(x, ("block", "block+trans"), f"block{block}")
            stages[f"block{block}"] = Stage(x, 2 ** (block - 1))
            if block < BLOCKS:
                name = f"transition{block}"
                x = attention(x, ("trans",), name)
                kept = math.floor(self.compression * x.shape[-1])
                if not kept:
                    sentence = f"it leaves none of {x.shape[-1]} maps; choose a larger one"
                    raise UserError(f"option compression={self.compression}: {sentence}")
                x = fusion.activate(nn.relu, self.norm(f"{name}_norm")(x, train=train))
                x = dropped(PointwiseConv(kept, name=name, **common)(x), name)
                x = AvgPool(2, name=f"{name}_pool")(x)
                x = attention(x, ("block+trans",), name)
        x = nn.relu(self.norm("final_norm")(x, train=train))
        return self.classified(x, stages, train=train, features=features)
