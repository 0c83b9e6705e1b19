"""VGG with batch norm for 32x32 images: one dense layer as head.

Paper: Simonyan and Zisserman, arXiv 1409.1556, Table 1 column D; batch norm and the small head are the custom of CIFAR.
"""

from typing import Any

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, GlobalAvgPool, MaxPool, Sharing, classifier, dense_or_shared
from jsep.models.registry import CIFAR100, SHARING_PAPER, option, register
from jsep.models.stage import Stage

_lecun = nn.initializers.lecun_normal()
# features and convolutions of each stage
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG(nn.Module):
    """VGG-16 with batch norm.

    width: multiplier of every convolution's features. conv: what all convolutions but the first are, dense, with
    kernels shared by `sharing` input channels (ksc, weighted: wksc), depthwise separable (ds), or both (wksc_ds).
    """

    num_classes: int = 100
    width: float = option(1.0)
    conv: Sharing = option("dense")
    sharing: int = option(4)
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
                width = int(base * self.width)
                if stage == i == 1:  # three colours share nothing
                    x = Conv(width, 3, use_bias=False, dtype=self.dtype, name=name)(x)
                else:
                    options: dict[str, Any] = {"kernel_init": _lecun, "dtype": self.dtype}
                    x = dense_or_shared(x, self.conv, self.sharing, width, name=name, **options)
                norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
                x = nn.relu(norm(x, train=train))
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
            if stage < len(STAGES):
                x = MaxPool(2, name=f"stage{stage}_pool")(x)
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


@register(paper="arXiv 1409.1556", certainty="certain", **CIFAR100)
def vgg16_bn(**fields: Any) -> VGG:
    """VGG-16 with batch norm for 32x32 images."""
    return VGG(**fields)


_SHARING: dict[str, Any] = {"paper": SHARING_PAPER, "certainty": "reconstructed", **CIFAR100}


@register(**_SHARING)
def vgg16_ksc2(**fields: Any) -> VGG:
    """VGG-16 with batch norm, two input channels to a kernel."""
    return VGG(**{"conv": "ksc", "sharing": 2, **fields})


@register(**_SHARING)
def vgg16_ksc4(**fields: Any) -> VGG:
    """VGG-16 with batch norm, four input channels to a kernel."""
    return VGG(**{"conv": "ksc", **fields})


@register(**_SHARING)
def vgg16_wksc4(**fields: Any) -> VGG:
    """VGG-16 with batch norm, four weighted input channels to a kernel."""
    return VGG(**{"conv": "wksc", **fields})


@register(**_SHARING)
def vgg16_wksc8(**fields: Any) -> VGG:
    """VGG-16 with batch norm, eight weighted input channels to a kernel."""
    return VGG(**{"conv": "wksc", "sharing": 8, **fields})


@register(**_SHARING)
def vgg16_wksc_ds4(**fields: Any) -> VGG:
    """VGG-16 with batch norm, four weighted input channels to a depthwise separable kernel."""
    return VGG(**{"conv": "wksc_ds", **fields})


@register(**_SHARING)
def vgg16_ds(**fields: Any) -> VGG:
    """VGG-16 with batch norm, depthwise separable."""
    return VGG(**{"conv": "ds", **fields})
