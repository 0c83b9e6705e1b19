"""int8 ONNX files: float ones quantised by onnxruntime, as pairs of QuantizeLinear and DequantizeLinear."""
# the packages of the extra are not installed where types are checked
# pyright: reportMissingImports=false

import tempfile
from pathlib import Path
from typing import Any

from jsep.export.int8 import Calibration, Scale
from jsep.export.program import INPUT, OUTPUT


def write(source: Path, path: Path, calibration: Calibration, integer: bool) -> None:
    """Write an int8 file from a float one; its input and output are float32.

    Args:
        source: the float file.
        path: the int8 file.
        calibration: the images that it is calibrated on.
        integer: must be false: onnxruntime writes no files of integers alone.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert not integer

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = calibration.batches()

        def get_next(self) -> Any:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "model.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": calibration.ranges == "average"},
        )


def scales(path: Path) -> tuple[Scale, Scale]:
    """Return the scales of the images and of the logits in an int8 file."""
    from onnx import load_model
    from onnx.numpy_helper import to_array

    graph = load_model(path).graph
    arrays = {one.name: to_array(one) for one in graph.initializer}
    (first,) = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == INPUT]
    (second,) = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] == OUTPUT]
    one, two = (Scale(float(arrays[node.input[1]]), int(arrays[node.input[2]])) for node in (first, second))
    return one, two
