"""DenseNet and DenseNet-BC for 32x32 images: every layer sees the maps of all layers before it in its block.

Paper: Huang et al., arXiv 1608.06993, section 3 and Table 2 (CIFAR and SVHN). No convolution has a bias.
SDenseNet, its depthwise separable form, is reconstructed: the 3x3 of every layer is replaced; where its squeeze and
excitation sat, and in which other order its layers worked, is unknown.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Dropout,
    GlobalAvgPool,
    PointwiseConv,
    Separable,
    SqueezeExcite,
    classifier,
    dense_or_separable,
)
from jsep.models.registry import CIFAR10, Certainty, CountOrNone, Rate, errors, option, register
from jsep.models.stage import Stage

BLOCKS, PRE_ACTIVATION = 3, "BN-ReLU-Conv"
_he = nn.initializers.he_normal()


class DenseNet(nn.Module):
    """DenseNet of three blocks.

    depth: number of layers with weights, 3 n + 4 (6 n + 4 with bottleneck). growth: maps that each layer adds.
    stem: features of the first convolution; 0 is the paper's, 16 or, with bottleneck, 2 * growth.
    bottleneck: a 1x1 convolution to 4 * growth maps before each 3x3. compression: share of the maps that a transition
    keeps. order: what a layer does, in sequence, such as "ReLU-Conv-BN-ReLU-Conv-BN"; its last convolution is the 3x3;
    the paper's unless said, which has BN-ReLU before each convolution. dropout: rate after each convolution but the
    first (the paper's 0.2 where images are not augmented). separable: what the 3x3 convolution of each layer becomes,
    with or without batch norm and ReLU between its two parts. se: squeeze and excitation on the maps that a layer adds
    ("growth"), on its bottleneck ("mid"), on its input ("concat"), on the input of each transition ("trans"), on the
    output of each block ("block"), or on the outputs of each block and each transition ("block+trans", as the Keras
    network of titu1994 has it). se_ratio, se_bias: see `SqueezeExcite`.
    """

    num_classes: int = 10
    depth: int = option(40)
    growth: int = option(12)
    stem: CountOrNone = option(0)
    bottleneck: bool = option(False)
    compression: float = option(1.0)
    order: str = option("")
    dropout: Rate = option(0.0)
    separable: Separable = option("none")
    se: Literal["none", "growth", "mid", "concat", "trans", "block", "block+trans"] = option("none")
    se_ratio: int = option(16)
    se_bias: bool = option(True)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each dense block by name."""
        convolutions = 2 if self.bottleneck else 1
        layers, rest = divmod(self.depth - 4, BLOCKS * convolutions)
        if rest or layers < 1:
            raise UserError(f"depth={self.depth}: it must be 4 plus a multiple of {BLOCKS * convolutions}")
        order = (self.order or "-".join([PRE_ACTIVATION] * convolutions)).split("-")
        if not set(order) <= {"Conv", "BN", "ReLU"} or order.count("Conv") != convolutions:
            raise UserError(f"order={self.order}: it must be {convolutions} times Conv, BN and ReLU, joined by dashes")
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=name)(x, train=train)

        def dropped(x: Array, name: str) -> Array:
            return Dropout(self.dropout, axis_name=self.axis_name, name=f"{name}_dropout")(x, train=train)

        def attended(x: Array, places: tuple[str, ...], name: str) -> Array:
            if self.se not in places:
                return x
            return SqueezeExcite(self.se_ratio, self.se_bias, dtype=self.dtype, name=f"{name}_se")(x)

        def convolution(x: Array, number: int, name: str) -> Array:
            if number < convolutions:
                x = dropped(PointwiseConv(4 * self.growth, name=name, **common)(x), name)
                return attended(x, ("mid",), name)
            options: dict[str, Any] = {"kernel_init": _he, "axis_name": self.axis_name, "dtype": self.dtype}
            return dropped(dense_or_separable(x, self.separable, self.growth, train=train, name=name, **options), name)

        def layer(x: Array, name: str) -> Array:
            x = attended(x, ("concat",), name)
            done = {"Conv": 0, "BN": 0}
            for token in order:
                if token == "ReLU":
                    x = nn.relu(x)
                    continue
                done[token] += 1
                number = done[token]
                if token == "Conv":
                    x = convolution(x, number, f"{name}_conv{number}")
                else:
                    x = norm(x, f"{name}_norm{number}")
            return attended(x, ("growth",), name)

        x = Conv(self.stem or (2 * self.growth if self.bottleneck else 16), 3, name="stem", **common)(x)
        stages = {}
        for block in range(1, BLOCKS + 1):
            for number in range(1, layers + 1):
                # (n, h, w, c) -> (n, h, w, c + growth)
                x = jnp.concatenate([x, layer(x, f"block{block}_layer{number}")], -1)
            x = attended(x, ("block", "block+trans"), f"block{block}")
            stages[f"block{block}"] = Stage(x, 2 ** (block - 1))
            if block < BLOCKS:
                name = f"transition{block}"
                x = attended(x, ("trans",), name)
                kept = math.floor(self.compression * x.shape[-1])
                x = PointwiseConv(kept, name=name, **common)(nn.relu(norm(x, f"{name}_norm")))
                x = AvgPool(2, name=f"{name}_pool")(dropped(x, name))
                x = attended(x, ("block+trans",), name)
        x = GlobalAvgPool(name="pool")(nn.relu(norm(x, "final_norm")))
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


# pytorchcv's plain DenseNets have another stem, and transitions that halve
_PYTORCHCV_PLAIN = {"stem": 24, "compression": 0.5}


def _paper(certainty: Certainty = "certain", **figures: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1608.06993",
        **CIFAR10,
        "certainty": certainty,
        "published": errors(**figures),
    }


@register(
    **_paper(C10="7.00", C10_augmented="5.24", C100="27.55", C100_augmented="24.42", SVHN="1.79"),
    references={"pytorchcv:densenet40_k12_cifar10": _PYTORCHCV_PLAIN},
)
def densenet40_k12(**fields: Any) -> DenseNet:
    """DenseNet of 40 layers, growth 12."""
    return DenseNet(**fields)


@register(
    **_paper(C10="5.77", C10_augmented="4.10", C100="23.79", C100_augmented="20.20", SVHN="1.67"),
    references={"pytorchcv:densenet100_k12_cifar10": _PYTORCHCV_PLAIN},
)
def densenet100_k12(**fields: Any) -> DenseNet:
    """DenseNet of 100 layers, growth 12."""
    return DenseNet(**{"depth": 100, **fields})


def _bc(depth: int, growth: int, fields: dict[str, Any]) -> DenseNet:
    return DenseNet(**{"depth": depth, "growth": growth, "bottleneck": True, "compression": 0.5, **fields})


@register(
    **_paper(C10="5.92", C10_augmented="4.51", C100="24.15", C100_augmented="22.27", SVHN="1.76"),
    references={"pytorchcv:densenet100_k12_bc_cifar10": {}},
)
def densenet100_k12_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 100 layers, growth 12."""
    return _bc(100, 12, fields)


@register(
    **_paper(C10="5.19", C10_augmented="3.62", C100="19.64", C100_augmented="17.60", SVHN="1.74"),
    references={"pytorchcv:densenet250_k24_bc_cifar10": {}},
)
def densenet250_k24_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 250 layers, growth 24."""
    return _bc(250, 24, fields)


@register(
    **_paper(C10_augmented="3.46", C100_augmented="17.18"),
    references={"pytorchcv:densenet190_k40_bc_cifar10": {}},
)
def densenet190_k40_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 190 layers, growth 40."""
    return _bc(190, 40, fields)


@register(**_paper("reconstructed"), references={"pytorchcv:densenet100_k12_bc_cifar10+sep_bn": {}})
def sdensenet100_k12_bc(**fields: Any) -> DenseNet:
    """SDenseNet-BC of 100 layers: the 3x3 of every layer separable, batch norm between its parts."""
    return _bc(100, 12, {"separable": "sep_bn", **fields})


@register(**_paper("reconstructed"))
def se_sdensenet100_k12_bc(**fields: Any) -> DenseNet:
    """SDenseNet-BC of 100 layers with squeeze and excitation on the maps that each layer adds."""
    return _bc(100, 12, {"separable": "sep_bn", "se": "growth", **fields})
