"""Sums over examples that devices and steps can add up, and their means."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int


@struct.dataclass
class Sums:
    """Loss, correct answers and examples, added up."""

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def zero(cls) -> "Sums":
        return cls(*(jnp.zeros((), jnp.float32) for _ in range(3)))

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)

    def means(self) -> dict[str, float]:
        count = float(self.count)
        return {"loss": float(self.loss) / count, "accuracy": float(self.correct) / count}


def cross_entropy(logits: Float[Array, "n k"], labels: Int[Array, " n"], smoothing: float = 0.0) -> Float[Array, " n"]:
    """Softmax cross-entropy of each example against smoothed one-hot targets."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), smoothing)
    return optax.softmax_cross_entropy(logits, targets)


def sums(
    losses: Float[Array, " n"],
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    mask: Float[Array, " n"],
) -> Sums:
    """Masked sums; an example with mask 0 counts nowhere."""
    real = mask > 0  # what is masked may be anything, even NaN
    correct = real & (jnp.argmax(logits, -1).astype(labels.dtype) == labels)
    losses = jnp.where(real, losses, 0)
    return Sums(*(jnp.sum(part.astype(jnp.float32)) for part in (losses, correct, real)))
