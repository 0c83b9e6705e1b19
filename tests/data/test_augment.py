"""Augmentation: its effects, and its dependence on an image's position in the batch only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jsep.boxes import Objects
from jsep.data import Augmentation, augment, augment_with, mix, normalize
from jsep.data.augment import _enlarged
from jsep.errors import UserError

IMAGES = jnp.asarray(np.random.default_rng(0).integers(1, 256, (64, 6, 6, 1)), jnp.uint8)
PICTURES = jnp.asarray(np.random.default_rng(1).integers(1, 256, (64, 16, 12, 3)), jnp.uint8)
PLACES = jnp.arange(64)
AUGMENT = jax.jit(augment, static_argnums=(3, 4))
AUGMENT_WITH = jax.jit(augment_with, static_argnums=4)
EVERYTHING = Augmentation(crop=2, flip=True, resized_crop=True, jitter=0.4, randaugment=(2, 9), erase=0.5)
COLOUR = (7, 8, 9)


def run(images, seed=0, **how) -> np.ndarray:
    return np.asarray(AUGMENT(jax.random.key(seed), images, PLACES, Augmentation(**how)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"crop": -1}, "`crop`=-1: it must be at least 0"),
        ({"jitter": 1.5}, "`jitter`=1.5: it must be from 0 to 1"),
        ({"randaugment": (2, 31)}, "at a magnitude from 0 to 30"),
        ({"erase": -0.1}, "`erase`=-0.1: it must be from 0 to 1"),
        ({"scale": (2.0, 0.5)}, "two factors from 0.1 to 10, the smaller one first"),
        ({"scale": (0.0, 1.0)}, "two factors from 0.1 to 10, the smaller one first"),
    ],
)
def test_values_that_cannot_be_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        Augmentation(**values)


def windows(image: np.ndarray, crop: int) -> list[bytes]:
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    places = range(2 * crop + 1)
    return [padded[i : i + 6, j : j + 6].tobytes() for i in places for j in places]


def test_nothing_asked_nothing_done():
    assert augment(jax.random.key(0), IMAGES, PLACES, Augmentation()) is IMAGES


def test_flip_mirrors_about_half():
    flipped = run(IMAGES, flip=True)
    same = (flipped == np.asarray(IMAGES)).all((1, 2, 3))
    mirrored = (flipped == np.asarray(IMAGES)[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_crop_cuts_windows_of_the_padded_image():
    cut = run(IMAGES, crop=2)
    places = [windows(before, 2).index(after.tobytes()) for before, after in zip(np.asarray(IMAGES), cut, strict=True)]
    assert len(set(places)) > 12  # of 25


def test_resized_crop_shows_a_window_at_the_size_of_the_image():
    # pixels hold their own position, so a window runs from its first value to its last in equal steps
    ramp = jnp.broadcast_to(jnp.arange(0, 240, 5, dtype=jnp.uint8)[:, None, None], (64, 48, 48, 1))
    cut = run(ramp, resized_crop=True).astype(int)
    assert cut.shape == (64, 48, 48, 1)
    steps = (cut[:, 40] - cut[:, 8])[:, 0, 0] / 32 / 5  # height of the window over that of the image
    assert steps.max() <= 1.01
    assert steps.min() > 0.08 * 0.75
    assert len(np.unique(steps)) > 20
    assert len(np.unique(cut[:, 24, 24, 0])) > 20  # at different positions, too
    np.testing.assert_array_equal(cut, np.broadcast_to(cut[:, :, :1], cut.shape))
    # area and aspect bound the height: its square is 3/4 to 4/3 of the area, and at most 1
    assert 0.45 < np.mean(steps**2) < 0.65


def test_resized_crop_cuts_out_no_less_than_its_share():
    ramp = jnp.broadcast_to(jnp.arange(0, 240, 5, dtype=jnp.uint8)[:, None, None], (64, 48, 48, 1))
    cut = run(ramp, resized_crop=True, crop_area=0.7).astype(int)
    steps = (cut[:, 40] - cut[:, 8])[:, 0, 0] / 32 / 5
    assert steps.min() ** 2 > 0.7 * 0.75 - 0.02
    assert steps.max() <= 1.01
    assert len(np.unique(steps)) > 10


def test_resized_crop_is_cut_out_and_enlarged_then():
    rng = np.random.default_rng(0)
    enlarged = jax.jit(_enlarged)
    for _ in range(20):
        h, w = rng.integers(1, (25, 33))
        top, left = rng.integers(0, (25 - h, 33 - w))
        image = rng.integers(0, 256, (24, 32, 3), np.uint8)
        found = enlarged(image, *map(jnp.float32, (top, left, h, w)))
        cut = Image.fromarray(image[top : top + h, left : left + w])
        wanted = np.asarray(cut.resize((32, 24), Image.Resampling.BILINEAR)).astype(int)  # as torchvision does it
        assert np.abs(np.asarray(found) - wanted).max() <= 1
        white = np.full((24, 32, 1), 255, np.uint8)
        white[top : top + h, left : left + w] = 0
        assert enlarged(white, *map(jnp.float32, (top, left, h, w))).max() == 0


def test_erasing_paints_rectangles_over_a_share_of_the_images():
    erased = run(PICTURES, erase=0.5)
    gone = (erased != np.asarray(PICTURES)).any(-1)
    hit = gone.any((1, 2))
    assert 20 < hit.sum() < 44
    for mask, image in zip(gone[hit], erased[hit], strict=True):
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)  # a rectangle, filled
        assert (image[mask] == 0).all()
        assert mask.mean() < 0.45  # 33 % plus rounding
    assert (run(PICTURES, erase=1.0) != np.asarray(PICTURES)).any((1, 2, 3)).all()


def test_jitter_draws_brightness_contrast_and_saturation():
    grey = jnp.full((64, 4, 4, 3), 100, jnp.uint8)
    levels = run(grey, jitter=0.4)[:, 0, 0]
    # contrast and saturation do not change a uniform grey, so only brightness remains
    assert levels.min() >= 59
    assert levels.max() <= 140
    assert len(np.unique(levels)) > 20
    jittered = run(PICTURES, jitter=0.4).astype(int)
    spread = jittered.std((1, 2)).mean(-1) / np.asarray(PICTURES).astype(int).std((1, 2)).mean(-1)
    assert np.ptp(spread) > 0.3


def test_randaugment_draws_among_its_operations():
    once = run(PICTURES, randaugment=(1, 9))
    changed = (once != np.asarray(PICTURES)).any((1, 2, 3))
    assert 48 < changed.sum() < 64  # one of the 14 operations does nothing
    assert (run(PICTURES, randaugment=(2, 9)) != once).any()
    assert (run(PICTURES, randaugment=(1, 25)) != once).any()


@pytest.mark.slow
def test_a_part_of_the_batch_is_augmented_as_in_the_whole():
    key = jax.random.key(3)
    whole = AUGMENT(key, PICTURES, PLACES, EVERYTHING, COLOUR)
    np.testing.assert_array_equal(whole[40:], AUGMENT(key, PICTURES[40:], PLACES[40:], EVERYTHING, COLOUR))


def test_normalize():
    images = jnp.asarray([[[[0, 255]]]], jnp.uint8)
    np.testing.assert_allclose(normalize(images, (0.5, 0.5), (0.5, 0.25)), [[[[-1.0, 2.0]]]])


EACH = [pytest.param({kind: 1.0}, marks=pytest.mark.slow) for kind in ("mixup", "cutmix")]


@pytest.mark.parametrize("mixing", [{"mixup": 1.0, "cutmix": 1.0}, *EACH])
def test_pixels_and_targets_are_shared_out_alike_on_any_number_of_devices(mixing):
    # image i is 10 i everywhere and of class i, so its pixels identify it
    images = jnp.broadcast_to(10.0 * jnp.arange(8.0)[:, None, None, None], (8, 16, 16, 1))
    key, positions = jax.random.key(0), jnp.arange(8)
    mixed, targets = mix(key, images, jnp.eye(8), positions, **mixing)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), targets @ (10.0 * jnp.arange(8.0)), rtol=1e-4)
    own = jnp.diagonal(targets)
    assert float(own.min()) < 0.9  # some images were mixed
    np.testing.assert_allclose(own + jnp.diagonal(targets[:, jnp.arange(8) ^ 1]), 1, rtol=1e-6)
    halves = [mix(key, images[h], jnp.eye(8)[h], positions[h], **mixing) for h in (slice(0, 4), slice(4, 8))]
    np.testing.assert_array_equal(jnp.concatenate([half[0] for half in halves]), mixed)
    if "mixup" not in mixing:
        assert set(np.unique(mixed)) <= {10.0 * i for i in range(8)}


def test_without_shares_nothing_is_mixed():
    images, targets = jnp.ones((2, 4, 4, 1)), jnp.eye(2)
    found = mix(jax.random.key(0), images, targets, jnp.arange(2))
    assert found[0] is images
    assert found[1] is targets


def objects_of(number: int) -> Objects:
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, 6, (number, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 6, corners.shape)], -1).astype(np.float32)
    valid = np.arange(3) < rng.integers(0, 4, (number, 1))
    boxes = np.where(valid[..., None], boxes, 0)
    return Objects(jnp.asarray(boxes), jnp.asarray(valid.astype(np.int32)), jnp.asarray(valid))


def test_boxes_and_masks_are_mirrored_with_their_images():
    how, key = Augmentation(flip=True, jitter=0.4), jax.random.key(3)
    images = np.asarray(AUGMENT(key, PICTURES, PLACES, how))
    masks, objects = PICTURES[..., 0], objects_of(64)
    (first, moved), (second, turned) = (AUGMENT_WITH(key, PICTURES, one, PLACES, how) for one in (masks, objects))
    np.testing.assert_array_equal(first, images)
    np.testing.assert_array_equal(second, images)
    flipped = np.asarray((moved == masks[..., ::-1]).all((1, 2)))
    assert 16 < flipped.sum() < 48
    np.testing.assert_array_equal(np.asarray(moved)[~flipped], np.asarray(masks)[~flipped])
    left, top, right, bottom = np.moveaxis(np.asarray(objects.boxes), -1, 0)
    mirrored = np.where(objects.valid[..., None], np.stack([12 - right, top, 12 - left, bottom], -1), 0)
    np.testing.assert_allclose(turned.boxes, np.where(flipped[:, None, None], mirrored, objects.boxes), atol=1e-6)
    assert (turned.valid == objects.valid).all()


def test_boxes_follow_their_place_on_any_number_of_devices():
    how, key, objects = Augmentation(flip=True), jax.random.key(3), objects_of(64)
    whole = AUGMENT_WITH(key, PICTURES, objects, PLACES, how)
    for rows in (slice(0, 16), slice(40, 64)):
        part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (PICTURES, objects))
        found = AUGMENT_WITH(key, *part, PLACES[rows], how)
        assert jax.tree.all(jax.tree.map(lambda a, b, rows=rows: np.array_equal(a, b[rows]), found, whole))


def test_without_changes_boxes_and_masks_stay():
    objects = objects_of(64)
    assert augment_with(jax.random.key(0), PICTURES, objects, PLACES, Augmentation()) == (PICTURES, objects)


@pytest.mark.parametrize(
    ("task", "how", "sentence"),
    [
        ("detection", {"resized_crop": True}, "`resized_crop`=True: detection knows flip, jitter, iou_crop, zoom_out"),
        ("detection", {"scale": (0.5, 2.0)}, r"`scale`=\(0.5, 2.0\): detection knows"),
        ("segmentation", {"iou_crop": True}, "`iou_crop`=True: segmentation knows flip, jitter, scale"),
        ("segmentation", {"randaugment": (2, 9)}, "`randaugment`="),
        ("classification", {"zoom_out": True}, "`zoom_out`=True: classification knows crop, flip"),
    ],
)
def test_each_task_has_its_changes(task, how, sentence):
    with pytest.raises(UserError, match=sentence):
        Augmentation(**how).check(task)
    Augmentation(flip=True, jitter=0.4).check(task)
