"""The optimizers of a recipe, built from Optax transformations."""

from functools import partial

import optax

from jsep.train.recipe import Optimizer
from jsep.train.select import decayed, matching


def make_optimizer(chosen: Optimizer, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return the optimizer that a recipe names.

    Constants that the recipe leaves open are PyTorch's, and TensorFlow's for rmsprop_tf. The two forms of RMSprop
    differ in where epsilon is added, in the initial mean square (0 and 1) and its decay (0.99 and 0.9), and in whether
    the learning rate is applied after or before the momentum.

    Args:
        chosen: the optimizer of the recipe.
        rate: the learning rate by step, see `jsep.train.schedules.learning_rate`.
    """

    def on(params: optax.Params) -> optax.Params:
        return decayed(params, chosen.decay_on)

    epsilon = chosen.epsilon or (1e-3 if chosen.name == "rmsprop_tf" else 1e-8)
    # frozen parameters are left out of the norm, and frozen again at the end, since weight decay would move them
    frozen = [optax.masked(optax.set_to_zero(), partial(matching, patterns=chosen.freeze))] if chosen.freeze else []
    parts = [*frozen, optax.clip_by_global_norm(chosen.clip)] if chosen.clip else []
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
    return optax.chain(*parts, *frozen)
