"""All that a run carries from step to step."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int

from jsep.train.metrics import Sums


@struct.dataclass
class TrainState:
    """Parameters, batch statistics, optimizer state, the number of steps done, and this epoch's metrics so far.

    average: moving averages of (params, batch_stats), or none.
    Order, augmentation and dropout follow from (seed, step), so nothing else is needed to go on bit for bit.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    epoch_sums: Sums
    average: tuple[Any, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """What is evaluated: the averages where they are kept."""
        params, batch_stats = self.average or (self.params, self.batch_stats)
        return {"params": params, "batch_stats": batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int,
    averaged: bool = False,
) -> TrainState:
    """Initialise on one image of zeros."""
    variables = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, *image_shape)))
    return state_of(variables, optimizer, averaged)


def state_of(
    variables: Mapping[str, Any], optimizer: optax.GradientTransformation, averaged: bool = False
) -> TrainState:
    """The state before the first step, from a network's variables; `averaged`: with moving averages."""
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        epoch_sums=Sums.zero(),
        average=jax.tree.map(jnp.copy, (params, batch_stats)) if averaged else None,
    )
