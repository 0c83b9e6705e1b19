"""Weights from elsewhere are trained networks like those of runs, wherever one is asked for."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file
from torch_states import state_of

import jsep
from jsep.cli.main import main
from jsep.cli.train import _base
from jsep.errors import UserError
from jsep.export import export_run
from jsep.models import create_model
from jsep.runs.adopt import save_weights
from jsep.runs.begin import begin_with
from jsep.runs.data import DataRecord
from jsep.runs.evaluate import load_run
from jsep.runs.loading import Preprocessing
from jsep.runs.trained import open_trained
from jsep.train import Data, Recipe, RunConfig

NETWORK = {"width": 0.5, "epsilon": 1e-5}
VIEW = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bicubic"}


@pytest.fixture(scope="module")
def published(tmp_path_factory, drawn):
    """A folder with the files of a repository of the hub: a MobileNet V3 of timm for the classes of `tiny_tfds`."""
    folder = tmp_path_factory.mktemp("hub") / "mobilenetv3_small_050.mine"
    folder.mkdir()
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 2, "label_names": ["dark", "bright"]}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": VIEW}))
    state = state_of(drawn, "mobilenet_v3_small", "timm", (32, 32, 3), classes=2, **NETWORK)
    save_file(state, folder / "model.safetensors")
    return folder


def test_a_folder_of_the_hub_says_how_its_network_is_built_and_fed(published):
    config, step, variables, class_names = open_trained(published)
    data = config.recipe.data
    assert (config.model, config.options, step, class_names) == ("mobilenet_v3_small", NETWORK, 0, ("dark", "bright"))
    assert (data.name, data.image_size, data.eval_size) == ("imagenet2012", 32, 0)
    assert (data.crop_share, data.interpolation) == (0.9, "bicubic")
    assert (data.mean, data.std) == ((0.5,) * 3, (0.25,) * 3)
    assert variables["params"]["classifier"]["kernel"].shape == (1024, 2)
    with pytest.raises(UserError, match=r"`checkpoint`=last: .* is no run, and has one set of weights; leave it out"):
        open_trained(published, "last")


def test_weights_for_other_classes_than_the_config_says_are_refused(published, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((published / name).read_bytes().replace(b'"num_classes": 2', b'"num_classes": 3'))
    with pytest.raises(UserError, match="has weights for 2 classes, where 3 are stated"):
        open_trained(tmp_path)


def test_preprocessing_makes_of_a_picture_what_the_network_is_fed(published):
    from PIL import Image

    model, _, view = jsep.load(published)
    assert (model.width, view.image_size, view.class_names) == (0.5, 32, ("dark", "bright"))
    pixels = np.full((40, 60, 3), 128, np.uint8)
    for picture in (pixels, Image.fromarray(pixels)):
        np.testing.assert_allclose(view(picture), np.full((32, 32, 3), (128 / 255 - 0.5) / 0.25), atol=1e-6)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        jsep.lode  # noqa: B018


def test_weights_give_the_defaults_of_a_training(published, monkeypatch):
    trained = []
    monkeypatch.setattr("jsep.cli.train.train", lambda config, *_, **__: trained.append(config) or 1 / 0)
    init = ["--init", str(published), "--data", "flowers"]
    for words in ([], ["mobilenet_v3_small"], ["mobilenet_v3_small", "--options", "dropout=0.5"]):
        with pytest.raises(ZeroDivisionError):
            main(["train", *words, *init])
    unnamed, named, changed = trained
    assert unnamed == named
    assert (unnamed.model, unnamed.options, unnamed.init) == ("mobilenet_v3_small", NETWORK, published)
    assert (unnamed.recipe.data.name, unnamed.recipe.data.interpolation) == ("flowers", "bicubic")
    assert changed.options == NETWORK | {"dropout": 0.5}
    assert _base([*init, "--normalize", "unit"]).recipe.data.mean == ()


def test_a_network_that_contradicts_the_weights_is_refused(published, drawn):
    fresh = drawn(create_model("resnet20", num_classes=2, depth=8), (1, 32, 32, 3))
    with pytest.raises(
        UserError, match=r"it belongs to another network, mobilenet_v3_small, which differs in"
    ) as refusal:
        begin_with(published, fresh, Console(quiet=True), "resnet20")
    assert str(refusal.value).startswith(f"`init`={published}")


def test_options_are_those_of_the_network_that_is_named(published):
    """Those of a detector mean nothing to the classifier that its backbone begins with."""
    assert open_trained(published, model="resnet20", options={"depth": 8}).config.options == NETWORK
    with pytest.raises(UserError, match="depth"):
        open_trained(published, options={"depth": 8})


def test_files_by_the_names_of_a_package_take_the_network_of_the_training(tmp_path, resnet8_state):
    save_file(resnet8_state(2), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="does not say which network its weights are of"):
        open_trained(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="does not belong to resnet20"):  # of depth 20
        open_trained(tmp_path / "w.safetensors", model="resnet20")
    with pytest.warns(UserWarning, match="taken as published"):
        found = open_trained(tmp_path / "w.safetensors", model="resnet20", options={"depth": 8})
    assert found.config.options["depth"] == 8
    save_file(resnet8_state(2), tmp_path / "w.safetensors", {"arch": "mobilenetv3_rw"})
    with pytest.raises(UserError, match="is a mobilenetv3_rw, which jsep does not have, since it has no shortcut"):
        open_trained(tmp_path / "w.safetensors", model="mobilenet_v3_large")


def test_published_weights_are_evaluated_by_their_own_mean(published, tiny_tfds):
    setup, step, _ = load_run(published, data=str(tiny_tfds))
    assert (step, setup.config.options, setup.statistics) == (0, NETWORK, ((0.5,) * 3, (0.25,) * 3))


@pytest.mark.slow
def test_published_weights_are_exported_to_a_file_here_that_is_opened_again(
    published, tiny_tfds, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    report = export_run(published, "safetensors", data=str(tiny_tfds))
    assert report.path == Path("mobilenetv3_small_050.mine.safetensors")
    assert {path.name for path in published.iterdir()} == {"config.json", "model.safetensors"}
    exported, source = open_trained(report.path), open_trained(published)
    assert exported.config.options == NETWORK
    assert exported.class_names == ("dark", "bright")
    assert exported.config.recipe.data.mean == (0.5,) * 3
    jax.tree.map(np.testing.assert_array_equal, exported.variables, source.variables)


def test_a_run_is_loaded_as_its_data_were_prepared(tmp_path, drawn):
    variables = drawn(create_model("resnet20", num_classes=2, depth=8), (1, 8, 8, 3))
    data = Data("tiny", mean=(0.4,) * 3, std=(0.2,) * 3)
    for name, choice in (("run", data), ("unsaid", Data("tiny"))):
        save_weights(RunConfig("resnet20", {"depth": 8}, Recipe(data=choice)), variables, tmp_path / name)
        DataRecord("tiny", ("a", "b"), 1, 1, (8, 8, 3), "").save(tmp_path / name)
    loaded = jsep.load(str(tmp_path / "run"))
    assert loaded.model == create_model("resnet20", num_classes=2, depth=8, dtype=jnp.dtype("float32"))
    assert loaded.preprocessing == Preprocessing((8, 8, 3), 1.0, "bilinear", data.mean, data.std, ("a", "b"))
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    with pytest.raises(UserError, match="does not say how its images are prepared"):
        jsep.load(tmp_path / "unsaid")
