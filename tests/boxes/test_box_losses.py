"""Losses of detectors and their gradients: torchvision's, for pictures with 0, 1 and 40 objects, on any devices."""

import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import boxes

ANCHORS = boxes.default_boxes((96, 96), [(6, 6), (3, 3)], (0.2, 0.5, 0.9), [(2,), (2,)])
CLASSES, MOST = 5, 42
PICTURES = {
    "none and none": (0, 0),
    "none and one": (0, 1),
    "one and forty": (1, 40),
    "eight": (3, 0, 7, 1, 0, 2, 5, 4),
}


def batch(counts):
    rng = np.random.default_rng(sum(counts))
    n = len(counts)
    corner, sides = rng.uniform(0, 70, (n, MOST, 2)), rng.uniform(5, 40, (n, MOST, 2))
    objects = boxes.Objects(
        jnp.asarray(np.concatenate([corner, np.minimum(corner + sides, 96)], -1), jnp.float32),
        jnp.asarray(rng.integers(1, CLASSES, (n, MOST)), jnp.int32),
        jnp.asarray(np.arange(MOST) < np.array(counts)[:, None]),
    )
    shape = (n, len(ANCHORS))
    return (
        jnp.asarray(rng.normal(size=(*shape, CLASSES)), jnp.float32),
        jnp.asarray(rng.normal(size=(*shape, 4)), jnp.float32),
        objects,
    )


def theirs_of(counts, logits, codes, objects, calculate):
    """Return torchvision's losses and gradients; `calculate` takes targets, answers, anchors."""
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    pytest.importorskip("torchvision", reason="the reference needs torchvision")
    answered = [torch.tensor(np.array(array), requires_grad=True) for array in (logits, codes)]
    targets = [
        {"boxes": torch.tensor(np.array(own[:count])), "labels": torch.tensor(np.array(labels[:count])).long()}
        for own, labels, count in zip(objects.boxes, objects.labels, counts, strict=True)
    ]
    anchors = [torch.tensor(ANCHORS.astype(logits.dtype))] * len(counts)
    found = calculate(targets, {"cls_logits": answered[0], "bbox_regression": answered[1]}, anchors)
    total = found["classification"] + found["bbox_regression"]
    gradients = torch.autograd.grad(total, answered, allow_unused=True)
    grads = [np.zeros(a.shape) if g is None else g.numpy() for a, g in zip(answered, gradients, strict=True)]
    return (found["classification"].item(), found["bbox_regression"].item()), grads


def ours_of(loss, logits, codes, objects):
    def total(logits, codes):
        found = loss(logits, codes, objects, jnp.asarray(ANCHORS, logits.dtype))
        return found.classes + found.boxes, found

    (_, found), gradients = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(logits, codes)
    return (float(found.classes), float(found.boxes)), gradients


def assert_close(ours, theirs, rtol):
    np.testing.assert_allclose(ours[0], theirs[0], rtol=rtol, atol=1e-12)
    for a, b in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(np.abs(b).max(), 1e-9))


@pytest.mark.parametrize("counts", PICTURES.values(), ids=PICTURES)
def test_of_an_ssd(counts):
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    arrays = batch(counts)

    def calculate(targets, answered, anchors):
        like = types.SimpleNamespace(box_coder=detection._utils.BoxCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)
        matcher = detection._utils.SSDMatcher(0.5)
        ops = pytest.importorskip("torchvision.ops")
        torch = pytest.importorskip("torch")
        matched = [
            matcher(ops.box_iou(t["boxes"], a)) if len(t["boxes"]) else torch.full((len(a),), -1)
            for t, a in zip(targets, anchors, strict=True)
        ]
        return detection.ssd.SSD.compute_loss(like, targets, answered, anchors, matched)

    assert_close(ours_of(boxes.ssd_loss, *arrays), theirs_of(counts, *arrays, calculate), 1e-4)


@pytest.mark.parametrize("generalized", [False, True], ids=["codes", "generalized"])
@pytest.mark.parametrize("counts", PICTURES.values(), ids=PICTURES)
def test_of_retinanet(counts, generalized):
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    arrays = batch(counts)

    def calculate(targets, answered, anchors):
        like = types.SimpleNamespace(proposal_matcher=detection._utils.Matcher(0.5, 0.4, True))
        heads = detection.retinanet
        like.head = heads.RetinaNetHead(8, 1, CLASSES)
        like.head.regression_head._loss_type = "giou" if generalized else "l1"
        return detection.retinanet.RetinaNet.compute_loss(like, targets, answered, anchors)

    loss = partial(boxes.retinanet_loss, generalized=generalized)
    assert_close(ours_of(loss, *arrays), theirs_of(counts, *arrays, calculate), 1e-4)


def test_devices_that_share_a_batch_have_the_loss_of_the_whole():
    logits, codes, objects = batch(PICTURES["eight"])
    whole = ours_of(boxes.ssd_loss, logits, codes, objects)
    shares = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), (logits, codes, objects))

    def total(logits, codes, objects):
        found = boxes.ssd_loss(logits, codes, objects, jnp.asarray(ANCHORS), axis_name="devices")
        return found.classes + found.boxes, found

    (_, found), gradients = jax.vmap(jax.value_and_grad(total, (0, 1), has_aux=True), axis_name="devices")(*shares)
    shared = (
        (float(found.classes.mean()), float(found.boxes.mean())),
        [g.reshape(8, *g.shape[2:]) / 4 for g in gradients],
    )
    assert_close(shared, whole, 1e-5)
