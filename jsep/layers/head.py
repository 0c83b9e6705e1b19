"""The classifier of every network."""

import flax.linen as nn
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from jsep.ops.precision import accumulation_dtype

_default_init = nn.initializers.lecun_normal()


def classifier(
    x: Float[Array, "n c"], num_classes: int, dtype: Dtype | None, kernel_init: Initializer = _default_init
) -> Float[Array, "n k"]:
    """Return logits in at least float32, from a dense layer of the calling module named "classifier"."""
    logits = nn.Dense(num_classes, dtype=dtype, kernel_init=kernel_init, name="classifier")(x)
    return logits.astype(accumulation_dtype(logits.dtype))
