"""VGG with batch norm for 32x32 images: one dense layer as head.

Paper: Simonyan and Zisserman, arXiv 1409.1556, Table 1 column D; batch norm and the small head are the custom of CIFAR.
"""

from typing import Any

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, GlobalAvgPool, MaxPool, classifier
from jsep.models.registry import option, register
from jsep.models.stage import Stage

# features and convolutions of each stage
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG(nn.Module):
    """VGG-16 with batch norm; `width` multiplies every convolution's features."""

    num_classes: int = 100
    width: float = option(1.0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name, before its pool."""
        stages = {}
        for stage, (base, convolutions) in enumerate(STAGES, start=1):
            for i in range(1, convolutions + 1):
                name = f"stage{stage}_conv{i}"
                x = Conv(int(base * self.width), 3, use_bias=False, dtype=self.dtype, name=name)(x)
                norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
                x = nn.relu(norm(x, train=train))
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
            if stage < len(STAGES):
                x = MaxPool(2, name=f"stage{stage}_pool")(x)
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


@register(
    paper="arXiv 1409.1556",
    input_shape=(32, 32, 3),
    num_classes=100,
    normalization="cifar100",
    certainty="certain",
    published={},
)
def vgg16_bn(**fields: Any) -> VGG:
    """VGG-16 with batch norm for 32x32 images."""
    return VGG(**fields)
