"""Learning rates by step, and the optimizers over them (all of Optax)."""

from functools import partial

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jsep.train.config import RunConfig
from jsep.train.select import decayed, matching


def learning_rate(config: RunConfig, steps_per_epoch: int) -> optax.Schedule:
    """The rate at each step: a linear warm-up from zero, then what `config.schedule` says.

    >>> rate = learning_rate(RunConfig(epochs=10, lr=0.4, schedule="step"), steps_per_epoch=5)
    >>> [round(float(rate(step)), 4) for step in (0, 24, 25, 49)]
    [0.4, 0.4, 0.04, 0.004]
    """
    total = config.epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    match config.schedule:
        case "constant":
            main = optax.constant_schedule(config.lr)
        case "cosine":
            main = optax.cosine_decay_schedule(config.lr, max(1, total - warmup))
        case "step":
            # milestones are shares of the whole run, so the warm-up shifts none of them
            at = {round(m * total) - warmup: config.decay for m in config.milestones}
            main = optax.piecewise_constant_schedule(config.lr, at)
        case "exponential":
            every = max(1, round(config.decay_epochs * steps_per_epoch))
            main = optax.exponential_decay(config.lr, every, config.decay, staircase=True)
        case "saw_tooth":
            main = _saw_tooth(config.lr, config.epochs, steps_per_epoch, warmup)
    if not warmup:
        return main
    rise = optax.linear_schedule(0.0, config.lr, warmup)
    return optax.join_schedules([rise, main], [warmup])


def _saw_tooth(peak: float, epochs: int, steps_per_epoch: int, warmup: int) -> optax.Schedule:
    """DiCENet's "hybrid" schedule (arXiv 1906.03516, EdgeNets), epoch by epoch.

    The first epoch at a fifth of the peak; then teeth of five epochs, from the peak down to that fifth, for half of
    the run; then a line from the fifth to zero.
    """
    half = epochs // 2

    def rate(count: ArrayLike) -> Array:
        epoch = (jnp.asarray(count) + warmup) // steps_per_epoch  # of the whole run, so the warm-up shifts no tooth
        tooth = 1 - (epoch - 1) % 5 / 5
        fall = (epochs - epoch) / (epochs - half) / 5
        return peak * jnp.where(epoch <= half, tooth, fall)

    return rate


def make_optimizer(config: RunConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer of the config. What it does not say is PyTorch's default, or TensorFlow's for rmsprop_tf.

    The two forms of RMSprop differ where the epsilon is added, in the first value of the mean square (0 and 1), and in
    when the rate multiplies (behind and before the momentum); their mean squares decay by 0.99 and 0.9.
    """

    def on(params: optax.Params) -> optax.Params:
        return decayed(params, config.decay_on)

    epsilon = config.epsilon or (1e-3 if config.optimizer == "rmsprop_tf" else 1e-8)
    # what is frozen counts for no norm, and at the end decays by no weight decay
    frozen = [optax.masked(optax.set_to_zero(), partial(matching, patterns=config.freeze))] if config.freeze else []
    parts = [*frozen, optax.clip_by_global_norm(config.clip)] if config.clip else []
    if config.optimizer not in ("adamw", "lars"):
        parts.append(optax.add_decayed_weights(config.weight_decay, on))
    match config.optimizer:
        case "adamw":
            parts.append(optax.adamw(rate, eps=epsilon, weight_decay=config.weight_decay, mask=on))
        case "adam":
            parts.append(optax.adam(rate, eps=epsilon))
        case "sgd":
            parts.append(optax.sgd(rate, config.momentum, nesterov=config.momentum > 0))
        case "rmsprop":
            parts += [
                optax.scale_by_rms(0.99, epsilon, eps_in_sqrt=False),
                optax.trace(config.momentum),
                optax.scale_by_learning_rate(rate),
            ]
        case "rmsprop_tf":
            parts += [
                optax.scale_by_rms(0.9, epsilon, initial_scale=1.0),
                optax.scale_by_learning_rate(rate),
                optax.trace(config.momentum),
            ]
        case "lars":
            # norms and biases take plain steps, as in the paper's experiments
            kernels = partial(decayed, on="kernels")
            parts.append(optax.lars(rate, config.weight_decay, on, trust_ratio_mask=kernels, momentum=config.momentum))
    return optax.chain(*parts, *frozen)
