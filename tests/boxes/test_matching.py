"""Matching of anchors with objects: torchvision's answers, with objects that are not there beside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import boxes


def padded(overlaps, more):
    """Return overlaps with objects that are not there, whose numbers must not matter."""
    overlaps = np.asarray(overlaps, np.float32).reshape(-1, 3 if not np.size(overlaps) else np.shape(overlaps)[1])
    nothing = np.random.default_rng(0).uniform(size=(more, overlaps.shape[1]))
    return jnp.asarray(np.concatenate([overlaps, nothing]), jnp.float32), jnp.arange(len(overlaps) + more) < len(
        overlaps
    )


@pytest.mark.parametrize("more", [0, 3])
def test_anchors_that_no_other_exceeds_are_matched(more):
    assert boxes.match(*padded([[0.3, 0.3, 0], [0, 0, 0]], more)).tolist() == [0, 0, 0]
    assert boxes.match(*padded([[0.3, 0.45, 0.6]], more)).tolist() == [-1, -2, 0]
    assert boxes.match(*padded([[0.3, 0.45, 0.2]], more), allow_low_quality=False).tolist() == [-1, -2, -1]


@pytest.mark.parametrize("more", [0, 3])
def test_an_object_gets_its_best_anchor_and_of_several_the_last(more):
    assert boxes.match_ssd(*padded([[0.6, 0.2, 0], [0.7, 0.1, 0]], more)).tolist() == [1, -1, -1]
    assert boxes.match_ssd(*padded([[0.6, 0.2, 0.5], [0.1, 0.1, 0.3]], more)).tolist() == [0, -1, 1]


@pytest.mark.parametrize("more", [0, 2])
@pytest.mark.parametrize("matcher", [boxes.match, boxes.match_ssd])
def test_without_objects_all_is_background(matcher, more):
    assert matcher(*padded([], more)).tolist() == [-1] * 3


@pytest.mark.parametrize("seed", range(20))
def test_matches_are_torchvisions(seed):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    utils = pytest.importorskip("torchvision.models.detection._utils", reason="the reference needs torchvision")
    rng = np.random.default_rng(seed)
    overlaps = np.round(rng.uniform(size=(rng.integers(1, 9), 40)) ** 2, 1).astype(np.float32)  # with ties
    ours = padded(overlaps, 4)
    theirs = torch.tensor(overlaps)
    for low in (True, False):
        matcher = utils.Matcher(0.5, 0.4, low)
        expected = matcher(theirs).numpy()
        expected = np.where(expected == utils.Matcher.BETWEEN_THRESHOLDS, boxes.IGNORED, expected)
        np.testing.assert_array_equal(boxes.match(*ours, allow_low_quality=low), expected)
    np.testing.assert_array_equal(jax.jit(boxes.match_ssd)(*ours), utils.SSDMatcher(0.5)(theirs).numpy())
