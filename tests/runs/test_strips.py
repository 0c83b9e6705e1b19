"""Strips of pictures: what is annotated, what each network finds, and both in the report of a comparison."""

import io
import math
from pathlib import Path

import annotated_sets as sets
import numpy as np
import pytest
import tiny_tasks
from PIL import Image
from rich.console import Console

from jsep.data import load
from jsep.report.drawing import LEAST
from jsep.runs.comparison import Comparison, compare_networks
from jsep.runs.config import replace_fields
from jsep.runs.predict import Object, Prediction
from jsep.runs.strips import annotated_strip
from jsep.train import Data, Recipe

LAYOUTS = {"detection": sets.coco, "segmentation": sets.masks}


@pytest.mark.parametrize("task", LAYOUTS)
def test_a_strip_shows_what_is_annotated(tmp_path, task):
    data = load(str(LAYOUTS[task](tmp_path / "set")), image_size=16, task=task)
    strip = annotated_strip(data, tmp_path / "drawn")
    assert [one.file.name for one in strip] == ["1.png", "2.png"]  # there are two test pictures
    if task == "detection":
        assert [one.caption for one in strip] == ["1 dog", "1 cat"]
    for number, (one, name) in enumerate(zip(strip, sets.BOXES["val"], strict=True), start=1):
        assert one.alt == f"Test picture {number}, annotation: {one.caption}"
        assert (task == "segmentation") == ("% class " in one.caption)
        with Image.open(one.file) as image:
            pixels = np.asarray(image)
        factor = LEAST // sets.WIDTH
        assert len(pixels) >= sets.HEIGHT * factor
        if task == "segmentation":  # what is of no class keeps its colours
            np.testing.assert_array_equal(pixels[factor // 2, factor // 2], sets.pixels(name)[0, 0])


def test_a_large_picture_is_shown_smaller_with_all_that_is_in_it():
    image = np.zeros((100, 200, 1), np.uint8)
    image[20:60, 50:100] = 255
    things = (Object(0, "a", math.nan, (50, 20, 100, 60)),)
    one = Prediction(Path(), image=image, objects=things, mask=(image[..., 0] > 0).astype(np.uint8))
    small = one.fitted(20)
    assert small.image is not None
    assert small.image.shape == (10, 20, 1)
    assert small.objects == (Object(0, "a", things[0].score, (5, 2, 10, 6)),)
    assert small.mask is not None
    np.testing.assert_array_equal(np.argwhere(small.mask)[[0, -1]], [[2, 5], [5, 9]])
    assert one.fitted(200) is one


@pytest.mark.parametrize("task", ["detection", pytest.param("segmentation", marks=pytest.mark.slow)])
def test_a_comparison_shows_what_each_network_finds(tmp_path, task):
    choice = Data(str(LAYOUTS[task](tmp_path / "set")), image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    recipe = replace_fields(Recipe(data=choice), {"epochs": 1, "batch_size": 4, "schedule": "constant", "devices": 1})
    out, console = tmp_path / "out", Console(file=io.StringIO())
    with tiny_tasks.registered():
        experiment = Comparison("Squares", (f"tiny_{task}",), recipe)
        page = compare_networks(experiment, out, resume=False, console=console).read_text()
        drawn = [path.stat().st_mtime_ns for path in sorted(out.glob("figures/tiny*/*"))]
        assert compare_networks(experiment, out, resume=True, console=console).read_text() == page
        assert [path.stat().st_mtime_ns for path in sorted(out.glob("figures/tiny*/*"))] == drawn
    strips = page.partition("<h2>Predictions</h2>")[2].partition("<h2>")[0]
    headings = [part.partition("</h3>")[0] for part in strips.split("<h3>")[1:]]
    assert headings == ["Annotation", f"tiny_{task}"]
    assert strips.count('src="data:image/png;base64,') == 4
    assert f"Test picture 2, tiny_{task}: " in strips
