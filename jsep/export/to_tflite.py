"""TFLite files: StableHLO converted by the LiteRT converter, without TensorFlow."""
# the packages of the extra may not be installed where types are checked, and are compiled modules without types
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from pathlib import Path
from typing import Any

import jax
from jax import export

from jsep.export.program import INPUT, OUTPUT, Logits, Program, any_number, spec

SIGNATURE = "serving_default"


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write a file that takes `batch` images at once, one by default: phones need no more."""
    from litert_converter import converter_api_ext as converter
    from litert_converter.mlir import ir, passmanager

    module = export.export(jax.jit(program.logits), platforms=("cpu",))(spec(program, batch or 1)).mlir_module()
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(module)
        converter.set_signature(module.operation, SIGNATURE, [INPUT], [OUTPUT])
        converter.run_convert_to_tfl_passes(module, passmanager.PassManager(), converter.ConvertToTFLConfig())
        path.write_bytes(converter.export_flatbuffer_to_bytes(module.operation))


def load(path: Path) -> Logits:
    """Return the function in a file; LiteRT runs it on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    run: Any = Interpreter(str(path)).get_signature_runner(SIGNATURE)
    return any_number(lambda images: run(**{INPUT: images})[OUTPUT], int(run.get_input_details()[INPUT]["shape"][0]))
