"""The training state: everything that a run carries from step to step."""

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
    """Everything that a training needs, beside its recipe, to be resumed bit for bit.

    The order of the images, augmentation and dropout follow from the seed and the step, so they have no state.

    Attributes:
        step: number of steps done.
        params: the network's parameters.
        batch_stats: the running statistics of its batch norms.
        opt_state: the state of the optimizer.
        epoch_sums: metrics of this epoch's training images so far.
        average: moving averages of `params` and `batch_stats`, or None if the recipe asks for none.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    epoch_sums: Sums
    average: tuple[Any, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that are evaluated: the moving averages if there are any."""
        params, batch_stats = self.average or (self.params, self.batch_stats)
        return {"params": params, "batch_stats": batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    seed: int,
    averaged: bool = False,
) -> TrainState:
    """Initialise a network, and return the state before the first step.

    Args:
        model: the network.
        optimizer: the optimizer.
        image_shape: height, width and channels of an image.
        seed: seed of the initialisation.
        averaged: whether to keep moving averages.
    """
    variables = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, *image_shape)))
    return state_of(variables, optimizer, averaged)


def state_of(
    variables: Mapping[str, Any], optimizer: optax.GradientTransformation, averaged: bool = False
) -> TrainState:
    """Return the state before the first step, with given variables.

    Args:
        variables: the network's "params" and, if it has batch norms, "batch_stats".
        optimizer: the optimizer.
        averaged: whether to keep moving averages.
    """
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        epoch_sums=Sums.zero(),
        average=jax.tree.map(jnp.copy, (params, batch_stats)) if averaged else None,
    )
