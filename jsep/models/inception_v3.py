"""Inception V3: parallel branches of factorised convolutions, concatenated.

Paper: Szegedy et al., arXiv 1512.00567, Figures 5 to 10; the widths are torchvision's and TF-slim's. Every convolution
is followed by batch norm (epsilon 0.001) and ReLU. Without the auxiliary head.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import AvgPool, BatchNorm, Conv, Dropout, GlobalAvgPool, MaxPool, classifier
from jsep.models.registry import IMAGENET, Rate, option, register
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


class InceptionV3(nn.Module):
    """Inception V3 for any number of classes; dropout before the classifier in training."""

    num_classes: int = 1000
    dropout: Rate = option(0.5)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each block by name."""

        def chain(x: Array, specs: Sequence[Spec], name: str) -> Array:
            for i, (width, kernel, stride, padding) in enumerate(specs, start=1):
                own = f"{name}_conv{i}"
                options: dict[str, Any] = {"use_bias": False, "dtype": self.dtype, "name": own}
                x = Conv(width, kernel, stride, padding, **options)(x)
                norm = BatchNorm(epsilon=1e-3, axis_name=self.axis_name, dtype=self.dtype, name=f"{own}_norm")
                x = nn.relu(norm(x, train=train))
            return x

        def split(x: Array, width: int, name: str) -> Array:
            return jnp.concatenate(
                [chain(x, [_same(width, (1, 3))], f"{name}_row"), chain(x, [_same(width, (3, 1))], f"{name}_column")],
                -1,
            )

        def pooled(x: Array, width: int, name: str) -> Array:
            return chain(AvgPool(3, 1, padding=1, name=f"{name}_pool")(x), [_same(width)], f"{name}_pooled")

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
        x = GlobalAvgPool(name="pool")(x)
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


@register(
    paper="arXiv 1512.00567",
    certainty="certain",
    **{**IMAGENET, "input_shape": (299, 299, 3)},
    references={"torchvision:inception_v3": {}, "timm:inception_v3": {}},
    published={"ImageNet top-1, % (as measured in arXiv 1610.02357)": "78.2"},
)
def inception_v3(**fields: Any) -> InceptionV3:
    """Inception V3 without its auxiliary head."""
    return InceptionV3(**fields)
