"""Learning rates at hand-computed steps, and optimizers that use every field."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jsep.train import RunConfig
from jsep.train.schedules import learning_rate, make_optimizer

BASE = RunConfig(epochs=10, lr=0.4)  # of ten steps each


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "constant"}, {0: 0.4, 99: 0.4}),
        ({"schedule": "cosine"}, {0: 0.4, 50: 0.2, 100: 0.0}),
        ({"schedule": "step"}, {49: 0.4, 50: 0.04, 74: 0.04, 75: 0.004}),
        ({"schedule": "exponential", "decay": 0.5, "decay_epochs": 2}, {19: 0.4, 20: 0.2, 40: 0.1}),
        ({"schedule": "constant", "warmup_epochs": 2}, {0: 0.0, 10: 0.2, 20: 0.4, 99: 0.4}),
        ({"schedule": "step", "warmup_epochs": 2}, {10: 0.2, 49: 0.4, 50: 0.04}),
        ({"schedule": "cosine", "warmup_epochs": 2}, {20: 0.4, 60: 0.2, 100: 0.0}),
    ],
)
def test_rates(changes, rates):
    rate = learning_rate(dataclasses.replace(BASE, **changes), steps_per_epoch=10)
    assert {step: pytest.approx(float(jnp.asarray(rate(step))), abs=1e-6) for step in rates} == rates


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_descend_and_decay_weights(optimizer):
    def update(**changes):
        config = dataclasses.replace(BASE, optimizer=optimizer, **changes)
        transform = make_optimizer(config, learning_rate(config, 10))
        params = {"w": jnp.asarray(2.0)}
        with jax.numpy_dtype_promotion("standard"):
            updates, _ = transform.update({"w": jnp.asarray(0.5)}, transform.init(params), params)
        return float(updates["w"])

    assert update() < 0
    # Adam's and RMSprop's first update has the same size whatever the gradient: only the decoupled decay shows in it
    if optimizer in ("sgd", "adamw"):
        assert update(weight_decay=0.1) < update()


def test_sgd_is_nesterovs():
    config = dataclasses.replace(BASE, optimizer="sgd", lr=1.0, momentum=0.5, schedule="constant")
    transform = make_optimizer(config, learning_rate(config, 10))
    params = jnp.asarray(0.0)
    updates, _ = transform.update(jnp.asarray(1.0), transform.init(params), params)
    assert float(updates) == pytest.approx(-1.5)  # 1 + momentum * 1
