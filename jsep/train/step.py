"""One training step and one evaluation step, written for one device's share of the batch.

Both are pure functions. Devices average gradients, metrics and batch statistics over `axis_name`, and random numbers
depend on an example's position in the whole batch, so the result does not depend on the number of devices.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jsep import ops
from jsep.data import normalize
from jsep.layers import BatchNorm, path_of, watch
from jsep.train.classify import CLASSIFICATION
from jsep.train.metrics import Sums
from jsep.train.recipe import Recipe
from jsep.train.select import matches, matching, still_frozen
from jsep.train.state import TrainState
from jsep.train.task import Lesson, Statistics, Task, Teacher

TrainStep = Callable[[TrainState, Any, Any], tuple[TrainState, Float[Array, ""]]]
EvalStep = Callable[[Any, Any, Any, Any], tuple[Any, tuple[Array, ...]]]


def frozen_norms(freeze: tuple[str, ...]) -> AbstractContextManager[None]:
    """Let batch norms that are not trained use their running statistics, as they do in evaluation.

    Args:
        freeze: patterns of what is not trained, see `jsep.train.select.matches`.
    """

    def answer(layer: nn.Module, call: Any, *args: Any, **kwargs: Any) -> Any:
        if matches(f"{path_of(layer)}/mean", freeze):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    return watch(answer, BatchNorm)


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    fetch: Callable[[Any, Any], Any],
    statistics: Statistics,
    recipe: Recipe,
    *,
    axis_name: str,
    steps_per_epoch: int,
    task: Task = CLASSIFICATION,
    teacher: Teacher | None = None,
    epoch: int = 0,
    class_weights: Float[np.ndarray, " k"] | None = None,
) -> TrainStep:
    """Return a function that does one training step on a device's share of the batch.

    Args:
        model: the network, created with the same `axis_name`.
        optimizer: see `jsep.train.optimizer.make_optimizer`.
        fetch: turns a share of the batch into images (n, h, w, c) of type uint8 and targets, see `jsep.data.Feed`.
        statistics: mean and standard deviation that images are normalised with.
        recipe: the augmentation, the loss and the seed.
        axis_name: name of the mapped axis of devices.
        steps_per_epoch: steps after which the metrics of an epoch start from zero again.
        task: what the network does with images.
        teacher: a trained network to learn from, if any.
        epoch: the epoch that the step is for, counted from 0; what `freeze` names may be frozen for some epochs only.
        class_weights: weights of the classes in the loss, whose mean becomes a weighted one; None for no weights.

    Returns:
        A function from a state, the pair of the feed's constants and the teacher's variables, and a share of the batch
        to the next state and the loss of the whole batch, for classifiers in nats.
    """
    chosen, lesson = recipe.optimizer, Lesson(model, statistics, recipe, axis_name, teacher, class_weights)
    freeze = still_frozen(chosen.freeze, epoch)

    def gradient(state: TrainState, teaching: Any, key: PRNGKeyArray, part: Any, batch_stats: Any) -> Any:
        """Return the gradient of the mean loss of one piece of the batch, the new batch statistics and the metrics."""
        images, goals = part

        def loss_of(params: Any) -> tuple[Float[Array, ""], tuple[Any, Sums]]:
            # no gradient is computed for what is frozen, nor for what only leads to it
            fixed = matching(params, freeze)
            params = jax.tree.map(lambda p, still: lax.stop_gradient(p) if still else p, params, fixed)
            with frozen_norms(freeze):
                output, updates = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    normalize(images, *statistics),
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": key},
                )
            loss, found = task.loss(lesson, output, images, goals, teaching)
            return loss, (updates.get("batch_stats", {}), found)

        return jax.grad(loss_of, has_aux=True)(state.params)

    def accumulated(state: TrainState, teaching: Any, key: PRNGKeyArray, whole: Any) -> Any:
        """Return the same for the whole share, piece by piece.

        Pieces interleave, so that each holds the same rows of the batch on any number of devices.
        """
        pieces = jax.tree.map(lambda x: x.reshape(-1, chosen.accumulate, *x.shape[1:]).swapaxes(0, 1), whole)

        def add(so_far: Any, numbered: Any) -> Any:
            grad, batch_stats, found = so_far
            i, part = numbered
            more, (batch_stats, its) = gradient(state, teaching, jax.random.fold_in(key, i), part, batch_stats)
            return (jax.tree.map(lambda a, b: a + b / chosen.accumulate, grad, more), batch_stats, found + its), None

        nothing = jax.tree.map(jnp.zeros_like, state.params)
        numbered = (jnp.arange(chosen.accumulate), pieces)
        (grad, batch_stats, found), _ = lax.scan(add, (nothing, state.batch_stats, Sums.zero()), numbered)
        return grad, (batch_stats, found)

    def step(state: TrainState, constants: Any, batch: Any) -> tuple[TrainState, Float[Array, ""]]:
        data, teaching = constants
        images, targets = fetch(data, batch)
        # other keys than those of initialisation, which uses the seed itself
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(recipe.seed), 1), state.step)
        augment_key, dropout_key, mix_key = jax.random.split(key, 3)
        positions = ops.batch_positions(images.shape[0], axis_name)
        whole = task.prepare(lesson, (augment_key, mix_key), images, targets, positions, state.params)
        if chosen.accumulate > 1:
            grad, (batch_stats, found) = accumulated(state, teaching, dropout_key, whole)
        else:
            grad, (batch_stats, found) = gradient(state, teaching, dropout_key, whole, state.batch_stats)
        grad = lax.pmean(grad, axis_name)
        found = lax.psum(found, axis_name)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integers and floats, which strict promotion forbids
            updates, opt_state = optimizer.update(grad, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_epoch = state.step % steps_per_epoch == 0
        so_far = jax.tree.map(lambda s: jnp.where(new_epoch, 0, s), state.epoch_sums)
        average = state.average
        if average is not None:
            # the average decays faster at first, so that the initial weights do not linger in it
            done = state.step.astype(jnp.float32)
            decay = jnp.minimum(chosen.ema, (1 + done) / (10 + done))
            average = jax.tree.map(lambda a, b: b + decay.astype(b.dtype) * (a - b), average, (params, batch_stats))
        state = TrainState(
            step=state.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            epoch_sums=so_far + found,
            average=average,
        )
        return state, found.loss / found.count

    return step


def make_eval_step(
    model: nn.Module,
    fetch: Callable[[Any, Any], Any],
    statistics: Statistics,
    *,
    axis_name: str,
    task: Task = CLASSIFICATION,
) -> EvalStep:
    """Return a function that evaluates a device's share of a batch.

    Args:
        model: the network.
        fetch: turns a share of the batch into images (n, h, w, c) of type uint8 and targets, see `jsep.data.Feed`.
        statistics: mean and standard deviation that images are normalised with.
        axis_name: name of the mapped axis of devices.
        task: what the network does with images.

    Returns:
        A function from the network's variables, the feed's constants, a share of the batch and its mask (n,) to what
        `jsep.train.task.Task.measure` returns.
    """

    def step(variables: Any, constants: Any, batch: Any, mask: Float[Array, " n"]) -> tuple[Any, tuple[Array, ...]]:
        images, targets = fetch(constants, batch)
        output = model.apply(variables, normalize(images, *statistics), train=False)
        size = (images.shape[1], images.shape[2])
        return task.measure(model, output, targets, size, mask, axis_name)

    return step
