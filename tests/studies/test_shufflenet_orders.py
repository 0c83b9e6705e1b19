"""ShuffleNet V2's weights in the authors' order and in torchvision's are one network."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import shufflenet_orders as experiment

from jsep import create_model
from jsep.errors import UserError
from jsep.trees import flatten, save_arrays, unflatten

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights" / "fastestdet_coco.safetensors"


def test_reordered_weights_give_the_same_logits(trained):
    name, images = experiment.MODEL, jnp.asarray(np.random.default_rng(1).normal(size=(2, 64, 64, 3)), jnp.float32)
    theirs, variables = trained(f"{name} units=authors", (64, 64, 3))
    arrays, _ = experiment.in_torchvisions_order(flatten(variables))
    ours: Any = create_model(name, num_classes=10)
    found = ours.apply(unflatten(arrays), images)
    np.testing.assert_allclose(found, theirs.apply(variables, images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_fastestdets_backbone_is_whole():
    if not WEIGHTS.is_file():
        pytest.skip(f"{WEIGHTS.name} is not beside the project")
    theirs = experiment.authors_variables(WEIGHTS)
    ours, order = experiment.in_torchvisions_order(theirs)
    images = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 3)), jnp.float32)
    expected = experiment.maps("authors", theirs, images)[..., order]
    np.testing.assert_allclose(experiment.maps("torchvision", ours, images), expected, atol=1e-5 * expected.max())


def test_other_weights_are_refused(tmp_path):
    save_arrays(tmp_path / "other.safetensors", {"backbone": {"conv": np.zeros((1, 1))}})
    with pytest.raises(UserError, match=r"does not hold FastestDet's backbone: .* is missing"):
        experiment.authors_variables(tmp_path / "other.safetensors")
