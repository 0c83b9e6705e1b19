"""int8 TFLite files: float ones quantised by ai-edge-quantizer, kernels with a scale for each output channel."""
# the packages of the extra may not be installed where types are checked, and have no types
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jsep.errors import UserError
from jsep.export.int8 import Calibration, Scale
from jsep.export.program import INPUT
from jsep.export.to_tflite import SIGNATURE

CONSTANT = 1e-6  # width of the range of an activation that always has the same value, such as zero behind a ReLU
LARGEST_BIAS = 2**30  # of a bias as an int32, with room for the sum of the products


def write(source: Path, path: Path, calibration: Calibration, integer: bool) -> None:
    """Write an int8 file from a float one.

    Args:
        source: the float file.
        path: the int8 file.
        calibration: the images that it is calibrated on.
        integer: whether input and output are int8 too; otherwise they are float32.

    Raises:
        UserError: `integer` is wanted, and an operation of the network has no int8 form.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    if not integer:
        for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            recipe.add_quantization_config(".*", end, algorithm_key="no_quantize")
    with _quiet():
        update: Any = min_max_update if calibration.ranges == "extremes" else _average
        calibrator = Calibrator(str(source), num_threads=1, qsv_update_func=update)
        calibrator.calibrate({SIGNATURE: [{INPUT: batch} for batch in calibration.batches()]}, recipe)
    ranges = calibrator.get_model_qsvs()
    (images,) = Interpreter(str(source)).get_input_details()
    ranges[images["name"]] = {"min": np.zeros((1,) * 4, np.float32), "max": np.ones((1,) * 4, np.float32)}
    for span in ranges.values():
        if (
            "min" in span and (np.subtract(span["max"], span["min"], dtype=np.float32) < CONSTANT).all()
        ):  # kernels refuse the scale of such a range
            span["max"] = span["min"] + 1
    _make_room_for_biases(source, ranges)
    with _quiet():
        quantizer = Quantizer(str(source), recipe.get_quantization_recipe())
        made: Any = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model
    path.write_bytes(bytes(made))
    if integer and (floats := float_operations(path)):
        raise UserError(
            f"`integer`: ai-edge-quantizer leaves {', '.join(floats)} of this network in float32; leave `integer` out"
        )


def scales(path: Path) -> tuple[Scale, Scale]:
    """Return the scales of the images and of the logits in an int8 file, also where it takes and returns float32."""
    model = _read(path)
    graph = model.subgraphs[0]
    (images,), (logits,) = graph.inputs, graph.outputs
    for operator in graph.operators:
        code = _name(model, operator)
        if code == "QUANTIZE" and operator.inputs[0] == images:
            images = operator.outputs[0]
        if code == "DEQUANTIZE" and operator.outputs[0] == logits:
            logits = operator.inputs[0]
    found = [graph.tensors[index].quantization for index in (images, logits)]
    first, second = (Scale(float(one.scale[0]), int(one.zeroPoint[0])) for one in found)
    return first, second


def float_operations(path: Path) -> list[str]:
    """Return the kinds of operations in a file that take or return floats, or that quantise or dequantise."""
    from ai_edge_litert.schema_py_generated import TensorType

    model, kinds = _read(path), set()
    floats = {value for name, value in vars(TensorType).items() if "FLOAT" in name}
    for graph in model.subgraphs:
        for operator in graph.operators:
            used = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            if any(graph.tensors[index].type in floats for index in used):
                kinds.add(_name(model, operator))
    return sorted(kinds - {"QUANTIZE", "DEQUANTIZE"}) or sorted(kinds)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back progress bars, and the warning that all activations are kept in memory."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> Any:
    from ai_edge_litert.tools.flatbuffer_utils import read_model

    return read_model(str(path))


def _name(model: Any, operator: Any) -> str:
    from ai_edge_litert.schema_py_generated import BuiltinOperator
    from ai_edge_litert.tools.flatbuffer_utils import get_builtin_code_from_operator_code

    code = get_builtin_code_from_operator_code(model.operatorCodes[operator.opcodeIndex])
    return next(name for name, value in vars(BuiltinOperator).items() if value == code)


def _average(kept: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the mean of the least and greatest values so far, as a plain mean.

    ai-edge-quantizer's own is a moving average, in which the last twenty images outweigh all others.
    """
    number = kept.get("number", 1) + 1
    means = {end: kept[end] + (new[end] - kept[end]) / number for end in ("min", "max")}
    return {**means, "number": number}


def _make_room_for_biases(source: Path, ranges: dict[str, Any]) -> None:
    """Widen the ranges of kernels where a bias would not fit into an int32.

    The scale of a bias is the product of those of the input and the kernel. Where training has brought the kernel of a
    channel to almost nothing, or an activation is always zero, ai-edge-quantizer takes a scale that is too fine for
    the bias, and gives it another value or sign.

    Args:
        source: the float file.
        ranges: the least and greatest value of each tensor, by name; those of such kernels are added.
    """
    model = _read(source)
    graph = model.subgraphs[0]

    def data(index: int) -> np.ndarray:
        tensor = graph.tensors[index]
        return np.frombuffer(model.buffers[tensor.buffer].data, np.float32).reshape(tensor.shape)

    for operator in graph.operators:
        kind = _name(model, operator)
        if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        x, kernel, bias = operator.inputs
        weights = np.abs(data(kernel))
        channels = weights.ndim - 1 if kind == "DEPTHWISE_CONV_2D" else 0
        others = tuple(axis for axis in range(weights.ndim) if axis != channels)
        largest = weights.max(others, keepdims=True)
        span = ranges.get(graph.tensors[x].name.decode())
        if span is None:  # the input is a constant too
            continue
        step = max(float(np.max(span["max"]) - np.min(span["min"])), 1e-9) / 255
        least = np.full_like(largest, largest.max() * 2**-16)  # of no weight beside the other channels
        if bias >= 0:
            least = np.maximum(least, 127 * np.abs(data(bias)).reshape(largest.shape) / (step * LARGEST_BIAS))
        if (least > largest).any():
            bound = np.maximum(largest, least)
            ranges[graph.tensors[kernel].name.decode()] = {"min": -bound, "max": bound}
