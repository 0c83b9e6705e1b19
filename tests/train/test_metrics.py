"""Losses against hand-computed numbers; masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep.train.metrics import (
    Sums,
    balanced_weights,
    cross_entropy,
    distillation,
    eval_sums,
    sums,
    targets_of,
    weighted,
)

LOGITS = jnp.log(jnp.asarray([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
LABELS = jnp.asarray([0, 2])


def test_cross_entropy_by_hand():
    np.testing.assert_allclose(cross_entropy(LOGITS, targets_of(LABELS, 3)), [-np.log(0.7), -np.log(0.1)], rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_costs_no_number(label):
    losses = cross_entropy(LOGITS, targets_of(jnp.asarray([0, label]), 3))
    assert np.isfinite(losses).tolist() == [True, False]


def test_label_smoothing_is_used():
    # 0.3 spread over three classes: targets 0.8, 0.1, 0.1
    expected = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(cross_entropy(LOGITS, targets_of(LABELS, 3, 0.3))[0], expected, rtol=1e-6)


def test_balanced_weights_are_scikit_learns():
    """As compute_class_weight("balanced", classes=[0, 1, 2], y=labels) gives them."""
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    expected = [7 / 12, 7 / 3, 7 / 6, 0, 0]
    for classes in (3, 5):
        counts = np.bincount(labels, minlength=classes)
        np.testing.assert_allclose(balanced_weights(counts), expected[:classes], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_weight_of_a_mixed_example_is_mixed(smoothing):
    weights = np.array([1.0, 2.0, 4.0], np.float32)
    one, other = (targets_of(jnp.asarray([label]), 3, smoothing) for label in (0, 2))
    scaled, own = weighted(0.25 * one + 0.75 * other, weights, smoothing)
    np.testing.assert_allclose(own, [0.25 * 1 + 0.75 * 4], rtol=1e-6)
    np.testing.assert_allclose(scaled, weights * np.asarray(0.25 * one + 0.75 * other), rtol=1e-6)


def test_masked_examples_count_nowhere():
    losses = jnp.asarray([1.0, jnp.nan])
    found = sums(losses, LOGITS, LABELS, jnp.asarray([1.0, 0.0]))
    assert found.means() == {"loss": pytest.approx(1.0), "accuracy": 1.0}
    assert float((found + Sums.zero()).count) == 1


def test_distillation_pulls_towards_the_teacher():
    teacher = LOGITS[:, ::-1]
    temperature = 2.0
    np.testing.assert_allclose(distillation(LOGITS, LOGITS, temperature), 0, atol=1e-6)
    slope = jax.grad(lambda logits: distillation(logits, teacher, temperature).sum())(LOGITS)
    ours, theirs = (jax.nn.softmax(logits / temperature) for logits in (LOGITS, teacher))
    np.testing.assert_allclose(slope, temperature * (ours - theirs), atol=1e-6)


TIES = [(classes, levels) for classes in (3, 5, 6, 40) for levels in (1, 3, 1000)]  # all equal, many ties, few ties


def tied(classes: int, levels: int):
    """Return logits with ties, labels, and what `eval_sums` makes of them with ten rows of padding."""
    rng = np.random.default_rng(classes)
    logits = rng.integers(0, levels, (200, classes)).astype(np.float32)
    labels, mask = rng.integers(0, classes, 200), (np.arange(200) < 190).astype(np.float32)
    logits[190:] = np.nan
    found = eval_sums(jnp.zeros(200), jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask)).means()
    return logits[:190], labels[:190], found


@pytest.mark.parametrize(("classes", "levels"), TIES)
def test_top5_are_the_first_five_where_equal_logits_keep_their_order(classes, levels):
    logits, labels, found = tied(classes, levels)
    _, first = jax.lax.top_k(logits, min(5, classes))
    assert found["top5"] == pytest.approx(np.mean((first == labels[:, None]).any(1)))
    assert found["top5"] == 1 if classes <= 5 else found["accuracy"] <= found["top5"] < 1


@pytest.mark.slow  # for the import of PyTorch
@pytest.mark.parametrize(("classes", "levels"), TIES)
def test_top5_counts_as_torchmetrics_does(classes, levels):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, labels, found = tied(classes, levels)
    # torch.topk leaves open which of equal logits come first; here the lower index does, as in argmax
    ranked = torch.as_tensor(logits - 1e-3 * np.arange(classes, dtype=np.float32))
    for name, k in (("accuracy", 1), ("top5", min(5, classes))):
        theirs = functional.multiclass_accuracy(ranked, torch.as_tensor(labels), classes, top_k=k, average="micro")
        assert found[name] == pytest.approx(float(theirs))


def test_a_network_that_gives_no_numbers_has_no_top5():
    logits, labels = jnp.full((4, 9), jnp.nan), jnp.arange(4)
    assert eval_sums(jnp.zeros(4), logits, labels, jnp.ones(4)).means()["top5"] == 0
