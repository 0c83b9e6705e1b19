"""The base of every segmenter: logits at each pixel, and its loss."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import optax
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

IGNORED = 255  # the value of pixels that neither the loss nor an evaluation counts


class Maps(NamedTuple):
    """What a segmenter says of each pixel.

    Attributes:
        logits: of each class, at the size of the images.
        auxiliary: the same from an earlier stage, which helps in training; None where there is none.
    """

    logits: Float[Array, "n h w k"]
    auxiliary: Float[Array, "n h w k"] | None = None


class Segmenter(nn.Module):
    """Base of every segmenter. A family adds its options and `__call__(x, *, train=False) -> Maps`.

    Attributes:
        num_classes: number of classes, with the background where the data has one.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics and the counts of the loss; None outside `pmap`.
    """

    num_classes: int = 21
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.nowrap
    def loss(self, maps: Maps, masks: Int[Array, "n h w"], class_weights: Float[Array, " k"] | None = None) -> Array:
        """Return the mean cross entropy of the pixels that are not ignored, with half of the auxiliary one.

        The mean over the devices that share a batch is that of the whole.
        """
        raise NotImplementedError  # written by the segmenters' branch
