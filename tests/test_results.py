"""Rows of results: csv round trips, damaged files, and their means."""

import dataclasses
import math
import re

import pytest
from sample_rows import points, result

from jsep.errors import UserError
from jsep.results import CurvePoint, Result, mean_std, optional_fields, read_rows, write_rows


@pytest.mark.parametrize(
    "rows",
    [
        [result(), result('a,"b"\nç', 7, loss=math.inf, accuracy=1 / 3)],
        [*points(losses=(1e-30, 2.0)), *points("ü", 3)],
    ],
    ids=["results", "curves"],
)
def test_rows_come_back_as_they_were(tmp_path, rows):
    path = tmp_path / "rows.csv"
    path.write_text("an older file")
    write_rows(path, rows)
    assert read_rows(path, type(rows[0])) == rows
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text().splitlines()[0].split(",") == [field.name for field in dataclasses.fields(rows[0])]


def test_nan_comes_back(tmp_path):
    write_rows(tmp_path / "rows.csv", [result(loss=math.nan)])
    assert math.isnan(read_rows(tmp_path / "rows.csv", Result)[0].loss)


def test_columns_may_be_reordered_and_added(tmp_path):
    path = tmp_path / "rows.csv"
    write_rows(path, points())
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join([*reversed(line), "more"]) for line in lines), encoding="utf-8-sig")
    assert read_rows(path, CurvePoint) == points()


@pytest.mark.parametrize(("rows", "last"), [([result(top5=0.9, ap=0.5)], "date"), (points(), "seconds")])
def test_a_file_without_later_columns_still_opens(tmp_path, rows, last):
    """As of earlier versions, without the top-5 accuracy, the figures of detectors and segmenters, and the recipe."""
    path = tmp_path / "rows.csv"
    write_rows(path, rows)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    number = lines[0].index(last) + 1
    path.write_text("\n".join(",".join(line[:number]) for line in lines))
    later = optional_fields(type(rows[0]))
    assert list(later) == lines[0][number:]
    assert read_rows(path, type(rows[0])) == [dataclasses.replace(row, **later) for row in rows]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("val_loss", "loss", r"lacks the column val_loss: run `jsep compare` again"),
        (",0,1,", ",0,one,", r"line 2: 'one' in column epoch is not of type int; correct it"),
        ("regular_cnn,", "", r"line 2: the row and the header differ in length; correct it"),
        ("regular_cnn,", "regular_cnn,,", r"line 2: the row and the header differ in length; correct it"),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(tmp_path, old, new, sentence):
    path = tmp_path / "curves.csv"
    write_rows(path, points())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=sentence) as caught:
        read_rows(path, CurvePoint)
    assert str(path) in str(caught.value)


def test_missing_and_binary_files_are_named(tmp_path):
    missing, binary = tmp_path / "none.csv", tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (missing, binary):
        with pytest.raises(UserError, match=rf"{re.escape(str(path))} cannot be read .*`jsep compare`"):
            read_rows(path, Result)
    with pytest.raises(UserError, match="at least one row"):
        write_rows(missing, [])


def test_mean_and_sample_standard_deviation():
    assert mean_std([2, 4, 4, 4, 5, 5, 7, 9]) == (5, pytest.approx(math.sqrt(32 / 7)))
    mean, std = mean_std([3.0])
    assert mean == 3
    assert math.isnan(std)
    assert all(map(math.isnan, mean_std([1.0, math.inf])))
