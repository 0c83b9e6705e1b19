"""Learning rates by step, and the optimizers over them (all of Optax)."""

import optax

from jsep.train.config import RunConfig


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
    if not warmup:
        return main
    rise = optax.linear_schedule(0.0, config.lr, warmup)
    return optax.join_schedules([rise, main], [warmup])


def make_optimizer(config: RunConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer of the config. Epsilon, betas and decay are PyTorch's and Optax's common defaults."""
    l2 = optax.add_decayed_weights(config.weight_decay)
    match config.optimizer:
        case "adamw":
            return optax.adamw(rate, weight_decay=config.weight_decay)
        case "adam":
            return optax.chain(l2, optax.adam(rate))
        case "sgd":
            return optax.chain(l2, optax.sgd(rate, config.momentum, nesterov=config.momentum > 0))
        case "rmsprop":
            return optax.chain(l2, optax.rmsprop(rate, decay=0.9, momentum=config.momentum))
