"""The optimizers of a recipe, built from Optax transformations."""

import math
from collections.abc import Hashable
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax

from jsep.train.recipe import Optimizer, Schedule
from jsep.train.schedules import learning_rate
from jsep.train.select import HEAD, decayed, delays, frozen_epochs, matching, still_frozen
from jsep.trees import map_named


def make_optimizer(chosen: Optimizer, schedule: Schedule, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return the optimizer that a recipe names.

    Constants that the recipe leaves open are PyTorch's, and TensorFlow's for rmsprop_tf. The two forms of RMSprop
    differ in where epsilon is added, in the initial mean square (0 and 1) and its decay (0.99 and 0.9), and in whether
    the learning rate is applied after or before the momentum.

    Parameters that are frozen for some epochs get an optimizer of their own, whose moments and bias correction begin
    when they are trained. Until then their gradients must be zero, so that they do not count in the norm that is
    clipped; `jsep.train.step.make_train_step` sees to that.

    Args:
        chosen: the optimizer of the recipe.
        schedule: the learning rates of the recipe.
        steps_per_epoch: steps in one pass over the training images.
    """
    rate, epochs = learning_rate(schedule, steps_per_epoch), delays(chosen.freeze)
    # frozen parameters are left out of the norm, and frozen again at the end, since weight decay would move them
    always = still_frozen(chosen.freeze, max(epochs, default=0))
    frozen = [optax.masked(optax.set_to_zero(), partial(matching, patterns=always))] if always else []
    parts = [*frozen, optax.clip_by_global_norm(chosen.clip)] if chosen.clip else []
    if epochs:
        groups: dict[Hashable, optax.GradientTransformation] = {"0": optax.chain(*_rule(chosen, rate))}
        groups |= {str(epoch): _delayed(chosen, rate, epoch * steps_per_epoch) for epoch in epochs}

        def group_of(path: str, _: Any) -> str:
            epoch = frozen_epochs(path, chosen.freeze)
            return str(epoch) if math.isfinite(epoch) else "0"

        parts.append(optax.partition(groups, partial(map_named, group_of)))
    else:
        parts += _rule(chosen, rate)
    if schedule.head_lr:  # every rule is linear in the learning rate
        scale = optax.scale(schedule.head_lr / schedule.lr)
        parts.append(optax.masked(scale, partial(matching, patterns=[HEAD])))
    return optax.chain(*parts, *frozen)


def _delayed(chosen: Optimizer, rate: optax.Schedule, first: int) -> optax.GradientTransformation:
    """Return the optimizer of parameters that are trained from the step `first` on, with the rate of that step."""
    rule = optax.chain(*_rule(chosen, lambda step: rate(step + first)))
    begun: Any = partial(jnp.less_equal, first)
    return optax.conditionally_mask(rule, begun)


def _rule(chosen: Optimizer, rate: optax.Schedule) -> list[optax.GradientTransformation]:
    """Return the transformations of a gradient that make it an update."""

    def on(params: optax.Params) -> optax.Params:
        return decayed(params, chosen.decay_on)

    epsilon = chosen.epsilon or (1e-3 if chosen.name == "rmsprop_tf" else 1e-8)
    parts: list[optax.GradientTransformation] = []
    if chosen.name not in ("adamw", "lars"):
        parts.append(optax.add_decayed_weights(chosen.weight_decay, on))
    match chosen.name:
        case "adamw":
            parts.append(optax.adamw(rate, eps=epsilon, weight_decay=chosen.weight_decay, mask=on))
        case "adam":
            parts.append(optax.adam(rate, eps=epsilon))
        case "sgd":
            parts.append(optax.sgd(rate, chosen.momentum, nesterov=chosen.momentum > 0))
        case "rmsprop":
            parts += [
                optax.scale_by_rms(0.99, epsilon, eps_in_sqrt=False),
                optax.trace(chosen.momentum),
                optax.scale_by_learning_rate(rate),
            ]
        case "rmsprop_tf":
            parts += [
                optax.scale_by_rms(0.9, epsilon, initial_scale=1.0),
                optax.scale_by_learning_rate(rate),
                optax.trace(chosen.momentum),
            ]
        case "lars":
            # norms and biases take plain SGD steps, as in the paper's experiments
            kernels = partial(decayed, on="kernels")
            parts.append(optax.lars(rate, chosen.weight_decay, on, trust_ratio_mask=kernels, momentum=chosen.momentum))
    return parts
