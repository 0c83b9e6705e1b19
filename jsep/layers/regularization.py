"""Layers that act in training alone."""

from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops


class Dropout(nn.Module):
    """Dropout from the rng stream "dropout"; `axis_name` makes it independent of the number of devices."""

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."], *, train: bool) -> Float[Array, "n ..."]:
        if not train or self.rate == 0:
            return x
        return ops.dropout(self.make_rng("dropout"), x, self.rate, axis_name=self.axis_name)


class StochasticDepth(nn.Module):
    """Leave out a branch of an example with chance `rate`, else scale it by 1 / (1 - rate): arXiv 1603.09382.

    As `Dropout` it draws by the example's place in the batch over the devices of `axis_name`.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h w c"]:
        if not train or self.rate == 0:
            return x
        kept = jnp.ones((x.shape[0], 1, 1, 1), x.dtype)
        return x * ops.dropout(self.make_rng("dropout"), kept, self.rate, axis_name=self.axis_name)


def growing_rates(rate: float, blocks: int) -> Iterator[float]:
    """The rule of the paper's section 3: from nothing at the input to `rate` in the last block.

    >>> list(growing_rates(0.2, 4))
    [0.05, 0.1, 0.15, 0.2]
    """
    return iter([round(rate * (i + 1) / blocks, 12) for i in range(blocks)])
