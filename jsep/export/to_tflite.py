"""TFLite files: StableHLO converted by the LiteRT converter, without TensorFlow."""
# the packages of the extra may not be installed where types are checked, and are compiled modules without types
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from jsep.errors import UserError
from jsep.export.program import INPUT, OUTPUTS, Function, Program, any_number, as_answer, spec

SIGNATURE = "serving_default"


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write a file that takes `batch` images at once, one by default: phones need no more.

    Raises:
        UserError: it is a detector, whose loop of suppression the converter cannot write.
    """
    if program.task == "detection":
        raise UserError(
            "`to`=tflite: the loop in which detectors suppress boxes has no such form; choose onnx or stablehlo"
        )
    from litert_converter import converter_api_ext as converter
    from litert_converter.mlir import ir, passmanager

    module = export.export(jax.jit(program.outputs), platforms=("cpu",))(spec(program, batch or 1)).mlir_module()
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(module)
        converter.set_signature(module.operation, SIGNATURE, [INPUT], list(OUTPUTS[program.task]))
        converter.run_convert_to_tfl_passes(module, passmanager.PassManager(), converter.ConvertToTFLConfig())
        path.write_bytes(converter.export_flatbuffer_to_bytes(module.operation))


def load(path: Path) -> Function:
    """Return the function in a file; LiteRT runs it on the CPU.

    Where the file takes or returns integers, images and logits are converted by its own scales.
    """
    from ai_edge_litert.interpreter import Interpreter

    run: Any = Interpreter(str(path)).get_signature_runner(SIGNATURE)
    taken, given = run.get_input_details()[INPUT], run.get_output_details()
    names = next(list(names) for names in OUTPUTS.values() if set(names) == set(given))

    def answer(images: Any) -> Any:
        found = run(**{INPUT: _as_integers(images, taken)})
        return as_answer([_as_floats(found[name], given[name]) for name in names])

    return any_number(answer, int(taken["shape"][0]))


def _as_integers(values: Any, details: Any) -> Any:
    """Return values in the dtype of a tensor, as integers of its scale where that is one of integers."""
    scale, zero_point = details["quantization"]
    if not np.issubdtype(details["dtype"], np.integer):
        return values
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(details["dtype"])


def _as_floats(values: Any, details: Any) -> Any:
    """Return the values of a tensor as real numbers."""
    scale, zero_point = details["quantization"]
    if not np.issubdtype(details["dtype"], np.integer):
        return values
    return ((values.astype(np.int32) - zero_point) * scale).astype(np.float32)
