"""Detections of a picture are those that torchvision's detectors select from the same answers."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import boxes

ANCHORS = boxes.default_boxes((96, 96), [(6, 6), (3, 3)], (0.2, 0.5, 0.9), [(2,), (2,)])


def answers(seed, classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(ANCHORS), classes)).astype(np.float32) * 2
    return logits, rng.normal(size=(len(ANCHORS), 4)).astype(np.float32)


def assert_same(found, theirs):
    count = int(found.valid.sum())
    assert count == len(theirs["scores"]) > 0
    assert found.valid.tolist() == [True] * count + [False] * (len(found.valid) - count)
    np.testing.assert_allclose(found.scores[:count], theirs["scores"].numpy(), rtol=1e-5)
    np.testing.assert_array_equal(found.labels[:count], theirs["labels"].numpy())
    np.testing.assert_allclose(found.boxes[:count], theirs["boxes"].numpy(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("limit", [20, 200])
def test_as_an_ssd(limit):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    logits, codes = answers(0, 4)
    rules = {"score": 0.05, "candidates": 30, "overlap": 0.45, "limit": limit}
    decoded = boxes.clip(boxes.decode(jnp.asarray(codes), jnp.asarray(ANCHORS)), 96, 96)
    found = jax.jit(lambda p, b: boxes.select_by_class(p, b, **rules))(jax.nn.softmax(logits), decoded)
    like = types.SimpleNamespace(
        box_coder=detection._utils.BoxCoder((10.0, 10.0, 5.0, 5.0)),
        score_thresh=0.05, topk_candidates=30, nms_thresh=0.45, detections_per_img=limit,
    )  # fmt: skip
    answered = {"bbox_regression": torch.tensor(codes)[None], "cls_logits": torch.tensor(logits)[None]}
    (theirs,) = detection.ssd.SSD.postprocess_detections(like, answered, [torch.tensor(ANCHORS)], [(96, 96)])
    assert_same(found, theirs)


def test_as_retinanet():
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    logits, codes = answers(1, 3)
    levels = [slice(0, 144), slice(144, None)]
    own, code, anchors = ([jnp.asarray(a[at]) for at in levels] for a in (logits, codes, ANCHORS))
    found = boxes.select_by_level(own, code, anchors, (96, 96), score=0.3, candidates=60, limit=100)
    like = types.SimpleNamespace(
        box_coder=detection._utils.BoxCoder((1.0, 1.0, 1.0, 1.0)),
        score_thresh=0.3, topk_candidates=60, nms_thresh=0.5, detections_per_img=100,
    )  # fmt: skip
    answered = {
        "bbox_regression": [torch.tensor(codes[at])[None] for at in levels],
        "cls_logits": [torch.tensor(logits[at])[None] for at in levels],
    }
    theirs = detection.retinanet.RetinaNet.postprocess_detections(
        like, answered, [[torch.tensor(ANCHORS[at]) for at in levels]], [(96, 96)]
    )
    assert_same(found, theirs[0])


def test_nothing_is_found_where_nothing_is_sure():
    decoded = jnp.asarray(ANCHORS)
    found = boxes.select_by_class(
        jnp.zeros((len(ANCHORS), 3)), decoded, score=0.01, candidates=10, overlap=0.5, limit=7
    )
    assert found.valid.tolist() == [False] * 7
    assert found.scores.tolist() == [0] * 7
    assert not found.boxes.any()
