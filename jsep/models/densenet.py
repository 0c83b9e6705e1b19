"""DenseNet and DenseNet-BC for 32x32 images: every layer sees the maps of all layers before it in its block.

Paper: Huang et al., arXiv 1608.06993, section 3 and Table 2 (CIFAR and SVHN). No convolution has a bias.
SDenseNet, its depthwise separable form, is reconstructed: the 3x3 of every layer is replaced; where its squeeze and
excitation sat is unknown.
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
from jsep.models.registry import Certainty, option, register

BLOCKS = 3
_he = nn.initializers.he_normal()


class DenseNet(nn.Module):
    """DenseNet of three blocks.

    depth: number of layers with weights, 3 n + 4 (6 n + 4 with bottleneck). growth: maps that each layer adds.
    bottleneck: a 1x1 convolution to 4 * growth maps before each 3x3. compression: share of the maps that a transition
    keeps. dropout: rate after each convolution but the first (the paper's 0.2 where images are not augmented).
    separable: what the 3x3 convolution of each layer becomes, with or without batch norm and ReLU between its two
    parts. se: squeeze and excitation on the maps that a layer adds ("growth"), on its bottleneck ("mid"), on the input
    of each transition ("trans") or on the output of each block ("block").
    """

    num_classes: int = 10
    depth: int = option(40)
    growth: int = option(12)
    bottleneck: bool = option(False)
    compression: float = option(1.0)
    dropout: float = option(0.0)
    separable: Separable = option("none")
    se: Literal["none", "growth", "mid", "trans", "block"] = option("none")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Array]]:
        """Logits; with `features` also the output of each dense block by name, each at half the size of the last."""
        layers, rest = divmod(self.depth - 4, BLOCKS * (2 if self.bottleneck else 1))
        if rest or layers < 1:
            raise UserError(f"depth={self.depth}: it must be 4 plus a multiple of {6 if self.bottleneck else 3}")
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def activated(x: Array, name: str) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
            return nn.relu(norm(x, train=train))

        def dropped(x: Array, name: str) -> Array:
            dropout = Dropout(self.dropout, axis_name=self.axis_name, name=f"{name}_dropout")
            return dropout(x, train=train)

        def attended(x: Array, place: str, name: str) -> Array:
            return SqueezeExcite(dtype=self.dtype, name=f"{name}_se")(x) if self.se == place else x

        def spatial(x: Array, name: str) -> Array:
            options: dict[str, Any] = {"kernel_init": _he, "axis_name": self.axis_name, "dtype": self.dtype}
            return dense_or_separable(x, self.separable, self.growth, train=train, name=name, **options)

        x = Conv(2 * self.growth if self.bottleneck else 16, 3, name="stem", **common)(x)
        stages = {}
        for block in range(1, BLOCKS + 1):
            for layer in range(1, layers + 1):
                name, y = f"block{block}_layer{layer}", x
                if self.bottleneck:
                    y = PointwiseConv(4 * self.growth, name=f"{name}_bottleneck", **common)(
                        activated(y, f"{name}_bottleneck")
                    )
                    y = attended(dropped(y, f"{name}_bottleneck"), "mid", name)
                y = dropped(spatial(activated(y, f"{name}_conv"), f"{name}_conv"), f"{name}_conv")
                x = jnp.concatenate([x, attended(y, "growth", name)], -1)  # (n, h, w, c) -> (n, h, w, c + growth)
            x = attended(x, "block", f"block{block}")
            stages[f"block{block}"] = x
            if block < BLOCKS:
                name = f"transition{block}"
                x = attended(x, "trans", name)
                kept = math.floor(self.compression * x.shape[-1])
                x = PointwiseConv(kept, name=name, **common)(activated(x, name))
                x = AvgPool(2, name=f"{name}_pool")(dropped(x, name))
        x = GlobalAvgPool(name="pool")(activated(x, "final"))
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _paper(certainty: Certainty = "certain", **errors: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1608.06993",
        "input_shape": (32, 32, 3),
        "num_classes": 10,
        "normalization": "cifar10",
        "certainty": certainty,
        "published": {f"{name.replace('_', ' ')} error, %": error for name, error in errors.items()},
    }


@register(**_paper(C10="7.00", C10_augmented="5.24", C100="27.55", C100_augmented="24.42", SVHN="1.79"))
def densenet40_k12(**fields: Any) -> DenseNet:
    """DenseNet of 40 layers, growth 12."""
    return DenseNet(**fields)


@register(**_paper(C10="5.77", C10_augmented="4.10", C100="23.79", C100_augmented="20.20", SVHN="1.67"))
def densenet100_k12(**fields: Any) -> DenseNet:
    """DenseNet of 100 layers, growth 12."""
    return DenseNet(**{"depth": 100, **fields})


def _bc(depth: int, growth: int, fields: dict[str, Any]) -> DenseNet:
    return DenseNet(**{"depth": depth, "growth": growth, "bottleneck": True, "compression": 0.5, **fields})


@register(
    **_paper(C10="5.92", C10_augmented="4.51", C100="24.15", C100_augmented="22.27", SVHN="1.76"),
    reference="pytorchcv:densenet100_k12_bc_cifar10",
)
def densenet100_k12_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 100 layers, growth 12."""
    return _bc(100, 12, fields)


@register(
    **_paper(C10="5.19", C10_augmented="3.62", C100="19.64", C100_augmented="17.60", SVHN="1.74"),
    reference="pytorchcv:densenet250_k24_bc_cifar10",
)
def densenet250_k24_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 250 layers, growth 24."""
    return _bc(250, 24, fields)


@register(
    **_paper(C10_augmented="3.46", C100_augmented="17.18"),
    reference="pytorchcv:densenet190_k40_bc_cifar10",
)
def densenet190_k40_bc(**fields: Any) -> DenseNet:
    """DenseNet-BC of 190 layers, growth 40."""
    return _bc(190, 40, fields)


@register(**_paper("reconstructed"))
def sdensenet100_k12_bc(**fields: Any) -> DenseNet:
    """SDenseNet-BC of 100 layers: the 3x3 of every layer separable, batch norm between its parts."""
    return _bc(100, 12, {"separable": "sep_bn", **fields})


@register(**_paper("reconstructed"))
def se_sdensenet100_k12_bc(**fields: Any) -> DenseNet:
    """SDenseNet-BC of 100 layers with squeeze and excitation on the maps that each layer adds."""
    return _bc(100, 12, {"separable": "sep_bn", "se": "growth", **fields})
