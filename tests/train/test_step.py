"""One step on eight devices is the step on one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsep.data import Augmentation, ResidentFeed, load
from jsep.errors import UserError
from jsep.models import create_model
from jsep.train.parallel import AXIS, Devices
from jsep.train.state import create_state
from jsep.train.step import make_eval_step, make_train_step

AUGMENTATION = Augmentation(crop=2, flip=True)


def run(number: int, steps: int, *, dtype=jnp.float32, axis_name: str | None = AXIS, **changes):
    """Train some steps on so many devices, with every random part on, and evaluate one batch."""
    dataset = load("mnist5k")
    model = create_model("both_cnn", width=1 / 32, dtype=dtype, axis_name=axis_name)
    optimizer = optax.sgd(0.01, 0.9, nesterov=True)
    devices, feed = Devices(number), ResidentFeed(dataset.train)
    statistics = (dataset.mean, dataset.std)
    options = {"axis_name": AXIS, "steps_per_epoch": 125, "seed": 0, "augmentation": AUGMENTATION} | changes
    step = make_train_step(model, optimizer, feed.fetch, statistics, **options)
    state = create_state(model, optimizer, dataset.image_shape, 0)
    learned = (state.params, state.batch_stats, state.opt_state)
    learned = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, learned)
    params, batch_stats, opt_state = learned
    state = devices.replicate(state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state))
    constants = devices.replicate(feed.constants)
    batches = list(itertools.islice(feed.training(32, 0, 0), steps))
    run_step = devices.train_step(step, state, constants, batches[0])
    for batch in batches:
        state, loss = run_step(state, constants, batch)
    evaluate = devices.eval_step(make_eval_step(model, feed.fetch, statistics, axis_name=AXIS))
    batch, mask = next(feed.evaluation(32))
    found = evaluate({"params": state.params, "batch_stats": state.batch_stats}, constants, batch, mask)
    return jax.device_get((state, found)), float(loss)


def furthest(a, b) -> float:
    """The largest difference of any array, relative to that array's largest value."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(x - y)) / (np.max(np.abs(x)) + 1e-30)) for x, y in pairs)


def test_eight_devices_train_as_one():
    # in float64: in float32 a rounding error sooner or later turns a ReLU or a maximum over, in either run
    with jax.enable_x64(True):
        (one, one_found), _ = run(1, 20, dtype=jnp.float64)
        (eight, eight_found), _ = run(8, 20, dtype=jnp.float64)
    assert furthest(one.params, eight.params) < 1e-10
    assert furthest(one.batch_stats, eight.batch_stats) < 1e-10
    assert furthest(one_found, eight_found) < 1e-5  # sums are kept in float32
    assert one.step == eight.step == 20


def test_without_a_shared_axis_the_statistics_would_differ():
    (one, _), _ = run(1, 2, axis_name=None)  # the trap: pmap alone changes the network
    (eight, _), _ = run(8, 2, axis_name=None)
    assert furthest(one.batch_stats, eight.batch_stats) > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 0.2},
        {"augmentation": Augmentation(flip=True)},
        {"augmentation": Augmentation(crop=2)},
        {"seed": 1},
    ],
)
def test_every_option_changes_the_loss(changes):
    assert run(1, 1)[1] != run(1, 1, **changes)[1]


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(UserError, match="batch of 30 cannot be shared by 8 devices: take --batch-size 24"):
        Devices(8).check_batch(30)


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="there are 8 here"):
        Devices(9)
