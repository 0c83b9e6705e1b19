"""PyramidNet for 32x32 images: every unit is a little wider than the last; additive widening.

Paper: Han et al., arXiv 1610.02915, section 3 and Table 4. SPyramidNet, its depthwise separable form, is
reconstructed: the 3x3 of every bottleneck is replaced.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    GlobalAvgPool,
    PointwiseConv,
    Separable,
    classifier,
    dense_or_separable,
)
from jsep.models.registry import CIFAR10, Certainty, errors, option, register
from jsep.models.stage import Stage

STAGES, STEM = 3, 16
_he = nn.initializers.he_normal()


class PyramidNet(nn.Module):
    """PyramidNet of three stages.

    depth: number of layers with weights: 6 n + 2, or 9 n + 2 with bottlenecks. alpha: how many features are gained
    from the first unit to the last. separable: what the 3x3 convolutions of the units become, with or without batch
    norm and ReLU between their two parts.
    """

    num_classes: int = 10
    depth: int = option(110)
    alpha: int = option(48)
    bottleneck: bool = option(False)
    separable: Separable = option("none")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        units, rest = divmod(self.depth - 2, 9 if self.bottleneck else 6)
        if rest or units < 1:
            raise UserError(f"depth={self.depth}: it must be 2 plus a multiple of {9 if self.bottleneck else 6}")

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        x = norm(Conv(STEM, 3, use_bias=False, kernel_init=_he, dtype=self.dtype, name="stem")(x), "stem")
        stages, width = {}, float(STEM)
        for stage in range(1, STAGES + 1):
            for unit in range(1, units + 1):
                width += self.alpha / (STAGES * units)
                stride = 2 if stage > 1 and unit == 1 else 1
                x = self._unit(x, math.floor(width + 0.5), stride, f"stage{stage}_unit{unit}", norm, train)
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        x = GlobalAvgPool(name="pool")(nn.relu(norm(x, "final")))
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits

    def _unit(self, x: Array, width: int, stride: int, name: str, norm: Any, train: bool) -> Array:
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}

        def spatial(y: Array, stride: int, name: str) -> Array:
            options: dict[str, Any] = {"kernel_init": _he, "axis_name": self.axis_name, "dtype": self.dtype}
            return dense_or_separable(y, self.separable, width, stride, train=train, name=name, **options)

        def pointwise(y: Array, features: int, name: str) -> Array:
            return PointwiseConv(features, kernel_init=_he, name=name, **common)(y)

        features = 4 * width if self.bottleneck else width
        layers = (
            [partial(pointwise, features=width), partial(spatial, stride=stride), partial(pointwise, features=features)]
            if self.bottleneck
            else [partial(spatial, stride=stride), partial(spatial, stride=1)]
        )
        y = norm(x, f"{name}_conv1")
        for i, layer in enumerate(layers, start=1):
            last = i == len(layers)
            y = norm(layer(y, name=f"{name}_conv{i}"), name if last else f"{name}_conv{i + 1}")
            y = y if last else nn.relu(y)  # no ReLU after the last batch norm, nor before the first convolution
        if stride > 1:
            x = AvgPool(2, name=f"{name}_shortcut_pool")(x)
        return y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, features - x.shape[-1])))


def _paper(reference: str | None = None, certainty: Certainty = "certain", **figures: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1610.02915",
        **CIFAR10,
        "certainty": certainty,
        "references": {f"pytorchcv:{reference}": {}} if reference else {},
        "published": errors(**figures),
    }


@register(**_paper("pyramidnet110_a48_cifar10", C10_augmented="4.62", C100_augmented="23.31"))
def pyramidnet110_a48(**fields: Any) -> PyramidNet:
    """PyramidNet-110 of basic units, alpha 48."""
    return PyramidNet(**fields)


@register(**_paper("pyramidnet110_a84_cifar10", C10_augmented="4.27", C100_augmented="20.21"))
def pyramidnet110_a84(**fields: Any) -> PyramidNet:
    """PyramidNet-110 of basic units, alpha 84."""
    return PyramidNet(**{"alpha": 84, **fields})


@register(**_paper("pyramidnet110_a270_cifar10", C10_augmented="3.73", C100_augmented="18.25"))
def pyramidnet110_a270(**fields: Any) -> PyramidNet:
    """PyramidNet-110 of basic units, alpha 270."""
    return PyramidNet(**{"alpha": 270, **fields})


@register(**_paper("pyramidnet164_a48_bn_cifar10", C10_augmented="4.21", C100_augmented="19.52"))
def pyramidnet164_a48(**fields: Any) -> PyramidNet:
    """PyramidNet-164 of bottlenecks, alpha 48."""
    return PyramidNet(**{"depth": 164, "bottleneck": True, **fields})


@register(**_paper("pyramidnet164_a270_bn_cifar10", C10_augmented="3.48", C100_augmented="17.01"))
def pyramidnet164_a270(**fields: Any) -> PyramidNet:
    """PyramidNet-164 of bottlenecks, alpha 270."""
    return PyramidNet(**{"depth": 164, "bottleneck": True, "alpha": 270, **fields})


@register(**_paper("pyramidnet164_a48_bn_cifar10+sep_bn_relu", certainty="reconstructed"))
def spyramidnet164_a48(**fields: Any) -> PyramidNet:
    """SPyramidNet-164: the 3x3 of every bottleneck separable, batch norm and ReLU between its parts."""
    return PyramidNet(**{"depth": 164, "bottleneck": True, "separable": "sep_bn_relu", **fields})
