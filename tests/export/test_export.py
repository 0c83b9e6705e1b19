"""Files of every format, loaded and run, give the same logits as the network in JAX."""

import functools
import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tasks
from jax import export
from jax.experimental import layout
from safetensors import safe_open

from jsep import ops
from jsep.errors import UserError
from jsep.export import FORMATS, TOLERANCE, export_run
from jsep.export.agreement import agreement
from jsep.export.program import Program, make_program
from jsep.export.run import Format
from jsep.models import model_info, parse_options
from jsep.runs.adopt import save_weights
from jsep.train import RunConfig
from jsep.train.setup import TASKS
from jsep.trees import flatten, load_arrays

SHAPE = (16, 16, 3)
PICTURES = np.random.default_rng(3).integers(0, 256, (3, *SHAPE), np.uint8)
NETWORKS = (
    "mobilenet_v1_025 input=cifar",
    "resnet20 depth=8 shortcut=pad_split",
    "both_cnn width=0.02",  # max-pooling
    "tiny_detection",
    "tiny_segmentation",
)
MORE = ("mobilenet_v2_050 input=cifar width=0.1", "shufflenet_v2_x0_5 input=cifar", "densenet100_k12_bc depth=10")
# warnings of the converters
pytestmark = pytest.mark.filterwarnings("default:::jax2onnx", "default:::onnx", "default::DeprecationWarning")


def need(to: str) -> None:
    for package in (*FORMATS[to].packages, FORMATS[to].converter.replace("-", "_") or "jax"):
        pytest.importorskip(package, reason=f"pip install 'jsep[{to}]'")


def made_of(text: str, variables):
    name, *options = text.split()
    names, mean, std = tuple("abcdefghij"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    names = names[TASKS[model_info(name).task].background :]
    facts = {"image_shape": SHAPE, "class_names": names, "mean": mean, "std": std}
    return make_program(name, parse_options(options), (), variables, **facts)


@pytest.fixture(autouse=True, scope="module")
def _tiny():
    with tiny_tasks.registered():
        yield


@pytest.fixture(scope="module")
def program(trained):
    return functools.cache(lambda text: made_of(text, trained(text, SHAPE)[1]))


@pytest.fixture(scope="module")
def live(program):
    return functools.cache(lambda text: ops.jit_inference(program(text).live))


def test_detectors_have_no_tflite_form(program, tmp_path):
    with pytest.raises(UserError, match="`to`=tflite: the loop in which detectors suppress boxes has no such form"):
        FORMATS["tflite"].write(program("tiny_detection"), tmp_path / "model", None)


FILES = [
    *((text, to) for text in NETWORKS for to in FORMATS if (text, to) != ("tiny_detection", "tflite")),  # see above
    *(pytest.param(text, to, marks=pytest.mark.slow) for text in MORE for to in FORMATS),
]


@pytest.mark.parametrize(("text", "to"), FILES)
def test_a_file_tells_what_the_live_network_does(program, live, tmp_path, text, to):
    need(to)
    FORMATS[to].write(program(text), tmp_path / "model", None)
    difference, same, compared = agreement(live(text), FORMATS[to].load(tmp_path / "model"), PICTURES, 3)
    assert difference < 2e-5
    assert same == compared == 3 * (16 * 16 if text == "tiny_segmentation" else 1)


@pytest.mark.parametrize(
    "to", ["safetensors", "stablehlo", *(pytest.param(to, marks=pytest.mark.slow) for to in ("onnx", "tflite"))]
)
def test_weights_that_lie_column_by_column_are_written_as_they_are(trained, live, tmp_path, to):
    """As they come from a TPU, whose default layouts are often not row by row."""
    need(to)
    text = NETWORKS[0]
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def by_column(leaf):
        return jax.device_put(leaf, layout.Format(layout.Layout(tuple(reversed(range(leaf.ndim)))), here))

    variables = jax.tree.map(by_column, trained(text, SHAPE)[1])
    assert not np.asarray(variables["params"]["classifier"]["kernel"]).flags.c_contiguous
    FORMATS[to].write(made_of(text, variables), tmp_path / "model", None)
    difference, same, _ = agreement(live(text), FORMATS[to].load(tmp_path / "model"), PICTURES, 3)
    assert difference < 2e-5
    assert same == 3


def test_a_stablehlo_file_holds_plain_convolutions_for_any_number_of_images(program, tmp_path):
    made = program("mobilenet_v1_025 input=cifar")
    FORMATS["stablehlo"].write(made, tmp_path / "model", None)
    module = export.deserialize(bytearray((tmp_path / "model").read_bytes())).mlir_module()
    assert module.count("stablehlo.convolution") == 27
    assert "stablehlo.rsqrt" not in module
    assert "stablehlo.divide" not in module.replace("stablehlo.divide %", "", 1)  # the mean over positions
    run = FORMATS["stablehlo"].load(tmp_path / "model")
    assert [run(np.zeros((n, *SHAPE), np.float32)).shape for n in (1, 4)] == [(1, 10), (4, 10)]


def test_an_onnx_file_holds_grouped_convolutions_for_any_number_of_images(program, tmp_path):
    need("onnx")
    onnx = pytest.importorskip("onnx")
    made = program("mobilenet_v1_025 input=cifar")
    FORMATS["onnx"].write(made, tmp_path / "model", None)
    graph = onnx.load(tmp_path / "model").graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Conv"] == 27
    assert not {"Div", "Sqrt", "Slice"} & set(kinds)
    groups = [a.i for node in graph.node if node.op_type == "Conv" for a in node.attribute if a.name == "group"]
    assert sorted(group for group in groups if group > 1) == [8, 16, 32, 32, 64, 64, *[128] * 6, 256]
    run = FORMATS["onnx"].load(tmp_path / "model")
    assert [run(np.zeros((n, *SHAPE), np.float32)).shape for n in (1, 4)] == [(1, 10), (4, 10)]


@pytest.mark.parametrize("to", ["stablehlo", "onnx", "tflite"])
def test_a_file_of_a_fixed_batch(program, live, tmp_path, to):
    need(to)
    text = "both_cnn width=0.02"
    FORMATS[to].write(program(text), tmp_path / "model", 2)
    difference, same, _ = agreement(live(text), FORMATS[to].load(tmp_path / "model"), PICTURES, 3)  # of three images
    assert (difference < 1e-5, same) == (True, 3)
    if to == "stablehlo":
        assert export.deserialize(bytearray((tmp_path / "model").read_bytes())).in_avals[0].shape == (2, *SHAPE)


def test_weights_have_no_batch(program, tmp_path):
    with pytest.raises(UserError, match="`batch`=2: a safetensors file holds weights"):
        FORMATS["safetensors"].write(program("both_cnn width=0.02"), tmp_path / "model", 2)


@pytest.mark.parametrize("count_padding", [True, False])
def test_padded_average_pools_are_operations_that_phones_run(tmp_path, count_padding):
    need("tflite")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")

    def pool(x):
        with ops.portable_operations():
            return ops.avg_pool(x, 3, strides=2, padding=1, count_padding=count_padding)

    FORMATS["tflite"].write(
        cast(Program, SimpleNamespace(outputs=pool, image_shape=(8, 8, 4), task="classification")),
        tmp_path / "model",
        2,
    )
    kinds = {one["op_name"] for one in interpreter.Interpreter(str(tmp_path / "model"))._get_ops_details()}
    assert kinds - {"DELEGATE"} == {"PAD", "AVERAGE_POOL_2D"} | (set() if count_padding else {"MUL"})
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    expected = ops.avg_pool(jnp.asarray(x), 3, strides=2, padding=1, count_padding=count_padding)
    np.testing.assert_allclose(FORMATS["tflite"].load(tmp_path / "model")(x), expected, atol=1e-6)


def test_a_tflite_file_holds_depthwise_convolutions(program, tmp_path):
    need("tflite")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    FORMATS["tflite"].write(program("mobilenet_v1_025 input=cifar"), tmp_path / "model", None)
    details = interpreter.Interpreter(str(tmp_path / "model"))._get_ops_details()
    kinds = Counter(one["op_name"] for one in details)
    assert (kinds["DEPTHWISE_CONV_2D"], kinds["CONV_2D"]) == (13, 14)


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory) -> Path:
    """A run folder of a tiny network on the embedded digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    _, variables = trained("both_cnn width=0.02", (28, 28, 1))
    save_weights(RunConfig("both_cnn", {"width": 0.02}), variables, folder)
    return folder


def test_a_run_is_written_with_its_facts(run):
    report = export_run(run, "stablehlo", images=20)
    assert report.path == run / "model.stablehlo"
    assert report.path.is_file()
    assert (report.test_images, report.random_images, report.same, report.norms) == (20, 16, 36, 3)
    assert 0 < report.difference < 1e-5
    facts = json.loads((run / "model.stablehlo.json").read_text())
    assert facts["class_names"] == list("0123456789")
    assert (facts["image_shape"], facts["crop_share"], facts["interpolation"]) == ([28, 28, 1], 1.0, "bilinear")
    assert (facts["model"], facts["options"], facts["data"]) == ("both_cnn", "width=0.02", "mnist5k")


def test_a_file_says_how_its_images_are_cut_and_scaled(run, tmp_path):
    report = export_run(run, "safetensors", tmp_path / "model", images=1, crop_share=0.9, interpolation="bicubic")
    facts = json.loads((tmp_path / "model.json").read_text())
    assert (report.test_images, facts["crop_share"], facts["interpolation"]) == (1, 0.9, "bicubic")


def test_safetensors_hold_the_trained_arrays_and_what_network_they_belong_to(run, trained):
    path = export_run(run, "safetensors", images=1).path
    (arrays, _), wanted = load_arrays(path), flatten(trained("both_cnn width=0.02", (28, 28, 1))[1])
    assert arrays.keys() == wanted.keys()
    assert all(np.array_equal(arrays[name], wanted[name]) for name in wanted)
    with safe_open(path, "numpy") as file:
        facts = file.metadata()
    assert (facts["model"], facts["options"], facts["num_classes"]) == ("both_cnn", "width=0.02", "10")


def test_a_file_that_gives_other_numbers_is_not_left(run, tmp_path, monkeypatch):
    def load_wrong(path):
        right = FORMATS["safetensors"].load(path)
        return lambda images: right(images) * np.float32(1 + 2 * TOLERANCE)

    monkeypatch.setitem(FORMATS, "stablehlo", Format(FORMATS["safetensors"].write, load_wrong))
    with pytest.raises(UserError, match=r"differ by 2\.0e-04, where rounding makes at most 1e-04"):
        export_run(run, "stablehlo", tmp_path / "model.stablehlo", images=1)
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named_before_anything_is_read(tmp_path, monkeypatch):
    there = FORMATS["onnx"]
    monkeypatch.setitem(FORMATS, "onnx", Format(there.write, there.load, ("jax",), "no-such-package"))
    sentence = "needs no_such_package, not installed here: pip install 'jsep[onnx]', then pip install --no-deps no-such"
    with pytest.raises(UserError, match=re.escape(sentence)):
        export_run(tmp_path, "onnx")
