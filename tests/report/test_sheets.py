"""Confusion matrices and contact sheets of any size, with names in any script and no warning."""

import warnings

import numpy as np
import pytest
from PIL import Image

from jsep.report.confusion import save_confusion
from jsep.report.sheet import COLUMNS, MOST, Captioned, save_sheet
from jsep.report.text import drawing, shortened, width

LONG = "a class with a name that is much longer than any axis of a figure has room for"
RNG = np.random.default_rng(0)


def size(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (1, "a"),
        (2, "猫 {}"),
        (12, "{\\$} [b]"),
        (31, LONG),
        (121, "a\nb"),
        pytest.param(1000, "{}", marks=pytest.mark.slow),
    ],
)
def test_a_confusion_matrix_of_any_size_fits_on_a_page(tmp_path, classes, name):
    matrix = np.diag(RNG.integers(1, 100_000, classes))
    matrix[0, -1] += 1
    save_confusion(tmp_path / "c.png", matrix, [name] * classes, LONG)
    assert max(size(tmp_path / "c.png")) < 2500


def test_a_class_without_images_and_a_matrix_without_any(tmp_path):
    for matrix in (np.array([[0, 0], [1, 2]]), np.zeros((2, 2), int)):
        save_confusion(tmp_path / "c.png", matrix, ("a", "b"), "Few")


@pytest.mark.parametrize(
    ("number", "rows"), [(1, 1), (7, 2), pytest.param(70, MOST // COLUMNS, marks=pytest.mark.slow)]
)
def test_a_contact_sheet_has_rows_of_six(tmp_path, number, rows):
    images = [RNG.integers(0, 256, (5, 9, 3 - 2 * (i % 2)), np.uint8) for i in range(number)]
    sheet = [Captioned(image, (LONG, "котёнок 猫"), (None, True, False)[i % 3]) for i, image in enumerate(images)]
    save_sheet(tmp_path / "s.png", sheet, "A sheet")
    assert size(tmp_path / "s.png")[1] == pytest.approx(150 * (0.4 + rows * 2.0), abs=1)


def test_a_wrong_prediction_is_marked(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    found = set()
    for right in (None, True, False):
        save_sheet(tmp_path / "s.png", [Captioned(image, ("cat",), right)], "")
        with Image.open(tmp_path / "s.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        orange = ((pixels[..., 0] > 200) & (pixels[..., 2] < 60)).any()
        assert orange == (right is False)
        found.add(pixels.tobytes())
    assert len(found) == 3


def test_characters_without_a_font_cost_no_warning(tmp_path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_sheet(tmp_path / "s.png", [Captioned(np.zeros((2, 2, 1), np.uint8), ("猫", "한국어", "किताब"))], "ไทย")
    assert not caplog.records


def test_fonts_are_added_only_for_characters_that_the_usual_one_lacks():
    import matplotlib as mpl

    with drawing(["cat", "кот"]):
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
    with drawing(["\U0001d7ed"]):  # a sans-serif bold digit, which a font that comes with Matplotlib has
        assert mpl.rcParams["font.family"][0] == "DejaVu Sans"


@pytest.mark.parametrize("text", ["", "cat", "a \n b", LONG, "猫" * 40, "кот " * 20])
@pytest.mark.parametrize("most", [1, 2, 24, 26])
def test_texts_are_shortened_to_a_width(text, most):
    short = shortened(text, most)
    assert width(short) <= most
    assert "\n" not in short
    assert short == text or "\n" in text or width(text) > most or text != " ".join(text.split())
