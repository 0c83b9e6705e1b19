"""Anchors and the code of boxes: published figures, and torchvision's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep import boxes

SSDLITE = {"scales": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0), "ratios": [(2, 3)] * 6}
SSD300 = {
    "scales": (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
    "ratios": [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)],
    "steps": (8, 16, 32, 64, 100, 300),
}
SIDES = [(s, int(s * 2 ** (1 / 3)), int(s * 2 ** (2 / 3))) for s in (32, 64, 128, 256, 512)]


def square(*sides):
    return [(side, side) for side in sides]


def test_the_default_boxes_of_ssdlite():
    found = boxes.default_boxes((320, 320), square(20, 10, 5, 3, 2, 1), **SSDLITE)
    assert found.shape == (3234, 4)
    np.testing.assert_allclose(found[0], (-24, -24, 40, 40), rtol=1e-6)
    np.testing.assert_allclose(found[-1], (72.2428, 0, 247.7572, 320), atol=1e-3)
    assert float(found.astype(np.float64).sum()) == pytest.approx(2_069_759.99, abs=0.05)


def test_the_default_boxes_of_ssd300():
    found = boxes.default_boxes((300, 300), square(38, 19, 10, 5, 3, 1), **SSD300)
    assert found.shape == (8732, 4)
    np.testing.assert_allclose(found[0], (-6.5, -6.5, 14.5, 14.5), rtol=1e-6)
    assert float(found.astype(np.float64).sum()) == pytest.approx(5_332_736.00, abs=0.05)


@pytest.mark.parametrize(
    ("size", "maps", "count"),
    [
        ((800, 800), square(100, 50, 25, 13, 7), 120_087),
        ((800, 1344), [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)], 201_600),
    ],
)
def test_the_anchors_of_retinanet(size, maps, count):
    found = boxes.grid_anchors(size, maps, SIDES)
    assert len(found) == count
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    generator = detection.anchor_utils.AnchorGenerator(tuple(SIDES), ((0.5, 1.0, 2.0),) * 5)
    pictures = detection.image_list.ImageList(torch.zeros(1, 3, *size), [size])
    (theirs,) = generator(pictures, [torch.zeros(1, 1, *own) for own in maps])
    np.testing.assert_array_equal(found, theirs.numpy())


@pytest.mark.parametrize("kind", [SSDLITE, SSD300], ids=["ssdlite", "ssd300"])
def test_default_boxes_are_torchvisions_on_maps_that_are_not_square(kind):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    detection = pytest.importorskip("torchvision.models.detection", reason="the reference needs torchvision")
    maps, size = [(5, 4), (3, 2), (3, 3), (2, 2), (1, 2), (1, 1)], (96, 64)
    ours = boxes.default_boxes(size, maps, **kind)
    generator = detection.anchor_utils.DefaultBoxGenerator(
        [list(own) for own in kind["ratios"]], scales=list(kind["scales"]), steps=kind.get("steps")
    )
    pictures = detection.image_list.ImageList(torch.zeros(1, 3, *size), [size])
    (theirs,) = generator(pictures, [torch.zeros(1, 1, *own) for own in maps])
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("weights", [(10.0, 10.0, 5.0, 5.0), (1.0, 1.0, 1.0, 1.0)])
def test_codes_are_torchvisions_and_decode_to_the_boxes(weights):
    rng = np.random.default_rng(0)
    corner, sides = rng.uniform(0, 200, (2, 50, 2)), rng.uniform(1, 60, (2, 50, 2))
    ours, anchors = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    codes = boxes.encode(jnp.asarray(ours), jnp.asarray(anchors), weights)
    np.testing.assert_allclose(boxes.decode(codes, jnp.asarray(anchors), weights), ours, rtol=1e-4, atol=1e-3)
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    utils = pytest.importorskip("torchvision.models.detection._utils", reason="the reference needs torchvision")
    coder = utils.BoxCoder(weights)
    np.testing.assert_allclose(
        codes, coder.encode_single(torch.tensor(ours), torch.tensor(anchors)).numpy(), rtol=1e-4, atol=1e-4
    )
    wild = (rng.normal(size=(50, 4)) * 10).astype(np.float32)  # some sizes beyond the limit
    theirs = coder.decode_single(torch.tensor(wild), torch.tensor(anchors)).numpy()
    np.testing.assert_allclose(boxes.decode(jnp.asarray(wild), jnp.asarray(anchors), weights), theirs, rtol=1e-4)


def test_overlaps_and_their_gradients_are_torchvisions():
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    ops = pytest.importorskip("torchvision.ops", reason="the reference needs torchvision")
    rng = np.random.default_rng(1)
    corner, sides = rng.uniform(0, 20, (2, 30, 2)), rng.uniform(1, 15, (2, 30, 2))
    a, b = np.concatenate([corner, corner + sides], -1).astype(np.float32)
    expected = ops.box_iou(torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_allclose(boxes.iou(jnp.asarray(a), jnp.asarray(b)), expected, atol=1e-6)
    value, gradient = jax.value_and_grad(lambda a: jnp.sum(1 - boxes.generalized_iou(a, jnp.asarray(b))))(
        jnp.asarray(a)
    )
    theirs = torch.tensor(a, requires_grad=True)
    loss = ops.generalized_box_iou_loss(theirs, torch.tensor(b), reduction="sum")
    loss.backward()
    assert theirs.grad is not None
    assert float(value) == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_boxes_without_extent_overlap_nothing():
    none = jnp.zeros((1, 4))
    assert boxes.iou(none, none).tolist() == [[0]]
    assert jax.grad(lambda a: boxes.iou(a, none).sum())(none).tolist() == [[0] * 4]
