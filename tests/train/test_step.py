"""One step on eight devices is the step on one."""

import contextlib
import dataclasses
import functools
import itertools
import types
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsep.data import ResidentFeed, Split, load
from jsep.errors import UserError
from jsep.layers import BatchNorm, Dropout
from jsep.models import create_model
from jsep.runs.config import replace_fields
from jsep.train import Recipe, RunConfig
from jsep.train.parallel import AXIS, Devices
from jsep.train.setup import check_training
from jsep.train.state import create_state
from jsep.train.step import Teacher, make_eval_step, make_train_step

RECIPE = replace_fields(Recipe(), {"crop": 2, "flip": True, "ema": 0.9, "mixup": 0.2, "cutmix": 1.0})


class Small(nn.Module):
    """A batch norm and a dropout: what could differ between devices."""

    axis_name: str | None = AXIS

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dense(4, name="hidden")(x.reshape(len(x), -1))
        x = Dropout(0.5, axis_name=self.axis_name)(x, train=train)
        return nn.Dense(10, name="classifier")(BatchNorm(axis_name=self.axis_name, name="norm")(x, train=train))


@functools.cache
def run(number: int, steps: int, *, make: Callable[[], nn.Module] = Small, dtype: str = "float32", **changes):
    """Train some steps on several devices with everything random switched on, and evaluate one batch.

    Returns the state and the sums of the evaluation, and the last loss.
    """
    dataset, model = load("mnist5k"), make()
    assert isinstance(dataset.train, Split)
    optimizer = optax.sgd(0.01, 0.9, nesterov=True)
    devices, feed = Devices(number), ResidentFeed(dataset.train)
    statistics = (dataset.mean, dataset.std)
    recipe = replace_fields(RECIPE, changes)
    step = make_train_step(model, optimizer, feed.fetch, statistics, recipe, axis_name=AXIS, steps_per_epoch=125)
    state = create_state(model, optimizer, dataset.image_shape, 0, averaged=True)
    learned = (state.params, state.batch_stats, state.opt_state, state.average)
    learned = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, learned)
    params, batch_stats, opt_state, average = learned
    state = dataclasses.replace(state, params=params, batch_stats=batch_stats, opt_state=opt_state, average=average)
    state, constants = devices.replicate(state), devices.replicate((feed.constants, None))
    batches = list(itertools.islice(feed.training(32, 0, 0), steps))
    run_step = devices.train_step(step, state, constants, batches[0])
    losses = []
    for batch in batches:
        state, loss = run_step(state, constants, batch)
        losses.append(float(loss))
    evaluate = devices.eval_step(make_eval_step(model, feed.fetch, statistics, axis_name=AXIS))
    batch, mask = next(feed.evaluation(32))
    found, *_ = evaluate({"params": state.params, "batch_stats": state.batch_stats}, constants[0], batch, mask)
    return jax.device_get((state, found)), losses[-1]


def furthest(a, b) -> float:
    """The largest difference of any array, relative to that array's largest value."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.max(np.abs(x - y)) / (np.max(np.abs(x)) + 1e-30)) for x, y in pairs)


@pytest.mark.slow
def test_eight_devices_train_a_deep_network_as_one():
    # in float64, since in float32 a rounding error sooner or later flips a ReLU or a maximum
    with jax.enable_x64(True):
        make = functools.partial(create_model, "both_cnn", width=1 / 32, dtype=jnp.float64, axis_name=AXIS)
        (one, one_found), _ = run(1, 10, make=make, dtype="float64")
        (eight, eight_found), _ = run(8, 10, make=make, dtype="float64")
    assert furthest(one.params, eight.params) < 1e-10
    assert furthest(one.batch_stats, eight.batch_stats) < 1e-10
    assert furthest(one.average, eight.average) < 1e-7  # its decay is a float32
    assert furthest(one_found, eight_found) < 1e-5  # sums are kept in float32
    assert one.step == eight.step == 10


def test_eight_devices_train_as_one_but_not_without_a_shared_axis():
    (one, one_found), _ = run(1, 2)
    (eight, eight_found), _ = run(8, 2)
    for name in ("params", "batch_stats", "average"):
        assert furthest(getattr(one, name), getattr(eight, name)) < 1e-4, name
    assert furthest(one_found, eight_found) < 1e-4
    alone = functools.partial(Small, None)
    (one, _), _ = run(1, 2, make=alone)  # the pitfall: without the axis, pmap changes the network
    (eight, _), _ = run(8, 2, make=alone)
    assert furthest(one.batch_stats, eight.batch_stats) > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 0.2},
        {"crop": 0},
        {"flip": False},
        {"seed": 1},
        {"mixup": 0.0},
        {"cutmix": 0.0},
        {"accumulate": 2},
    ],
)
def test_every_option_changes_the_loss(changes):
    assert run(1, 1)[1] != run(1, 1, **changes)[1]


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(UserError, match="batch of 30 cannot be shared by 8 devices: take `batch_size`=24"):
        Devices(8).check_batch(30)
    with pytest.raises(UserError, match="in 3 pieces each: take `batch_size`=24 or `accumulate`=1"):
        Devices(8).check_batch(32, 3)
    with pytest.raises(UserError, match=r"need an even number of images on each device.*`batch_size`=48"):
        Devices(8).check_batch(24, even=True)


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="there are 8 here"):
        Devices(9)


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"batch_size": 1}, False),
        ({"batch_size": 4, "accumulate": 4}, False),
        ({"batch_size": 4, "accumulate": 2}, True),
        ({"batch_size": 1, "freeze": ("norm",)}, True),
        ({"batch_size": 1, "freeze": ("norm:3",)}, False),
    ],
)
def test_a_batch_norm_of_one_value_is_refused_before_training(changes, fits):
    config, images = RunConfig(recipe=replace_fields(Recipe(), changes)), types.SimpleNamespace(size=8)
    dataset = types.SimpleNamespace(image_shape=(2, 2, 1))
    setup: Any = types.SimpleNamespace(
        recipe=config.recipe, devices=Devices(1), training=images, model=Normed(), dataset=dataset
    )
    with contextlib.nullcontext() if fits else pytest.raises(UserError, match="norm has 1 value for each channel"):
        check_training(setup)


class Plain(nn.Module):
    """A network with neither batch norm nor dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(2, name="classifier")(nn.relu(nn.Dense(4, name="hidden")(x.reshape(len(x), -1))))


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dense(4, name="hidden")(x.reshape(len(x), -1))
        return nn.Dense(2, name="classifier")(BatchNorm(axis_name=AXIS, name="norm")(x, train=train))


ALTERNATING = np.arange(8, dtype=np.int32) % 2
SHARES = np.array([0, 0, 0, 0, 0, 1, 0, 1], np.int32)  # labels of which two devices have different numbers


def small(
    model, steps=1, teaching=None, teacher=None, number=1, labels=ALTERNATING, epoch=0, class_weights=None, **changes
):
    """Return the states before and after each step on a batch of eight 2x2 images."""
    images = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
    devices, optimizer = Devices(number), optax.sgd(0.5)
    batch = (images, labels)
    options = {
        "axis_name": AXIS,
        "steps_per_epoch": 9,
        "teacher": teacher,
        "epoch": epoch,
        "class_weights": class_weights,
    }
    recipe = replace_fields(Recipe(), changes)
    step = make_train_step(model, optimizer, lambda _, given: given, ((0.0,), (1.0,)), recipe, **options)
    state = create_state(model, optimizer, (2, 2, 1), 0, averaged="ema" in changes)
    states, constants = [jax.device_get(state)], devices.replicate(((), teaching))
    state = devices.replicate(state)
    run_step = devices.train_step(step, state, constants, batch)
    for _ in range(steps):
        state, _ = run_step(state, constants, batch)
        states.append(jax.device_get(state))
    return states


def test_a_batch_in_pieces_has_the_gradient_of_the_whole():
    whole, pieces = (small(Plain(), 3, accumulate=n)[-1] for n in (1, 4))
    assert furthest(whole.params, pieces.params) < 1e-6
    assert float(whole.epoch_sums.count) == float(pieces.epoch_sums.count) == 24


def test_the_average_is_that_of_parameters_and_statistics():
    states = small(Normed(), 4, ema=0.3)
    expected = (states[0].params, states[0].batch_stats)
    for step, state in enumerate(states[1:]):
        decay = min(0.3, (1 + step) / (10 + step))
        new = (state.params, state.batch_stats)
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, new)
    assert furthest(expected, states[-1].average) < 1e-6
    assert states[-1].variables["params"] is states[-1].average[0]
    assert furthest(states[-1].params, states[-1].average[0]) > 1e-3


def test_frozen_statistics_stay():
    first, last = small(Normed(), freeze=("norm",))
    assert furthest(first.batch_stats, last.batch_stats) == 0
    first, last = small(Normed())
    assert furthest(first.batch_stats, last.batch_stats) > 0


@pytest.mark.parametrize(("epoch", "frozen"), [(0, True), (1, True), (2, False)])
def test_statistics_and_gradients_are_frozen_for_some_epochs(epoch, frozen):
    first, last = small(Normed(), epoch=epoch, freeze=("backbone:2",))
    assert (furthest(first.batch_stats, last.batch_stats) == 0) == frozen
    assert (furthest(first.params["hidden"], last.params["hidden"]) == 0) == frozen
    assert furthest(first.params["classifier"], last.params["classifier"]) > 0


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"label_smoothing": 0.3}, {"accumulate": 2}, {"label_smoothing": 0.3, "accumulate": 4}]
)
def test_the_loss_with_class_weights_is_pytorchs(number, changes):
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    weights, labels = np.array([0.4, 3.0], np.float32), SHARES
    first, last = small(Plain(), number=number, labels=labels, class_weights=weights, **changes)
    images = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
    logits = torch.tensor(np.asarray(Plain().apply({"params": first.params}, images / np.float32(255))))
    loss = torch.nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=changes.get("label_smoothing", 0.0))
    theirs = loss(logits.requires_grad_(), torch.tensor(labels).long())
    theirs.backward()
    assert float(last.epoch_sums.loss) / 8 == pytest.approx(theirs.item(), rel=1e-5)
    step = last.params["classifier"]["bias"] - first.params["classifier"]["bias"]
    np.testing.assert_allclose(step, -0.5 * logits.grad.sum(0).numpy(), rtol=1e-4)


def test_the_weighted_mean_is_that_of_the_whole_batch_also_if_images_are_mixed():
    given = {"labels": SHARES, "class_weights": np.array([0.4, 3.0], np.float32), "mixup": 0.5, "label_smoothing": 0.2}
    (_, one), (_, two) = (small(Plain(), number=number, **given) for number in (1, 2))
    assert furthest(one.params, two.params) < 1e-5
    assert furthest(one.epoch_sums, two.epoch_sums) < 1e-5


def test_a_frozen_batch_norm_trains_as_it_evaluates():
    """The classifier's gradient follows from the frozen statistics, not from those of the batch."""
    first, last = small(Normed(), freeze=("norm",))
    images = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
    labels = jnp.arange(8) % 2

    def loss(params):
        variables = {"params": params, "batch_stats": first.batch_stats}
        logits = jax.jit(Normed().apply)(variables, jnp.asarray(images, jnp.float32) / 255)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    expected = jax.tree.map(lambda p, g: p - 0.5 * g, first.params, jax.grad(loss)(first.params))
    assert furthest(expected["classifier"], last.params["classifier"]) < 1e-5


def test_pieces_hold_the_same_examples_on_any_devices():
    (one, _), _ = run(1, 2, accumulate=2)
    (four, _), _ = run(4, 2, accumulate=2)
    assert furthest(one.batch_stats, four.batch_stats) < 1e-4


@pytest.mark.slow
def test_a_teacher_alone_is_followed():
    teaching = Plain().init(jax.random.key(9), jnp.zeros((1, 2, 2, 1)))
    images = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
    x = jnp.asarray(images, jnp.float32) / 255
    theirs = jax.nn.softmax(jax.jit(Plain().apply)(teaching, x))
    teacher = Teacher(Plain(), ((0.0,), (1.0,)))
    states = small(Plain(), 1000, teaching, teacher, teacher_weight=1.0, temperature=1.0)
    far, near = (
        float(jnp.abs(jax.nn.softmax(jax.jit(Plain().apply)({"params": state.params}, x)) - theirs).max())
        for state in (states[0], states[-1])
    )
    assert near < far / 5
