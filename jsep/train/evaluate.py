"""Evaluation of a network on a whole test set."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jsep.train.hosts import share
from jsep.train.parallel import AXIS
from jsep.train.setup import Setup
from jsep.train.step import make_eval_step


def make_evaluation(setup: Setup) -> Callable[[Any], dict[str, float]]:
    """Return a function that evaluates a network on every test image once.

    Args:
        setup: the network, the test images and the devices.

    Returns:
        A function from the network's variables, replicated over the devices, to its mean "loss" (in nats) and its
        "accuracy" (from 0 to 1).
    """
    devices, feed = setup.devices, setup.testing
    number = len(devices.devices)
    constants = devices.replicate(feed.constants)
    batch_size = -(-setup.config.recipe.batch_size // number) * number
    step = devices.eval_step(make_eval_step(setup.model, feed.fetch, setup.statistics, axis_name=AXIS))

    def evaluate(variables: Any) -> dict[str, float]:
        parts = [step(variables, constants, batch, mask) for batch, mask in feed.evaluation(batch_size, share())]
        totals = jax.tree.map(lambda *s: np.sum(s, dtype=np.float64), *jax.device_get(parts))
        return totals.means()

    return evaluate
