"""The function that is exported: from images to logits, with the weights inside."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

import jsep
from jsep import ops
from jsep.compress import apply_folded, fold_batch_norms
from jsep.data import normalize
from jsep.models import format_options
from jsep.models.factored import create_factored
from jsep.trees import on_host

INPUT, OUTPUT = "images", "logits"  # their names in the files
BATCH = 50  # images per call


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
    """

    model: nn.Module
    variables: Mapping[str, Any]
    folded: Mapping[str, Any]
    pairs: Mapping[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_shape: tuple[int, int, int]
    facts: Mapping[str, Any]

    def live(self, images: UInt8[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Return the logits that `jsep eval` computes, in float32, for images from 0 to 255."""
        logits: Any = self.model.apply(self.variables, normalize(images, self.mean, self.std), train=False)
        return logits

    def logits(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Return the logits that a file computes, for images from 0 to 1.

        Batch norms are folded, and every convolution is lowered to a single convolution.
        """
        shape = (1, 1, 1, -1)
        scale = jnp.asarray(1 / np.asarray(self.std), jnp.float32).reshape(shape)
        offset = jnp.asarray(-np.asarray(self.mean) / np.asarray(self.std), jnp.float32).reshape(shape)
        with ops.portable_operations():
            return apply_folded(self.model, self.folded, images * scale + offset)

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
        class_names: names of the classes, in the order of the logits.
        mean: mean of each channel that images are normalised with, for values from 0 to 1.
        std: standard deviation of each channel that images are normalised with, for values from 0 to 1.
    """
    model = create_factored(network, options, factors, num_classes=len(class_names))
    variables = on_host(variables)
    folded, pairs = fold_batch_norms(model, variables, image_shape)
    facts = {
        "model": network,
        "options": format_options(options),
        "factored": " ".join(factors),
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "image_shape": list(image_shape),
        "input": f"{INPUT}: float32, images x height x width x channels (red first), from 0 to 1",
        "output": f"{OUTPUT}: float32, images x classes, before softmax",
        "mean": list(mean),
        "std": list(std),
        "jsep": jsep.__version__,
    }
    return Program(model, variables, on_host(folded), pairs, mean, std, image_shape, facts)


# a function of NumPy arrays: from images of 0 to 1 to logits
Logits = Callable[[Float[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]]


def any_number(logits: Logits, batch: Any) -> Logits:
    """Return a function of any number of images, which are passed on `batch` at a time.

    The last batch is filled up with black images.

    Args:
        logits: a function of `batch` images.
        batch: its number of images; anything but an integer means that it takes any number.
    """
    if not isinstance(batch, int):
        return logits

    def run(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        number = len(images)
        images = np.concatenate([images, np.zeros((-number % batch, *images.shape[1:]), images.dtype)])
        return np.concatenate([logits(images[i : i + batch]) for i in range(0, len(images), batch)])[:number]

    return run


def logits_of(logits: Logits, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """Return what the function in a file computes for images from 0 to 255, in batches."""
    batches = [images[i : i + BATCH].astype(np.float32) / np.float32(255) for i in range(0, len(images), BATCH)]
    return np.concatenate([logits(batch) for batch in batches])


def spec(program: Program, batch: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of the input; `batch` is the number of images, which may be symbolic."""
    return jax.ShapeDtypeStruct((batch, *program.image_shape), jnp.float32)
