"""Learning rates by step, built from Optax schedules."""

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jsep.train.recipe import Schedule


def learning_rate(schedule: Schedule, steps_per_epoch: int) -> optax.Schedule:
    """Return the learning rate as a function of the step: a linear warm-up from zero, then the decay of the schedule.

    >>> rate = learning_rate(Schedule("step", lr=0.4, epochs=10), steps_per_epoch=5)
    >>> [round(float(rate(step)), 4) for step in (0, 24, 25, 49)]
    [0.4, 0.4, 0.04, 0.004]

    Args:
        schedule: the schedule of the recipe.
        steps_per_epoch: steps in one pass over the training images.
    """
    total = schedule.epochs * steps_per_epoch
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    match schedule.name:
        case "constant":
            main = optax.constant_schedule(schedule.lr)
        case "cosine":
            main = optax.cosine_decay_schedule(schedule.lr, max(1, total - warmup))
        case "step":
            # milestones are fractions of the whole run, so the warm-up does not shift them
            at: dict[int, float] = {}
            for milestone in schedule.milestones:
                step = round(milestone * total) - warmup
                at[step] = at.get(step, 1.0) * schedule.decay  # several may fall on one step
            main = optax.piecewise_constant_schedule(schedule.lr, at)
        case "exponential":
            every = max(1, round(schedule.decay_epochs * steps_per_epoch))
            main = optax.exponential_decay(schedule.lr, every, schedule.decay, staircase=True)
        case "saw_tooth":
            main = _saw_tooth(schedule.lr, schedule.epochs, steps_per_epoch, warmup)
    if not warmup:
        return main
    rise = optax.linear_schedule(0.0, schedule.lr, warmup)
    return optax.join_schedules([rise, main], [warmup])


def _saw_tooth(peak: float, epochs: int, steps_per_epoch: int, warmup: int) -> optax.Schedule:
    """Return DiCENet's "hybrid" schedule (arXiv 1906.03516, EdgeNets), which changes once an epoch.

    The first epoch runs at a fifth of the peak. For half of the run, the rate then falls from the peak to that fifth
    every five epochs; after that, it falls linearly from the fifth to zero.
    """
    half = epochs // 2

    def rate(count: ArrayLike) -> Array:
        epoch = (jnp.asarray(count) + warmup) // steps_per_epoch  # of the whole run, so the warm-up shifts no tooth
        tooth = 1 - (epoch - 1) % 5 / 5
        fall = (epochs - epoch) / (epochs - half) / 5
        return peak * jnp.where(epoch <= half, tooth, fall)

    return rate
