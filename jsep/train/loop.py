"""The loop of a training: steps, looks at the losses, and evaluations at the end of each epoch.

It knows neither files nor people: what happens at a look and at the end of an epoch is passed in.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import numpy as np

from jsep.errors import Diverged
from jsep.train.state import TrainState

CHECK_EVERY = 25  # steps between two looks at the losses: a look waits for the device


@dataclasses.dataclass
class Position:
    """How far a training has come.

    Attributes:
        step: steps done.
        seconds: time of training, without compilation and evaluation.
        compile_seconds: time of compilation.
    """

    step: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0


class Observer(Protocol):
    """What is told of a training, to log it, show it and save it."""

    def look(self, position: Position, loss: float) -> None:
        """Hear of the loss of the last step."""

    def epoch(self, position: Position, state: TrainState, trained: dict[str, float], tested: dict[str, float]) -> None:
        """Hear of the end of an epoch: the means over its training images, and over the test images."""


def run_loop(
    run_step: Callable[[TrainState, Any], tuple[TrainState, Any]],
    evaluate: Callable[[Any], dict[str, float]],
    state: TrainState,
    batches: Iterator[Any],
    position: Position,
    observer: Observer,
    *,
    steps: int,
    steps_per_epoch: int,
    stopping: Callable[[], bool],
) -> TrainState:
    """Train until `steps` are done or `stopping` answers yes, and return the state.

    Args:
        run_step: one step, from a state and a batch to the next state and the loss.
        evaluate: the "loss" and "accuracy" of variables over the test images.
        state: the state to begin with.
        batches: endless; the first is the batch of the first step to do.
        position: how far the training has come; it is moved on in place.
        observer: told of each look and each epoch.
        steps: where the training ends.
        steps_per_epoch: steps between two evaluations.
        stopping: asked after every step.

    Raises:
        Diverged: a loss is no number.
    """
    batch = next(batches)
    while position.step < steps and not stopping():
        started = time.perf_counter()
        losses = []
        # up to the next look at the losses or the end of the epoch, whichever comes first
        epoch_end = (position.step // steps_per_epoch + 1) * steps_per_epoch
        for _ in range(position.step, min(position.step + CHECK_EVERY, epoch_end)):
            state, loss = run_step(state, batch)
            position.step += 1
            losses.append(loss)
            batch = next(batches)
            if stopping():
                break
        _check_finite(np.asarray(jax.device_get(losses)), position.step)
        position.seconds += time.perf_counter() - started
        observer.look(position, float(losses[-1]))
        if position.step % steps_per_epoch:
            continue
        trained = jax.device_get(state.epoch_sums).means()
        tested = evaluate(state.variables)
        _check_finite(np.asarray([tested["loss"]]), position.step)
        observer.epoch(position, state, trained, tested)
    return state


def _check_finite(losses: np.ndarray, step: int) -> None:
    """Raise `Diverged` where one of the last losses, of which the last is that of `step`, is no number."""
    bad = ~np.isfinite(losses)
    if bad.any():
        at = step - len(losses) + int(np.argmax(bad)) + 1
        raise Diverged(f"The loss is {losses[bad][0]} at step {at}")
