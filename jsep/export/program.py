"""What is exported: one function from images to logits, its weights inside."""

import dataclasses
import json
from collections.abc import Mapping
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
from jsep.models import parse_options
from jsep.models.factored import create_factored

INPUT, OUTPUT = "images", "logits"  # what files call them


@dataclasses.dataclass(frozen=True)
class Program:
    """A trained network, as it was trained and as it leaves.

    variables: its own. folded: those for `jsep.compress.apply_folded`. pairs: which batch norm went into which
    convolution. mean, std: of each channel in units of 255, subtracted and divided by. facts: what a user must know.
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
        """Logits as `jsep eval` computes them, in float32."""
        logits: Any = self.model.apply(self.variables, normalize(images, self.mean, self.std), train=False)
        return logits

    def logits(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """What a file holds: of images from 0 to 1; batch norms folded, every convolution a plain one."""
        shape = (1, 1, 1, -1)
        scale = jnp.asarray(1 / np.asarray(self.std), jnp.float32).reshape(shape)
        offset = jnp.asarray(-np.asarray(self.mean) / np.asarray(self.std), jnp.float32).reshape(shape)
        with ops.portable_operations():
            return apply_folded(self.model, self.folded, images * scale + offset)

    @property
    def text_facts(self) -> dict[str, str]:
        """The facts as formats keep them: texts, lists as JSON."""
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self.facts.items()}


def make_program(
    network: str,
    options: tuple[str, ...],
    factors: tuple[str, ...],
    variables: Mapping[str, Any],
    *,
    image_shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Program:
    """The float32 network of these names with these weights."""
    model = create_factored(network, parse_options(options), factors, num_classes=len(class_names))
    folded, pairs = fold_batch_norms(model, variables, image_shape)
    facts = {
        "model": network,
        "options": " ".join(options),
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
    return Program(model, variables, folded, pairs, mean, std, image_shape, facts)


Logits = Any  # a function: images (n, h, w, c) from 0 to 1, as numpy, to logits (n, k)


def spec(program: Program, batch: Any) -> jax.ShapeDtypeStruct:
    """The input for so many images."""
    return jax.ShapeDtypeStruct((batch, *program.image_shape), jnp.float32)
