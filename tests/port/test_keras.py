"""Weights of Keras give Keras's logits, from each of its formats; what jsep would compute otherwise is refused."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

from jsep import create_model, model_info
from jsep.cli.main import main
from jsep.errors import UserError
from jsep.models.registry import FED_HALVES, FED_UNIT
from jsep.port import TOLERANCE, from_torch, port_state, read_weights
from jsep.port.architectures import find_architecture
from jsep.port.convert import torch_name
from jsep.port.keras_names import keras_layouts
from jsep.runs.folder import RunFolder
from jsep.trees import flatten

h5py = pytest.importorskip("h5py", reason="files of Keras need h5py")
needs_keras = pytest.mark.skipif(not find_spec("keras"), reason="the reference needs Keras")

# network of Keras: ours, options, and what its images are normalised by
NETWORKS = {
    "both_cnn": ("both_cnn", {"width": 1 / 32}, None),
    "mobilenet_v1": ("mobilenet_v1", {"width": 0.25}, None),
    "tuned": ("mobilenet_v1", {"width": 0.25}, FED_HALVES),
    "regular_cnn": ("regular_cnn", {"width": 1 / 32}, None),
    "separable_cnn": ("separable_cnn", {"width": 1 / 32}, None),
    "keras_separable_cnn": ("keras_separable_cnn", {"width": 0.25}, FED_UNIT),
    "mobilenet_v2": ("mobilenet_v2", {"width": 0.35}, None),
    "mobilenet_v3_large": ("mobilenet_v3_large", {"width": 0.5}, FED_HALVES),
    "mobilenet_v3_small": ("mobilenet_v3_small", {"width": 0.75}, FED_HALVES),
    "xception": ("xception", {}, None),
    "inception_v3": ("inception_v3", {}, None),
}
EVERYDAY = ("both_cnn", "mobilenet_v1", "tuned")
FORMATS = (".weights.h5", ".keras", ".h5")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the path of a network that Keras saved, without its suffix. All of them take 1.6 GB."""
    made = []

    @functools.cache
    def folder(everyday: bool) -> Path:
        names = [name for name in NETWORKS if (name in EVERYDAY) == everyday]
        path = tmp_path_factory.mktemp("keras")
        made.append(path)
        program = Path(__file__).with_name("keras_networks.py")
        environment = {**os.environ, "KERAS_BACKEND": "jax"}
        subprocess.run([sys.executable, program, path, *names], env=environment, check=True, capture_output=True)
        return path

    yield lambda name: folder(name in EVERYDAY) / name
    for path in made:
        shutil.rmtree(path)


@needs_keras
@pytest.mark.parametrize("name", [n if n in EVERYDAY else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_logits_are_those_of_keras(saved, name):
    ours, options, fed = NETWORKS[name]
    path = saved(name)
    plain, *described = (read_weights(path.with_suffix(suffix)) for suffix in FORMATS)
    for weights in described:
        assert weights.state.keys() == plain.state.keys()
        assert all(np.array_equal(weights.state[key], array) for key, array in plain.state.items())
        assert weights.origin.image_size == np.load(path.with_suffix(".npz"))["x"].shape[1]
        assert find_architecture(weights.origin, ours)[0].model == ours
        assert np.allclose(weights.origin.fed or (), fed or ())
        assert "which only training needs, were left out" in "".join(weights.notes)  # the state of the optimizer
    ported = port_state(ours, plain.state, options)
    model = create_model(ours, num_classes=ported.num_classes, **ported.options)
    wanted = np.load(path.with_suffix(".npz"))
    logits = jax.jit(model.apply)(ported.variables, wanted["x"])
    assert np.abs(logits - wanted["logits"]).max() <= TOLERANCE * min(1, np.abs(wanted["logits"]).max())


@needs_keras
@pytest.mark.parametrize(
    ("name", "file", "data", "fed", "size"),
    [
        ("both_cnn", "both_cnn.weights.h5", "cifar10", FED_UNIT, 32),
        ("mobilenet_v1", "mobilenet_v1.keras", "imagenet2012", FED_HALVES, 32),
    ],
)
def test_a_run_keeps_what_its_weights_were_fed(saved, tmp_path, capsys, name, file, data, fed, size):
    options = {"both_cnn": "width=0.03125", "mobilenet_v1": "width=0.25"}[name]
    path = str(saved(name).with_name(file))
    assert main(["port", name, path, "--options", options, "--out", str(tmp_path / "run")]) == 0
    kept = RunFolder.open(tmp_path / "run").config().recipe.data
    assert (kept.name, kept.mean, kept.std, kept.image_size) == (data, *fed, size)
    assert ("padding=SAME epsilon=0.001" in capsys.readouterr().out) == (name == "mobilenet_v1")


@needs_keras
def test_another_network_is_named(saved, tmp_path, capsys):
    path = str(saved("mobilenet_v1").with_suffix(".weights.h5"))
    assert main(["port", "mobilenet_v2", path, "--out", str(tmp_path / "run")]) == 2
    assert "The weights are those of MobileNet, which is mobilenet_v1 in jsep" in " ".join(
        capsys.readouterr().err.split()
    )


@needs_keras
@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '"max_value": 6.0',
            '"max_value": null',
            "has the layers of MobileNet, but with relu, which MobileNet does not use:",
        ),
        ('"activation": "linear"', '"activation": "elu"', "but with elu, which MobileNet does not use:"),
        ('"strides": [2, 2]', '"strides": [1, 1]', "but with 4 strided layers instead of 5"),
        ("[null, 32, 32, 3]", "[null, 48, 48, 3]", "but with images of 48 pixels, whose maps of odd sizes"),
        ('"epsilon": 0.001', '"epsilon": 1e-05', "the layer conv1_bn has epsilon=1e-05, unlike"),
        ('"center": true', '"center": false', "the layer conv1_bn has center=False"),
        ('"dilation_rate": [1, 1]', '"dilation_rate": [2, 2]', "the layer conv1 has dilation_rate="),
        ("channels_last", "channels_first", "the layer conv1 has data_format=channels_first"),
        ('"class_name": "Reshape"', '"class_name": "Lambda"', "reshape_2 is a Lambda layer"),
        ('{"module"', "{", "cannot be read as a file of Keras, or is cut off"),
    ],
)
def test_what_the_description_says_otherwise_is_refused(saved, tmp_path, old, new, sentence):
    with zipfile.ZipFile(saved("mobilenet_v1").with_suffix(".keras")) as archive:
        weights, config = archive.read("model.weights.h5"), archive.read("config.json").decode()
    assert old in config
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", weights)
        archive.writestr("config.json", config.replace(old, new, 1))
    with pytest.raises(UserError, match=sentence) as refusal:
        read_weights(path)
    assert len(str(refusal.value).splitlines()) == 1


def write(path: Path, **arrays: np.ndarray) -> None:
    """Write a file of Keras 3 with arrays by the names of their layers, joined by two underscores."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array


def announce(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (10**6, 10**6), "float32", chunks=(10, 10))


def point_elsewhere(path: Path) -> None:
    path.with_name("secret").write_bytes(bytes(400))
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/dense/vars/0", (10, 10), "float32", external=[(path.with_name("secret"), 0, 400)])


def inflate(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(2_000_000))


def empty_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


KERNEL, VECTOR = np.ones((3, 3, 2, 4), np.float32), np.ones(4, np.float32)
DAMAGED = {
    "nothing of the kind": ("w.h5", lambda path: path.write_bytes(b"nothing"), r"cut off \(OSError\)"),
    "no zip": ("w.keras", lambda path: path.write_bytes(b"nothing"), r"cut off \(BadZipFile\)"),
    "no weights in the zip": ("w.keras", empty_zip, r"cut off \(KeyError\)"),
    "a zip that inflates": ("w.keras", inflate, "model.weights.h5 unpacks to 2,000,000 bytes"),
    "arrays beyond the file": ("w.h5", announce, "announces arrays of more than 100 times that"),
    "arrays elsewhere": ("w.h5", point_elsewhere, "takes its arrays from other files"),
    "no layers": ("w.h5", lambda path: write(path, other=KERNEL), r"cut off \(KeyError\)"),
    "only an optimizer": (
        "w.h5",
        lambda path: write(path, layers__dropout__seed_generator__vars__0=VECTOR),
        "holds no weights of Keras",
    ),
    "a layer of another kind": (
        "w.h5",
        lambda path: write(path, layers__lstm_cell__vars__0=KERNEL, layers__lstm_cell__vars__1=VECTOR),
        "the layer lstm_cell holds 2 arrays, which are not those of a Conv2D, .* layer",
    ),
    "two networks": (
        "w.h5",
        lambda path: write(
            path, layers__dense__vars__0=KERNEL[0, 0], layers__model__layers__dense__vars__0=KERNEL[0, 0]
        ),
        "several networks with layers of the kind dense",
    ),
    "a wrapped layer": (
        "w.h5",
        lambda path: write(path, layers__time_distributed__layer__vars__0=KERNEL),
        "time_distributed wraps a layer",
    ),
}


@pytest.mark.parametrize(("name", "spoil", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_files_that_are_refused(tmp_path, name, spoil, sentence):
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=sentence) as refusal:
        read_weights(tmp_path / name)
    assert len(str(refusal.value).splitlines()) == 1


def test_arrays_are_laid_out_as_in_pytorch(tmp_path):
    """In the older .h5, whose weights alone do not say the kinds of layers."""
    rng = np.random.default_rng(0)
    kernel, depthwise = rng.normal(size=(3, 2, 5, 4)), rng.normal(size=(3, 3, 4, 2))
    layers = {
        "block/conv": {"kernel:0": kernel, "bias:0": rng.normal(size=4)},
        "dw": {"depthwise_kernel:0": depthwise},
        "block/norm": {"beta:0": rng.normal(size=8), "moving_mean:0": np.zeros(8), "moving_variance:0": np.ones(8)},
        "sep": {
            "depthwise_kernel:0": rng.normal(size=(3, 3, 8, 1)),
            "pointwise_kernel:0": rng.normal(size=(1, 1, 8, 3)),
        },
        "relu": {},
        "top": {"kernel:0": rng.normal(size=(3, 2)), "bias:0": np.zeros(2)},
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = (
            [name.encode() for name in part] for part in (list(layers)[:2], list(layers)[2:])
        )
        for name, arrays in layers.items():
            group = file.require_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}".encode() for key in arrays]
            for key, array in arrays.items():
                group[f"{name}/{key}"] = array
    state = read_weights(tmp_path / "w.h5").state
    assert list(state) == [
        *("conv2d.weight", "conv2d.bias", "depthwise_conv2d.weight"),
        *(f"batch_normalization.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
        *("separable_conv2d.depthwise.weight", "separable_conv2d.pointwise.weight", "dense.weight", "dense.bias"),
    ]
    assert state["conv2d.weight"][3, 4, 2, 1] == kernel[2, 1, 4, 3]
    assert state["depthwise_conv2d.weight"][1 * 2 + 1, 0, 2, 0] == depthwise[2, 0, 1, 1]
    assert np.array_equal(state["batch_normalization.weight"], np.ones(8))  # Keras leaves the scale out
    assert np.array_equal(state["batch_normalization.bias"], layers["block/norm"]["beta:0"])
    assert np.array_equal(state["dense.weight"].T, layers["top"]["kernel:0"])


def test_a_network_inside_has_no_order_without_a_description(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["base"]
        names = [f"dense_{i}/kernel" for i in range(5)]
        file.create_group("base").attrs["weight_names"] = names
        for name in names:
            file[f"base/{name}"] = KERNEL[0, 0]
    with pytest.raises(
        UserError, match="base is a network of its own, and weights alone do not say the order of its layers"
    ):
        read_weights(tmp_path / "w.h5")


def test_a_description_of_keras_2_is_read(tmp_path):
    """It may be bytes, and a list of layers."""
    top = {"class_name": "Dense", "config": {"name": "top", "data_format": "channels_first"}}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["model_weights/top/top/kernel:0"] = KERNEL[0, 0]
        file["model_weights"].attrs["layer_names"] = [b"top"]
        file["model_weights/top"].attrs["weight_names"] = [b"top/kernel:0"]
        file.attrs["model_config"] = np.bytes_(json.dumps({"class_name": "Sequential", "config": [top]}).encode())
    with pytest.raises(UserError, match="the layer top has data_format=channels_first, unlike"):
        read_weights(tmp_path / "w.h5")


def test_layers_are_ordered_by_number_and_links_are_not_followed(tmp_path):
    write(tmp_path / "w.h5", **{f"layers__dense{f'_{i}' if i else ''}__vars__0": np.full((1, 1), i) for i in range(12)})
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file["layers/dense_12/vars/0"] = h5py.ExternalLink("elsewhere.h5", "/layers/dense/vars/0")
    state = read_weights(tmp_path / "w.h5").state
    assert [int(array) for array in map(np.squeeze, state.values())] == list(range(12))


def test_bfloat16_keeps_its_values(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        written = jax.numpy.asarray([[1.5, -2.0]], "bfloat16")
        file.create_dataset("layers/dense/vars/0", data=np.asarray(written)).attrs["dtype"] = "bfloat16"
    assert read_weights(tmp_path / "w.h5").state["dense.weight"].astype(float).tolist() == [[1.5], [-2.0]]


@pytest.fixture
def state_of(drawn):
    """Draw weights of a network by Keras's names."""

    def make(name: str, **options) -> dict[str, np.ndarray]:
        model = create_model(name, num_classes=5, **options)
        return {
            torch_name(path, keras_layouts(model)[0]): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            for path, array in flatten(drawn(model, (1, *model_info(name).input_shape))).items()
        }

    return make


def test_weights_without_the_top_are_refused(state_of):
    state = state_of("both_cnn", width=0.01)
    del state["dense_3.weight"], state["dense_3.bias"]
    with pytest.raises(UserError, match=r"holds both_cnn without its classifier \(Keras: include_top=False\)"):
        port_state("both_cnn", state, {"width": 0.01})


def test_other_layers_are_named(state_of):
    state = state_of("both_cnn", width=0.01)
    state["separable_conv2d_3.depthwise.weight"] = state.pop("separable_conv2d_2.depthwise.weight")
    sentence = (
        "names of keras notebooks: params/conv6/depthwise/kernel needs separable_conv2d_2.depthwise.weight, which is "
        "missing; separable_conv2d_3.depthwise.weight belongs to no layer"
    )
    with pytest.raises(UserError, match=re.escape(sentence)):
        port_state("both_cnn", state, {"width": 0.01})


def test_a_network_that_keras_has_not_says_so(state_of):
    with pytest.raises(UserError, match="resnet20 has no public Keras reference"):
        port_state("resnet20", state_of("both_cnn", width=0.01), {})


def test_options_must_be_those_of_keras(state_of):
    with pytest.raises(UserError, match=r"keras\.applications, whose mobilenet_v1 needs padding='SAME', epsilon"):
        from_torch("mobilenet_v1", state_of("mobilenet_v1", width=0.1), width=0.1)


def test_h5py_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    write(tmp_path / "w.weights.h5", layers__dense__vars__0=KERNEL[0, 0])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"Reading w.weights.h5 needs h5py: pip install 'jsep\[keras\]'"):
        read_weights(tmp_path / "w.weights.h5")


def test_there_are_no_averages_in_a_file_of_keras(tmp_path):
    write(tmp_path / "w.h5", layers__dense__vars__0=KERNEL[0, 0])
    with pytest.raises(UserError, match="holds no averaged weights: leave `average` out"):
        read_weights(tmp_path / "w.h5", average=True)
