"""The files of a close look at a network: scores, confusion matrix and the worst mistakes."""

import csv

import numpy as np
import pytest

from conftest import picture
from jsep.results import read_rows
from jsep.runs import by_class
from jsep.runs.by_class import ClassRow, evaluate_by_class
from jsep.runs.config import replace_fields
from jsep.train import RunConfig
from jsep.train.per_class import Predictions
from jsep.train.setup import prepare

LABELS = np.arange(20) % 2


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def setup(request, jpeg_tfds):
    changes = {"data": str(jpeg_tfds), "image_size": 8, "stream": request.param, "devices": 1, "batch_size": 7}
    return prepare(replace_fields(RunConfig("densenet40_k12", {"depth": 7, "growth": 2}), changes))


def predictions(*wrong: int) -> Predictions:
    """Return predictions that are right but for some images, of which each is surer than the one before."""
    predicted, confidence = LABELS.copy(), np.full(20, 0.7)
    for place, i in enumerate(wrong):
        predicted[i], confidence[i] = 1 - LABELS[i], 0.6 + 0.05 * place
    return Predictions(LABELS, predicted, confidence, np.where(predicted == LABELS, confidence, 1 - confidence))


def test_mistakes_are_shown_with_their_own_images(setup, tmp_path, monkeypatch):
    said = {"loss": 0.4, "accuracy": 0.85, "top5": 1.0}
    seen = []
    monkeypatch.setattr(by_class, "save_sheet", lambda path, pictures, title: seen.append((path, pictures, title)))
    monkeypatch.setattr(by_class, "predict_all", lambda *_: (said, predictions(3, 12, 9)))
    means, found = evaluate_by_class(setup, None, tmp_path, shown=2)
    assert (means, found.mistakes) == (said, 3)
    assert [row.support for row in found.rows if isinstance(row, ClassRow)] == [10, 10]
    assert found.rows[1] == ClassRow("bright", 8 / 9, 0.8, 16 / 19, 10)
    assert read_rows(tmp_path / "per_class.csv", ClassRow) == list(found.rows)  # type: ignore[type-var]
    table = list(csv.reader((tmp_path / "confusion.csv").read_text().splitlines()))
    assert table == [["true \\ predicted", "dark", "bright"], ["dark", "9", "1"], ["bright", "2", "8"]]

    ((_, pictures, title),) = seen
    assert title.endswith("2 of 3 mistakes, the surest first")
    assert [one.lines for one in pictures] == [
        ("70.0 % dark", "is bright (30.0 %)", "image 9"),
        ("65.0 % bright", "is dark (35.0 %)", "image 12"),
    ]
    batches = [setup.testing.fetch(setup.testing.constants, batch)[0] for batch, _ in setup.testing.evaluation(20)]
    for one, i in zip(pictures, (9, 12), strict=True):
        np.testing.assert_array_equal(one.image, batches[0][i])


@pytest.mark.parametrize("stream", [False, True])
def test_mistakes_in_a_folder_of_images_are_shown_with_their_paths(tmp_path, monkeypatch, stream):
    for i in range(20):
        file = tmp_path / "set" / ("test" if i > 9 else "train") / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(np.full((8, 8, 3), i, np.uint8), "PNG"))
    changes = {"data": str(tmp_path / "set"), "stream": stream, "devices": 1, "batch_size": 7}
    setup = prepare(replace_fields(RunConfig("densenet40_k12", {"depth": 7, "growth": 2}), changes))
    found, seen = Predictions(np.arange(10) // 5, np.zeros(10, int), np.ones(10), np.zeros(10)), []
    monkeypatch.setattr(by_class, "save_sheet", lambda path, pictures, title: seen.extend(pictures))
    monkeypatch.setattr(by_class, "predict_all", lambda *_: ({"accuracy": 0.5}, found))
    evaluate_by_class(setup, None, tmp_path, shown=2)
    assert [(one.image[0, 0, 0], one.lines[-1]) for one in seen] == [(11, "b/11.png"), (13, "b/13.png")]


def test_a_sheet_of_an_earlier_evaluation_does_not_stay(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(by_class, "predict_all", lambda *_: ({"accuracy": 1.0}, predictions()))
    (tmp_path / "mistakes.png").write_bytes(b"old")
    _, found = evaluate_by_class(setup, None, tmp_path)
    assert {path.name for path in found.files} == {"per_class.csv", "confusion.csv", "confusion.png"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in found.files}
