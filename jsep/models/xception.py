"""Xception: thirty-six convolutional layers in fourteen modules, almost all of them depthwise separable.

Paper: Chollet, arXiv 1610.02357, Figure 5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import Conv, DepthwiseConv, GlobalAvgPool, MaxPool, PointwiseConv
from jsep.models.network import Network, Output
from jsep.models.registry import Fraction, Rate, option
from jsep.models.stage import Stage

ENTRY = (128, 256, 728)
MIDDLE_MODULES, MIDDLE = 8, 728
INNER = {"none": lambda x: x, "relu": nn.relu, "elu": nn.elu}


class Xception(Network):
    """Xception for any input size.

    Attributes:
        residual: whether there are shortcuts around all modules but the first and last.
        inner_activation: activation between the depthwise and the pointwise part (Figure 10 of the paper: none is
            best).
        jft_head: whether two dense layers of 4096 features stand in front of the classifier (their ReLU is assumed).
        dropout: rate in front of the classifier.
        input: "imagenet" has a stem of stride 2 without padding, "cifar" one of stride 1 with padding for 32x32 images.
        padding: padding of the max pools: PyTorch's (one position on each side), or SAME as in Keras.
        epsilon: number that batch norms add to the variance; 1e-3 in Keras.
    """

    residual: bool = option(True)
    inner_activation: Literal["none", "relu", "elu"] = option("none")
    jft_head: bool = option(False)
    dropout: Rate = option(0.5)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    epsilon: Fraction = option(1e-5)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also the last module of each stride and of each flow by name."""
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
        inner = INNER[self.inner_activation]

        def separable(x: Array, width: int, name: str, act: Callable[[Array], Array] | None = None) -> Array:
            x = inner(DepthwiseConv(3, name=f"{name}_depthwise", **common)(x))
            pointwise = PointwiseConv(width, name=f"{name}_pointwise", **common)
            return conv_norm(x, pointwise, act, norm=f"{name}_norm")

        def shortcut(x: Array, width: int, name: str) -> Array:
            return conv_norm(x, PointwiseConv(width, 2, name=f"{name}_shortcut", **common))

        def down(x: Array, widths: tuple[int, int], name: str, leading_relu: bool = True) -> Array:
            """Apply a module that halves the maps. The shortcut starts in front of the leading ReLU."""
            y = separable(nn.relu(x) if leading_relu else x, widths[0], f"{name}_sep1", nn.relu)
            y = separable(y, widths[1], f"{name}_sep2")
            y = MaxPool(3, 2, padding=1 if self.padding == "TORCH" else "SAME", name=f"{name}_pool")(y)
            return y + shortcut(x, widths[1], name) if self.residual else y

        imagenet = self.input == "imagenet"
        padding = "VALID" if imagenet else "TORCH"
        x = conv_norm(x, Conv(32, 3, 2 if imagenet else 1, padding, name="stem1", **common), nn.relu)
        x = conv_norm(x, Conv(64, 3, 1, padding, name="stem2", **common), nn.relu)
        stride = 2 if imagenet else 1
        stages = {"module01": Stage(x, stride)}
        for module, width in enumerate(ENTRY, start=2):
            x = down(x, (width, width), f"module{module}", leading_relu=module > 2)
            stride *= 2
            stages[f"module{module:02}"] = Stage(x, stride)
        module = 1 + len(ENTRY)
        for _ in range(MIDDLE_MODULES):
            module, y = module + 1, x
            for i in range(1, 4):
                y = separable(nn.relu(y), MIDDLE, f"module{module}_sep{i}")
            x = x + y if self.residual else y
        stages[f"module{module:02}"] = Stage(x, stride)
        x = down(x, (MIDDLE, 1024), f"module{module + 1}")
        stages[f"module{module + 1:02}"] = Stage(x, 2 * stride)
        for i, width in enumerate((1536, 2048), start=1):
            x = separable(x, width, f"module{module + 2}_sep{i}", nn.relu)
        stages[f"module{module + 2:02}"] = Stage(x, 2 * stride)

        def pooled(x: Array) -> Array:
            x = GlobalAvgPool(name="pool")(x)
            for i in (1, 2) if self.jft_head else ():
                x = nn.relu(nn.Dense(4096, dtype=self.dtype, name=f"dense{i}")(x))
            return x

        return self.classified(x, stages, train=train, features=features, dropout=self.dropout, pooled=pooled)
