"""One training step and one evaluation step, written for one device's share of the batch.

They are pure. What they share with other devices goes through `axis_name`: gradients, metrics and batch statistics
are averaged over it, and random draws belong to an example's place in the whole batch; so the result is the same
for any number of devices.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from jsep import ops
from jsep.data import Augmentation, augment, normalize
from jsep.train.metrics import Sums, cross_entropy, sums
from jsep.train.state import TrainState

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
TrainStep = Callable[[TrainState, Any, Any], tuple[TrainState, Float[Array, ""]]]
EvalStep = Callable[[Any, Any, Any, Any], Sums]


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    fetch: Callable[[Any, Any], Any],
    statistics: Statistics,
    *,
    axis_name: str,
    steps_per_epoch: int,
    seed: int,
    augmentation: Augmentation,
    label_smoothing: float = 0.0,
) -> TrainStep:
    """(state, constants, share of the batch) -> (state, mean loss of the whole batch)."""

    def step(state: TrainState, constants: Any, batch: Any) -> tuple[TrainState, Float[Array, ""]]:
        images, labels = fetch(constants, batch)
        # apart from the keys of initialisation, which uses the seed itself
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), state.step)
        augment_key, dropout_key = jax.random.split(key)
        positions = ops.batch_positions(labels.shape[0], axis_name)
        x = normalize(augment(augment_key, images, positions, augmentation), *statistics)

        def loss_of(params: Any) -> tuple[Float[Array, ""], tuple[Any, Sums]]:
            logits, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = cross_entropy(logits, labels, label_smoothing)
            found = sums(losses, logits, labels, jnp.ones_like(losses))
            return jnp.mean(losses), (updates.get("batch_stats", {}), found)

        grad, (batch_stats, found) = jax.grad(loss_of, has_aux=True)(state.params)
        grad = lax.pmean(grad, axis_name)
        found = lax.psum(found, axis_name)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integers and floats where a strict caller would not
            updates, opt_state = optimizer.update(grad, state.opt_state, state.params)
        new_epoch = state.step % steps_per_epoch == 0
        so_far = jax.tree.map(lambda s: jnp.where(new_epoch, 0, s), state.epoch_sums)
        state = TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            epoch_sums=so_far + found,
        )
        return state, found.loss / found.count

    return step


def make_eval_step(
    model: nn.Module,
    fetch: Callable[[Any, Any], Any],
    statistics: Statistics,
    *,
    axis_name: str,
) -> EvalStep:
    """(variables, constants, share of the batch, its mask) -> sums over the whole batch."""

    def step(variables: Any, constants: Any, batch: Any, mask: Float[Array, " n"]) -> Sums:
        images, labels = fetch(constants, batch)
        logits: Any = model.apply(variables, normalize(images, *statistics), train=False)
        return lax.psum(sums(cross_entropy(logits, labels), logits, labels, mask), axis_name)

    return step
