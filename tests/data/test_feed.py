"""Batches depend only on seed and step, not on workers and hosts; every test image comes once."""

import contextlib
import itertools
import multiprocessing

import jax
import numpy as np
import pytest

from jsep.data import Augmentation, ResidentFeed, StreamFeed, load, make_feed
from jsep.errors import UserError


@pytest.fixture(scope="module", params=["resident", "streamed", pytest.param("streamed jpeg", marks=pytest.mark.slow)])
def feed(request, tiny_tfds, jpeg_tfds):
    if request.param == "streamed jpeg":
        dataset = load(str(jpeg_tfds), image_size=8, stream=True)
    else:
        dataset = load(str(tiny_tfds), stream=request.param == "streamed")
    feed = make_feed(dataset.train, dataset)
    assert isinstance(feed, ResidentFeed if request.param == "resident" else StreamFeed)
    return feed


def take(feed, number, seed=0, first_step=0, batch_size=10, **part):
    with contextlib.closing(feed.training(batch_size, seed, first_step, **part)) as batches:
        return [jax.device_get(feed.fetch(feed.constants, batch)) for batch in itertools.islice(batches, number)]


def equal(a, b) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def joined(parts):
    """Join the shares of several hosts into whole batches."""
    return [jax.tree.map(lambda *rows: np.concatenate(rows), *shares) for shares in zip(*parts, strict=True)]


def test_batches_follow_from_seed_and_step(feed):
    # 48 images in batches of 10: four steps a pass, so these reach into the third
    batches = take(feed, 9)
    assert all(images.shape == (10, 8, 8, 3) and images.dtype == np.uint8 for images, _ in batches)
    assert equal(take(feed, 9), batches)
    for k in (3, 6):
        assert equal(take(feed, 9 - k, first_step=k), batches[k:])
    assert not equal(take(feed, 1, seed=1), batches[:1])
    assert not equal(batches[0], batches[4])


@pytest.mark.parametrize("feed", ["resident", "streamed"], indirect=True)
def test_an_image_is_seen_at_most_once_a_pass(feed):
    images = np.concatenate([images for images, _ in take(feed, 4)])
    assert len({image.tobytes() for image in images}) == 40


def test_shares_are_the_whole_bit_for_bit(feed):
    whole = take(feed, 9)
    for count in (2, 5):
        assert equal(joined([take(feed, 9, part=(i, count)) for i in range(count)]), whole)
    assert equal(take(feed, 2, first_step=6, part=(1, 2)), [jax.tree.map(lambda x: x[5:], b) for b in whole[6:8]])
    with pytest.raises(ValueError, match="3 equal parts"):
        take(feed, 1, part=(0, 3))


def evaluation(feed, **part):
    return [(*jax.device_get(feed.fetch(feed.constants, batch)), mask) for batch, mask in feed.evaluation(10, **part)]


def test_evaluation_sees_every_example_once_in_order(feed):
    found = evaluation(feed)
    assert all(len(labels) == 10 for _, labels, _ in found)
    labels = np.concatenate([labels[mask == 1] for _, labels, mask in found])
    np.testing.assert_array_equal(np.bincount(labels), [24, 24])
    np.testing.assert_array_equal(found[-1][2], [1] * 8 + [0] * 2)


def test_shares_of_the_evaluation_are_the_whole(feed):
    # the last of five shares holds only padding
    whole = evaluation(feed)
    parts = joined([evaluation(feed, part=(i, 5)) for i in range(5)])
    for (images, labels, mask), (images_, labels_, mask_) in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(mask, mask_)
        real = mask == 1
        assert equal((images[real], labels[real]), (images_[real], labels_[real]))


@pytest.mark.slow  # each process begins by importing grain
def test_worker_processes_change_no_batch(jpeg_tfds):
    dataset = load(str(jpeg_tfds), image_size=8, stream=True)
    threads, processes = (make_feed(dataset.train, dataset, workers) for workers in (0, 2))
    assert equal(take(processes, 6, first_step=2), take(threads, 6, first_step=2))  # into the second pass
    assert equal(evaluation(processes, part=(1, 2)), evaluation(threads, part=(1, 2)))
    assert not multiprocessing.active_children()  # closed feeds leave none behind


def test_images_of_one_size_are_streamed_as_they_are(tiny_tfds):
    datasets = [load(str(tiny_tfds), stream=stream) for stream in (False, True)]
    resident, streamed = (make_feed(dataset.train, dataset) for dataset in datasets)
    seen = {image.tobytes() for images, _ in take(streamed, 4) for image in images}
    assert seen < {row.tobytes() for row in resident.constants[0]}
    np.testing.assert_allclose(datasets[0].mean, datasets[1].mean)
    np.testing.assert_allclose(datasets[0].std, datasets[1].std)


def test_a_batch_larger_than_the_data_is_refused(feed):
    with pytest.raises(UserError, match="larger than the 48"):
        next(feed.training(49, 0, 0))


def test_changes_of_other_tasks_are_refused_in_memory_and_streamed(tiny_tfds):
    for stream in (False, True):
        data = load(str(tiny_tfds), stream=stream)
        with pytest.raises(UserError, match=r"`iou_crop`=True: classification knows crop, flip, .*: leave it out"):
            make_feed(data.train, data, how=Augmentation(iou_crop=True))


def test_what_the_package_holds_is_not_streamed():
    with pytest.raises(UserError, match="leave `stream` out"):
        load("mnist5k", stream=True)
