"""Anchors: the boxes that a detector's answers are relative to. They follow from shapes alone, so they are NumPy's.

The order is that of a detector's answers: by map, row, column and anchor.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

Map = tuple[int, int]  # height and width


def default_boxes(
    size: Map,
    maps: Sequence[Map],
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    steps: Sequence[int] | None = None,
    *,
    inside: bool = False,
) -> Float32[np.ndarray, "a 4"]:
    """Return the default boxes of an SSD. Paper: Liu et al., arXiv 1512.02325, section 2.2, in torchvision's form.

    Each cell of map k has a square of side scales[k] and one of side sqrt(scales[k] * scales[k + 1]). For each ratio it
    has two boxes of the first square's area, a wide and a tall one, whose longer side is `ratio` times the shorter.

    Args:
        size: height and width of the network's input.
        maps: height and width of each map.
        scales: shares of the input's sides, one more than there are maps.
        ratios: ratios of the sides for each map.
        steps: distance of the cells of each map in pixels; by default they cover the input.
        inside: whether centers that the steps put outside of the input are moved to its edge.

    Returns:
        Boxes in pixels; they may reach beyond the input, but none is larger. They are torchvision's to the last bit,
        since whole rows of anchors overlap an object equally, and rounding decides which of them is its best.

    >>> boxes = default_boxes((320, 320), [(20, 20)], [0.2, 0.35], [[2, 3]])
    >>> boxes.shape, boxes[0].tolist()
    ((2400, 4), [-24.0, -24.0, 40.0, 40.0])
    """
    found = []
    for k, (rows, columns) in enumerate(maps):
        sides = [(scales[k],) * 2, (math.sqrt(scales[k] * scales[k + 1]),) * 2]
        for ratio in ratios[k]:
            wide, high = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            sides += [(wide, high), (high, wide)]
        cells = (rows, columns) if steps is None else (size[0] / steps[k], size[1] / steps[k])
        y, x = (np.arange(count, dtype=np.float32) + np.float32(0.5) for count in (rows, columns))
        at = np.broadcast_arrays(x[None, :] / np.float32(cells[1]), y[:, None] / np.float32(cells[0]))
        center = np.stack(at, -1)[:, :, None]
        center = np.minimum(center, 1) if inside else center
        half = np.clip(np.array(sides, np.float32), 0, 1) * np.float32(0.5)
        found.append(np.concatenate([center - half, center + half], -1).reshape(-1, 4))
    return np.concatenate(found) * np.array([size[1], size[0]] * 2, np.float32)


def grid_anchors(
    size: Map, maps: Sequence[Map], sides: Sequence[Sequence[int]], ratios: Sequence[float] = (0.5, 1.0, 2.0)
) -> Float32[np.ndarray, "a 4"]:
    """Return the anchors of RetinaNet and of region proposals, in torchvision's form.

    They lie at whole multiples of a map's stride, without half a cell, and their corners are rounded. The stride is
    floor(size / map), which is 61 rather than 64 for a map of 13 cells and a side of 800.

    Args:
        size: height and width of the network's input.
        maps: height and width of each map.
        sides: sides of the squares on each map, in pixels; other ratios have their area.
        ratios: heights over widths.

    >>> grid_anchors((64, 64), [(2, 2)], [[32]])[:4].tolist()
    [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0], [9.0, -11.0, 55.0, 11.0]]
    """
    high = np.sqrt(np.array(ratios, np.float32))
    found = []
    for (rows, columns), own in zip(maps, sides, strict=True):
        lengths = np.array(own, np.float32)
        width, height = ((1 / high)[:, None] * lengths).ravel(), (high[:, None] * lengths).ravel()
        cell = np.round(np.stack([-width, -height, width, height], 1) / 2)
        y, x = np.arange(rows) * (size[0] // rows), np.arange(columns) * (size[1] // columns)
        at = np.stack(np.broadcast_arrays(x[None, :], y[:, None]) * 2, -1)
        found.append((at[:, :, None] + cell).reshape(-1, 4))
    return np.concatenate(found).astype(np.float32)
