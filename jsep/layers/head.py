"""The end of every network."""

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.ops.precision import accumulation_dtype


def classifier(x: Float[Array, "n c"], num_classes: int, dtype: Dtype | None) -> Float[Array, "n k"]:
    """Logits in at least float32, by a dense layer named "classifier" of the module that calls this."""
    logits = nn.Dense(num_classes, dtype=dtype, name="classifier")(x)
    return logits.astype(accumulation_dtype(logits.dtype))
