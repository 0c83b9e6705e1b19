"""Windows of pictures: torchvision's rules, and pixels of the plain way."""

import jax
import numpy as np
import pytest

from jsep.data.windows import OVERLAPS, TRIALS, Window, iou_crop, kept, moved, seen, zoomed_out

FILL = (10, 20, 30)


def draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def iou(a, b) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(0, width) * max(0, height)
    return inside / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - inside)


def plain_iou_crop(width: int, height: int, boxes: np.ndarray, rng: np.random.Generator) -> Window:
    """torchvision's RandomIoUCrop, one trial after another."""
    while True:
        least = OVERLAPS[rng.integers(len(OVERLAPS))]
        if least is None:
            return Window(0, 0, width, height)
        for draw in rng.random((TRIALS, 4)):
            w, h = int(width * (0.3 + 0.7 * draw[0])), int(height * (0.3 + 0.7 * draw[1]))
            if not h or not 0.5 <= w / h <= 2:
                continue
            left, top = int((width - w) * draw[2]), int((height - h) * draw[3])
            right, bottom = left + w, top + h
            if left == right or top == bottom:
                continue
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            inside = [left < x < right and top < y < bottom for x, y in centres]
            if not any(inside):
                continue
            if max(iou(box, (left, top, right, bottom)) for box in boxes[inside]) < least:
                continue
            return Window(left, top, w, h)


@pytest.mark.parametrize("size", [(64, 48), (20, 60), (3, 5)])
def test_the_iou_crop_is_that_of_torchvision(size):
    width, height = size
    for seed in range(100):
        rng = draws(seed)
        corners = rng.uniform(0, 0.8, (rng.integers(1, 5), 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0.05, 1, corners.shape) * (1 - corners)], 1)
        boxes = (boxes * (width, height, width, height)).astype(np.float32)
        one, other = draws(1000 + seed), draws(1000 + seed)
        window = iou_crop(Window(0, 0, width, height), boxes, one)
        assert window == plain_iou_crop(width, height, boxes, other)
        shifted = iou_crop(Window(-7, 5, width, height), boxes + np.array([-7, 5, -7, 5]), draws(1000 + seed))
        assert shifted == (window.left - 7, window.top + 5, window.width, window.height)


def test_a_picture_without_objects_is_not_cut():
    whole = Window(0, 0, 30, 20)
    assert all(iou_crop(whole, np.zeros((0, 4), np.float32), draws(seed)) == whole for seed in range(20))


def test_zooming_out_frames_half_of_the_pictures_up_to_four_times_as_wide():
    whole = Window(0, 0, 30, 20)
    frames = [zoomed_out(whole, draws(seed)) for seed in range(400)]
    framed = [one for one in frames if one != whole]
    assert 150 < len(framed) < 250
    for left, top, width, height in framed:
        assert 30 <= width <= 120
        assert 20 <= height <= 80
        assert abs(width / 30 - height / 20) < 0.1
        assert left <= 0 <= left + width - 30
        assert top <= 0 <= top + height - 20
    assert max(one.width for one in framed) > 110


@pytest.mark.parametrize("window", [(0, 0, 19, 13), (3, 2, 7, 9), (-5, -9, 40, 30), (5, -4, 10, 12), (6, 6, 1, 1)])
@pytest.mark.parametrize("size", [8, 19, 31])
def test_a_window_is_seen_as_if_it_were_framed_cut_and_scaled(window, size):
    image = draws(0).integers(0, 256, (13, 19, 3), np.uint8)
    left, top, width, height = window
    canvas = np.empty((100, 100, 3), np.uint8)
    canvas[:] = FILL
    canvas[40:53, 40:59] = image
    cut = canvas[40 + top : 40 + top + height, 40 + left : 40 + left + width]
    plain = jax.image.resize(cut.astype(np.float32), (size, size, 3), "linear", antialias=False)
    np.testing.assert_allclose(seen(image, Window(*window), size, FILL), plain, atol=0.501)


def test_a_picture_of_the_size_asked_for_is_the_picture():
    image = draws(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(seen(image, Window.of(image), 16), image)


@pytest.mark.slow  # importing PyTorch
def test_the_scale_is_torchvisions():
    functional = pytest.importorskip("torch", reason="compares with PyTorch").nn.functional
    import torch

    image = draws(0).integers(0, 256, (48, 64, 3), np.uint8)
    given = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    wanted = functional.interpolate(given, size=(20, 20), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    np.testing.assert_allclose(seen(image, Window.of(image), 20), wanted.numpy(), atol=0.501)


def test_objects_stay_whose_centre_lies_in_the_window_and_are_cut_to_it():
    boxes = np.array([[0, 0, 10, 10], [4, 4, 20, 12], [11, 0, 31, 20], [29, 2, 31, 4]], np.float32)
    window = Window(10, 0, 20, 20)
    assert kept(boxes, window).tolist() == [False, True, True, False]
    np.testing.assert_allclose(moved(boxes[1:3], window, 40), [[0, 8, 20, 24], [2, 0, 40, 40]])
