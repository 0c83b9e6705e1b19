"""int8 files give the classes of the float network, say what they are, and are refused where they are of no use."""

import dataclasses
import functools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import path_aware_map
from jax import lax

from jsep import ops
from jsep.data import load
from jsep.errors import UserError, with_flags
from jsep.export import FORMATS, export_run
from jsep.export import run as exporting
from jsep.export.int8 import Calibration, Int8Report, Quantizer, Scale, quantize_file
from jsep.export.int8_tflite import _average, float_operations, scales
from jsep.export.program import Program, logits_of, make_program
from jsep.export.run import Format
from jsep.layers.activation import PReLU
from jsep.models import parse_options
from jsep.runs.adopt import save_weights
from jsep.train import RunConfig

# warnings of the converters
pytestmark = pytest.mark.filterwarnings("default:::jax2onnx", "default:::onnx", "default::DeprecationWarning")
SHAPE = (32, 32, 3)
RNG = np.random.default_rng(3)
PICTURES = RNG.integers(0, 256, (24, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)


def need(to: str) -> None:
    form = FORMATS[to]
    for package in (*form.packages, form.converter.replace("-", "_"), cast(Quantizer, form.quantizer).package):
        pytest.importorskip(package, reason=f"pip install 'jsep[{to}]'")


def conv(x: Any, kernel: jax.Array, groups: int = 1) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=groups)


def quantized(to: str, logits: Any, folder: Path, images: np.ndarray, integer: bool = False) -> Path:
    """Write a function of images as an int8 file."""
    need(to)
    shape = images.shape[1:]
    facts = {"model": "function"}
    program = SimpleNamespace(outputs=logits, task="classification", image_shape=shape, facts=facts, text_facts=facts)
    FORMATS[to].write(cast(Program, program), folder / "float", None)
    made = folder / "int8"
    cast(Quantizer, FORMATS[to].quantizer).write(folder / "float", made, Calibration(images, "extremes", 1), integer)
    return made


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory) -> Path:
    """A run folder of a tiny network on the embedded digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    save_weights(RunConfig("both_cnn", {"width": 0.02}), trained("both_cnn width=0.02", (28, 28, 1))[1], folder)
    return folder


def test_an_int8_export_says_what_it_is_and_how_good_it_is(run):
    need("tflite")
    report = export_run(run, "tflite", images=50, int8=True, calibrate=20)
    found = report.int8
    assert found
    assert (report.path, report.test_images, report.difference < 1e-5) == (run / "model.int8.tflite", 50, True)
    assert (found.calibration_images, found.test_images, found.input.zero_point) == (20, 50, -128)
    assert found.input.scale == pytest.approx(1 / 255)
    assert found.same > 0.9
    assert abs(found.accuracy - found.float_accuracy) <= 1 - found.same
    assert found.bytes == report.path.stat().st_size < found.float_bytes / 2
    facts = json.loads(report.path.with_name("model.int8.tflite.json").read_text())
    assert facts["int8"] == dataclasses.asdict(found)
    assert not list(run.glob("*.part"))


@pytest.mark.parametrize("integer", [False, True])
def test_only_integer_files_are_of_integers_alone(tmp_path, integer):
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 3, 4)), jnp.float32)
    made = quantized("tflite", lambda x: conv(x, kernel).mean((1, 2)), tmp_path, PICTURES / np.float32(255), integer)
    assert float_operations(made) == ([] if integer else ["DEQUANTIZE", "QUANTIZE"])
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(made))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (taken["dtype"] is np.int8, given["dtype"] is np.int8) == (integer, integer)
    pixel, logit = scales(made)
    assert (pixel.scale, pixel.zero_point) == (pytest.approx(1 / 255), -128)
    theirs, ours = (logits_of(FORMATS["tflite"].load(tmp_path / name), PICTURES) for name in ("int8", "float"))
    assert np.abs(theirs - ours).max() < 3 * logit.scale
    assert len(np.unique(theirs)) > 20


def test_kernels_have_a_scale_for_each_output_channel(tmp_path):
    size = np.array([1, 10, 100, 1000], np.float32)
    depthwise, dense = (jnp.asarray(RNG.normal(size=(3, 3, n, 4)) * size, jnp.float32) for n in (1, 4))

    def logits(x):
        y = conv(jnp.concatenate([x, x[..., :1]], -1), depthwise, 4)
        return conv(y, dense).mean((1, 2))

    made = quantized("tflite", logits, tmp_path, PICTURES / np.float32(255))
    details = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(made)).get_tensor_details()
    axes = {
        tuple(one["shape"]): (one["quantization_parameters"]["quantized_dimension"], scale)
        for one in details
        if len(scale := one["quantization_parameters"]["scales"]) == 4 and len(one["shape"]) == 4
    }
    for kernel, (axis, shape) in ((depthwise, (3, (1, 3, 3, 4))), (dense, (0, (4, 3, 3, 4)))):
        assert axes[shape][0] == axis
        assert axes[shape][1] == pytest.approx(np.abs(kernel).max((0, 1, 2)) / 127, rel=1e-5)


def test_a_channel_without_a_kernel_keeps_its_bias(tmp_path):
    """Training may leave such channels. ai-edge-quantizer's own scale for the bias is too fine to hold it."""
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 3, 4)) * np.array([1, 0, 1e-12, 1]), jnp.float32)
    bias = jnp.asarray([0.1, 0.7, -0.7, 0.2], jnp.float32).reshape(1, 1, 1, 4)
    made = quantized("tflite", lambda x: (conv(x, kernel) + bias).mean((1, 2)), tmp_path, PICTURES / np.float32(255))
    logits = logits_of(FORMATS["tflite"].load(made), PICTURES)
    np.testing.assert_allclose(logits[:, 1:3], np.tile([0.7, -0.7], (len(PICTURES), 1)), atol=0.1)


def test_an_activation_that_is_always_zero_is_no_obstacle(tmp_path):
    first, second = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((3, 4), (4, 5)))
    bias = jnp.arange(5, dtype=jnp.float32).reshape(1, 5)
    made = quantized(
        "tflite", lambda x: nn.relu(x.mean((1, 2)) @ first - 100) @ second + bias, tmp_path, PICTURES / np.float32(255)
    )
    logits = logits_of(FORMATS["tflite"].load(made), PICTURES)
    np.testing.assert_allclose(logits, np.repeat(bias, len(PICTURES), 0), atol=scales(made)[1].scale)


def test_prelu_has_an_int8_form(tmp_path):
    layer = PReLU()
    variables = {"params": {"slope": jnp.asarray([-0.1, 0.0, 0.3, 1.2], jnp.float32)}}
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 3, 4)), jnp.float32)

    def logits(x):
        return jnp.asarray(layer.apply(variables, conv(x, kernel))).mean((1, 2))

    def portable(x):
        with ops.portable_operations():
            return logits(x)

    images = PICTURES / np.float32(255)
    np.testing.assert_allclose(portable(images), logits(images), atol=1e-6)
    made = quantized("tflite", portable, tmp_path, images, True)
    theirs = logits_of(FORMATS["tflite"].load(made), PICTURES)
    assert np.abs(theirs - logits(images)).max() < 0.03 * np.ptp(logits(images))


def test_an_operation_without_an_int8_form_is_named(tmp_path):
    with pytest.raises(UserError, match="`integer`: ai-edge-quantizer leaves LEAKY_RELU of this network in float32"):
        quantized("tflite", lambda x: nn.leaky_relu(x - 0.5).mean((1, 2)), tmp_path, PICTURES / np.float32(255), True)


@pytest.mark.parametrize(
    ("function", "kinds"),
    [(nn.relu6, {"Clip"}), (nn.hard_swish, {"HardSigmoid", "Mul"}), (nn.hard_sigmoid, {"HardSigmoid"})],
    ids=["relu6", "hard_swish", "hard_sigmoid"],
)
def test_onnx_activations_have_their_names(tmp_path, function, kinds):
    need("onnx")
    onnx = pytest.importorskip("onnx")
    facts = {"model": "function"}
    kernel = jnp.asarray(5 * RNG.normal(size=(3, 3, 3, 4)), jnp.float32)

    def logits(x):
        return jnp.mean(function(conv(x, kernel)), (1, 2))

    program = cast(
        Program,
        SimpleNamespace(outputs=logits, task="classification", image_shape=SHAPE, facts=facts, text_facts=facts),
    )
    FORMATS["onnx"].write(program, tmp_path / "model", None)
    graph = onnx.load(tmp_path / "model").graph
    assert {node.op_type for node in graph.node} - {"Conv", "Transpose", "ReduceMean"} == kinds
    ours = logits(jnp.asarray(PICTURES / np.float32(255)))
    np.testing.assert_allclose(
        logits_of(FORMATS["onnx"].load(tmp_path / "model"), PICTURES), ours, rtol=1e-5, atol=1e-5
    )


@pytest.fixture(scope="module")
def program(trained):
    names, mean, std = tuple("abcdefghij"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    facts = {"image_shape": SHAPE, "class_names": names, "mean": mean, "std": std}

    def make(text: str) -> Program:
        name, *options = text.split()
        variables = path_aware_map(
            lambda path, leaf: np.full_like(leaf, 0.2) if path[-1] == "slope" else leaf, trained(text, SHAPE)[1]
        )
        return make_program(name, parse_options(options), (), variables, **facts)

    return functools.cache(make)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("mobilenet_v3_small input=cifar width=0.25", ("tflite", "onnx")),
        ("shufflenet_v2_x0_5 input=cifar", ("tflite", "onnx")),
        ("mobilenet_v1_025 input=cifar", ("tflite", "onnx")),
        ("addressnet20 depth=8", ("tflite", "onnx")),
        ("densenet100_k12_bc depth=10", ("tflite", "onnx")),
        ("eca_resnet18 input=cifar width=0.1", ("tflite",)),
        ("resnet20 depth=8 attention=se", ("tflite",)),
        ("antnet_g2 width=0.25", ("tflite",)),
        ("dicenet_x0_2", ("tflite",)),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "-".join(value),
)
def test_families_keep_their_classes(program, tmp_path, text, formats):
    """TFLite files of integers alone, and ONNX files."""
    made = program(text)
    live = np.asarray(ops.jit_inference(made.live)(PICTURES))
    for to in formats:
        need(to)
        form = FORMATS[to]
        form.write(made, tmp_path / "float", None)
        calibration = Calibration(PICTURES / np.float32(255), "extremes", 1)
        integer = to == "tflite"
        rest = calibration, integer, PICTURES, live.argmax(1)
        report = quantize_file(cast(Quantizer, form.quantizer), form.load, tmp_path / "float", tmp_path / "int8", *rest)
        theirs = logits_of(form.load(tmp_path / "int8"), PICTURES)
        assert report.same >= 0.8, to
        assert np.abs(theirs - live).mean() < 0.2 * live.std(), to
        if integer:
            assert not float_operations(tmp_path / "int8")


def test_calibration_fills_its_last_batch_with_the_first_images():
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    batches = list(Calibration(images, "extremes", 2).batches())
    assert [batch.ravel().tolist() for batch in batches] == [[0, 1], [2, 3], [4, 0]]


def test_the_average_range_weighs_all_images_alike():
    seen = [{"min": np.array(float(-i)), "max": np.array(2.0 * i)} for i in (1, 3, 8)]
    found = functools.reduce(_average, seen)
    assert (found["min"], found["max"]) == (pytest.approx(-4), pytest.approx(8))


REPORT = Int8Report(False, 200, "extremes", Scale(1, 0), Scale(1, 0), 1000, 0.9, 0.85, 0.9, 100, 30)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "int8 costs this network 5.0 points of accuracy: try --ranges average, or more .* with --calibrate 1000"),
        ({"ranges": "average"}, "try --ranges extremes"),
        ({"accuracy": 0.885}, "^$"),
        ({"accuracy": 0.95}, "^$"),
    ],
    ids=["fall", "average", "slight", "rise"],
)
def test_a_fall_of_the_accuracy_is_said_with_a_remedy(change, sentence):
    assert re.search(sentence, with_flags(dataclasses.replace(REPORT, **change).advice))


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"to": "stablehlo", "int8": True}, "such files are not written in int8; choose onnx or tflite"),
        ({"to": "safetensors", "int8": True}, "such files are not written in int8; choose onnx or tflite"),
        ({"to": "tflite", "integer": True}, "`integer`: only int8 files of TFLite .* add `int8` and `to`=tflite"),
        ({"to": "onnx", "int8": True, "integer": True}, "`integer`: only int8 files of TFLite"),
        ({"to": "onnx", "int8": True, "calibrate": 0}, "`calibrate`=0: it must be at least 1"),
        ({"to": "onnx", "int8": True, "images": 0}, "`images`=0: it must be at least 1"),
        ({"to": "onnx", "int8": True, "ranges": "widest"}, "`ranges`='widest': it must be extremes or average"),
    ],
    ids=["stablehlo", "safetensors", "float-integer", "onnx-integer", "calibrate", "images", "ranges"],
)
def test_choices_that_do_not_fit_are_refused_before_anything_is_read(tmp_path, choices, sentence):
    with pytest.raises(UserError, match=sentence):
        export_run(tmp_path, **choices)


def test_a_missing_quantiser_is_named(tmp_path, monkeypatch):
    there = FORMATS["onnx"]
    quantizer = dataclasses.replace(cast(Quantizer, there.quantizer), package="no_such_package")
    monkeypatch.setitem(FORMATS, "onnx", Format(there.write, there.load, (), "jax", quantizer))
    with pytest.raises(UserError, match=r"needs no_such_package, not installed here: pip install 'jsep\[onnx\]'"):
        export_run(tmp_path, "onnx", int8=True)


def raising(error: Exception):
    def write(*_: Any) -> None:
        raise error

    return write


@pytest.mark.parametrize(
    ("write", "change", "sentence"),
    [
        (Path.touch, lambda logits: logits * np.nan, "In int8 this network gives no usable logits"),
        (Path.touch, lambda logits: logits * 0, "In int8 this network gives no usable logits"),
        (raising(KeyError("CUSTOM")), None, r"This network cannot be written in int8 \('CUSTOM'\): leave `int8` out"),
    ],
    ids=["nan", "constant", "refused"],
)
def test_a_file_of_no_use_is_refused(tmp_path, write, change, sentence):
    live = RNG.normal(size=(4, 10)).astype(np.float32)
    images, labels = np.zeros((4, 1, 1, 1), np.uint8), np.zeros(4, np.int32)
    quantizer = Quantizer("jax", lambda source, path, *_: write(path), lambda path: (Scale(1, 0), Scale(1, 0)))
    calibration = Calibration(images.astype(np.float32), "extremes", 1)
    source, path = tmp_path / "float", tmp_path / "int8"
    source.touch()
    with pytest.raises(UserError, match=sentence):
        quantize_file(
            quantizer,
            lambda file: lambda _: live if file == source else change(live),
            source,
            path,
            calibration,
            False,
            images,
            labels,
        )


def test_no_part_of_a_refused_file_is_left(run, tmp_path, monkeypatch):
    weights = FORMATS["safetensors"]

    def write(source: Path, path: Path, *_: Any) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    quantizer = Quantizer("jax", write, lambda path: (Scale(1, 0), Scale(1, 0)))
    monkeypatch.setitem(FORMATS, "onnx", Format(weights.write, weights.load, (), "jax", quantizer))
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\): choose another `out`"):
        export_run(run, "onnx", tmp_path / "model.onnx", int8=True, images=1, calibrate=1)
    assert not list(tmp_path.iterdir())


def test_images_are_taken_from_the_whole_of_a_streamed_part(jpeg_tfds):
    dataset = load(str(jpeg_tfds), image_size=16, stream=True)
    setup: Any = SimpleNamespace(dataset=dataset, config=RunConfig())
    images, labels = exporting._spread(setup, dataset.train, 5)
    assert images.shape == (5, 16, 16, 3)
    wanted = [dataset.train[index] for index in (0, 11, 23, 35, 47)]  # type: ignore[index]
    assert labels.tolist() == [record["label"] for record in wanted]
    everything, _ = exporting._spread(setup, dataset.train, 1000)
    np.testing.assert_array_equal(images, everything[[0, 11, 23, 35, 47]])
    assert len(everything) == 48
