"""Predictions for pictures: the same as the evaluation's, whatever else lies beside them."""

import numpy as np
import pytest

from conftest import CLASSES, picture
from jsep.data import Data, load_choice
from jsep.data.class_names import imagenet_classes, readable_names
from jsep.data.view import View
from jsep.errors import UserError
from jsep.export.predictor import is_exported, open_exported
from jsep.models import create_model
from jsep.runs.adopt import save_weights
from jsep.runs.config import replace_fields
from jsep.runs.data import DataRecord
from jsep.runs.predict import BATCH, Predictor, find_pictures, open_predictor, predict
from jsep.train import Recipe, RunConfig
from jsep.train.per_class import predict_all
from jsep.train.setup import prepare

SMALL = "densenet40_k12", {"depth": 7, "growth": 2}


@pytest.fixture(scope="module")
def variables(drawn):
    return drawn(create_model(SMALL[0], num_classes=2, **SMALL[1]), (1, 8, 8, 3))


@pytest.mark.parametrize(
    ("fixture", "stream"),
    [
        pytest.param("tiny_tfds", False, marks=pytest.mark.slow),
        ("jpeg_tfds", False),
        ("jpeg_tfds", True),
    ],
    ids=["of one size", "in memory", "streamed"],
)
def test_a_test_picture_gets_the_logits_of_the_evaluation(request, tmp_path, variables, fixture, stream):
    folder = str(request.getfixturevalue(fixture))
    changes = {"data": folder, "image_size": 8, "stream": stream, "devices": 1, "batch_size": 20}
    setup = prepare(replace_fields(RunConfig(*SMALL), changes))
    _, expected = predict_all(setup, setup.devices.replicate(variables))
    save_weights(setup.config, variables, tmp_path / "run")
    DataRecord.of(setup.dataset).save(tmp_path / "run")
    records = load_choice(Data(folder, image_size=8, stream=True)).test
    for i in range(20):
        (tmp_path / f"{i:02}.picture").write_bytes(records[i]["image"])  # type: ignore[index]
    predictor = open_predictor(tmp_path / "run")
    found = list(predict(predictor, find_pictures((str(tmp_path / "*.picture"),))))
    assert [one.classes[0] for one in found] == [CLASSES[i] for i in expected.predicted]
    np.testing.assert_allclose([one.probabilities[0] for one in found], expected.confidence, rtol=1e-5)
    assert all(sum(one.probabilities) == pytest.approx(1) for one in found)


def bright(images):
    """A network of three classes that sees how bright an image is."""
    level = images.astype(np.float32).mean((1, 2, 3))
    return np.stack([level, 128 + 0 * level, 255 - level], 1) / 10


BRIGHT = Predictor("brightness", ("bright", "grey", "dark"), View((4, 4, 1)), bright)


def test_broken_pictures_do_not_stop_the_others(tmp_path):
    levels = np.linspace(0, 255, BATCH + 3).astype(np.uint8)
    for i, level in enumerate(levels):
        (tmp_path / f"{i:03}.png").write_bytes(picture(np.full((9, 7), level), "PNG"))
    (tmp_path / "001.png").write_bytes(b"junk")
    (tmp_path / f"{BATCH + 1:03}.png").unlink()
    (tmp_path / f"{BATCH + 1:03}.png").mkdir()
    files = sorted(tmp_path.iterdir())
    found = list(predict(BRIGHT, files, top=2))
    assert [one.file for one in found] == files
    assert [one.file.name for one in found if one.error] == ["001.png", f"{BATCH + 1:03}.png"]
    assert "not a picture" in found[1].error
    assert found[0].classes == ("dark", "grey")
    assert found[-1].classes == ("bright", "grey")
    assert found[-1].image is not None
    assert found[-1].image.shape == (4, 4, 1)
    assert all(one.error for one in predict(BRIGHT, files[1:2]))  # nothing to compute


@pytest.mark.parametrize("top", [0, -1])
def test_at_least_one_class_is_named(top):
    with pytest.raises(UserError, match=r"`top`.*at least 1"):
        predict(BRIGHT, [], top)


def test_a_network_of_no_squares_takes_pictures_of_its_own_shape(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(np.zeros((4, 6), np.uint8), "PNG"))
    (tmp_path / "b.png").write_bytes(picture(np.zeros((6, 4), np.uint8), "PNG"))
    flat = Predictor("flat", ("a", "b", "c"), View((4, 6, 1)), bright)
    found = list(predict(flat, find_pictures((str(tmp_path),))))
    assert [one.error for one in found] == ["", "it is 6x4, and the network takes 4x6"]


@pytest.fixture
def album(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.png", "deep/er/c.webp", "deep/.trash/d.png", "[x].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((".",), ["[x].png", "a.PNG", "b.jpg", "deep/er/c.webp"]),
        (("deep", "b.jpg"), ["deep/er/c.webp", "b.jpg"]),
        (("b.jpg", "*.jpg", "./b.jpg"), ["b.jpg"]),
        (("**/*.webp",), ["deep/er/c.webp"]),
        (("[x].png",), ["[x].png"]),
        (("notes.txt",), ["notes.txt"]),  # what is named is tried
    ],
)
def test_pictures_are_found(album, monkeypatch, words, names):
    monkeypatch.chdir(album)
    assert [str(path) for path in find_pictures(words)] == names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give at least one"),
        (("b.jgp",), "There is no picture b.jgp .did you mean b.jpg"),
        (("*.gif",), r"There is no picture \*.gif: give files"),
        (("nowhere/at/all.png",), "There is no picture nowhere/at/all.png: give"),
        (("empty",), "empty holds no picture, by the suffixes"),
        (("https://a.b/c.jpg",), "is not on this machine"),
    ],
)
def test_words_that_name_no_picture_are_refused(album, monkeypatch, words, sentence):
    monkeypatch.chdir(album)
    with pytest.raises(UserError, match=sentence):
        find_pictures(words)


def test_names_of_imagenet():
    names = imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert (names[7], names[134], names[517], names[999]) == ("cock", "crane bird", "crane", "toilet tissue")
    assert readable_names([f"n{i:08}" for i in range(1000)], 1000) == names
    assert readable_names((), 1000) == names
    assert readable_names([f"n{i:08}" for i in range(10)], 10)[3] == "n00000003"
    assert readable_names([str(i) for i in range(1000)], 1000)[3] == "3"


def test_names_of_coco_and_voc():
    by_number = readable_names((), 90, "detection")
    used = [name for name in by_number if not name.startswith("class ")]
    assert (len(by_number), by_number[0], by_number[11], by_number[89]) == (90, "person", "class 11", "toothbrush")
    assert list(readable_names((), 80, "detection")) == used
    assert len(set(used)) == 80
    regions = readable_names((), 21, "segmentation")
    assert regions[:2] + regions[-1:] == ("background", "aeroplane", "tvmonitor")
    assert readable_names((), 20, "detection") == regions[1:]
    assert readable_names((), 21) == readable_names((), 21, "detection")  # a classifier's are nobody's
    assert readable_names(("a", "b") * 45, 90, "detection")[:2] == ("a", "b")


def test_published_weights_need_no_data_set(tmp_path, drawn):
    """As of a published network: no data.json, but a configuration that says how images are prepared."""
    data = Data(image_size=8, eval_size=10, mean=(0.5,) * 3, std=(0.25,) * 3)
    variables = drawn(create_model(SMALL[0], num_classes=3, **SMALL[1]), (1, 8, 8, 3))
    save_weights(RunConfig(*SMALL, Recipe(data=data)), variables, tmp_path / "run")
    predictor = open_predictor(tmp_path / "run")
    assert (predictor.view.shape, predictor.view.crop_share) == ((10, 10, 3), 1.0)
    assert predictor.class_names == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "There is no file .*model.stablehlo"),
        ({"model.stablehlo": b"x"}, "model.stablehlo.json is missing"),
        ({"model.stablehlo": b"x", "model.stablehlo.json": b"[]"}, "model.stablehlo.json cannot be read"),
        ({"model.stablehlo": b"x", "model.stablehlo.json": b'{"image_shape": [8, 8]}'}, "cannot be read"),
    ],
)
def test_an_exported_file_without_its_facts_is_refused(tmp_path, files, sentence):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "model.stablehlo"
    assert is_exported(path)
    assert not is_exported(tmp_path)
    assert not is_exported(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=sentence):
        open_exported(path)
