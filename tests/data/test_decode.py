"""Decoding of images to arrays of one size."""

import numpy as np
import pytest
from PIL import Image

from conftest import picture
from jsep.data import decode

COARSE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8))
SMOOTH = np.asarray(COARSE.resize((397, 299)))


def test_draft_decodes_fewer_pixels_of_the_same_window():
    encoded = picture(SMOOTH, "jpeg")
    for seed in range(8):
        whole, reduced = (
            decode.random_resized_crop(encoded, 32, 3, np.random.default_rng(seed), draft=draft).astype(int)
            for draft in (False, True)
        )
        assert whole.shape == reduced.shape == (32, 32, 3)
        assert (whole != reduced).any()  # the reduced decoding was used
        assert np.abs(whole - reduced).mean() < 4  # on a scale of 255


def test_windows_lie_in_the_image_and_keep_to_area_and_aspect():
    rng = np.random.default_rng(0)
    found = np.array([decode._window(400, 300, rng) for _ in range(500)])
    left, top, w, h = found.T
    assert (found >= 0).all()
    assert (left + w).max() <= 400
    assert (top + h).max() <= 300
    share = w * h / (400 * 300)
    assert 0.07 < share.min() < 0.12
    assert 0.9 < share.max() <= 1
    assert 0.74 < (w / h).min() < (w / h).max() < 1.35
    assert decode._window(1000, 10, rng) == (495, 0, 10, 10)  # nothing fits: the centre


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_any_picture_becomes_as_many_channels_as_asked(channels, encoding):
    for pixels in (SMOOTH, SMOOTH[..., 0]):
        encoded = picture(pixels, encoding)
        assert decode.decode(encoded, channels).shape == (299, 397, channels)
        assert decode.centre_crop(encoded, 28, channels).shape == (28, 28, channels)
        crop = decode.random_resized_crop(encoded, 28, channels, np.random.default_rng(0))
        assert crop.shape == (28, 28, channels)
        assert crop.dtype == np.uint8
