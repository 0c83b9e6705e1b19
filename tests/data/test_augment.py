"""Pad-crop and flip do what they say and belong to the image's place in the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsep.data import augment, mix, normalize

IMAGES = jnp.asarray(np.random.default_rng(0).integers(1, 256, (64, 6, 6, 1)), jnp.uint8)
PLACES = jnp.arange(64)


def windows(image: np.ndarray, crop: int) -> list[bytes]:
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    places = range(2 * crop + 1)
    return [padded[i : i + 6, j : j + 6].tobytes() for i in places for j in places]


def test_nothing_asked_nothing_done():
    assert augment(jax.random.key(0), IMAGES, PLACES) is IMAGES


def test_flip_mirrors_about_half():
    flipped = np.asarray(augment(jax.random.key(0), IMAGES, PLACES, flip=True))
    same = (flipped == np.asarray(IMAGES)).all((1, 2, 3))
    mirrored = (flipped == np.asarray(IMAGES)[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_crop_cuts_windows_of_the_padded_image():
    cut = np.asarray(augment(jax.random.key(0), IMAGES, PLACES, crop=2))
    places = [windows(before, 2).index(after.tobytes()) for before, after in zip(np.asarray(IMAGES), cut, strict=True)]
    assert len(set(places)) > 12  # of 25


def test_a_part_of_the_batch_is_augmented_as_in_the_whole():
    key = jax.random.key(3)
    whole = augment(key, IMAGES, PLACES, crop=2, flip=True)
    part = augment(key, IMAGES[40:], PLACES[40:], crop=2, flip=True)
    np.testing.assert_array_equal(whole[40:], part)


def test_normalize():
    images = jnp.asarray([[[[0, 255]]]], jnp.uint8)
    np.testing.assert_allclose(normalize(images, (0.5, 0.5), (0.5, 0.25)), [[[[-1.0, 2.0]]]])


@pytest.mark.parametrize("mixing", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}])
def test_pixels_and_targets_are_shared_out_alike_on_any_number_of_devices(mixing):
    # image i is 10 i everywhere and of class i, so that its pixels say whose they are
    images = jnp.broadcast_to(10.0 * jnp.arange(8.0)[:, None, None, None], (8, 16, 16, 1))
    key, positions = jax.random.key(0), jnp.arange(8)
    mixed, targets = mix(key, images, jnp.eye(8), positions, **mixing)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), targets @ (10.0 * jnp.arange(8.0)), rtol=1e-4)
    own = jnp.diagonal(targets)
    assert float(own.min()) < 0.9  # something was done
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
