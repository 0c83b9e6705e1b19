"""Windows of pictures, drawn on the host with the objects that lie in them, and scaled to a square.

A window may reach beyond its picture, where it shows a plain colour, so zooming out and cutting out are one thing.
Paper: Liu et al., arXiv 1512.02325, section 2.2, in torchvision's form.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, None)  # least IoU with some object that is drawn from; None: not cut
TRIALS = 40  # windows that are drawn for each of them
SIDES, ASPECT = (0.3, 1.0), (0.5, 2.0)  # bounds of a window's sides as shares of the whole, and of its aspect ratio
BLOCK = 32  # rows that are scaled at a time, so that their arrays stay in the cache: several times as fast as all rows
FRAME = 4.0  # most times that the frame around a picture is as wide and high as it


class Window(NamedTuple):
    """A rectangle in pixels of a picture, which it may reach beyond."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, image: UInt8[np.ndarray, "h w c"]) -> "Window":
        """Return the window that shows the whole of a picture."""
        return cls(0, 0, image.shape[1], image.shape[0])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its corners as a box."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def zoomed_out(whole: Window, rng: np.random.Generator) -> Window:
    """Draw a frame around a window: for half of them itself, otherwise up to `FRAME` times as wide and high."""
    if rng.random() >= 0.5:
        return whole
    factor = 1 + (FRAME - 1) * rng.random()
    width, height = int(whole.width * factor), int(whole.height * factor)
    right, down = ((width - whole.width) * rng.random(), (height - whole.height) * rng.random())
    return Window(whole.left - int(right), whole.top - int(down), width, height)


def iou_crop(whole: Window, boxes: Float[np.ndarray, "k 4"], rng: np.random.Generator) -> Window:
    """Draw a window inside another that overlaps some object as much as is drawn first; the same if it has no objects.

    Args:
        whole: the window to cut from.
        boxes: the boxes of the objects.
        rng: source of the window.
    """
    while len(boxes) and (least := OVERLAPS[rng.integers(len(OVERLAPS))]) is not None:
        draws = rng.random((TRIALS, 4))
        sides = ((SIDES[0] + (SIDES[1] - SIDES[0]) * draws[:, :2]) * (whole.width, whole.height)).astype(int)
        corners = ((np.array((whole.width, whole.height)) - sides) * draws[:, 2:]).astype(int)
        corners += (whole.left, whole.top)
        windows = np.concatenate([corners, corners + sides], 1)
        fits = (sides > 0).all(1)
        aspects = sides[:, 0] / np.maximum(sides[:, 1], 1)
        fits &= (aspects >= ASPECT[0]) & (aspects <= ASPECT[1])
        inside = _centred(boxes, windows)
        fits &= inside.any(1) & (np.where(inside, _iou(windows, boxes), -1).max(1) >= least)
        if fits.any():
            left, top, right, bottom = windows[int(np.argmax(fits))].tolist()
            return Window(left, top, right - left, bottom - top)
    return whole


def kept(boxes: Float[np.ndarray, "k 4"], window: Window) -> Bool[np.ndarray, " k"]:
    """Return which objects stay in a window that was cut out: those whose centres lie in it."""
    return _centred(boxes, np.array([window.box]))[0]


def moved(boxes: Float[np.ndarray, "k 4"], window: Window, size: int) -> Float[np.ndarray, "k 4"]:
    """Return boxes in pixels of a square that a window is scaled to, cut to it.

    >>> moved(np.array([[10.0, 10, 40, 20]]), Window(20, 0, 40, 20), 80).tolist()
    [[0.0, 40.0, 40.0, 80.0]]
    """
    origin, sides = np.array([window.left, window.top] * 2), np.array([window.width, window.height] * 2)
    return np.clip((boxes - origin) * (size / sides), 0, size).astype(np.float32)


def seen(
    image: UInt8[np.ndarray, "h w c"], window: Window, size: int, fill: tuple[int, ...] = (0,)
) -> UInt8[np.ndarray, "s s c"]:
    """Scale a window of a picture to a square, bilinear without antialiasing, as torchvision's detectors do.

    Args:
        image: the picture.
        window: what of it to show.
        size: side of the square in pixels.
        fill: colour beyond the picture, one value for each channel or one for all.
    """
    height, width, _ = image.shape
    colour = np.asarray(fill, np.uint8)
    (rows, down), (columns, across) = (
        _neighbours(*along, size) for along in ((window.top, window.height), (window.left, window.width))
    )
    square = np.empty((size, size, image.shape[-1]), np.uint8)
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        upper, lower = (_taken(image, one[block], height, 0, colour).astype(np.float32) for one in rows)
        upper += (lower - upper) * down[block, None, None]
        left, right = (_taken(upper, one, width, 1, colour) for one in columns)
        left += (right - left) * across[None, :, None]
        square[block] = np.rint(left)
    return square


def _neighbours(
    start: int, length: int, size: int
) -> tuple[tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]], Float[np.ndarray, " s"]]:
    """Return the two pixels that each of `size` pixels is mixed of, and the share of the second."""
    places = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    first = places.astype(int)
    return (start + first, start + np.minimum(first + 1, length - 1)), (places - first).astype(np.float32)


def _taken(image: np.ndarray, places: Int[np.ndarray, " s"], length: int, axis: int, colour: np.ndarray) -> np.ndarray:
    """Take rows (axis 0) or columns (axis 1) of a picture of some length, and a plain colour beyond it."""
    taken = np.take(image, np.clip(places, 0, length - 1), axis)
    outside = (places < 0) | (places >= length)
    if outside.any():
        taken[(slice(None),) * axis + (outside,)] = colour
    return taken


def _centred(boxes: Float[np.ndarray, "k 4"], windows: Int[np.ndarray, "n 4"]) -> Bool[np.ndarray, "n k"]:
    """Return which boxes have their centres inside which windows."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.all((centres > windows[:, None, :2]) & (centres < windows[:, None, 2:]), -1)


def _iou(windows: Int[np.ndarray, "n 4"], boxes: Float[np.ndarray, "k 4"]) -> Float[np.ndarray, "n k"]:
    """Return the IoU of each window with each box."""
    sides = np.minimum(windows[:, None, 2:], boxes[:, 2:]) - np.maximum(windows[:, None, :2], boxes[:, :2])
    overlap = np.maximum(sides, 0).prod(-1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (windows, boxes)]
    return overlap / (areas[0][:, None] + areas[1] - overlap)
