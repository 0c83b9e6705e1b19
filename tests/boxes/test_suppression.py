"""Suppression in both forms keeps what torchvision keeps."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jsep import boxes
from jsep.ops.lowering import portable_operations

THRESHOLDS = (0.3, 0.5, 0.55, 0.75)
MOST = 60  # boxes of a set; all sets are padded to it, so that one program serves them


def clustered(seed, count):
    """Return boxes in clusters, on a grid so that some are equal, with scores of which some are equal."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 100, (1 + count // 6, 2))[rng.integers(0, 1 + count // 6, count)]
    corner = np.round(centers + rng.normal(size=(count, 2)) * 4)
    found = np.concatenate([corner, corner + np.round(rng.uniform(5, 30, (count, 2)))], 1)
    return found.astype(np.float32), np.round(rng.uniform(size=count), 1).astype(np.float32), rng.integers(0, 3, count)


def greedy(found, scores, threshold, classes):
    """Return what greedy suppression keeps, one box after another, with the same float32 arithmetic."""
    keep, overlaps = np.zeros(len(scores), bool), np.asarray(boxes.iou(jnp.asarray(found), jnp.asarray(found)))
    for i in np.argsort(-scores, kind="stable"):
        near = [j for j in np.flatnonzero(keep) if classes[i] == classes[j]]
        keep[i] = not (overlaps[i, near] > threshold).any()
    return keep


def kept(threshold, portable):
    def run(found, scores, valid):
        with portable_operations() if portable else contextlib.nullcontext():
            return boxes.nms(found, scores, threshold, valid=valid)

    return jax.jit(run)


# the form of a CPU, and that of other platforms
KEPT = {name: {t: kept(t, portable) for t in THRESHOLDS} for name, portable in (("rows", False), ("sweeps", True))}


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, MOST), threshold=st.sampled_from(THRESHOLDS))
def test_both_forms_keep_what_torchvision_keeps(seed, count, threshold):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    ops = pytest.importorskip("torchvision.ops", reason="the reference needs torchvision")
    found, scores, _ = clustered(seed, count)
    order = np.argsort(-scores, kind="stable")
    expected = np.zeros(count, bool)
    expected[ops.nms(torch.tensor(found[order]), torch.arange(count, 0.0, -1), threshold).numpy()] = True
    expected = np.pad(expected, (0, MOST - count))
    given = np.pad(found[order], ((0, MOST - count), (0, 0))), np.arange(MOST, 0.0, -1), np.arange(MOST) < count
    for kept in KEPT.values():
        np.testing.assert_array_equal(kept[threshold](*map(jnp.asarray, given)), expected)


@pytest.mark.parametrize("seed", range(3))
def test_only_boxes_of_a_class_suppress_each_other(seed):
    found, scores, classes = clustered(seed, 40)
    boxed, scored = jnp.asarray(found), jnp.asarray(scores)
    expected = greedy(found, scores, 0.5, classes)
    np.testing.assert_array_equal(boxes.nms(boxed, scored, 0.5, classes=jnp.asarray(classes)), expected)
    np.testing.assert_array_equal(boxes.nms(boxed, scored, 0.5), greedy(found, scores, 0.5, 0 * classes))


def test_what_is_not_there_suppresses_nothing():
    same = jnp.tile(jnp.asarray([0.0, 0.0, 4.0, 4.0]), (3, 1))
    scores = jnp.asarray([0.9, 0.5, 0.8])
    keep = boxes.nms(same, scores, 0.5, valid=jnp.asarray([False, True, True]))
    assert keep.tolist() == [False, False, True]


def test_it_maps_and_lets_gradients_pass():
    found, scores, _ = (jnp.asarray(array) for array in clustered(0, 24))
    many = jax.vmap(lambda boxes_, scores_: boxes.nms(boxes_, scores_, 0.5))(
        found.reshape(4, 6, 4), scores.reshape(4, 6)
    )
    for own, its, keep in zip(found.reshape(4, 6, 4), scores.reshape(4, 6), many, strict=True):
        np.testing.assert_array_equal(boxes.nms(own, its, 0.5), keep)
    gradient = jax.grad(lambda s: jnp.sum(jnp.where(boxes.nms(found, s, 0.5), s, 0)))(scores)
    np.testing.assert_array_equal(gradient, boxes.nms(found, scores, 0.5))


def test_exported_programs_keep_the_same():
    found, scores, _ = (jnp.asarray(array) for array in clustered(3, 30))
    run = jax.jit(lambda found, scores: boxes.nms(found, scores, 0.5))
    travelled = jax.export.export(run, platforms=["cpu", "tpu"])(found, scores)
    np.testing.assert_array_equal(travelled.call(found, scores), run(found, scores))
    with portable_operations():
        np.testing.assert_array_equal(
            jax.jit(lambda found, scores: boxes.nms(found, scores, 0.5))(found, scores), run(found, scores)
        )
