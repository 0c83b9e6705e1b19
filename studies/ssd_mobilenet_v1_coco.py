"""Does TensorFlow's SSD MobileNet V1, in 8 bits, find the same objects here once it is dequantised?

Method     TensorFlow's model zoo has ssd_mobilenet_v1_0.75_depth, trained on COCO, as a TFLite file of uint8 weights
           from 2018. Its kernels and biases, times their scales, are given to the same network in float32. LiteRT's
           interpreter, which runs the file as it is, is asked for scores and codes of boxes; both are selected alike,
           100 boxes of a picture, suppressed within each class.
Network    MobileNet V1 of width 0.75, ReLU6 and SAME, whose batch norms are in the kernels; eight more convolutions
           with ReLU6; 1x1 heads, three boxes a cell on the first map and six on the other five; a sigmoid for each
           class; boxes that are not clipped before suppression. Images are (values - 128) / 128. The anchors are the
           file's, which are in 8 bits too.
Command    python studies/ssd_mobilenet_v1_coco.py FILE.tflite PREPARED_TFDS_DIRECTORY
           The file needs jsep[tflite]; the data set has COCO's 80 classes.
Hardware   Any; half a minute on a CPU core.
Result     The average precision on a hundred pictures of COCO val2017.

                        AP     AP50   AP75
           here         .2646  .4224  .2668
           interpreter  .2614  .4222  .2619
"""
# the packages of the extra may not be installed where types are checked
# pyright: reportMissingImports=false

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float

from jsep import boxes, ops
from jsep.data import load, normalize
from jsep.data.class_names import readable_names
from jsep.data.view import View
from jsep.layers import Conv, PointwiseConv
from jsep.models.backbone import read_backbone
from jsep.models.detector import Answers, Detector
from jsep.train.coco import Found, Truth, average_precision

SIDE, BATCH = 300, 10
OPTIONS = {"width": 0.75, "act": "relu6", "padding": "SAME"}
EXTRA = ((192, 384), (96, 192), (96, 192), (48, 96))  # features of a 1x1 and a 3x3 convolution of stride 2
CELL = (3, 6, 6, 6, 6, 6)  # anchors of a cell of each map
ANCHORS = 1917
YX = [1, 0, 3, 2]  # brings y, x, height, width to x, y, width, height, and back
LEVEL = 128 / 255  # mean and deviation of the values
SELECTION: dict[str, Any] = {"score": 1e-8, "candidates": 400, "overlap": 0.6, "limit": 100}
Detect = Callable[[np.ndarray], boxes.Detections]  # of a batch of images, values from 0 to 255


class TensorFlowSSD(Detector):
    """The network. Its anchors are a constant among its variables."""

    backbone: str = "mobilenet_v1"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        stages, _ = read_backbone(self, self.backbone, x, train=train, options=OPTIONS)
        maps = [stages["stage4"].maps, stages["stage5"].maps]
        for number, (hidden, features) in enumerate(EXTRA, start=2):
            y = nn.relu6(PointwiseConv(hidden, name=f"extra{number}_reduce")(maps[-1]))
            maps.append(nn.relu6(Conv(features, 3, 2, "SAME", name=f"extra{number}_expand")(y)))

        def head(kind: str, each: int) -> list[Array]:
            return [
                PointwiseConv(count * each, name=f"{kind}{number}")(y)
                for number, (y, count) in enumerate(zip(maps, CELL, strict=True))
            ]

        anchors = self.variable("constants", "anchors", jnp.zeros, (ANCHORS, 4)).value
        return self.answers(head("class", self.num_classes), head("box", 4), anchors)

    @nn.nowrap
    def detect(self, answers: Answers, size: tuple[int, int]) -> boxes.Detections:
        """Return the detections of a batch, whose boxes may reach beyond the image."""
        return select(jax.nn.sigmoid(answers.logits), answers.codes, answers.anchors)


def select(probabilities: Array, codes: Array, anchors: Array) -> boxes.Detections:
    """Return the detections of a batch."""

    def one(probabilities: Array, codes: Array) -> boxes.Detections:
        return boxes.select_by_class(probabilities, boxes.decode(codes, anchors), **SELECTION)

    return jax.vmap(one)(probabilities, codes)


def dequantised(path: Path) -> dict[str, np.ndarray]:
    """Return the constants in a TFLite file whose arrays have one scale each, as float32 by their names."""
    from ai_edge_litert.schema_py_generated import TensorType
    from ai_edge_litert.tools.flatbuffer_utils import read_model

    model: Any = read_model(str(path))
    found, dtypes = {}, {TensorType.UINT8: np.uint8, TensorType.INT32: np.int32}
    for tensor in model.subgraphs[0].tensors:
        data, scale = model.buffers[tensor.buffer].data, getattr(tensor.quantization, "scale", None)
        if data is not None and scale is not None:
            values = np.frombuffer(bytes(data), dtypes[tensor.type]).reshape(tensor.shape)
            zero, name = np.int64(tensor.quantization.zeroPoint[0]), tensor.name.decode()
            found[name.removeprefix("FeatureExtractor/MobilenetV1/")] = ((values - zero) * scale).astype(np.float32)
    return found


def variables_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the variables of the network by the arrays of the file."""
    found: dict[str, np.ndarray] = {}

    def give(layer: str, name: str, bias: str, *, norm: bool = False) -> None:
        kernel = arrays[f"{name}/weights_quant/FakeQuantWithMinMaxVars"]
        # (features, h, w, inputs), and (1, h, w, features) where it is depthwise
        kernel = kernel.transpose(1, 2, 0, 3) if kernel.shape[0] == 1 else kernel.transpose(1, 2, 3, 0)
        found[f"params/{layer}/kernel"] = kernel
        if not norm:
            found[f"params/{layer}/bias"] = arrays[f"{name}/{bias}"]
            return
        ones = np.ones(arrays[f"{name}/{bias}"].shape, np.float32)
        found[f"params/{layer}_norm/scale"], found[f"params/{layer}_norm/bias"] = ones, arrays[f"{name}/{bias}"]
        found[f"batch_stats/{layer}_norm/mean"], found[f"batch_stats/{layer}_norm/var"] = 0 * ones, ones - 1e-5

    give("backbone/stem", "MobilenetV1/Conv2d_0", "Conv2D_Fold_bias", norm=True)
    blocks = [(stage, block) for stage, count in enumerate((1, 2, 2, 6, 2), start=1) for block in range(1, count + 1)]
    for number, (stage, block) in enumerate(blocks, start=1):
        for part, bias in (("depthwise", "depthwise_Fold_bias"), ("pointwise", "Conv2D_Fold_bias")):
            give(f"backbone/stage{stage}_block{block}_{part}", f"MobilenetV1/Conv2d_{number}_{part}", bias, norm=True)
    for number, (hidden, features) in enumerate(EXTRA, start=2):
        give(f"extra{number}_reduce", f"Conv2d_13_pointwise_1_Conv2d_{number}_1x1_{hidden}", "Conv2D_Fold_bias")
        give(f"extra{number}_expand", f"Conv2d_13_pointwise_2_Conv2d_{number}_3x3_s2_{features}", "Conv2D_Fold_bias")
    for number in range(len(CELL)):
        for kind, name in (("class", "ClassPredictor"), ("box", "BoxEncodingPredictor")):
            give(f"{kind}{number}", f"BoxPredictor_{number}/{name}", "Conv2D_bias")
            if kind == "box":
                for leaf in ("kernel", "bias"):
                    whole = found[f"params/box{number}/{leaf}"]
                    by_anchor = whole.reshape(*whole.shape[:-1], CELL[number], 4)
                    found[f"params/box{number}/{leaf}"] = by_anchor[..., YX].reshape(whole.shape)
    center, size = np.split(arrays["anchors"][:, YX] * np.float32(SIDE), 2, axis=1)
    found["constants/anchors"] = np.concatenate([center - size / 2, center + size / 2], 1)
    return unflatten_dict(found, sep="/")


def network(weights: Path) -> Detect:
    """Return the network with the dequantised weights."""
    model, variables = TensorFlowSSD(num_classes=91), variables_of(dequantised(weights))

    @ops.jit_inference
    def detect(images: Array) -> boxes.Detections:
        answers: Any = model.apply(variables, normalize(images, (LEVEL,) * 3, (LEVEL,) * 3))
        return model.detect(answers, (SIDE, SIDE))

    return detect


def interpreter(weights: Path) -> Detect:
    """Return the file as LiteRT's interpreter runs it, up to the selection of boxes."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings(action="ignore"):  # that all arrays are kept
        running: Any = Interpreter(str(weights), num_threads=1, experimental_preserve_all_tensors=True)
    running.allocate_tensors()
    (images,), tensors = running.get_input_details(), {one["name"]: one for one in running.get_tensor_details()}
    selected = ops.jit_inference(select)
    anchors = variables_of(dequantised(weights))["constants"]["anchors"]

    def real(name: str) -> np.ndarray:
        scale, zero = tensors[name]["quantization"]
        return (running.get_tensor(tensors[name]["index"]).astype(np.float32) - np.float32(zero)) * np.float32(scale)

    def answers(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        running.set_tensor(images["index"], image[None])
        running.invoke()
        return real("convert_scores")[0], real("Squeeze")[0][:, YX]

    return lambda batch: selected(*map(np.stack, zip(*map(answers, batch), strict=True)), anchors)


def measure(detect: Detect, folder: Path) -> dict[str, float]:
    """Return COCO's figures on the validation part of a data set."""
    dataset = load(str(folder), image_size=SIDE, eval_split="validation", task="detection")
    records: Any = dataset.test
    view, truths, found = View((SIDE, SIDE, 3), task="detection"), [], []
    names = readable_names((), 90, "detection")
    label_of = np.array([dataset.class_names.index(name) if name in dataset.class_names else -1 for name in names])
    for start in range(0, len(records), BATCH):
        part = [records[index] for index in range(start, min(start + BATCH, len(records)))]
        images = np.zeros((BATCH, SIDE, SIDE, 3), np.uint8)
        images[: len(part)] = [view.of(record["image"]) for record in part]
        seen = jax.device_get(detect(images))
        for row, record in enumerate(part):
            (height, width), labels = record["size"], label_of[seen.labels[row] - 1]
            there = seen.valid[row] & (labels >= 0)
            sides = np.array([width, height] * 2) / SIDE
            truths.append(Truth(**record["objects"]))
            found.append(Found(seen.boxes[row][there] * sides, labels[there], seen.scores[row][there]))
    return average_precision(truths, found, len(dataset.class_names))


def main() -> None:
    """Measure, and print."""
    weights, folder = map(Path, sys.argv[1:])
    for kind, make in {"here": network, "interpreter": interpreter}.items():
        figures = measure(make(weights), folder)
        print(f"{kind:12} " + "  ".join(f"{name} {figures[name]:.4f}" for name in ("ap", "ap50", "ap75")))


if __name__ == "__main__":
    main()
