"""Inception V3: parallel branches of factorised convolutions, concatenated.

Paper: Szegedy et al., arXiv 1512.00567, Figures 5 to 10. The widths are torchvision's and TF-slim's. Batch norm (with
epsilon 0.001) and ReLU follow every convolution. The auxiliary head is left out.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep.layers import AvgPool, Conv, MaxPool
from jsep.models.network import Network, Output
from jsep.models.registry import Fraction, Rate, option
from jsep.models.stage import Stage

# (features, kernel size, stride, padding) of a convolution
Spec = tuple[int, int | tuple[int, int], int, Literal["TORCH", "VALID"]]


def _same(features: int, kernel: int | tuple[int, int] = 1) -> Spec:
    return features, kernel, 1, "TORCH"


def _valid(features: int, kernel: int = 3, stride: int = 1) -> Spec:
    return features, kernel, stride, "VALID"


STEM1 = [_valid(32, 3, 2), _valid(32), _same(64, 3)]
STEM2 = [_valid(80, 1), _valid(192)]
TALL, WIDE = (7, 1), (1, 7)
STRIDES = {"a": 8, "b": 16, "c": 16, "d": 32, "e": 32}


class InceptionV3(Network):
    """Inception V3.

    Attributes:
        dropout: rate in front of the classifier.
        padding: "TORCH" counts padding in average pools as zeros, "SAME" leaves it out of the mean, as TensorFlow and
            Keras do. Nothing else is padded differently.
        epsilon: number that batch norms add to the variance.
    """

    dropout: Rate = option(0.5)
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    epsilon: Fraction = option(1e-3)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each block by name."""

        def chain(x: Array, specs: Sequence[Spec], name: str) -> Array:
            for i, (width, kernel, stride, padding) in enumerate(specs, start=1):
                options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": f"{name}_conv{i}"}
                x = self.conv_norm(x, Conv(width, kernel, stride, padding, **options), nn.relu, train=train)
            return x

        def split(x: Array, width: int, name: str) -> Array:
            return jnp.concatenate(
                [chain(x, [_same(width, (1, 3))], f"{name}_row"), chain(x, [_same(width, (3, 1))], f"{name}_column")],
                -1,
            )

        def pooled(x: Array, width: int, name: str) -> Array:
            pool = AvgPool(3, 1, padding=1, count_padding=self.padding == "TORCH", name=f"{name}_pool")
            return chain(pool(x), [_same(width)], f"{name}_pooled")

        def halved(x: Array, name: str) -> Array:
            return MaxPool(3, 2, name=f"{name}_pool")(x)

        stages: dict[str, Stage] = {}

        def block(name: str, *branches: Array) -> Array:
            x = jnp.concatenate(branches, -1)
            stages[name] = Stage(x, STRIDES[name[0]])
            return x

        x = MaxPool(3, 2, name="stem1_pool")(chain(x, STEM1, "stem1"))
        x = MaxPool(3, 2, name="stem2_pool")(chain(x, STEM2, "stem2"))
        for i, width in enumerate((32, 64, 64), start=1):
            name = f"a{i}"
            x = block(
                name,
                chain(x, [_same(64)], f"{name}_branch1"),
                chain(x, [_same(48), _same(64, 5)], f"{name}_branch2"),
                chain(x, [_same(64), _same(96, 3), _same(96, 3)], f"{name}_branch3"),
                pooled(x, width, name),
            )
        x = block(
            "b",
            chain(x, [_valid(384, 3, 2)], "b_branch1"),
            chain(x, [_same(64), _same(96, 3), _valid(96, 3, 2)], "b_branch2"),
            halved(x, "b"),
        )
        for i, c in enumerate((128, 160, 160, 192), start=1):
            name = f"c{i}"
            double = [_same(c), _same(c, TALL), _same(c, WIDE), _same(c, TALL), _same(192, WIDE)]
            x = block(
                name,
                chain(x, [_same(192)], f"{name}_branch1"),
                chain(x, [_same(c), _same(c, WIDE), _same(192, TALL)], f"{name}_branch2"),
                chain(x, double, f"{name}_branch3"),
                pooled(x, 192, name),
            )
        x = block(
            "d",
            chain(x, [_same(192), _valid(320, 3, 2)], "d_branch1"),
            chain(x, [_same(192), _same(192, WIDE), _same(192, TALL), _valid(192, 3, 2)], "d_branch2"),
            halved(x, "d"),
        )
        for i in (1, 2):
            name = f"e{i}"
            x = block(
                name,
                chain(x, [_same(320)], f"{name}_branch1"),
                split(chain(x, [_same(384)], f"{name}_branch2"), 384, f"{name}_branch2"),
                split(chain(x, [_same(448), _same(384, 3)], f"{name}_branch3"), 384, f"{name}_branch3"),
                pooled(x, 192, name),
            )
        return self.classified(x, stages, train=train, features=features, dropout=self.dropout)
