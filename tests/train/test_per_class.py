"""Predictions of a whole test set, and scores by class against scikit-learn's definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep.data import Split
from jsep.runs.config import replace_fields
from jsep.train import RunConfig
from jsep.train.per_class import PerClass, Predictions, confusion, predict_all
from jsep.train.setup import prepare


@pytest.mark.parametrize("data", ["tiny_tfds", "jpeg_tfds"])
def test_one_pass_gives_the_figures_and_each_image_in_order(request, data):
    """20 images in batches of 9 on three devices, so that the last batch is padded."""
    changes = {"data": str(request.getfixturevalue(data)), "image_size": 8, "batch_size": 9, "devices": 3}
    changes["stream"] = data == "jpeg_tfds"
    setup = prepare(replace_fields(RunConfig("densenet40_k12", {"depth": 7, "growth": 2}), changes))
    variables = setup.devices.replicate(setup.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))
    means, found = predict_all(setup, variables)
    assert found.labels.tolist() == list(labels_of(setup))
    assert np.mean(found.predicted == found.labels) == pytest.approx(means["accuracy"])
    assert -np.log(found.own).mean() == pytest.approx(means["loss"], rel=1e-5)
    assert (found.confidence >= found.own).all()


def labels_of(setup):
    """Return the labels in the order of the test part."""
    test = setup.dataset.test
    return test.labels if isinstance(test, Split) else test.labels()


def test_the_worst_mistakes_come_first():
    found = Predictions(
        labels=np.array([0, 0, 0, 0]),
        predicted=np.array([1, 0, 1, 2]),
        confidence=np.array([0.6, 0.9, 0.8, 0.8]),
        own=np.array([0.1, 0.9, 0.1, 0.1]),
    )
    assert found.worst(9).tolist() == [2, 3, 0]
    assert found.worst(1).tolist() == [2]
    assert confusion(found, 3).tolist() == [[1, 2, 1], [0, 0, 0], [0, 0, 0]]


def test_scores_of_each_class_by_hand():
    scores = PerClass.of(np.array([[2, 1, 0], [0, 0, 0], [2, 0, 6]]))
    np.testing.assert_allclose(scores.precision, [0.5, 0, 1])
    np.testing.assert_allclose(scores.recall, [2 / 3, np.nan, 0.75])  # no image of the second class
    np.testing.assert_allclose(scores.f1, [4 / 7, 0, 12 / 14])
    assert scores.support.tolist() == [3, 0, 8]
    assert np.isnan(PerClass.of(np.zeros((2, 2), int)).f1).all()
