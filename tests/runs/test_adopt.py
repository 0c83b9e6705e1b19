"""Run folders of ported weights keep what names and shapes do not show, and say what nobody could know."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_states import state_of

from jsep.errors import UserError
from jsep.models import create_model
from jsep.models.registry import FED_HALVES, FED_IMAGENET
from jsep.runs.adopt import adopt_file
from jsep.runs.begin import misfits
from jsep.runs.trained import load_variables
from jsep.trees import load_arrays


@pytest.fixture
def adopted(tmp_path, drawn):
    def make(name, source, shape, file="w.safetensors", metadata=None, options=None, **flags):
        save_file(state_of(drawn, name, source, shape, **(options or {})), tmp_path / file, metadata)
        given = {key: value for key, value in (options or {}).items() if key in ("depth", "width")}
        return adopt_file(name, tmp_path / file, tmp_path / "run", options=given, **flags)

    return make


SMALL = {"options": {"depth": 8}}
COLOUR, GREY = (64, 64, 3), (32, 32, 1)


@pytest.mark.parametrize(
    ("name", "source", "options", "fed", "size"),
    [
        ("mobilenet_v1_025", "timm", {"act": "relu6"}, FED_HALVES, 224),
        ("mobilenet_v1_025", "pytorchcv", {}, FED_IMAGENET, 224),
        ("resnet20", "akamaster", {"shortcut": "pad_split"}, FED_IMAGENET, 0),
        ("resnet20", "pytorchcv", {"shortcut": "projection"}, None, 0),
    ],
)
def test_a_run_keeps_what_its_weights_come_with(adopted, name, source, options, fed, size):
    own = {"depth": 8} if name == "resnet20" else {"width": 0.1}
    found = adopted(name, source, COLOUR, options={**own, **({} if source == "akamaster" else options)})
    data = found.config.recipe.data
    assert found.config.options == {**own, **options}
    assert (data.mean, data.std) == (fed or ((), ()))
    assert data.image_size == size
    assert any("taken as published, since the file does not say it" in note for note in found.notes)


def test_flags_say_what_no_file_does(adopted):
    flags = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "image_size": 96, "data": "somewhere"}
    data = adopted("resnet20", "akamaster", COLOUR, **SMALL, **flags).config.recipe.data
    assert (data.name, data.mean, data.std, data.image_size) == ("somewhere", *list(flags.values())[:3])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"mean": (0.5,), "std": (0.5,)}, "one value for each of the 3 channels"),
        ({"mean": (0.5, 0.5, 0.5)}, "as many values as `std`"),
        ({"normalize": "unit", "mean": (0.5,)}, "leave one out"),
        ({"average": True}, "no averaged weights"),
    ],
)
def test_flags_that_contradict_are_refused_before_anything_is_written(adopted, tmp_path, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        adopted("resnet20", "akamaster", COLOUR, **SMALL, **flags)
    assert not (tmp_path / "run").exists()


def test_weights_for_grey_images_are_for_a_data_set_of_grey_images(adopted):
    found = adopted("resnet20", "akamaster", GREY, **SMALL)
    assert found.config.recipe.data.name == "mnist5k"
    assert found.config.recipe.data.mean == ()  # those of three channels do not tell that of one
    assert found.arrays["params/stem/kernel"].shape == (3, 3, 1, 16)


@pytest.mark.slow
def test_weights_for_another_image_size_keep_it(adopted, tmp_path):
    found = adopted("dicenet_x0_2", "pytorchcv", COLOUR)
    assert found.config.recipe.data.image_size == 64
    assert found.arrays["params/stage1_unit1_dice/height/kernel"].shape[-1] == 8
    _, variables = load_variables(tmp_path / "run")
    assert misfits(create_model("dicenet_x0_2", num_classes=5), (96, 96, 3), variables) == []


def test_values_that_are_no_numbers_are_refused(tmp_path, resnet8_state):
    state = resnet8_state(2)
    for value in (np.nan, np.inf):
        state["conv1.weight"][0, 0, 0, 0] = value
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(UserError, match=r"not finite numbers, in conv1\.weight: give weights of a training"):
            adopt_file("resnet20", tmp_path / "w.safetensors", tmp_path / "run", options={"depth": 8})
        assert not (tmp_path / "run").exists()


def test_the_written_arrays_are_those_of_the_file(adopted, tmp_path):
    found = adopted("resnet20", "akamaster", COLOUR, **SMALL)
    written, _ = load_arrays(tmp_path / "run" / "weights.safetensors")
    assert written.keys() == found.arrays.keys()
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(written[name], array)


@pytest.mark.slow
def test_ported_weights_are_set_beside_pytorchs_network(tmp_path):
    torch = pytest.importorskip("torch", reason="runs the reference")
    pytest.importorskip("pytorchcv", reason="has the reference")
    from jsep.port.reference import build

    torch.save({"state_dict": build("pytorchcv:resnet20_cifar10", 10, 32).state_dict()}, tmp_path / "w.pth")
    found = adopt_file("resnet20", tmp_path / "w.pth", tmp_path / "run", options={}, check_images=True)
    (rows,) = found.differences.values()
    assert rows[-1].stage == "logits"
    assert max(row.relative for row in rows) < 1e-5
    own = {"shortcut": "projection", "stride_on": "1x1"}
    with pytest.raises(UserError, match="`check_images`: there is no reference by the names of pytorchcv"):
        adopt_file("resnet20", tmp_path / "w.pth", tmp_path / "other", options=own, check_images=True)
    assert not (tmp_path / "other").exists()


def test_what_a_file_says_settles_options_and_statistics(adopted):
    found = adopted("mobilenet_v1_025", "timm", COLOUR, file="mobilenetv1_100.safetensors")
    assert found.config.options == {"act": "relu6"}
    assert not any("The weights do not show" in note for note in found.notes)
