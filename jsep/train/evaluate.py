"""Evaluation of a network on a whole test set."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float, Int

from jsep.train.hosts import share
from jsep.train.parallel import AXIS
from jsep.train.setup import Setup
from jsep.train.step import make_eval_step

# receives the logits and labels of the next test images
Receiver = Callable[[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]], None]


class Evaluate(Protocol):
    """A function that evaluates a network on every test image once."""

    def __call__(self, variables: Any, receive: Receiver | None = None) -> dict[str, float]:
        """Return the mean "loss" (in nats), the "accuracy" and the "top5" accuracy (from 0 to 1).

        Args:
            variables: the network's variables, replicated over the devices.
            receive: is called with the logits and labels of each batch, without padding, in the order of the images;
                not where several processes share each batch.
        """
        ...


def make_evaluation(setup: Setup) -> Evaluate:
    """Return a function that evaluates a network on every test image once.

    Args:
        setup: the network, the test images and the devices.
    """
    devices, feed = setup.devices, setup.testing
    number = len(devices.devices)
    constants = devices.replicate(feed.constants)
    batch_size = -(-setup.config.recipe.batch_size // number) * number
    step = devices.eval_step(make_eval_step(setup.model, feed.fetch, setup.statistics, axis_name=AXIS))

    def evaluate(variables: Any, receive: Receiver | None = None) -> dict[str, float]:
        parts = []
        for batch, mask in feed.evaluation(batch_size, share()):
            sums, logits, labels = step(variables, constants, batch, mask)
            parts.append(sums)
            if receive:
                logits, labels = (np.asarray(each).reshape(-1, *each.shape[2:]) for each in (logits, labels))
                receive(logits[mask > 0], labels[mask > 0])
        totals = jax.tree.map(lambda *s: np.sum(s, dtype=np.float64), *jax.device_get(parts))
        return totals.means()

    return evaluate
