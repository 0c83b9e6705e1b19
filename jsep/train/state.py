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

    Order, augmentation and dropout follow from (seed, step), so nothing else is needed to go on bit for bit.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    epoch_sums: Sums


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int,
) -> TrainState:
    """Initialise on one image of zeros."""
    return state_of(jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, *image_shape))), optimizer)


def state_of(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, from a network's variables."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        epoch_sums=Sums.zero(),
    )
