"""AddressNet: grouped 1x1 convolutions between which data is shifted, not convolved, shuffled or added.

Paper: He et al., arXiv 1809.08458. Its body could not be read: the three shifts are the abstract's, everything else is
reconstructed to the size of two rows of a survey's table. No accuracy belongs to these networks.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import AvgPool, BatchNorm, Conv, GlobalAvgPool, MaxPool, classifier
from jsep.models.registry import CIFAR100, IMAGENET, option, register
from jsep.models.stage import Stage

_he = nn.initializers.he_normal()


class AddressNet(nn.Module):
    """AddressNet for 32x32 images: three stages of (depth - 2) / 6 blocks of `width`, 2 and 4 times `width` features.

    expansion: features inside a block, in units of its stage's. groups: of the 1x1 convolutions. enhanced: blocks whose
    shortcut shifts a window of channels, in place of an addition. shift: what enters at an edge, see
    `ops.address_shift`.
    """

    num_classes: int = 100
    depth: int = option(20)
    width: int = option(18)
    expansion: int = option(6)
    groups: int = option(3)
    enhanced: bool = option(False)
    shift: Literal["zero", "address"] = option("zero")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        blocks, rest = divmod(self.depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"depth={self.depth}: it must be 2 plus a multiple of 6")
        if not self.groups or self.width % (2 * self.groups) or self.width * self.expansion % (4 * self.groups):
            raise UserError(
                f"width={self.width} groups={self.groups} expansion={self.expansion}: twice the groups must divide the "
                "width, and four times the groups width times expansion"
            )
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        def branch(x: Array, middle: int, width: int, name: str) -> Array:
            y = Conv(middle, 1, groups=self.groups, name=f"{name}_conv1", **common)(x)
            y = ops.channel_shift(nn.relu(norm(y, f"{name}_conv1")), middle // (2 * self.groups))
            y = ops.address_shift(y, mode=self.shift)
            return norm(Conv(width, 1, groups=self.groups, name=f"{name}_conv2", **common)(y), f"{name}_conv2")

        def block(x: Array, width: int, down: bool, name: str) -> Array:
            middle = self.expansion * width
            if down:
                pooled = AvgPool(2, name=f"{name}_pool")(x)
                y = branch(pooled, middle, width - x.shape[-1], name)
                if self.enhanced:
                    return jnp.concatenate([pooled, nn.relu(y)], -1)
                return nn.relu(jnp.concatenate([pooled, y], -1))
            if self.enhanced:
                return ops.shortcut_shift(x, nn.relu(branch(x, middle, width // 2, name)))
            return nn.relu(x + branch(x, middle, width, name))

        x = nn.relu(norm(Conv(self.width, 3, name="stem", **common)(x), "stem"))
        stages = {}
        for stage in (1, 2, 3):
            width = self.width * 2 ** (stage - 1)
            for i in range(1, blocks + 1):
                x = block(x, width, stage > 1 and i == 1, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


class AddressNetImageNet(nn.Module):
    """AddressNet for large images: the skeleton of ShuffleNet V1 with shifts in place of shuffle and depthwise 3x3.

    width: multiplier of the stages' 240, 480 and 960 features. groups: of the 1x1 convolutions, but for the first.
    """

    num_classes: int = 1000
    width: float = option(1.0)
    groups: int = option(3)
    shift: Literal["zero", "address"] = option("zero")
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def norm(x: Array, name: str) -> Array:
            return BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        def unit(x: Array, width: int, down: bool, groups: int, name: str) -> Array:
            middle = width // 4
            y = nn.relu(norm(Conv(middle, 1, groups=groups, name=f"{name}_conv1", **common)(x), f"{name}_conv1"))
            y = ops.channel_shift(y, middle // (2 * self.groups))
            y = ops.address_shift(y, mode=self.shift)
            y = AvgPool(2, name=f"{name}_branch_pool")(y) if down else y
            kept = width - x.shape[-1] if down else width
            y = norm(Conv(kept, 1, groups=self.groups, name=f"{name}_conv2", **common)(y), f"{name}_conv2")
            if down:
                pooled = AvgPool(3, 2, padding=1, name=f"{name}_pool")(x)
                return nn.relu(jnp.concatenate([pooled, y], -1))
            return nn.relu(x + y)

        x = nn.relu(norm(Conv(24, 3, 2, name="stem", **common)(x), "stem"))
        x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages = {}
        for stage, (base, units) in enumerate(((240, 4), (480, 8), (960, 4)), start=2):
            for i in range(1, units + 1):
                first = stage == 2 and i == 1
                x = unit(x, int(base * self.width), i == 1, 1 if first else self.groups, f"stage{stage}_unit{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage + 1))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


_FACTS: dict[str, Any] = {"paper": "arXiv 1809.08458", "certainty": "reconstructed"}


@register(**_FACTS, **CIFAR100)
def addressnet20(**fields: Any) -> AddressNet:
    """AddressNet-20 for 32x32 images."""
    return AddressNet(**fields)


@register(**_FACTS, **CIFAR100)
def addressnet32(**fields: Any) -> AddressNet:
    """AddressNet-32 for 32x32 images."""
    return AddressNet(**{"depth": 32, **fields})


@register(**_FACTS, **CIFAR100)
def addressnet44(**fields: Any) -> AddressNet:
    """AddressNet-44 for 32x32 images."""
    return AddressNet(**{"depth": 44, **fields})


@register(**_FACTS, **CIFAR100)
def enhanced_addressnet20(**fields: Any) -> AddressNet:
    """Enhanced AddressNet-20 for 32x32 images."""
    return AddressNet(**{"enhanced": True, **fields})


@register(**_FACTS, **CIFAR100)
def enhanced_addressnet32(**fields: Any) -> AddressNet:
    """Enhanced AddressNet-32 for 32x32 images."""
    return AddressNet(**{"depth": 32, "enhanced": True, **fields})


@register(**_FACTS, **CIFAR100)
def enhanced_addressnet44(**fields: Any) -> AddressNet:
    """Enhanced AddressNet-44 for 32x32 images."""
    return AddressNet(**{"depth": 44, "enhanced": True, **fields})


@register(**_FACTS, **IMAGENET)
def addressnet_imagenet(**fields: Any) -> AddressNetImageNet:
    """AddressNet for 224x224 images."""
    return AddressNetImageNet(**fields)
