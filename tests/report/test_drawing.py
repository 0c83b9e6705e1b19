"""Boxes and masks drawn into pictures."""

import numpy as np
import pytest
from PIL import Image

from jsep.report.drawing import centre, colour_of, draw_boxes, draw_mask, save_classes
from jsep.report.figures import STYLES

GREY = np.full((60, 80, 3), 128, np.uint8)


def near(image, colour, most: float = 0.02):
    """Return which pixels of a picture have a colour."""
    return np.abs(image / 255 - np.array(colour)).max(-1) < most


def test_a_box_is_drawn_where_it_lies_in_its_colour():
    drawn = draw_boxes(GREY, np.array([[20.0, 30.0, 60.0, 50.0]]), [1], ["cat 98%"])
    assert drawn.shape == (360, 480, 3)  # six times as large
    rows, columns = np.nonzero(near(drawn, colour_of(1)))
    below = rows >= 180 - 2  # the name stands above the box
    assert (columns[below].min(), columns[below].max()) == pytest.approx((120, 360), abs=3)
    assert rows.max() == pytest.approx(300, abs=3)
    assert (drawn[240, 240] == 128).all()


@pytest.mark.parametrize("boxes", [[], [[0, 0, 80, 60]], [[-5, -5, 200, 200], [10, 10, 10, 10]]])
def test_no_box_and_odd_boxes_are_drawn(boxes):
    found = np.array(boxes, float).reshape(-1, 4)
    drawn = draw_boxes(GREY[..., :1], found, [9] * len(found), ["$x_1$ \n猫"] * len(found))
    assert drawn.shape == (360, 480, 3)
    assert ((drawn == 128).all(-1)).mean() > 0.8


def test_a_mask_veils_the_picture_and_has_a_legend():
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:], mask[:30, :40] = 2, 1
    names = ("background", "sky", "road")
    drawn = draw_mask(GREY, mask, names)
    assert drawn.shape[0] == 360
    assert drawn.shape[1] > 480
    veiled = 0.45 * 128 / 255 + 0.55 * np.array(colour_of(2))
    assert near(drawn, veiled)[:, 246:480].mean() > 0.9  # and the number
    assert (drawn[200:, :230] == 128).all()  # the background as it was
    assert near(drawn[:, 480:], colour_of(2)).any()
    assert not near(drawn[:, 480:], colour_of(0)).any()
    assert draw_mask(GREY, 0 * mask, names).shape == (360, 480, 3)
    numbers, named = (draw_mask(GREY, mask, names) for names in ("012", ("0", "one", "two")))
    assert numbers.shape[1] < named.shape[1]  # classes without names are not told twice


def test_the_number_of_a_region_stands_inside_of_it():
    ring = np.ones((30, 40), bool)
    ring[5:-9, 5:-5] = False  # the middle of a ring is not a part of it
    (row, column), side = centre(ring)
    assert (side, row) == (9, 25)
    assert ring[round(row), round(column)]
    assert centre(np.eye(3, dtype=bool))[1] == 1


def test_colours_differ_for_24_classes():
    colours = {colour_of(number) for number in range(3 * len(STYLES))}
    assert len(colours) == 3 * len(STYLES) - 1  # there is no darker black


def test_classes_are_the_values_of_a_file(tmp_path):
    mask = np.array([[0, 3], [255, 8]], np.uint8)
    save_classes(tmp_path / "m.png", mask)
    with Image.open(tmp_path / "m.png") as image:
        assert np.array_equal(np.asarray(image), mask)
        red, *_ = image.convert("RGB").getpixel((1, 0))  # type: ignore[misc]
    assert red == round(255 * colour_of(3)[0])
