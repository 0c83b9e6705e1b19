"""VGG with batch norm for 32x32 images and a single dense layer behind the convolutions.

Paper: Simonyan and Zisserman, arXiv 1409.1556, Table 1, column D. Batch norm and the small classifier are what
networks for CIFAR usually have.
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import SHARED_KINDS, Conv, MaxPool, SpatialKind, spatial_conv
from jsep.models.network import Network, Output, floored
from jsep.models.registry import option
from jsep.models.stage import Stage

# features and convolutions of each stage
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG(Network):
    """VGG-16 with batch norm.

    Attributes:
        width: multiplier of the features of all convolutions.
        conv: what all convolutions but the first are, see `jsep.layers.spatial_conv`.
        sharing: input channels that share a kernel in "ksc", "wksc" and "wksc_separable".
    """

    num_classes: int = 100
    width: float = option(1.0)
    conv: SpatialKind = option("dense")
    sharing: int = option(4, needs={"conv": SHARED_KINDS})

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name, before its pool."""
        stages = {}
        for stage, (base, convolutions) in enumerate(STAGES, start=1):
            for i in range(1, convolutions + 1):
                width, name = floored(base, self.width), f"stage{stage}_conv{i}"
                if stage == i == 1:  # the three colours share nothing
                    conv: nn.Module = Conv(width, 3, use_bias=False, dtype=self.dtype, name=name)
                else:
                    options: dict[str, Any] = {"sharing": self.sharing, "axis_name": self.axis_name}
                    conv = spatial_conv(self.conv, x.shape[-1], width, dtype=self.dtype, name=name, **options)
                x = self.conv_norm(x, conv, nn.relu, train=train)
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
            if stage < len(STAGES):
                x = MaxPool(2, name=f"stage{stage}_pool")(x)
        return self.classified(x, stages, train=train, features=features)
