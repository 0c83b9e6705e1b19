"""The regular, half separable and fully separable CNN, compared on CIFAR-10.

Source: the repository MU-PING/Depthwise-separable-CNN (notebook, 2022-02-15), read in full. It is written for Keras:
SAME padding, biases, Glorot initialisation, and batch norm with momentum 0.99 and epsilon 1e-3 after each pool.
"""

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import (
    BatchNorm,
    Conv,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    SeparableConv,
    keras_glorot_depthwise,
)
from jsep.models.network import Network, Output
from jsep.models.registry import Rate, option
from jsep.models.stage import Stage
from jsep.ops.geometry import Padding

_glorot = nn.initializers.glorot_uniform()


def _keras_conv(
    features: int, separable: bool, padding: Padding, dtype: Dtype | None, name: str
) -> Conv | SeparableConv:
    if separable:
        return SeparableConv(
            features,
            padding=padding,
            depthwise_init=keras_glorot_depthwise,
            pointwise_init=_glorot,
            dtype=dtype,
            name=name,
        )
    return Conv(features, padding=padding, kernel_init=_glorot, dtype=dtype, name=name)


class SeparableCNN(Network):
    """Three stages of two 3x3 convolutions, then four dense layers.

    Attributes:
        separable: which of the six convolutions are depthwise separable, counted from 1; fixed by the name.
        width: multiplier of the features of the convolutions (512, 256, 128), not of the dense layers.
        momentum: share of the running statistics that batch norm keeps. Keras's 0.99 takes a thousand steps to settle.
    """

    separable: tuple[int, ...] = ()
    num_classes: int = 10
    width: float = option(1.0)
    momentum: Rate = option(0.99)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        stages = {}
        for stage, base in enumerate((512, 256, 128), start=1):
            width = max(1, round(base * self.width))
            for place in (2 * stage - 1, 2 * stage):
                conv = _keras_conv(width, place in self.separable, "SAME", self.dtype, f"conv{place}")
                x = nn.relu(conv(x))
                if place % 2:
                    x = Dropout(0.35, self.axis_name)(x, train=train)
            x = MaxPool(name=f"pool{stage}")(x)  # (n, h, w, c) -> (n, h / 2, w / 2, c)
            x = BatchNorm(self.momentum, 1e-3, self.axis_name, self.dtype, name=f"norm{stage}")(x, train=train)
            stages[f"stage{stage}"] = Stage(x, 2**stage)
            x = Dropout(0.3, self.axis_name)(x, train=train)

        def pooled(x: Array) -> Array:
            x = x.reshape(x.shape[0], -1)  # (n, h, w, c) -> (n, h * w * c)
            for i, width in enumerate((256, 128, 64), start=1):
                x = nn.relu(nn.Dense(width, kernel_init=_glorot, dtype=self.dtype, name=f"dense{i}")(x))
                if i < 3:
                    x = Dropout(0.4, self.axis_name)(x, train=train)
            return x

        return self.classified(x, stages, train=train, features=features, pooled=pooled, kernel_init=_glorot)


class KerasSeparableCNN(Network):
    """Six separable convolutions without padding, as in the usual Keras example for 64x64 images.

    Attributes:
        width: multiplier of the features of the convolutions, not of the dense layer.
    """

    num_classes: int = 10
    width: float = option(1.0)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        stages = {}
        for i, base in enumerate((32, 64, 64, 128, 64, 128), start=1):
            width = max(1, round(base * self.width))
            x = nn.relu(_keras_conv(width, True, "VALID", self.dtype, f"conv{i}")(x))
            if i in (2, 4):
                x = MaxPool(name=f"pool{i // 2}")(x)
            if i % 2 == 0:
                stages[f"stage{i // 2}"] = Stage(x, min(i, 4))

        def pooled(x: Array) -> Array:
            x = GlobalAvgPool(name="pool3")(x)
            return nn.relu(nn.Dense(32, kernel_init=_glorot, dtype=self.dtype, name="dense1")(x))

        return self.classified(x, stages, train=train, features=features, pooled=pooled, kernel_init=_glorot)
