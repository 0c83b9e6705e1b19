"""Detectors and segmenters: eight devices train and evaluate as one, and every picture counts once."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import tiny_tasks

from jsep.errors import UserError
from jsep.runs.config import replace_fields
from jsep.train import RunConfig
from jsep.train import setup as train_setup
from jsep.train.evaluate import make_evaluation
from jsep.train.metrics import balanced_weights
from jsep.train.parallel import AXIS
from jsep.train.setup import prepare
from jsep.train.state import create_state
from jsep.train.step import make_train_step

TASKS = ("detection", "segmentation")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(train_setup, "make_feed", tiny_tasks.TinyFeed)
    with tiny_tasks.registered():
        yield


def config_of(task, **changes) -> RunConfig:
    return replace_fields(RunConfig(f"tiny_{task}"), {"batch_size": 8, "devices": 1, **changes})


def trained(task, steps: int, weights=None, **changes) -> tuple[Any, list[float], Any]:
    """Train some steps, and return the setup, the losses and the state."""
    setup = prepare(config_of(task, **changes), tiny_tasks.dataset(task))
    optimizer = optax.sgd(0.05, 0.9)
    recipe, facts = (
        setup.recipe,
        {"axis_name": AXIS, "steps_per_epoch": 99, "task": setup.task, "class_weights": weights},
    )
    step = make_train_step(setup.model, optimizer, setup.training.fetch, setup.statistics, recipe, **facts)
    state = setup.devices.replicate(create_state(setup.model, optimizer, setup.dataset.image_shape, 0))
    batches = list(itertools.islice(setup.training.training(8, 0, 0), steps))
    run = setup.devices.train_step(step, state, ((), None), batches[0])
    losses = []
    for batch in batches:
        state, loss = run(state, ((), None), batch)
        losses.append(float(loss))
    return setup, losses, state


@pytest.mark.parametrize("task", TASKS)
def test_random_targets_are_like_those_of_a_feed(task):
    setup = prepare(config_of(task), tiny_tasks.dataset(task))
    _, given = setup.training.fetch((), next(setup.training.training(8, 0, 0)))
    drawn = setup.task.draw(jax.random.key(0), 8, setup.dataset.image_shape[:2], setup.task.background + 2)
    for ours, theirs in zip(jax.tree.leaves(drawn), jax.tree.leaves(given), strict=True):
        assert (ours.dtype, ours.ndim) == (theirs.dtype, theirs.ndim)
    labels = np.asarray(drawn.labels - 1 if task == "detection" else drawn)
    assert set(labels.ravel().tolist()) == {0, 1}
    if task == "detection":
        corners = np.asarray(drawn.boxes)
        assert ((corners >= 0) & (corners <= tiny_tasks.SIDE)).all()
        assert (corners[..., 2:] > corners[..., :2]).all()


@pytest.mark.parametrize("task", TASKS)
def test_eight_devices_train_and_evaluate_as_one(task):
    """Each has one picture of a batch, many of them without an object."""
    found = []
    for number in (1, 8):
        setup, losses, state = trained(task, 4, devices=number)
        figures = make_evaluation(setup)(state.variables)
        found.append((losses, jax.device_get((state.params, state.batch_stats, state.epoch_sums)), figures))
    (losses, states, figures), (others, other_states, other_figures) = found
    np.testing.assert_allclose(others, losses, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(states), jax.tree.leaves(other_states), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5 * np.abs(one).max())
    assert other_figures.keys() == figures.keys()
    for name, value in figures.items():
        assert other_figures[name] == pytest.approx(value, rel=1e-4, nan_ok=True), name
    assert losses[-1] < losses[0]


ALONE = """
import json, sys
import jax
from jsep.train.hosts import Hosts
import tiny_tasks
from jsep.train import setup
from jsep.runs.config import replace_fields
from jsep.train import RunConfig
from jsep.train.evaluate import make_evaluation

task, port, index = sys.argv[1:]
Hosts(f"localhost:{port}", 2, int(index)).join()
setup.make_feed = tiny_tasks.TinyFeed
with tiny_tasks.registered():
    made = setup.prepare(replace_fields(RunConfig(f"tiny_{task}"), {"batch_size": 8}), tiny_tasks.dataset(task))
    variables = jax.jit(made.model.clone(axis_name=None).init)(jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)))
    print(json.dumps(make_evaluation(made)(made.devices.replicate(variables))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_processes_evaluate_as_one(task):
    """Each of two processes has four devices and all figures."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    folder = Path(tiny_tasks.__file__).parent
    paths = os.pathsep.join([str(folder), str(folder.parent), os.environ.get("PYTHONPATH", "")])
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": paths}
    words = [sys.executable, "-c", ALONE, task, str(port)]
    both = [subprocess.Popen([*words, str(i)], env=os.environ | flags, stdout=subprocess.PIPE) for i in range(2)]
    said = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in both]
    setup = prepare(config_of(task, devices=8), tiny_tasks.dataset(task))
    variables = jax.jit(setup.model.clone(axis_name=None).init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    expected = make_evaluation(setup)(setup.devices.replicate(variables))
    for found in said:
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("task", TASKS)
def test_every_picture_counts_once_whatever_the_batch(task):
    """21 pictures, whose last batch is padded with copies of the last one."""
    setup, _, state = trained(task, 1)
    whole = make_evaluation(setup)(state.variables)
    other = prepare(config_of(task, batch_size=7), setup.dataset)  # without padding
    assert make_evaluation(other)(state.variables) == pytest.approx(whole, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_learned_is_measured(task):
    """A detector's first class is the background, and its boxes are measured in pixels of the pictures."""
    setup, _, state = trained(task, 150)
    figures = make_evaluation(setup)(state.variables)
    assert figures[{"detection": "ap50", "segmentation": "miou"}[task]] > 0.5


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_backbone_is_the_module_of_that_name(task):
    setup, _, state = trained(task, 1, freeze=("backbone",))
    start = create_state(setup.model, optax.sgd(0.1), setup.dataset.image_shape, 0)
    same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), start.params, jax.device_get(state.params))
    assert all(jax.tree.leaves(same["backbone"]))
    assert not any(jax.tree.leaves({name: tree for name, tree in same.items() if name != "backbone"}))
    assert np.array_equal(
        start.batch_stats["backbone"]["body_norm"]["mean"], state.batch_stats["backbone"]["body_norm"]["mean"]
    )


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        *(("detection", change) for change in ({"label_smoothing": 0.1}, {"class_weights": "balanced"})),
        *((task, change) for task in TASKS for change in ({"mixup": 0.2}, {"cutmix": 1.0})),
        ("segmentation", {"label_smoothing": 0.1}),
        ("detection", {"monitor": "loss"}),
    ],
)
def test_settings_that_mean_nothing_are_refused(task, changes):
    ((name, value),) = changes.items()
    noun = {"detection": "detector", "segmentation": "segmenter"}[task]
    sentence = f"^`{name}`={value}: it has no meaning for {noun}s such as tiny_{task}; leave it out$"
    with pytest.raises(UserError, match=sentence):
        prepare(config_of(task, **changes), tiny_tasks.dataset(task))


def test_pixels_of_rare_classes_weigh_more():
    setup = prepare(config_of("segmentation", class_weights="balanced"), tiny_tasks.dataset("segmentation"))
    counts = setup.task.count(setup.dataset, setup.training)
    masks = setup.dataset.train.masks  # type: ignore[union-attr]
    assert counts.tolist() == [(masks == value).sum() for value in range(3)]
    weights = balanced_weights(counts)
    _, (loss, *_), _ = trained("segmentation", 1)
    _, (other, *_), _ = trained("segmentation", 1, weights=weights)
    assert other != pytest.approx(loss, rel=1e-3)
