"""The optimizers of a recipe (all of Optax)."""

from functools import partial

import optax

from jsep.train.recipe import Optimizer
from jsep.train.select import decayed, matching


def make_optimizer(chosen: Optimizer, rate: optax.Schedule) -> optax.GradientTransformation:
    """Return the optimizer that a recipe names. Constants that it leaves open are PyTorch's, or TensorFlow's for
    rmsprop_tf.

    The two forms of RMSprop differ in three ways: where the epsilon is added, what the mean square begins with (0 and
    1), and whether the rate multiplies after or before the momentum. Their mean squares decay by 0.99 and 0.9.

    Args:
        chosen: the optimizer of the recipe.
        rate: the learning rate by step, see `jsep.train.schedules.learning_rate`.
    """

    def on(params: optax.Params) -> optax.Params:
        return decayed(params, chosen.decay_on)

    epsilon = chosen.epsilon or (1e-3 if chosen.name == "rmsprop_tf" else 1e-8)
    # frozen parameters count for no norm; at the end they are frozen again, since weight decay would move them
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
            # norms and biases take plain steps, as in the paper's experiments
            kernels = partial(decayed, on="kernels")
            parts.append(optax.lars(rate, chosen.weight_decay, on, trust_ratio_mask=kernels, momentum=chosen.momentum))
    return optax.chain(*parts, *frozen)
