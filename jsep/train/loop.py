"""The training loop: steps, checks of their losses and of the weights, and an evaluation at the end of each epoch.

It knows neither files nor the console; an observer takes care of progress, logs and checkpoints.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jsep.errors import Diverged
from jsep.train.state import TrainState

CHECK_EVERY = 25  # steps between two checks; a check waits for the device


@dataclasses.dataclass
class Position:
    """Progress of a training.

    Attributes:
        step: number of steps done.
        seconds: seconds of training, without compilation and evaluation.
        compile_seconds: seconds of compilation.
    """

    step: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0


class Observer(Protocol):
    """Receiver of what happens in the loop, which logs, shows and saves it."""

    def look(self, position: Position, loss: float) -> None:
        """Receive the loss of the last step, at every check of the losses."""

    def epoch(self, position: Position, state: TrainState, trained: dict[str, float], tested: dict[str, float]) -> None:
        """Receive the state at the end of an epoch.

        Args:
            position: how far the training has come.
            state: the training state.
            trained: mean "loss" and "accuracy" over the training images of the epoch.
            tested: the figures of all test images, see `jsep.train.task.Task.judge`.
        """


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
    """Train until `steps` are done or `stopping` returns true.

    Args:
        run_step: one step, from a state and a batch to the next state and the loss.
        evaluate: returns the figures of variables on the test images, the mean "loss" among them if it is measured.
        state: the state to start from.
        batches: an endless iterator, beginning with the batch of the next step.
        position: how far the training has come; updated in place.
        observer: receives every check of the losses and every epoch.
        steps: length of the whole training, including the steps already done.
        steps_per_epoch: steps between two evaluations.
        stopping: called after every step.

    Returns:
        The state after the last step.

    Raises:
        Diverged: a loss or a weight is NaN or infinite.
    """
    batch = next(batches)
    while position.step < steps and not stopping():
        started = time.perf_counter()
        losses = []
        # up to the next check of the losses or the end of the epoch, whichever comes first
        epoch_end = (position.step // steps_per_epoch + 1) * steps_per_epoch
        for _ in range(position.step, min(position.step + CHECK_EVERY, epoch_end)):
            state, loss = run_step(state, batch)
            position.step += 1
            losses.append(loss)
            batch = next(batches)
            if stopping():
                break
        _check_finite(np.asarray(jax.device_get(losses)), position.step)
        # weights too: a forward pass may turn NaN into 0 in a ReLU, and give a finite loss
        if not _all_finite((state.params, state.batch_stats, state.average)):
            raise Diverged(f"The weights are no longer finite at step {position.step}")
        position.seconds += time.perf_counter() - started
        observer.look(position, float(losses[-1]))
        if position.step % steps_per_epoch:
            continue
        trained = jax.device_get(state.epoch_sums).means()
        tested = evaluate(state.variables)
        _check_finite(np.asarray([tested.get("loss", 0.0)]), position.step)
        observer.epoch(position, state, trained, tested)
    return state


@jax.jit
def _all_finite(tree: Any) -> Bool[Array, ""]:
    """Return whether no array of a tree holds NaN or infinity."""
    return jnp.all(jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)], bool))


def _check_finite(losses: np.ndarray, step: int) -> None:
    """Raise `Diverged` if one of the losses, the last of them that of `step`, is NaN or infinite."""
    bad = ~np.isfinite(losses)
    if bad.any():
        at = step - len(losses) + int(np.argmax(bad)) + 1
        raise Diverged(f"The loss is {losses[bad][0]} at step {at}")
