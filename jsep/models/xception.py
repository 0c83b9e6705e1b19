"""Xception: thirty-six convolutional layers in fourteen modules, almost all of them depthwise separable.

Paper: Chollet, arXiv 1610.02357, Figure 5.
"""

from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, DepthwiseConv, Dropout, GlobalAvgPool, MaxPool, PointwiseConv, classifier
from jsep.models.registry import IMAGENET, Rate, option, register
from jsep.models.stage import Stage

ENTRY = (128, 256, 728)
MIDDLE_MODULES, MIDDLE = 8, 728
INNER = {"none": lambda x: x, "relu": nn.relu, "elu": nn.elu}


class Xception(nn.Module):
    """Xception for any input size and number of classes.

    residual: the shortcuts around all modules but the first and last. inner_activation: between the depthwise and the
    pointwise part (Figure 10 of the paper; none is best). jft_head: two dense layers of 4096 before the classifier
    (their ReLU is assumed). dropout: before the classifier in training. input: "imagenet" has a stem of stride 2
    without padding, "cifar" one of stride 1 with padding, for 32x32 images. padding: of the max pools, PyTorch's (one
    position on both sides) or SAME as Keras has it.
    """

    num_classes: int = 1000
    residual: bool = option(True)
    inner_activation: Literal["none", "relu", "elu"] = option("none")
    jft_head: bool = option(False)
    dropout: Rate = option(0.5)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also the last module of each stride and of each flow by name."""
        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
        inner = INNER[self.inner_activation]

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        def separable(x: Array, width: int, name: str) -> Array:
            x = inner(DepthwiseConv(3, name=f"{name}_depthwise", **common)(x))
            return norm(PointwiseConv(width, name=f"{name}_pointwise", **common)(x), name)

        def shortcut(x: Array, width: int, name: str) -> Array:
            return norm(PointwiseConv(width, 2, name=f"{name}_shortcut", **common)(x), f"{name}_shortcut")

        def down(x: Array, widths: tuple[int, int], name: str, leading_relu: bool = True) -> Array:
            """A module that halves the map: the shortcut starts before the leading ReLU."""
            y = separable(nn.relu(x) if leading_relu else x, widths[0], f"{name}_sep1")
            y = separable(nn.relu(y), widths[1], f"{name}_sep2")
            y = MaxPool(3, 2, padding=1 if self.padding == "TORCH" else "SAME", name=f"{name}_pool")(y)
            return y + shortcut(x, widths[1], name) if self.residual else y

        imagenet = self.input == "imagenet"
        padding = "VALID" if imagenet else "TORCH"
        x = nn.relu(norm(Conv(32, 3, 2 if imagenet else 1, padding, name="stem1", **common)(x), "stem1"))
        x = nn.relu(norm(Conv(64, 3, 1, padding, name="stem2", **common)(x), "stem2"))
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
            x = nn.relu(separable(x, width, f"module{module + 2}_sep{i}"))
        stages[f"module{module + 2:02}"] = Stage(x, 2 * stride)
        x = GlobalAvgPool(name="pool")(x)
        if self.jft_head:
            for i in (1, 2):
                x = nn.relu(nn.Dense(4096, dtype=self.dtype, name=f"dense{i}")(x))
        x = Dropout(self.dropout, axis_name=self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


@register(
    paper="arXiv 1610.02357",
    certainty="certain",
    **{**IMAGENET, "input_shape": (299, 299, 3)},
    references={"pytorchcv:xception": {}, "timm:legacy_xception": {}},
    published={"ImageNet top-1, %": "79.0", "ImageNet top-5, %": "94.5", "parameters": "22,855,952"},
)
def xception(**fields: Any) -> Xception:
    """Xception."""
    return Xception(**fields)
