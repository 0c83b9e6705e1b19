"""Layers that only act in training."""

from collections.abc import Iterator

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops


class Dropout(nn.Module):
    """Dropout, drawn from the rng stream "dropout".

    Attributes:
        rate: probability of setting an element to zero; the others are scaled by 1 / (1 - rate).
        axis_name: mapped axis of the devices; with it the draw does not depend on their number.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."], *, train: bool) -> Float[Array, "n ..."]:
        if not train or self.rate == 0:
            return x
        return ops.dropout(self.make_rng("dropout"), x, self.rate, axis_name=self.axis_name)


class StochasticDepth(nn.Module):
    """Stochastic depth: leaves out a residual branch for some examples, and scales it for the others.

    Paper: Huang et al., arXiv 1603.09382, with the scaling of dropout.

    Attributes:
        rate: probability of leaving the branch out for an example; otherwise it is scaled by 1 / (1 - rate).
        axis_name: mapped axis of the devices; with it the draw does not depend on their number.
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
    """Return the rates of stochastic depth by block: linear, and `rate` in the last one (arXiv 1603.09382, section 3).

    >>> list(growing_rates(0.2, 4))
    [0.05, 0.1, 0.15, 0.2]
    """
    return iter([round(rate * (i + 1) / blocks, 12) for i in range(blocks)])
