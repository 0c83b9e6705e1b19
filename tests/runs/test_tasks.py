"""Runs of a detector and a segmenter: their files, evaluation, beginning from a classifier, and predictions."""

import csv
import dataclasses
import io
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tasks
from PIL import Image
from rich.console import Console

from conftest import picture
from jsep.cli.console import percent
from jsep.cli.main import main
from jsep.cli.train import _base
from jsep.errors import UserError
from jsep.export import export_run
from jsep.export import run as exporting
from jsep.export.predictor import open_exported
from jsep.models import create_model
from jsep.models.outputs import count_classes
from jsep.results import Result, read_rows, told
from jsep.runs.begin import begin_with
from jsep.runs.by_class import DetectedRow, SegmentedRow
from jsep.runs.checkpoint import Checkpoints
from jsep.runs.config import replace_fields
from jsep.runs.evaluate import evaluate_run, evaluate_run_by_class, load_run
from jsep.runs.folder import RunFolder
from jsep.runs.predict import open_predictor, predict
from jsep.runs.rows import curve_of
from jsep.runs.training import train
from jsep.train import RunConfig
from jsep.train import setup as train_setup
from jsep.train.coco import FIGURES
from jsep.trees import save_arrays

MAIN = {"detection": "ap", "segmentation": "miou"}
TASKS = tuple(MAIN)
LED = {"detection": "99 of 100 detections differ", "segmentation": "logits differ"}  # how files are compared


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(train_setup, "make_feed", tiny_tasks.TinyFeed)
    monkeypatch.setattr(train_setup, "dataset_of", lambda config: tiny_tasks.dataset(config.model[5:]))
    with tiny_tasks.registered():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folder of a trained run of each task, with its result and what was printed."""
    made: dict[str, Any] = {}

    def of(task):
        if task not in made:
            out, said = tmp_path_factory.mktemp("runs") / task, io.StringIO()
            changes = {"epochs": 8, "batch_size": 8, "lr": 0.02, "devices": 2, "schedule": "constant"}
            config, data = replace_fields(RunConfig(f"tiny_{task}"), changes), tiny_tasks.dataset(task)
            made[task] = out, train(config, out, console=Console(file=said, width=200), dataset=data), said.getvalue()
        return made[task]

    return of


@pytest.mark.parametrize("task", TASKS)
def test_a_run_has_the_figures_of_its_task(folders, task):
    out, result, said = folders(task)
    main = MAIN[task]
    lines = RunFolder.open(out).metrics()
    best = max(lines, key=lambda line: (line[f"val_{main}"], line["step"]))
    assert (result.best_epoch, getattr(result, f"best_{main}")) == (best["epoch"], best[f"val_{main}"])
    assert getattr(result, main) == lines[-1][f"val_{main}"]
    checkpoints = Checkpoints(out)
    assert checkpoints.best() == best["step"]
    checkpoints.close()
    (row,) = read_rows(out / "results.csv", Result)
    figures = ("accuracy", "loss", "top5", "ap", "ap50", "best_ap", "miou", "best_miou")
    held = {figure for figure in figures if not math.isnan(getattr(row, figure))}
    if task == "detection":
        assert held == {"ap", "ap50", "best_ap"}
        measured = {name for name in FIGURES if not name.endswith("small")}  # pictures have no small objects
        assert {name[4:] for name in lines[0] if name.startswith("val_")} <= {*measured, *FIGURES}
        assert "NaN" not in (out / "metrics.jsonl").read_text()
        assert "train_accuracy" not in lines[0]
        assert f"epoch 1/8  train loss {lines[0]['train_loss']:.4f}  val AP " in said
    else:
        assert held == {"accuracy", "loss", "miou", "best_miou"}
        assert f"acc {lines[0]['train_accuracy']:.2%}  val loss {lines[0]['val_loss']:.4f} mIoU " in said
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    point = curve_of(RunFolder.open(out).config(), lines)[0]
    assert getattr(point, f"val_{main}") == lines[0][f"val_{main}"]


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_evaluated_as_it_was_in_training(folders, capsys, task):
    out, result, _ = folders(task)
    found = evaluate_run(out, checkpoint="last")
    assert (found.images, found.classes) == (21, {"detection": 2, "segmentation": 3}[task])
    assert found.figures[MAIN[task]] == pytest.approx(getattr(result, MAIN[task]), rel=1e-5)
    assert set(found.shown) <= set(found.figures)
    assert main(["eval", str(out), "--checkpoint", "last"]) == 0
    said, then = capsys.readouterr().out.splitlines()
    assert f"21 test images of squares: {', '.join(told(name, found.figures[name]) for name in found.shown)} (" in said
    assert then == f"Next: jsep eval {out} --per-class"


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_evaluated_class_by_class(folders, capsys, tmp_path, task):
    """The figures are those of COCO's own evaluation, see tests/train/test_coco.py, and of the masks by NumPy."""
    out, *_ = folders(task)
    plain = evaluate_run(out).figures
    found, by_class = evaluate_run_by_class(out, out=tmp_path / "eval")
    assert found.figures == pytest.approx(plain, rel=1e-6, nan_ok=True)
    setup, _, variables = load_run(out)
    part: Any = setup.dataset.test
    rows: Any = by_class.rows
    if task == "detection":
        assert [(row.name, row.objects) for row in rows] == [
            (name, int((part.labels[part.valid] == label).sum())) for label, name in enumerate(("red", "blue"), 1)
        ]
        for name in ("ap", "ap50"):
            assert np.mean([getattr(row, name) for row in rows]) == pytest.approx(plain[name])
        files, headings = ["per_class.csv"], ["class", "AP", "AP50", "objects"]
    else:
        images = (part.images / 255 - setup.statistics[0]) / np.array(setup.statistics[1])
        model: Any = create_model("tiny_segmentation", num_classes=3)
        said = np.asarray(model.apply(jax.device_get(variables), jnp.asarray(images, jnp.float32)).logits.argmax(-1))
        assert [row.name for row in rows] == ["none", "red", "blue"]
        matrix = np.zeros((3, 3), int)
        for k, row in enumerate(rows):
            own, taken = part.masks == k, (said == k) & (part.masks != 255)
            assert row.iou == pytest.approx((own & taken).sum() / (own | taken).sum(), rel=1e-4)
            assert row.pixels == own.sum()
            matrix[k] = [(own & (said == other)).sum() for other in range(3)]
        table = list(csv.reader((tmp_path / "eval" / "confusion.csv").read_text().splitlines()))
        assert table[0] == ["true \\ predicted", "none", "red", "blue"]
        counts = np.array([list(map(int, row[1:])) for row in table[1:]])
        np.testing.assert_allclose(counts, matrix, atol=3)  # pixels on the verge between two classes
        files, headings = ["per_class.csv", "confusion.csv", "confusion.png"], ["class", "IoU", "pixels"]
    assert [path.name for path in by_class.files] == files
    assert sorted(path.name for path in (tmp_path / "eval").iterdir()) == sorted(files)
    kind: Any = {"detection": DetectedRow, "segmentation": SegmentedRow}[task]
    assert read_rows(tmp_path / "eval" / "per_class.csv", kind) == list(rows)
    assert main(["eval", str(out), "--per-class", "--out", str(tmp_path / "again")]) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == headings
    worst = min(rows, key=lambda row: getattr(row, by_class.main))
    assert lines[1].split() == [worst.name, *_cells(dataclasses.astuple(worst)[1:])]
    shown = [plain[name] for name in {"detection": ("ap", "ap50"), "segmentation": ("miou",)}[task]]
    total = sum(dataclasses.astuple(row)[-1] for row in rows)
    assert lines[len(rows) + 1].split() == ["mean", "of", "all", "classes", *_cells((*shown, total))]
    assert len({len(line) for line in lines[: len(rows) + 2]}) == 1  # numbers end where their heading does
    assert lines[-2:] == [f"In {tmp_path}/again: {', '.join(files)}", f"Next: jsep predict {out} PICTURES"]


def _cells(values) -> list[str]:
    """The words of a row of numbers in a table."""
    *figures, number = values
    return [word for figure in figures for word in percent(figure).split()] + [f"{number:,}"]


@pytest.mark.slow
def test_a_run_resumes(folders, tmp_path):
    out, result, _ = folders("detection")
    config = RunFolder.open(out).config()
    data = tiny_tasks.dataset("detection")
    said = io.StringIO()
    train(replace_fields(config, {"epochs": 2}), tmp_path / "run", console=Console(quiet=True), dataset=data)
    again = train(config, tmp_path / "run", resume=True, console=Console(file=said, width=200), dataset=data)
    assert "Resuming from step 8" in said.getvalue()
    assert again.ap == result.ap


@pytest.mark.parametrize("task", TASKS)
def test_a_classifier_gives_its_backbone(tmp_path, drawn, task):
    fresh = drawn(create_model(f"tiny_{task}", num_classes=5), (1, 32, 32, 3))
    other = jax.tree.map(lambda leaf: leaf + 1, fresh)
    given = {kind: dict(tree["backbone"]) for kind, tree in other.items()}
    given["params"]["classifier"] = {"kernel": np.zeros((16, 1000), np.float32)}
    save_arrays(tmp_path / "w.safetensors", given)
    said = io.StringIO()
    found = begin_with(tmp_path / "w.safetensors", fresh, Console(file=said, width=200), f"tiny_{task}")
    assert "The backbone begins with the weights of" in said.getvalue()
    expected = {kind: {**tree, "backbone": other[kind]["backbone"]} for kind, tree in fresh.items()}
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    for tree in (fresh, expected):  # as where norms of the backbone are constants
        norm = tree["params"]["backbone"].pop("body_norm")
        tree["batch_stats"]["backbone"]["body_norm"] = {**tree["batch_stats"]["backbone"]["body_norm"], **norm}
    found = begin_with(tmp_path / "w.safetensors", fresh, Console(quiet=True), f"tiny_{task}")
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))
    given["params"]["stem"] = {"kernel": np.zeros((3, 3, 3, 8), np.float32)}
    save_arrays(tmp_path / "w.safetensors", given)
    with pytest.raises(UserError, match=rf"it is not the backbone of tiny_{task}, which differs in params/backbone/st"):
        begin_with(tmp_path / "w.safetensors", fresh, Console(quiet=True), f"tiny_{task}")


def test_a_classifier_gives_its_statistics_and_no_other_setting(tmp_path):
    fields = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "lr": 0.25, "image_size": 224, "label_smoothing": 0.1}
    RunFolder.create(tmp_path / "run", replace_fields(RunConfig(), fields))
    base = _base(["tiny_detection", "--init", str(tmp_path / "run"), "--out", str(tmp_path / "new")])
    assert base == replace_fields(RunConfig("tiny_detection"), {"mean": (0.5,) * 3, "std": (0.2,) * 3})


@pytest.mark.parametrize("task", TASKS)
def test_a_head_for_other_classes_begins_anew(tmp_path, drawn, task):
    three, five = (drawn(create_model(f"tiny_{task}", num_classes=k), (1, 32, 32, 3)) for k in (3, 5))
    three = jax.tree.map(lambda leaf: leaf + 1, three)
    assert [count_classes(f"tiny_{task}", {}, tree) for tree in (three, five)] == [3, 5]
    save_arrays(tmp_path / "w.safetensors", three)
    found = begin_with(tmp_path / "w.safetensors", five, Console(quiet=True), f"tiny_{task}")
    head = {"detection": "class1", "segmentation": "head"}[task]
    for name, tree in found["params"].items():
        expected = (five if name == head else three)["params"][name]
        assert jax.tree.all(jax.tree.map(np.array_equal, tree, expected)), name


@pytest.fixture
def album(tmp_path):
    """Pictures of a red square, twice as wide as a square of the network's input and as high."""
    pixels = np.full((32, 64, 3), 125, np.uint8)
    pixels[8:20, 20:44] = tiny_tasks.COLOURS[0]
    for name in ("a/x.png", "b/x.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(picture(pixels, "PNG"))
    (tmp_path / "b" / "junk.png").write_bytes(b"junk")
    return tmp_path


def test_objects_are_found_in_pixels_of_the_picture(folders, album):
    predictor = open_predictor(folders("detection")[0])
    assert (predictor.task, predictor.class_names) == ("detection", ("red", "blue"))
    (one, *_) = predict(predictor, [album / "a" / "x.png"], score=0.05)
    assert one.objects
    first = one.objects[0]
    assert first.name == "red"
    np.testing.assert_allclose(first.box, (20, 8, 44, 20), atol=6)
    assert list(one.objects) == sorted(one.objects, key=lambda thing: -thing.score)
    (none,) = predict(predictor, [album / "a" / "x.png"], score=1.0)
    assert not none.objects


def test_a_mask_is_as_large_as_the_picture(folders, album):
    predictor = open_predictor(folders("segmentation")[0])
    (one,) = predict(predictor, [album / "a" / "x.png"])
    assert one.mask is not None
    assert one.mask.shape == (32, 64)
    assert (one.mask[10:18, 26:38] == 1).mean() > 0.8
    assert one.classes[0] == "none"
    assert sum(one.probabilities) == pytest.approx(1)


@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_drawn_and_written(folders, album, capsys, monkeypatch, task):
    monkeypatch.chdir(album)
    words = ["--draw", "drawn", "--json", "found.jsonl", "--sheet", "s.png"]
    assert main(["predict", str(folders(task)[0]), "a", "b", *words]) == 2
    said = capsys.readouterr()
    assert "junk.png cannot be decoded" in said.err
    assert said.out.split()[:2] == ["picture", {"detection": "objects", "segmentation": "class"}[task]]
    lines = {line["file"]: line for line in map(json.loads, (album / "found.jsonl").read_text().splitlines())}
    assert [sorted(line) for line in lines.values()][:2] == [
        ["file", "objects"] if task == "detection" else ["classes", "file", "probabilities"],
        ["error", "file"],
    ]
    names = {"x.png", "x-2.png"} | ({"x.classes.png", "x-2.classes.png"} if task == "segmentation" else set())
    assert {path.name for path in (album / "drawn").iterdir()} == names
    with Image.open(album / "drawn" / "x.png") as image:
        assert image.height == 256  # eight times as large
    assert (album / "s.png").exists()


@pytest.mark.parametrize("task", TASKS)
def test_an_exported_file_tells_what_the_run_does(folders, album, capsys, monkeypatch, tmp_path, task):
    monkeypatch.setattr(exporting, "make_feed", lambda part, *_: tiny_tasks.TinyFeed(part._part))
    out, file = folders(task)[0], tmp_path / "model.stablehlo"
    assert main(["export", str(out), "--to", "stablehlo", "--out", str(file), "--images", "5"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    pixels = 21 * 32 * 32
    agreed = {"detection": "and 21 of 21 images get the same ones", "segmentation": f"and {pixels} of {pixels} pixels"}
    assert f"Compared with JAX on 5 test and 16 random images: {LED[task]}" in said
    assert agreed[task] in said
    assert json.loads(file.with_name("model.stablehlo.json").read_text())["task"] == task
    (ours,), (theirs,) = (
        predict(one, [album / "a" / "x.png"], score=0.05) for one in (open_predictor(out), open_exported(file))
    )
    assert ours.classes == theirs.classes
    if task == "segmentation":
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        return
    assert ours.objects
    assert theirs.objects
    for one, other in zip(ours.objects, theirs.objects, strict=True):
        assert (one.label, one.name) == (other.label, other.name)
        np.testing.assert_allclose([one.score, *one.box], [other.score, *other.box], atol=1e-3)


@pytest.mark.parametrize("task", TASKS)
def test_only_classifiers_are_rounded(folders, task):
    pytest.importorskip("onnxruntime", reason="pip install 'jsep[onnx]'")
    pytest.importorskip("jax2onnx", reason="pip install 'jsep[onnx]'")
    with pytest.raises(
        UserError, match=rf"^`int8`: tiny_{task} is a .*, and only classifiers are rounded: leave it out$"
    ):
        export_run(folders(task)[0], "onnx", int8=True)
