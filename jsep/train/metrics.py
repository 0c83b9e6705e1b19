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


def targets_of(labels: Int[Array, " n"], classes: int, smoothing: float = 0.0) -> Float[Array, "n k"]:
    """The probability of each class that is asked for: one-hot, less what is spread over all."""
    return optax.smooth_labels(jax.nn.one_hot(labels, classes, dtype=jnp.float32), smoothing)


def cross_entropy(logits: Float[Array, "n k"], targets: Float[Array, "n k"]) -> Float[Array, " n"]:
    """Softmax cross-entropy of each example."""
    return optax.softmax_cross_entropy(logits, targets.astype(logits.dtype))


def distillation(logits: Float[Array, "n k"], teacher: Float[Array, "n k"], temperature: float) -> Float[Array, " n"]:
    """How far each example's softened probabilities are from the teacher's: T^2 KL (arXiv 1503.02531, section 2)."""
    ours, theirs = (jax.nn.log_softmax(of / temperature) for of in (logits, teacher.astype(logits.dtype)))
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(ours, theirs)


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
