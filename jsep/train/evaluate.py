"""Evaluation of a network on a whole test set."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from jsep.train.hosts import share
from jsep.train.parallel import AXIS
from jsep.train.setup import Setup
from jsep.train.step import make_eval_step
from jsep.train.task import Verdict

Receiver = Callable[..., None]


class Examine(Protocol):
    """A function that evaluates a network on every test image once, and tells all that its task measures."""

    def __call__(self, variables: Any, receive: Receiver | None = None) -> Verdict:
        """Return what was measured. The arguments are those of `Evaluate`."""
        ...


class Evaluate(Protocol):
    """A function that evaluates a network on every test image once."""

    def __call__(self, variables: Any, receive: Receiver | None = None) -> dict[str, float]:
        """Return the figures of the network's task, see `jsep.train.task.Task.judge`.

        Args:
            variables: the network's variables, replicated over the devices.
            receive: is called for each batch with what the task says of each image (logits and labels of a classifier),
                without padding, in the order of the images; not where several processes share each batch.
        """
        ...


def make_evaluation(setup: Setup) -> Evaluate:
    """Return a function that evaluates a network on every test image once.

    Args:
        setup: the network, the test images and the devices.
    """
    examine = make_examination(setup)
    return lambda variables, receive=None: examine(variables, receive).figures


def make_examination(setup: Setup) -> Examine:
    """Return a function that evaluates a network on every test image once, and tells what it found of each class.

    Args:
        setup: the network, the test images and the devices.
    """
    devices, feed, task = setup.devices, setup.testing, setup.task
    number = len(devices.devices)
    constants = devices.replicate(feed.constants)
    batch_size = -(-setup.config.recipe.batch_size // number) * number
    step = make_eval_step(setup.model, feed.fetch, setup.statistics, axis_name=AXIS, task=task)
    run, judge = devices.eval_step(step), task.judge(setup.dataset)

    def examine(variables: Any, receive: Receiver | None = None) -> Verdict:
        parts = []
        for batch, mask in feed.evaluation(batch_size, share()):
            kept, said = run(variables, constants, batch, mask)
            parts.append(kept)
            if receive:
                whole = (np.asarray(each).reshape(-1, *each.shape[2:]) for each in said)
                receive(*(each[mask > 0] for each in whole))
        return judge(jax.device_get(parts))

    return examine
