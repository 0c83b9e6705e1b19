"""One training step and one evaluation step, written for one device's share of the batch.

They are pure. What they share with other devices goes through `axis_name`: gradients, metrics and batch statistics
are averaged over it, and random draws belong to an example's place in the whole batch; so the result is the same
for any number of devices.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jsep import ops
from jsep.data import Augmentation, augment, mix, normalize
from jsep.layers import BatchNorm
from jsep.train.metrics import Sums, cross_entropy, distillation, sums, targets_of
from jsep.train.select import classes_of, matches
from jsep.train.state import TrainState

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
TrainStep = Callable[[TrainState, Any, Any], tuple[TrainState, Float[Array, ""]]]
EvalStep = Callable[[Any, Any, Any, Any], Sums]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A trained network whose logits are learned from: how it sees images, and its share in the loss."""

    model: nn.Module
    statistics: Statistics
    weight: float
    temperature: float


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
    mixup: float = 0.0,
    cutmix: float = 0.0,
    accumulate: int = 1,
    ema: float = 0.0,
    freeze: Sequence[str] = (),
    teacher: Teacher | None = None,
) -> TrainStep:
    """(state, (data, teacher's variables), share of the batch) -> (state, mean loss of the whole batch)."""

    fill = tuple(round(255 * level) for level in statistics[0])

    def frozen(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        """A batch norm that is kept normalises by the statistics that are kept, as it will when it is evaluated."""
        layer = context.module
        if isinstance(layer, BatchNorm) and matches((*layer.path, "mean"), freeze):
            kwargs = {**kwargs, "train": False}
        return call(*args, **kwargs)

    def gradient(state: TrainState, teaching: Any, key: PRNGKeyArray, part: Any, batch_stats: Any) -> Any:
        """Of the mean loss of one piece of the batch, with the statistics after it and its sums."""
        images, targets, labels = part

        def loss_of(params: Any) -> tuple[Float[Array, ""], tuple[Any, Sums]]:
            with nn.intercept_methods(frozen):
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
                taught = distillation(logits, theirs, teacher.temperature)
                losses = (1 - teacher.weight) * losses + teacher.weight * taught
            found = sums(losses, logits, labels, jnp.ones_like(losses))
            return jnp.mean(losses), (updates.get("batch_stats", {}), found)

        return jax.grad(loss_of, has_aux=True)(state.params)

    def accumulated(state: TrainState, teaching: Any, key: PRNGKeyArray, whole: Any) -> Any:
        """The same of the whole share, piece after piece; interleaved, so they hold the same rows on any devices."""
        pieces = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), whole)

        def add(so_far: Any, numbered: Any) -> Any:
            grad, batch_stats, found = so_far
            i, part = numbered
            more, (batch_stats, its) = gradient(state, teaching, jax.random.fold_in(key, i), part, batch_stats)
            return (jax.tree.map(lambda a, b: a + b / accumulate, grad, more), batch_stats, found + its), None

        nothing = jax.tree.map(jnp.zeros_like, state.params)
        numbered = (jnp.arange(accumulate), pieces)
        (grad, batch_stats, found), _ = lax.scan(add, (nothing, state.batch_stats, Sums.zero()), numbered)
        return grad, (batch_stats, found)

    def step(state: TrainState, constants: Any, batch: Any) -> tuple[TrainState, Float[Array, ""]]:
        data, teaching = constants
        images, labels = fetch(data, batch)
        # apart from the keys of initialisation, which uses the seed itself
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 1), state.step)
        augment_key, dropout_key, mix_key = jax.random.split(key, 3)
        positions = ops.batch_positions(labels.shape[0], axis_name)
        images = augment(augment_key, images, positions, augmentation, fill)
        targets = targets_of(labels, classes_of(state.params), label_smoothing)
        images, targets = mix(mix_key, images.astype(jnp.float32), targets, positions, mixup=mixup, cutmix=cutmix)
        whole = (images, targets, labels)
        if accumulate > 1:
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
            decay = jnp.minimum(ema, (1 + done) / (10 + done))
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
    """(variables, constants, share of the batch, its mask) -> sums over the whole batch."""

    def step(variables: Any, constants: Any, batch: Any, mask: Float[Array, " n"]) -> Sums:
        images, labels = fetch(constants, batch)
        logits: Any = model.apply(variables, normalize(images, *statistics), train=False)
        losses = cross_entropy(logits, targets_of(labels, logits.shape[-1]))
        return lax.psum(sums(losses, logits, labels, mask), axis_name)

    return step
