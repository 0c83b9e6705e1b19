"""AddressNet: grouped 1x1 convolutions, and shifts in place of spatial convolutions, shuffles and additions.

Paper: He et al., arXiv 1809.08458. Only its abstract could be read, which names the three shifts. Everything else is
reconstructed from the sizes in two rows of a survey's table, so no published accuracy applies to these networks.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import AvgPool, Conv, MaxPool
from jsep.models.network import Network, Output, floored
from jsep.models.registry import option
from jsep.models.stage import Stage

STEM = 24  # features of the first convolution for large images
_he = nn.initializers.he_normal()


class AddressNet(Network):
    """AddressNet for 32x32 images, of three stages.

    Attributes:
        depth: number of layers with weights, 6 n + 2; a stage has n blocks.
        width: features of the first stage; the next ones have 2 and 4 times as many.
        expansion: features inside a block, as a multiple of those of its stage.
        groups: groups of the 1x1 convolutions.
        enhanced: whether the shortcut of a block shifts a window of channels instead of being added.
        shift: what enters at the edge of a shifted map, see `jsep.ops.address_shift`.
    """

    num_classes: int = 100
    depth: int = option(20)
    width: int = option(18)
    expansion: int = option(6)
    groups: int = option(3)
    enhanced: bool = option(False)
    shift: Literal["zero", "address"] = option("zero")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        blocks, rest = divmod(self.depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"option depth={self.depth}: it must be 2 plus a multiple of 6")
        if self.width % (2 * self.groups) or self.width * self.expansion % (4 * self.groups):
            raise UserError(
                f"options width={self.width} groups={self.groups} expansion={self.expansion}: twice the groups must "
                "divide the width, and four times the groups the product of width and expansion"
            )
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def branch(x: Array, middle: int, width: int, name: str) -> Array:
            y = conv_norm(x, Conv(middle, 1, groups=self.groups, name=f"{name}_conv1", **common), nn.relu)
            shift = ops.Shift(middle // (2 * self.groups), self.shift)
            return conv_norm(y, Conv(width, 1, groups=self.groups, shift=shift, name=f"{name}_conv2", **common))

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

        x = conv_norm(x, Conv(self.width, 3, name="stem", **common), nn.relu)
        stages = {}
        for stage in (1, 2, 3):
            width = self.width * 2 ** (stage - 1)
            for i in range(1, blocks + 1):
                x = block(x, width, stage > 1 and i == 1, f"stage{stage}_block{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage - 1))
        return self.classified(x, stages, train=train, features=features)


class AddressNetImageNet(Network):
    """AddressNet for large images: the shape of ShuffleNet V1 with shifts in place of shuffles and depthwise 3x3.

    Attributes:
        width: multiplier of the 240, 480 and 960 features of the stages.
        groups: groups of all 1x1 convolutions but the first.
        shift: what enters at the edge of a shifted map, see `jsep.ops.address_shift`.
    """

    width: float = option(1.0)
    groups: int = option(3)
    shift: Literal["zero", "address"] = option("zero")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False) -> Output:
        """Return logits; with `features` also each stage by name."""
        widths = [floored(base, self.width) for base in (240, 480, 960)]
        if STEM % self.groups or any(w % self.groups or w // 4 % self.groups or w // 4 % 4 for w in widths):
            raise UserError(
                f"options width={self.width} groups={self.groups}: the groups must divide {STEM} and a quarter of the "
                f"features of each stage ({', '.join(map(str, widths))}), and these quarters must be multiples of 4"
            )
        conv_norm = partial(self.conv_norm, train=train)
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _he, "dtype": self.dtype}

        def unit(x: Array, width: int, down: bool, groups: int, name: str) -> Array:
            middle = width // 4
            y = conv_norm(x, Conv(middle, 1, groups=groups, name=f"{name}_conv1", **common), nn.relu)
            shift = ops.Shift(middle // (2 * self.groups), self.shift)
            if down:
                # at an odd size the last windows hold one row or column less, like those of the other branch
                pool = AvgPool(2, padding="SAME", count_padding=False, name=f"{name}_branch_pool")
                y, shift = pool(ops.shifted(y, shift)), None
            kept = width - x.shape[-1] if down else width
            y = conv_norm(y, Conv(kept, 1, groups=self.groups, shift=shift, name=f"{name}_conv2", **common))
            if down:
                pooled = AvgPool(3, 2, padding=1, name=f"{name}_pool")(x)
                return nn.relu(jnp.concatenate([pooled, y], -1))
            return nn.relu(x + y)

        x = conv_norm(x, Conv(STEM, 3, 2, name="stem", **common), nn.relu)
        x = MaxPool(3, 2, padding=1, name="stem_pool")(x)
        stages = {}
        for stage, (width, units) in enumerate(zip(widths, (4, 8, 4), strict=True), start=2):
            for i in range(1, units + 1):
                first = stage == 2 and i == 1
                x = unit(x, width, i == 1, 1 if first else self.groups, f"stage{stage}_unit{i}")
            stages[f"stage{stage}"] = Stage(x, 2 ** (stage + 1))
        return self.classified(x, stages, train=train, features=features)
