"""The loop alone, with a step that counts: checks of the losses, epochs, stopping and divergence."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jsep.errors import Diverged
from jsep.train import loop
from jsep.train.loop import Position, run_loop
from jsep.train.metrics import Sums
from jsep.train.state import TrainState


class Notes:
    """An observer that records what it receives."""

    def __init__(self):
        self.looks, self.epochs = [], []

    def look(self, position, loss):
        self.looks.append((position.step, loss))

    def epoch(self, position, state, trained, tested):
        self.epochs.append((position.step, trained["loss"], tested["loss"]))


def looped(losses, *, begin=0, stop_after=None, tested=0.5, weight=0.0):
    """Run steps with these losses, three per epoch, and return the observer and the position."""
    notes, position = Notes(), Position(begin)
    left = iter(losses)
    sums = Sums(jnp.float32(6), jnp.float32(1), jnp.float32(3))
    state = TrainState(jnp.int32(0), {"kernel": jnp.asarray([0.0, weight])}, {}, (), sums)
    run_loop(
        lambda state, batch: (state, np.float32(next(left))),
        lambda variables: {"loss": tested, "accuracy": 1.0},
        state,
        itertools.count(),
        position,
        notes,
        steps=6,
        steps_per_epoch=3,
        stopping=lambda: position.step == stop_after,
    )
    return notes, position


def test_it_looks_often_and_evaluates_after_each_epoch(monkeypatch):
    monkeypatch.setattr(loop, "CHECK_EVERY", 2)
    notes, position = looped([1, 2, 3, 4, 5, 6])
    assert notes.looks == [(2, 2), (3, 3), (5, 5), (6, 6)]
    assert notes.epochs == [(3, 2.0, 0.5), (6, 2.0, 0.5)]
    assert position.step == 6


def test_it_goes_on_from_where_it_was():
    notes, _ = looped([5, 6], begin=4)
    assert [step for step, *_ in notes.epochs] == [6]


def test_it_stops_between_two_steps():
    notes, position = looped([1, 2, 3, 4, 5, 6], stop_after=4)
    assert position.step == 4
    assert notes.looks[-1] == (4, 4)


def test_a_loss_that_is_no_number_stops_it_at_its_step():
    with pytest.raises(Diverged, match="The loss is nan at step 2"):
        looped([1, np.nan, np.nan])
    with pytest.raises(Diverged, match="The loss is inf at step 3"):
        looped([1, 2, 3], tested=np.inf)


@pytest.mark.parametrize("weight", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_stop_it_whatever_the_loss(weight):
    with pytest.raises(Diverged, match="The weights are no longer finite at step 3"):
        looped([1, 2, 3], weight=weight)
