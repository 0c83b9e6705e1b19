"""The report of a comparison: figures, and a page that needs nothing else."""

import base64
import dataclasses
import html.parser
import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from sample_rows import points, result

from jsep.errors import UserError
from jsep.report import write_report
from jsep.report.confusion import save_confusion
from jsep.report.figures import STYLES, Picture, _scatter, _spread, _wrap, save_figures
from jsep.results import CURVES_CSV, RESULTS_CSV, CurvePoint, Result, write_rows

FIGURES = (
    *("validation_loss", "validation_accuracy", "validation_top5"),
    *("parameters", "training_time", "flops"),
    *("accuracy_parameters", "accuracy_macs", "accuracy_training_time"),
)


def report(folder: Path, results: list[Result], curves: list[CurvePoint], **more) -> str:
    write_rows(folder / RESULTS_CSV, results)
    write_rows(folder / CURVES_CSV, curves)
    path = write_report(folder, **{"title": "A comparison", **more})
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Page(html.parser.HTMLParser):
    """Parser of the tags of a page, and of the cells of its table rows as `text|small text`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.bold: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "small":
            self.rows[-1][-1] += "|"

    def handle_endtag(self, tag):
        assert self._inside.pop() == tag

    def handle_data(self, data):
        if "style" not in self._inside:
            self.text += data
        if {"td", "th"} & set(self._inside):
            self.rows[-1][-1] += data
        if "strong" in self._inside:
            self.bold.append(data)

    def column(self, heading: str) -> list[str]:
        at = [name.split("|")[0] for name in self.rows[0]].index(heading)
        return [row[at] for row in self.rows[1:]]


def test_a_file_without_rows_is_named(tmp_path):
    write_rows(tmp_path / RESULTS_CSV, [result()])
    write_rows(tmp_path / CURVES_CSV, points())
    header = (tmp_path / RESULTS_CSV).read_text().splitlines()[0]
    (tmp_path / RESULTS_CSV).write_text(header)
    with pytest.raises(UserError, match=r"results\.csv has no rows"):
        write_report(tmp_path, title="Empty")


def test_figures_are_the_same_bytes_when_made_again(tmp_path):
    results = [result(r"a$\x$", seed, train_seconds=60.0 + seed) for seed in range(2)]
    curves = points(r"a$\x$", 0) + points(r"a$\x$", 1, losses=(1.4, 0.6))
    first = save_figures(tmp_path / "1", results, curves)
    again = save_figures(tmp_path / "2", results, curves)
    assert tuple(picture.file.stem for picture in first) == FIGURES
    for one, two in zip(first, again, strict=True):
        assert one.file.read_bytes() == two.file.read_bytes()
        assert b"<dc:date>" not in one.file.read_bytes()
        assert one.file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert len({picture.file.read_bytes() for picture in first}) == len(FIGURES)


def test_figures_say_what_they_show(tmp_path):
    results = [
        result("a", 0, train_seconds=60.0),
        result("a", 1, train_seconds=84.0),
        result("b", 0, params=801_226, flops=1_000_000_000, train_seconds=30.0),
    ]
    curves = points("a", 0) + points("a", 1, losses=(1.5, 0.7)) + points("b", 0)
    pictures = save_figures(tmp_path, results, curves)
    loss, accuracy, top5, params, time, flops, *against = (picture.alt for picture in pictures)
    assert "a 0.6 nats at epoch 2; b 0.5 nats at epoch 2" in loss
    assert "a 60.5 % at epoch 2; b 60 % at epoch 2" in accuracy
    assert "a 95 % at epoch 2; b 95 % at epoch 2" in top5
    assert "a 5.157 M; b 0.801 M" in params
    deviation = statistics.stdev([1, 1.4])
    assert f"a 1.200 ± {deviation:.3f} min; b 0.500 min" in time
    assert "a 1.485 TFLOP; b 0.256 TFLOP" in flops
    costs = ("5,157,034 parameters", "801,226 parameters"), ("2,800,000,000 MACs",) * 2, ("72 s of", "30 s of training")
    for alt, what, (one, other) in zip(against, ("parameters", "MACs", "training time"), costs, strict=True):
        assert re.match(rf"Accuracy against {what}: a 80 % with {one}.*; b 80 % with {other}\.$", alt)


@pytest.mark.parametrize("sizes", [(77_500,), (63_481, 67_986, 77_500), (9_990, 10_010), (151_370, 1_400_000)])
def test_numbers_stand_at_the_axis_of_parameters_however_close_the_networks_are(sizes):
    rows = [result(f"m{size}", params=size) for size in sizes]
    figure, _ = _scatter(rows, {f"m{size}": STYLES[i] for i, size in enumerate(sizes)})
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    low, high = axis.get_view_interval()
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    labels = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert 1 <= len([label for label in labels if label]) <= 6
    assert low < min(sizes)
    assert max(sizes) < high


def test_eight_models_one_epoch_and_nothing_finite(tmp_path):
    models = [f"a_very_long_name_of_a_separable_network_{i}" for i in range(8)]
    nothing = dict.fromkeys(("accuracy", "loss", "train_seconds"), math.nan)
    pictures = save_figures(
        tmp_path,
        [result(model, **nothing) for model in models],
        [point for model in models for point in points(model, losses=(math.nan,))],
    )
    assert pictures[0].alt.count(" nan nats at epoch 1") == 8
    assert pictures[4].alt.count(" nan s") == 8
    assert pictures[-1].alt.count(" nan % with nan s of training") == 8


def test_labels_stay_apart_and_close():
    heights = [0.1] * 4
    centres = _spread([0.5, 0.98, 0.97, 0.1], heights)
    assert centres == pytest.approx([0.5, 0.95, 0.85, 0.1])
    assert _spread([0.3], [0.1]) == [0.3]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("regular_cnn", ["regular_cnn"]),
        ("separable_cnn_wide", ["separable_cnn_", "wide"]),
        ("x" * 20, ["x" * 14, "x" * 6]),
        ("ssdlite320 backbone=mobilenet_v2_050", ["ssdlite320", "…ilenet_v2_050"]),
        ("regular_" + "x" * 40 + "_the_end", ["regular_xxxxxx", "xx…xxx_the_end"]),
    ],
)
def test_names_are_set_in_two_lines(name, lines):
    assert _wrap(name).split("\n") == lines


def test_table_has_means_deviations_ratios_and_the_best_in_bold(tmp_path):
    results = [
        result("a", 0, accuracy=0.80, loss=0.5, train_seconds=1200.0),
        result("a", 1, accuracy=0.82, loss=0.5, train_seconds=1300.0),
        result("a", 2, accuracy=0.87, loss=0.5, train_seconds=1400.0),
        result("b", 0, accuracy=0.79, loss=0.7, train_seconds=625.0, params=2_423_806, flops=232_000_000),
    ]
    curves = points("a", 0) + points("a", 1) + points("a", 2) + points("b", 0)
    page = Page(report(tmp_path, results, curves))
    # By hand: deviations -3, -1, +4 of the mean 83, so the variance is 26 / 2.
    assert page.column("Accuracy") == ["83.00|± 3.61", "79.00"]
    assert page.column("Training time") == ["1,300.0|± 100.0", "625.0|48 %"]
    assert page.column("Parameters") == ["5,157,034", "2,423,806|47 %"]
    assert page.column("FLOPs") == ["5,800,000,000", "232,000,000|4.0 %"]
    assert page.column("Loss") == ["0.5000", "0.7000"]
    assert page.column("Top-5") == ["99.00", "99.00"]
    assert {"83.00", "0.5000", "2,423,806", "232,000,000", "625.0"} <= set(page.bold)
    assert not {"79.00", "0.7000", "5,157,034", "1,300.0"} & set(page.bold)
    assert "a and b, trained on cifar10 for 2 epochs in batches of 64, with 1 and 3 seeds each." in page.text


def test_a_diverged_seed_shows_and_is_never_best(tmp_path):
    page = Page(
        report(
            tmp_path,
            [result("a", 0), result("a", 1, loss=math.nan), result("b", 0, loss=9.0)],
            points("a", 0) + points("a", 1, losses=(1.5, math.nan)) + points("b", 0),
        )
    )
    assert page.column("Loss") == ["NaN", "9.0000"]
    assert "9.0000" in page.bold
    assert "NaN" not in page.bold


def test_page_needs_nothing_else(tmp_path):
    text = report(tmp_path, [result()], points())
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    for image, name in zip(images, FIGURES, strict=True):
        kind, data = (image["src"] or "").split(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data) == (tmp_path / "figures" / f"{name}.svg").read_bytes()
        assert "regular_cnn" in (image["alt"] or "")
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert ("html", {"lang": "en"}) in page.tags
    for fact in ("width=0.5", "cpu", "0.10.2", "3.11.9", "2026-01-02"):
        assert fact in page.text
    assert "Published" not in text
    assert "Notes" not in text
    assert "±" not in page.text
    assert not page.bold


def test_a_top5_accuracy_that_tells_nothing_is_left_out(tmp_path):
    """It is 1 with up to five classes, and NaN in files of earlier versions."""
    without = [dataclasses.replace(point, val_top5=value) for point, value in zip(points(), (1, math.nan), strict=True)]
    page = Page(report(tmp_path, [result(top5=1.0), result("b", top5=math.nan)], without))
    assert not [cell for cell in page.rows[0] if "Top-5" in cell]
    assert not (tmp_path / "figures" / "validation_top5.svg").exists()


@pytest.mark.parametrize(("main", "headings"), [("ap", ["AP", "AP50", "Best AP"]), ("miou", ["mIoU", "Best mIoU"])])
def test_detectors_and_segmenters_are_compared_by_their_own_figures(tmp_path, main, headings):
    nothing = dict.fromkeys(("accuracy", "best_accuracy", "top5", "loss"), math.nan)
    nothing |= {main: 0.3, f"best_{main}": 0.4, "ap50": 0.5 if main == "ap" else math.nan}
    row = dataclasses.replace(result(), **nothing)
    nothing = dict.fromkeys(("train_accuracy", "val_accuracy", "val_top5", "val_loss"), math.nan)
    measured = dict.fromkeys(("val_ap", "val_ap50") if main == "ap" else ("val_miou",), 0.3)
    epochs = [dataclasses.replace(point, **nothing, **measured) for point in points()]
    write_rows(tmp_path / "results.csv", [row])
    write_rows(tmp_path / "curves.csv", epochs)
    page = write_report(tmp_path, title="t").read_text()
    for heading in headings:
        assert f"<th scope='col'>{heading}<small>%</small></th>" in page
    assert "Top-5" not in page
    assert f"the best {headings[0]} is that of the best epoch" in page
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    costs = {f"{main}_{cost}" for cost in ("parameters", "macs", "training_time")}
    curves = {"validation_ap", "validation_ap50"} if main == "ap" else {"validation_loss", "validation_miou"}
    assert drawn == {*curves, "parameters", "training_time", "flops", *costs}


def test_mistakes_have_a_section_of_their_own(tmp_path):
    path = tmp_path / "confusion.png"
    save_confusion(path, np.eye(2, dtype=int), ("a", "b"), "Two")
    text = report(tmp_path, [result()], points(), mistakes=[Picture("a matrix", "of <b>", path)])
    image = next(attributes for tag, attributes in Page(text).tags if tag == "img" and attributes["alt"] == "a matrix")
    kind, data = (image["src"] or "").split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == path.read_bytes()
    assert "of &lt;b&gt;" in text


def test_notes_and_published_figures(tmp_path):
    published = [{"Model": "Regular", "Parameters": "5.157 M"}, {"Model": "Both", "Time": "1 h"}]
    page = Page(report(tmp_path, [result()], points(), notes=["Lossy images."], published=published))
    assert "Published figures (paper-size networks, not this run)" in page.text
    assert page.rows[-3:] == [["Model", "Parameters", "Time"], ["Regular", "5.157 M", ""], ["Both", "", "1 h"]]
    assert "Lossy images." in page.text


def test_hostile_text_stays_text(tmp_path):
    evil = """<script>alert('"&amp;')</script>"""
    words = dict.fromkeys(("dataset", "options", "device", "jax", "python", "date"), evil)
    text = report(
        tmp_path,
        [result(evil, **words), result("b")],
        points(evil),
        title=evil,
        notes=[evil],
        published=[{evil: evil, "x": evil}],
    )
    page = Page(text)
    assert "<script" not in text
    assert page.text.count(evil) >= 12
    assert any(tag == "img" and evil in (attributes["alt"] or "") for tag, attributes in page.tags)
