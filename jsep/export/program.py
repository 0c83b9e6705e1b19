"""The function that is exported: from images to logits or detections, with the weights inside."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

import jsep
from jsep import ops
from jsep.boxes import Detections
from jsep.compress import apply_folded, fold_batch_norms
from jsep.data import normalize
from jsep.models import format_options, model_info
from jsep.models.detector import Answers
from jsep.models.factored import Factored, create_factored
from jsep.models.registry import Task
from jsep.models.segmenter import Maps
from jsep.train.setup import TASKS
from jsep.trees import on_host

INPUT, OUTPUT = "images", "logits"  # their names in the files
BATCH = {"classification": 50, "detection": 8, "segmentation": 4}  # images per call
OUTPUTS: dict[Task, dict[str, str]] = {
    "classification": {OUTPUT: "float32, images x classes, before softmax"},
    "detection": {
        "boxes": "float32, images x objects x (x1, y1, x2, y2), in pixels of the input",
        "labels": "int32, images x objects, 1 for the first class",
        "scores": "float32, images x objects, from 0 to 1, the surest first",
        "valid": "bool, images x objects, false where there is no object",
    },
    "segmentation": {OUTPUT: "float32, images x height x width x classes, before softmax"},
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A trained network, both as it was trained and as it is exported.

    Attributes:
        model: the network.
        variables: its trained parameters and statistics.
        folded: variables with batch norms folded, for `jsep.compress.apply_folded`.
        pairs: the folded batch norms, as {path of the convolution: path of the batch norm}.
        mean: mean of each channel that images are normalised with, for values from 0 to 1.
        std: standard deviation of each channel that images are normalised with, for values from 0 to 1.
        image_shape: height, width and channels of an image.
        facts: what a user of the file must know: the network, its classes, its input and output.
        task: what the network does.
    """

    model: nn.Module
    variables: Mapping[str, Any]
    folded: Mapping[str, Any]
    pairs: Mapping[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    facts: Mapping[str, Any]
    task: Task = "classification"

    def live(self, images: UInt8[Array, "n h w c"]) -> Any:
        """Return what `jsep eval` computes, in float32, for images from 0 to 255: see `answer_of`."""
        output = self.model.apply(self.variables, normalize(images, self.mean, self.std), train=False)
        return answer_of(self.model, output, self.image_shape)

    def outputs(self, images: Float[Array, "n h w c"]) -> Any:
        """Return what a file computes for images from 0 to 1: logits, or the four arrays of detections.

        Batch norms are folded, and every convolution is lowered to a single convolution.
        """
        shape = (1, 1, 1, -1)
        scale = jnp.asarray(1 / np.asarray(self.std), jnp.float32).reshape(shape)
        offset = jnp.asarray(-np.asarray(self.mean) / np.asarray(self.std), jnp.float32).reshape(shape)
        with ops.portable_operations():
            output = apply_folded(self.model, self.folded, images * scale + offset)
            answer = answer_of(self.model, output, self.image_shape)
        return tuple(answer) if isinstance(answer, Detections) else answer

    @property
    def text_facts(self) -> dict[str, str]:
        """The facts as texts, the form that files keep them in; anything but a text is encoded as JSON."""
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self.facts.items()}


def make_program(
    network: str,
    options: Mapping[str, Any],
    factors: tuple[str, ...],
    variables: Mapping[str, Any],
    *,
    image_shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Program:
    """Prepare a trained network for export, in float32.

    Args:
        network: registered name of the network.
        options: its options, such as width=0.25.
        factors: its decomposed convolutions, see `jsep.models.factored.Factor`.
        variables: its trained parameters and statistics.
        image_shape: height, width and channels of an image.
        class_names: names of the classes, in the order of the logits; of a detector without the background.
        mean: mean of each channel that images are normalised with, for values from 0 to 1.
        std: standard deviation of each channel that images are normalised with, for values from 0 to 1.
    """
    task = TASKS[model_info(network).task]
    model = create_factored(network, options, factors, num_classes=task.background + len(class_names))
    variables = on_host(variables)
    folded, pairs = fold_batch_norms(model, variables, image_shape)
    facts = {
        "model": network,
        "task": task.name,
        "options": format_options(options),
        "factored": " ".join(factors),
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "image_shape": list(image_shape),
        "input": f"{INPUT}: float32, images x height x width x channels (red first), from 0 to 1",
        "output": "; ".join(f"{name}: {what}" for name, what in OUTPUTS[task.name].items()),
        "mean": list(mean),
        "std": list(std),
        "jsep": jsep.__version__,
    }
    return Program(model, variables, on_host(folded), pairs, mean, std, image_shape, facts, task.name)


def answer_of(model: nn.Module, output: Any, image_shape: Sequence[int]) -> Any:
    """Return what is told of images: the logits of a classifier (n, k) or segmenter (n, h, w, k), or `Detections`.

    Args:
        model: the network.
        output: what it says of the images.
        image_shape: their height and width, and perhaps more.
    """
    if isinstance(output, Answers):
        detector: Any = model.network if isinstance(model, Factored) else model
        return detector.detect(output, tuple(image_shape[:2]))
    return output.logits if isinstance(output, Maps) else output


# a function of NumPy arrays: from images of 0 to 1 to logits, or to the `Detections` of a detector
Function = Callable[[Float[np.ndarray, "n h w c"]], Any]


def as_answer(arrays: Sequence[Any]) -> Any:
    """Return the outputs of a file as logits or `Detections`."""
    return Detections(*arrays) if len(arrays) > 1 else arrays[0]


def any_number(function: Function, batch: Any) -> Function:
    """Return a function of any number of images, which are passed on `batch` at a time.

    The last batch is filled up with black images.

    Args:
        function: a function of `batch` images.
        batch: its number of images; anything but an integer means that it takes any number.
    """
    if not isinstance(batch, int):
        return function

    def run(images: Float[np.ndarray, "n h w c"]) -> Any:
        number = len(images)
        images = np.concatenate([images, np.zeros((-number % batch, *images.shape[1:]), images.dtype)])
        parts = [function(images[i : i + batch]) for i in range(0, len(images), batch)]
        return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:number], *parts)

    return run


def logits_of(function: Function, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """Return the logits that a classifier in a file computes for images from 0 to 255, in batches."""
    batch = BATCH["classification"]
    parts = [images[i : i + batch].astype(np.float32) / np.float32(255) for i in range(0, len(images), batch)]
    return np.concatenate([function(part) for part in parts])


def spec(program: Program, batch: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of the input; `batch` is the number of images, which may be symbolic."""
    return jax.ShapeDtypeStruct((batch, *program.image_shape), jnp.float32)
