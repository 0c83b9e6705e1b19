"""Layers that act in training alone."""

import flax.linen as nn
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
