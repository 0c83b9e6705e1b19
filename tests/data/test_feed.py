"""Batches: a function of seed and step; every test image once."""

import itertools

import jax
import numpy as np
import pytest

from jsep.data import ResidentFeed, StreamFeed, catalog, load, make_feed
from jsep.errors import UserError


@pytest.fixture(scope="module", params=["resident", "streamed"])
def feed(request, tiny_tfds):
    limit = catalog.RESIDENT_LIMIT
    catalog.RESIDENT_LIMIT = 0 if request.param == "streamed" else limit
    try:
        dataset = load(str(tiny_tfds))
    finally:
        catalog.RESIDENT_LIMIT = limit
    feed = make_feed(dataset.train, dataset)
    assert isinstance(feed, StreamFeed if request.param == "streamed" else ResidentFeed)
    return feed


def take(feed, number, seed=0, first_step=0, batch_size=10):
    batches = itertools.islice(feed.training(batch_size, seed, first_step), number)
    return [jax.device_get(feed.fetch(feed.constants, batch)) for batch in batches]


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_batches_follow_from_seed_and_step(feed):
    # 48 images in batches of 10: four steps a pass, so these reach into the third
    batches = take(feed, 9)
    assert all(images.shape == (10, 8, 8, 3) and images.dtype == np.uint8 for images, _ in batches)
    assert equal(take(feed, 9), batches)
    assert equal(take(feed, 3, first_step=6), batches[6:])
    assert not equal(take(feed, 1, seed=1), batches[:1])
    assert not equal(batches[0], batches[4])


def test_evaluation_sees_every_example_once_in_order(feed):
    found = [(feed.fetch(feed.constants, batch)[1], mask) for batch, mask in feed.evaluation(10)]
    assert all(len(labels) == 10 for labels, _ in found)
    labels = np.concatenate([np.asarray(labels)[mask == 1] for labels, mask in found])
    np.testing.assert_array_equal(np.bincount(labels), [24, 24])
    np.testing.assert_array_equal(found[-1][1], [1] * 8 + [0] * 2)


def test_a_resident_pass_sees_every_image_at_most_once():
    feed = ResidentFeed(load("mnist5k").test)
    indices = np.concatenate(list(itertools.islice(feed.training(32, 0, 0), 1000 // 32)))
    assert len(np.unique(indices)) == len(indices) == 992


def test_a_batch_larger_than_the_data_is_refused(feed):
    with pytest.raises(UserError, match="larger than the 48"):
        next(feed.training(49, 0, 0))
