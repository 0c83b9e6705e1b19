"""ONNX files: converted by jax2onnx, simplified by onnxruntime."""
# the packages of the extra are not installed where types are checked
# pyright: reportMissingImports=false

import logging
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import jax

from jsep.export.program import INPUT, OUTPUTS, Function, Program, any_number, as_answer

OPSET = 21


def write(program: Program, path: Path, batch: int | None = None) -> None:
    """Write a file that takes `batch` images at once, any number by default, and one if it is a detector."""
    import jax2onnx
    from onnx import checker, helper, save

    for name in ("jax2onnx", "onnx_ir"):  # they log a traceback for each plugin whose package is not installed
        logging.getLogger(name).setLevel(logging.ERROR)
    # jitted functions of JAX, such as relu6, are converted as their operations; jax2onnx takes numbers of Python in
    # some of them for float64, which has no effect but a warning
    with jax.disable_jit(), jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype")
        model: Any = jax2onnx.to_onnx(
            program.outputs,
            [(batch or (1 if program.task == "detection" else "n"), *program.image_shape)],
            model_name=program.facts["model"],
            opset=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS[program.task]),
        )
    _pool_in_two_dimensions(model)
    model = _simplified(model)
    _name_activations(model)
    helper.set_model_props(model, program.text_facts)
    checker.check_model(model, full_check=True)
    save(model, path)


def load(path: Path) -> Function:
    """Return the function in a file; onnxruntime runs it on the CPU."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return any_number(lambda images: as_answer(session.run(None, {INPUT: images})), session.get_inputs()[0].shape[0])


def _pool_in_two_dimensions(model: Any) -> None:
    """Make every max pooling two-dimensional.

    jax2onnx pools over all four axes of NHWC, with a window (1, k, k, 1) on (1, 1, n, h, w, c), which no runtime
    supports. Its Unsqueeze, Unsqueeze, MaxPool, Squeeze is replaced by Transpose, MaxPool over h and w, Transpose.
    """
    from onnx.helper import make_attribute

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    takers = {name: node for node in graph.node for name in node.input}

    def transpose(node: Any, order: tuple[int, ...]) -> None:
        node.op_type = "Transpose"
        del node.input[1:], node.attribute[:]
        node.attribute.append(make_attribute("perm", order))

    for node in [node for node in graph.node if node.op_type == "MaxPool"]:
        attributes = {one.name: list(one.ints) for one in node.attribute}
        if len(attributes["kernel_shape"]) != 4:
            continue
        inner = makers[node.input[0]]
        outer, last = makers[inner.input[0]], takers[node.output[0]]
        transpose(outer, (0, 3, 1, 2))
        transpose(last, (0, 2, 3, 1))
        node.input[0] = outer.output[0]
        graph.node.remove(inner)
        del node.attribute[:]
        for name, values in attributes.items():  # along n, h, w, c; pads: all that go before, then all that go after
            spatial = values[1:3] + values[5:7] if name == "pads" else values[1:3]
            node.attribute.append(make_attribute(name, spatial))
    del graph.value_info[:]  # outdated shapes; the checker infers them again
    _drop_unused(graph)


def _name_activations(model: Any) -> None:
    """Replace maxima and minima with constants by the activations that they are: Relu, Clip and HardSigmoid.

    Runtimes compute these together with the convolution before them, and onnxruntime's quantiser knows what they do to
    a range.
    """
    from onnx.helper import make_attribute, make_tensor
    from onnx.numpy_helper import to_array

    graph = model.graph
    arrays = {one.name: to_array(one) for one in graph.initializer}
    numbers = {name: float(value.item()) for name, value in arrays.items() if value.size == 1}
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(_taken(graph))

    def with_number(node: Any, kind: str) -> tuple[Any, float]:
        """Return the tensor and the number that a node of a kind takes; no tensor where it is another node."""
        if node is not None and node.op_type == kind and len(node.input) == 2:
            first, second = node.input
            if second in numbers:
                return first, numbers[second]
            if first in numbers and kind != "Div":
                return second, numbers[first]
        return None, 0.0

    def before(name: str | None) -> Any:
        return makers.get(name) if name is not None and uses[name] == 1 else None

    def become(node: Any, kind: str, inputs: list[str], **attributes: float) -> None:
        node.op_type = kind
        del node.input[:], node.attribute[:]
        node.input.extend(inputs)
        node.attribute.extend(make_attribute(name, value) for name, value in attributes.items())

    for node in list(graph.node):
        x, number = with_number(node, "Max")
        if x and number == 0:
            become(node, "Relu", [x])
    for node in list(graph.node):
        x, most = with_number(node, "Min")
        relu = before(x)
        if relu is None or relu.op_type != "Relu":
            continue
        divide = takers[0] if len(takers := [one for one in graph.node if node.output[0] in one.input]) == 1 else None
        shifted, shift = with_number(before(relu.input[0]), "Add")
        if shifted and with_number(divide, "Div") == (node.output[0], most):  # clip(x + shift, 0, most) / most
            become(divide, "HardSigmoid", [shifted], alpha=1 / most, beta=shift / most)
            for one in (makers[relu.input[0]], relu, node):
                graph.node.remove(one)
            continue
        limits = [f"{node.output[0]}_{end}" for end in ("least", "most")]
        graph.initializer.extend(make_tensor(*each) for each in [(limits[0], 1, (), [0.0]), (limits[1], 1, (), [most])])
        become(node, "Clip", [relu.input[0], *limits])
        graph.node.remove(relu)
    _drop_unused(graph)


def _drop_unused(graph: Any) -> None:
    """Remove the constants that no operator takes, also from the bodies of loops; onnxruntime warns about each."""
    for body in _bodies(graph):
        _drop_unused(body)
    used = {*_taken(graph)}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _taken(graph: Any) -> list[str]:
    """Return the names of all arrays that operators or the caller take, those in the bodies of loops included."""
    inside = [name for body in _bodies(graph) for name in _taken(body)]
    return [*(name for node in graph.node for name in node.input), *(one.name for one in graph.output), *inside]


def _bodies(graph: Any) -> list[Any]:
    """Return the bodies of the loops of a graph."""
    return [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]


def _simplified(model: Any) -> Any:
    """Return the model with constants folded and pairs of transposes removed, in standard ONNX operators only."""
    import onnxruntime as runtime
    from onnx import load_model

    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple = load_model(path)
    used = {node.domain for node in simple.graph.node} | {""}
    kept = [one for one in simple.opset_import if one.domain in used]  # onnxruntime adds every domain that it knows
    del simple.opset_import[:]
    simple.opset_import.extend(kept)
    return simple
