"""One training step and one evaluation step, written for one device's share of the batch.

Both are pure. Devices average gradients, metrics and batch statistics over `axis_name`, and random draws belong to an
example's place in the whole batch, so the result does not depend on the number of devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jsep import ops
from jsep.data import augment, mix, normalize
from jsep.layers import BatchNorm, path_of, watch
from jsep.train.metrics import Sums, cross_entropy, distillation, sums, targets_of
from jsep.train.recipe import Recipe
from jsep.train.select import classes_of, matches
from jsep.train.state import TrainState

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
TrainStep = Callable[[TrainState, Any, Any], tuple[TrainState, Float[Array, ""]]]
EvalStep = Callable[[Any, Any, Any, Any], Sums]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained network whose logits are learned from.

    Attributes:
        model: the network.
        statistics: what its images were normalised with.
    """

    model: nn.Module
    statistics: Statistics


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    fetch: Callable[[Any, Any], Any],
    statistics: Statistics,
    recipe: Recipe,
    *,
    axis_name: str,
    steps_per_epoch: int,
    teacher: Teacher | None = None,
) -> TrainStep:
    """Return the step (state, (data, teacher's variables), share of the batch) -> (state, mean loss of the batch).

    Args:
        model: the network, with `axis_name` among its fields.
        optimizer: see `jsep.train.optimizer.make_optimizer`.
        fetch: makes images (n, h, w, c) as uint8 and labels (n,) of a share of the batch, see `jsep.data.Feed`.
        statistics: what images are normalised with.
        recipe: how images are augmented and what is minimised.
        axis_name: the mapped axis of the devices.
        steps_per_epoch: after this many steps the metrics begin anew.
        teacher: the network whose logits are learned from, if any.
    """
    chosen, objective = recipe.optimizer, recipe.objective
    fill = tuple(round(255 * level) for level in statistics[0])  # erased rectangles get the mean colour

    def frozen(layer: nn.Module, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A batch norm that is not trained normalises by its kept statistics, as it does in evaluation."""
        if matches(f"{path_of(layer)}/mean", chosen.freeze):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    def gradient(state: TrainState, teaching: Any, key: PRNGKeyArray, part: Any, batch_stats: Any) -> Any:
        """The gradient of the mean loss of one piece of the batch; the statistics after it, and its sums."""
        images, targets, labels = part

        def loss_of(params: Any) -> tuple[Float[Array, ""], tuple[Any, Sums]]:
            with watch(frozen, BatchNorm):
                logits, updates = model.apply(
                    {"params": params, "batch_stats": batch_stats},
                    normalize(images, *statistics),
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": key},
                )
            losses = cross_entropy(logits, targets)
            if teacher:
                theirs: Any = teacher.model.apply(teaching, normalize(images, *teacher.statistics), train=False)
                taught = distillation(logits, theirs, objective.temperature)
                losses = (1 - objective.teacher_weight) * losses + objective.teacher_weight * taught
            found = sums(losses, logits, labels, jnp.ones_like(losses))
            return jnp.mean(losses), (updates.get("batch_stats", {}), found)

        return jax.grad(loss_of, has_aux=True)(state.params)

    def accumulated(state: TrainState, teaching: Any, key: PRNGKeyArray, whole: Any) -> Any:
        """The same for the whole share, piece after piece. Pieces interleave, to hold the same rows on any devices."""
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
        images, labels = fetch(data, batch)
        # apart from the keys of initialisation, which uses the seed itself
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(recipe.seed), 1), state.step)
        augment_key, dropout_key, mix_key = jax.random.split(key, 3)
        positions = ops.batch_positions(labels.shape[0], axis_name)
        images = augment(augment_key, images, positions, recipe.augment, fill)
        targets = targets_of(labels, classes_of(state.params), objective.label_smoothing)
        shares = {"mixup": objective.mixup, "cutmix": objective.cutmix}
        images, targets = mix(mix_key, images.astype(jnp.float32), targets, positions, **shares)
        whole = (images, targets, labels)
        if chosen.accumulate > 1:
            grad, (batch_stats, found) = accumulated(state, teaching, dropout_key, whole)
        else:
            grad, (batch_stats, found) = gradient(state, teaching, dropout_key, whole, state.batch_stats)
        grad = lax.pmean(grad, axis_name)
        found = lax.psum(found, axis_name)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integers and floats where a strict caller would not
            updates, opt_state = optimizer.update(grad, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_epoch = state.step % steps_per_epoch == 0
        so_far = jax.tree.map(lambda s: jnp.where(new_epoch, 0, s), state.epoch_sums)
        average = state.average
        if average is not None:
            # a young average forgets faster, so that the first weights do not stay in it
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
) -> EvalStep:
    """Return the step (variables, constants, share of the batch, its mask) -> sums over the whole batch."""

    def step(variables: Any, constants: Any, batch: Any, mask: Float[Array, " n"]) -> Sums:
        images, labels = fetch(constants, batch)
        logits: Any = model.apply(variables, normalize(images, *statistics), train=False)
        losses = cross_entropy(logits, targets_of(labels, logits.shape[-1]))
        return lax.psum(sums(losses, logits, labels, mask), axis_name)

    return step
