"""Losses of single examples, and metrics as sums that devices and steps can add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int

TOP = 5  # classes among which the right one must be for the top-5 accuracy, which is 1 where there are no more


@struct.dataclass
class Sums:
    """Metrics summed over examples. The sums of several steps or devices can be added.

    Attributes:
        loss: sum of the losses, in nats.
        correct: number of correctly classified examples.
        count: number of examples.
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def zero(cls) -> "Sums":
        """Return the sums over no examples."""
        return cls(*(jnp.zeros((), jnp.float32) for _ in range(3)))

    def __add__(self, other: "Sums") -> "Sums":
        return jax.tree.map(jnp.add, self, other)

    def means(self) -> dict[str, float]:
        """Return the mean "loss" in nats and the "accuracy" from 0 to 1."""
        count = float(self.count)
        return {"loss": float(self.loss) / count, "accuracy": float(self.correct) / count}


@struct.dataclass
class EvalSums(Sums):
    """The sums of an evaluation. Those of training do without the top-5 accuracy, since checkpoints hold them.

    Attributes:
        top5: number of examples whose class is among the five with the largest logits.
    """

    top5: Float[Array, ""]

    def means(self) -> dict[str, float]:
        """Return the mean "loss" in nats, and the "accuracy" and the "top5" accuracy from 0 to 1."""
        return {**super().means(), "top5": float(self.top5) / float(self.count)}


def targets_of(labels: Int[Array, " n"], classes: int, smoothing: float = 0.0) -> Float[Array, "n k"]:
    """Return the class probabilities that a network is trained to predict.

    A label that is not one of the classes gives NaN, so that the loss becomes NaN too.

    >>> targets_of(jnp.array([1]), classes=4, smoothing=0.5).tolist()
    [[0.125, 0.625, 0.125, 0.125]]

    Args:
        labels: the class of each example.
        classes: number of classes.
        smoothing: share of each one-hot target that is spread evenly over all classes.
    """
    known = (labels >= 0) & (labels < classes)
    targets = optax.smooth_labels(jax.nn.one_hot(labels, classes, dtype=jnp.float32), smoothing)
    return jnp.where(known[:, None], targets, jnp.nan)


def balanced_weights(counts: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Return weights of the classes by which each of them has the same share of the loss: n / (k n_c).

    They are scikit-learn's class_weight="balanced". Classes without an example get 0 and do not count in k.

    >>> balanced_weights(np.array([3, 0, 1])).tolist()
    [0.6666666865348816, 0.0, 2.0]

    Args:
        counts: number of training examples of each class; of a segmenter, of pixels.
    """
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


def weighted(
    targets: Float[Array, "n k"], weights: Float[np.ndarray, " k"], smoothing: float
) -> tuple[Float[Array, "n k"], Float[Array, " n"]]:
    """Scale targets by weights of their classes.

    Divided by the mean weight of an example, they give the loss of PyTorch's CrossEntropyLoss(weight): what smoothing
    spreads over all classes is scaled too, and the divisor comes from the targets before smoothing.

    Args:
        targets: class probabilities, see `targets_of`; they may be mixed.
        weights: the weights of the classes.
        smoothing: the smoothing of the targets.

    Returns:
        The scaled targets, and the weight of each example.
    """
    scaled = targets * weights[None]
    return scaled, (jnp.sum(scaled, -1) - smoothing * weights.mean()) / (1 - smoothing)


def cross_entropy(logits: Float[Array, "n k"], targets: Float[Array, "n k"]) -> Float[Array, " n"]:
    """Return the softmax cross-entropy of each example, in nats."""
    return optax.softmax_cross_entropy(logits, targets.astype(logits.dtype))


def distillation(logits: Float[Array, "n k"], teacher: Float[Array, "n k"], temperature: float) -> Float[Array, " n"]:
    """Return the distillation loss of each example: T^2 KL(teacher, student) (arXiv 1503.02531, section 2).

    Args:
        logits: the student's logits.
        teacher: the teacher's logits.
        temperature: T, by which both are divided. The factor T^2 keeps the size of the gradient independent of it.
    """
    ours, theirs = (jax.nn.log_softmax(of / temperature) for of in (logits, teacher.astype(logits.dtype)))
    return temperature**2 * optax.losses.kl_divergence_with_log_targets(ours, theirs)


def sums(
    losses: Float[Array, " n"],
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    mask: Float[Array, " n"],
) -> Sums:
    """Return the metrics of a batch, summed over its real examples.

    Args:
        losses: the loss of each example.
        logits: the logits of each example.
        labels: the class of each example.
        mask: 1 for a real example, 0 for padding, which is left out.
    """
    real = mask > 0  # padding may hold anything, even NaN
    correct = real & (jnp.argmax(logits, -1).astype(labels.dtype) == labels)
    losses = jnp.where(real, losses, 0)
    return Sums(*(jnp.sum(part.astype(jnp.float32)) for part in (losses, correct, real)))


def eval_sums(
    losses: Float[Array, " n"],
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    mask: Float[Array, " n"],
) -> EvalSums:
    """Return the metrics of a batch with its top-5 accuracy. The arguments are those of `sums`."""
    plain = sums(losses, logits, labels, mask)
    top5 = (mask > 0) & (ahead(logits, labels) < TOP)
    return EvalSums(plain.loss, plain.correct, plain.count, jnp.sum(top5.astype(jnp.float32)))


def ahead(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Int[Array, " n"]:
    """Return how many classes come before the right one in the order of their logits, for each example.

    Of equal logits, the class with the lower index comes first, as in `jnp.argmax` and `lax.top_k`. NaN comes before
    all numbers.

    >>> ahead(jnp.array([[0.1, 0.7, 0.1]] * 3), jnp.array([0, 1, 2])).tolist()
    [1, 0, 2]

    Args:
        logits: the logits of each example.
        labels: the class of each example.
    """
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)[None]
    own = jnp.max(logits, -1, keepdims=True, initial=-jnp.inf, where=classes == labels[:, None])
    equal_before = (logits == own) & (classes < labels[:, None])
    return jnp.sum(~(logits <= own) | equal_before, -1)
