"""Learning rates against hand-computed ones, and optimizers that use every field."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jsep.errors import UserError
from jsep.runs.config import replace_fields
from jsep.train import Recipe, Schedule
from jsep.train.optimizer import make_optimizer
from jsep.train.schedules import learning_rate
from jsep.train.select import check_frozen

BASE = Recipe(schedule=Schedule(epochs=10, lr=0.4))  # epochs of ten steps


def optimizer_of(steps_per_epoch=10, **changes):
    recipe = replace_fields(BASE, changes)
    return make_optimizer(recipe.optimizer, recipe.schedule, steps_per_epoch)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "constant"}, {0: 0.4, 99: 0.4}),
        ({"schedule": "cosine"}, {0: 0.4, 50: 0.2, 100: 0.0}),
        ({"schedule": "step"}, {49: 0.4, 50: 0.04, 74: 0.04, 75: 0.004}),
        ({"schedule": "exponential", "decay": 0.5, "decay_epochs": 2}, {19: 0.4, 20: 0.2, 40: 0.1}),
        (  # ten epochs of ten steps: a fifth, one tooth, then down to zero in fifths of a fifth
            {"schedule": "saw_tooth"},
            {0: 0.08, 9: 0.08, 10: 0.4, 20: 0.32, 30: 0.24, 40: 0.16, 59: 0.08, 60: 0.064, 90: 0.016},
        ),
        ({"schedule": "saw_tooth", "warmup_epochs": 2}, {10: 0.2, 19: 0.38, 20: 0.32, 60: 0.064}),
        ({"schedule": "constant", "warmup_epochs": 2}, {0: 0.0, 10: 0.2, 20: 0.4, 99: 0.4}),
        ({"schedule": "step", "warmup_epochs": 2}, {10: 0.2, 49: 0.4, 50: 0.04}),
        ({"schedule": "cosine", "warmup_epochs": 2}, {20: 0.4, 60: 0.2, 100: 0.0}),
    ],
)
def test_rates(changes, rates):
    rate = learning_rate(replace_fields(BASE, changes).schedule, steps_per_epoch=10)
    assert {step: pytest.approx(float(jnp.asarray(rate(step))), abs=1e-6) for step in rates} == rates


@pytest.mark.parametrize(
    ("milestones", "rates"),
    [
        ((0.5, 0.51), [0.4] * 5 + [0.004] * 5),  # both fall on step 5
        ((0.5, 0.5), [0.4] * 5 + [0.004] * 5),
        ((0.3, 0.29, 0.31, 0.8), [0.4] * 3 + [0.0004] * 5 + [0.00004] * 2),
    ],
)
def test_every_milestone_counts_also_if_several_fall_on_one_step(milestones, rates):
    rate = learning_rate(replace_fields(BASE, {"schedule": "step", "milestones": milestones}).schedule, 1)
    assert [float(jnp.asarray(rate(step))) for step in range(10)] == pytest.approx(rates, rel=1e-6)


def test_milestones_are_pytorchs():
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    milestones = (0.21, 0.5, 0.52, 0.9)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.4)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [round(m * 30) for m in milestones], gamma=0.5)
    fields = {"schedule": "step", "milestones": milestones, "decay": 0.5}
    rate = learning_rate(replace_fields(BASE, fields).schedule, steps_per_epoch=3)
    for step in range(30):
        assert float(jnp.asarray(rate(step))) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        theirs.step()


def updated(params, grads, **changes) -> Any:
    fields = {"optimizer": "sgd", "lr": 1.0, "momentum": 0.0, "schedule": "constant", **changes}
    transform = optimizer_of(**fields)
    with jax.numpy_dtype_promotion("standard"):
        return transform.update(grads, transform.init(params), params)[0]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"])
def test_optimizers_descend_and_decay_weights(optimizer):
    def update(**changes):
        params, grads = ({"w": jnp.full((1, 1), value)} for value in (2.0, 0.5))
        return float(updated(params, grads, optimizer=optimizer, **changes)["w"][0, 0])

    assert update() < 0
    # the first update of Adam and RMSprop has the same size for any gradient, so only decoupled decay shows
    if optimizer in ("sgd", "adamw", "rmsprop_tf"):
        assert update(weight_decay=0.1) < update()


def test_sgd_is_nesterovs():
    update = updated(jnp.asarray(0.0), jnp.asarray(1.0), momentum=0.5)
    assert float(update) == pytest.approx(-1.5)  # 1 + momentum * 1


GRADIENTS = [0.5, -0.2, 0.3, 0.1]


def walked(**changes) -> list[float]:
    """Return the values of a parameter that starts at 2, under `GRADIENTS` and a rate that halves at every step."""
    fields = {"lr": 0.1, "schedule": "exponential", "decay": 0.5, "decay_epochs": 1.0, **changes}
    transform = optimizer_of(steps_per_epoch=1, **fields)
    params: Any = {"w": jnp.asarray([2.0])}
    state, found = transform.init(params), []
    for gradient in GRADIENTS:
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update({"w": jnp.asarray([gradient])}, state, params)
        params = optax.apply_updates(params, updates)
        found.append(float(params["w"][0]))
    return found


def test_rmsprop_is_pytorchs():
    torch = pytest.importorskip("torch", reason="the reference is PyTorch")
    w = torch.tensor([2.0], requires_grad=True)
    reference = torch.optim.RMSprop([w], lr=0.1, momentum=0.9, weight_decay=0.01)
    expected = []
    for i, gradient in enumerate(GRADIENTS):
        reference.param_groups[0]["lr"] = 0.1 * 0.5**i
        w.grad = torch.tensor([gradient])
        reference.step()
        expected.append(w.item())
    assert walked(optimizer="rmsprop", weight_decay=0.01) == pytest.approx(expected, rel=1e-6)


def test_rmsprop_tf_is_tensorflows():
    w, square, momentum, expected = 2.0, 1.0, 0.0, []
    for i, gradient in enumerate(GRADIENTS):
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.1 * 0.5**i * gradient / (square + 1e-3) ** 0.5
        w -= momentum
        expected.append(w)
    found = walked(optimizer="rmsprop_tf")
    assert found == pytest.approx(expected, rel=1e-6)
    assert found != pytest.approx(walked(optimizer="rmsprop"), rel=1e-3)


TREE = {
    "stem": {"kernel": jnp.ones((3, 3, 3, 2))},
    "depthwise": {"kernel": jnp.ones((3, 3, 1, 2))},
    "norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
}


@pytest.mark.parametrize(
    ("on", "decayed"),
    [("all", {"stem", "depthwise", "norm"}), ("kernels", {"stem", "depthwise"}), ("dense", {"stem"})],
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_weight_decay_acts_where_it_is_said_to(optimizer, on, decayed):
    still = jax.tree.map(jnp.zeros_like, TREE)
    found = updated(TREE, still, optimizer=optimizer, weight_decay=0.1, decay_on=on)
    assert {name for name, leaves in found.items() if any(x.any() for x in leaves.values())} == decayed


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    grads = jax.tree.map(jnp.ones_like, TREE)
    assert float(optax.tree.norm(updated(TREE, grads, clip=0.5))) == pytest.approx(0.5, rel=1e-5)
    assert float(optax.tree.norm(updated(TREE, grads, clip=1e3))) == pytest.approx(76**0.5, rel=1e-5)


def test_clipping_does_not_count_what_is_frozen():
    found = updated(TREE, jax.tree.map(jnp.ones_like, TREE), clip=0.5, freeze=("stem", "depthwise"))
    assert float(optax.tree.norm(found["norm"])) == pytest.approx(0.5, rel=1e-5)


def test_frozen_parameters_stay():
    found = updated(TREE, jax.tree.map(jnp.ones_like, TREE), freeze=("stem", "norm/sc*"), weight_decay=0.1)
    assert not found["stem"]["kernel"].any()
    assert not found["norm"]["scale"].any()
    assert found["norm"]["bias"].all()
    assert found["depthwise"]["kernel"].all()
    with pytest.raises(UserError, match=r"`freeze`=stm: no parameter matches it.*stem"):
        check_frozen(TREE, ["stem", "stm"])
    with pytest.raises(UserError, match=r"`freeze`=backbon: no parameter matches it; did you mean backbone"):
        check_frozen(TREE, ["backbon"])


HEADED: Any = {"stem": {"kernel": jnp.full((2, 2), 2.0)}, "classifier": {"kernel": jnp.full((2, 2), 3.0)}}
OPTIMIZERS = ["adam", "adamw", "sgd", "rmsprop", "rmsprop_tf", "lars"]


def walk(params: Any, gradients: Sequence[float], **changes) -> list[Any]:
    """Return the updates of each step, under gradients of which all values are equal; an epoch has two steps."""
    transform = optimizer_of(2, **{"lr": 0.1, "weight_decay": 0.01, **changes})
    state, found = transform.init(params), []
    for gradient in gradients:
        grads = jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        found.append(jax.device_get(updates))
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_classifier_has_a_rate_of_its_own(optimizer):
    plain, head, high = (
        walk(HEADED, GRADIENTS[:1], optimizer=optimizer, clip=0.5, **more)[0]
        for more in ({}, {"head_lr": 0.4}, {"lr": 0.4})
    )
    np.testing.assert_array_equal(head["stem"]["kernel"], plain["stem"]["kernel"])
    np.testing.assert_allclose(head["classifier"]["kernel"], high["classifier"]["kernel"], rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_frozen_for_some_epochs_begins_as_if_it_were_new(optimizer):
    """Its moments are fresh, its rate is that of the whole run, and the other parameters notice nothing."""
    recipe = {"optimizer": optimizer, "schedule": "constant"}
    whole = walk(HEADED, GRADIENTS, **recipe)
    later = walk(HEADED, GRADIENTS, freeze=("stem:1",), **recipe)
    new = walk(HEADED, GRADIENTS[2:], **recipe)
    for step in range(4):
        np.testing.assert_allclose(later[step]["classifier"]["kernel"], whole[step]["classifier"]["kernel"], rtol=1e-6)
    for step in (0, 1):
        assert not later[step]["stem"]["kernel"].any()
    for step in (2, 3):
        np.testing.assert_allclose(later[step]["stem"]["kernel"], new[step - 2]["stem"]["kernel"], rtol=1e-5)


def test_the_rate_goes_on_while_something_is_frozen():
    fields = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "cosine"}
    whole, later = (walk(HEADED, [1.0] * 4, freeze=freeze, **fields) for freeze in ((), ("backbone:1",)))
    assert [step["stem"]["kernel"].any() for step in later] == [False, False, True, True]
    for step in (2, 3):
        np.testing.assert_array_equal(later[step]["stem"]["kernel"], whole[step]["stem"]["kernel"])
    assert whole[0]["stem"]["kernel"][0, 0] < whole[2]["stem"]["kernel"][0, 0]


def test_what_several_wildcards_freeze_is_frozen_as_long_as_any_of_them_says():
    moved = [
        {name for name, leaves in step.items() if any(x.any() for x in leaves.values())}
        for step in walk(TREE, [1.0] * 6, freeze=("s*:1", "stem", "norm:2", "norm/bias:1", "depth*:1"), optimizer="sgd")
    ]
    assert moved == [set(), set(), {"depthwise"}, {"depthwise"}, {"depthwise", "norm"}, {"depthwise", "norm"}]


def test_lars_scales_kernels_by_their_trust_ratio():
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.ones(2)}
    for gradient in (1e-3, 1e3):
        grads = jax.tree.map(lambda x, g=gradient: jnp.full_like(x, g), params)
        found = updated(params, grads, optimizer="lars")
        # 0.001 of the kernel's norm for any size of the gradient; the bias takes the plain step
        assert float(optax.tree.norm(found["kernel"])) == pytest.approx(1e-3 * 6, rel=1e-5)
        assert float(found["bias"][0]) == pytest.approx(-gradient, rel=1e-5)
