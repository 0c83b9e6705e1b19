"""The regular, half separable and wholly separable CNN, compared on CIFAR-10.

Source: the repository MU-PING/Depthwise-separable-CNN (notebook, 2022-02-15), read in full; written for Keras, hence
SAME padding, biases, Glorot initialisation, and batch norm with momentum 0.99 and epsilon 1e-3 after each pooling.
"""

from typing import Any

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import (
    BatchNorm,
    Conv,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    SeparableConv,
    keras_glorot_depthwise,
)
from jsep.models.registry import CIFAR10, option, register
from jsep.models.stage import Stage
from jsep.ops.geometry import Padding
from jsep.ops.precision import accumulation_dtype

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


class SeparableCNN(nn.Module):
    """Three stages of two 3x3 convolutions, then four dense layers.

    separable: which of the six convolutions are depthwise separable, from 1.
    width: multiplier of the convolutions' features (512, 256, 128); the dense layers keep theirs.
    momentum: share of the running statistics that batch norm keeps; Keras's 0.99 needs a thousand steps to settle.
    """

    separable: tuple[int, ...] = ()
    num_classes: int = 10
    width: float = option(1.0)
    momentum: float = option(0.99)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if min(x.shape[1:3]) < 8:
            raise UserError(f"This network needs images of at least 8x8, not {x.shape[1]}x{x.shape[2]}")
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
        x = x.reshape(x.shape[0], -1)  # (n, h, w, c) -> (n, h * w * c)
        for i, width in enumerate((256, 128, 64), start=1):
            x = nn.relu(nn.Dense(width, kernel_init=_glorot, dtype=self.dtype, name=f"dense{i}")(x))
            if i < 3:
                x = Dropout(0.4, self.axis_name)(x, train=train)
        x = nn.Dense(self.num_classes, kernel_init=_glorot, dtype=self.dtype, name="classifier")(x)
        logits = x.astype(accumulation_dtype(x.dtype))
        return (logits, stages) if features else logits


class KerasSeparableCNN(nn.Module):
    """Six VALID separable convolutions, as in the usual Keras example for 64x64 images.

    width: multiplier of the convolutions' features; the dense layer keeps its 32.
    """

    num_classes: int = 10
    width: float = option(1.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        if min(x.shape[1:3]) < 32:
            raise UserError(f"This network needs images of at least 32x32, not {x.shape[1]}x{x.shape[2]}")
        stages = {}
        for i, base in enumerate((32, 64, 64, 128, 64, 128), start=1):
            width = max(1, round(base * self.width))
            x = nn.relu(_keras_conv(width, True, "VALID", self.dtype, f"conv{i}")(x))
            if i in (2, 4):
                x = MaxPool(name=f"pool{i // 2}")(x)
            if i % 2 == 0:
                stages[f"stage{i // 2}"] = Stage(x, min(i, 4))
        x = GlobalAvgPool(name="pool3")(x)
        x = nn.relu(nn.Dense(32, kernel_init=_glorot, dtype=self.dtype, name="dense1")(x))
        x = nn.Dense(self.num_classes, kernel_init=_glorot, dtype=self.dtype, name="classifier")(x)
        logits = x.astype(accumulation_dtype(x.dtype))
        return (logits, stages) if features else logits


_comparison = {
    "paper": "MU-PING/Depthwise-separable-CNN (repository, 2022)",
    **CIFAR10,
    "normalization": "unit",
    "certainty": "certain",
}


@register(
    **_comparison,
    published={
        "CIFAR-10 accuracy, epoch 150": "0.8626",
        "best CIFAR-10 accuracy": "0.8835 (epoch 133)",
        "time of 150 epochs, s": "8231.417",
        "FLOPs of a batch of 256, e11": "14.914",
    },
)
def regular_cnn(**fields: Any) -> SeparableCNN:
    """Six dense convolutions: "RegularConv"."""
    return SeparableCNN(separable=(), **fields)


@register(
    **_comparison,
    published={
        "CIFAR-10 accuracy, epoch 150": "0.8390",
        "best CIFAR-10 accuracy": "0.8710 (epoch 115)",
        "time of 150 epochs, s": "4225.260",
        "FLOPs of a batch of 256, e11": "3.217",
    },
)
def both_cnn(**fields: Any) -> SeparableCNN:
    """Every second convolution depthwise separable: "BothConv"."""
    return SeparableCNN(separable=(2, 4, 6), **fields)


@register(
    **_comparison,
    published={
        "CIFAR-10 accuracy, epoch 150": "0.8158",
        "best CIFAR-10 accuracy": "0.8158 (epoch 150)",
        "time of 150 epochs, s": "4415.708",
        "FLOPs of a batch of 256, e11": "1.699",
    },
)
def separable_cnn(**fields: Any) -> SeparableCNN:
    """All six convolutions depthwise separable: "SeparableConv"."""
    return SeparableCNN(separable=(1, 2, 3, 4, 5, 6), **fields)


@register(
    paper="the Keras example of a separable network (64x64 input)",
    input_shape=(64, 64, 3),
    num_classes=10,
    normalization="unit",
    certainty="certain",
)
def keras_separable_cnn(**fields: Any) -> KerasSeparableCNN:
    """Six separable convolutions without padding, global pooling, one hidden layer."""
    return KerasSeparableCNN(**fields)
