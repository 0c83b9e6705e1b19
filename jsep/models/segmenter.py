"""The base of every segmenter: logits at each pixel, and its loss."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jax import lax
from jaxtyping import Array, Float, Int

from jsep import ops
from jsep.errors import UserError
from jsep.layers import BatchNorm, conv_norm
from jsep.models.backbone import check_backbone, read_backbone
from jsep.models.registry import model_info, option
from jsep.ops.precision import accumulation_dtype

IGNORED = 255  # the value of pixels that neither the loss nor an evaluation counts
AUXILIARY_WEIGHT = 0.5


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
    def conv_norm(
        self, x: Float[Array, "n h w c"], conv: nn.Module, act: Callable[[Array], Array], *, train: bool
    ) -> Float[Array, "n h2 w2 f"]:
        """Apply a convolution, a batch norm called {name of the convolution}_norm, and an activation."""
        norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{conv.name}_norm")
        return conv_norm(x, conv, norm, act, train=train)

    @nn.nowrap
    def loss(self, maps: Maps, masks: Int[Array, "n h w"], class_weights: Float[Array, " k"] | None = None) -> Array:
        """Return the mean cross entropy of the pixels that are not ignored, with half of the auxiliary one.

        The mean over the devices that share a batch is that of the whole.

        Args:
            maps: what the network says.
            masks: classes; pixels of 255 are ignored. The loss of a batch without any others is 0.
            class_weights: weights of the classes in the mean; None for equal ones.
        """
        counted = masks != IGNORED
        classes = jnp.where(counted, masks, 0).astype(jnp.int32)
        weights = jnp.where(counted, 1.0 if class_weights is None else class_weights[classes], 0)
        total, devices = weights.sum(), 1
        if self.axis_name:
            total, devices = lax.psum(total, self.axis_name), lax.psum(1, self.axis_name)
        weights = weights * (devices / jnp.where(total > 0, total, 1))

        def cross_entropy(logits: Array) -> Array:
            # a product, since the gradient of a choice of elements would have to scatter them
            wanted = (logits * jax.nn.one_hot(classes, logits.shape[-1], dtype=logits.dtype)).sum(-1)
            return ((jax.nn.logsumexp(logits, -1) - wanted) * weights.astype(logits.dtype)).sum()

        if maps.auxiliary is None:
            return cross_entropy(maps.logits)
        return cross_entropy(maps.logits) + AUXILIARY_WEIGHT * cross_entropy(maps.auxiliary)


class Read(NamedTuple):
    """Maps of a classifier that segmenters read.

    Attributes:
        early: of the first stage of a stride of 8 or more.
        middle: of the last stage but one.
        last: what the classifier would read.
    """

    early: Float[Array, "n h w c"]
    middle: Float[Array, "n h2 w2 c2"]
    last: Float[Array, "n h3 w3 c3"]


class BackboneSegmenter(Segmenter):
    """Base of the segmenters that read the maps of a classifier.

    Attributes:
        backbone: registered name of the classifier.
        output_stride: stride of the last maps. The classifier must have an option of this name, unless it is 32, which
            leaves the classifier as it is.
    """

    backbone: str = option("mobilenet_v3_large")
    output_stride: Literal[8, 16, 32] = option(16)

    @nn.nowrap
    def read(self, x: Float[Array, "n h w c"], *, train: bool) -> Read:
        """Return maps of the backbone; of MobileNet V3 those that torchvision reads: its first block of stride 8."""
        first = "_block1_project_norm"
        stages, layers = read_backbone(self, self.backbone, x, first, train=train, options=self._dilation())
        last = stages.pop("head").maps
        names = list(stages)[:-1] or list(stages)  # a network may have one stage only
        early = next((name for name in names if stages[name].stride >= 8), names[-1])
        if self.backbone.startswith("mobilenet_v3"):
            return Read(layers[early + first], layers[early + first], last)
        return Read(stages[early].maps, stages[names[-1]].maps, last)

    @nn.nowrap
    def _dilation(self) -> dict[str, int]:
        """Return the option that dilates the backbone.

        Raises:
            UserError: it has none, or is no classifier.
        """
        check_backbone(self.backbone)
        if self.output_stride == 32:
            return {}
        if "output_stride" not in model_info(self.backbone).options:
            raise UserError(f"option backbone={self.backbone}: it has no dilated form; choose output_stride=32 with it")
        return {"output_stride": self.output_stride}


def to_pixels(
    logits: Float[Array, "n h w k"], x: Float[Array, "n h2 w2 c"], *, align_corners: bool = False
) -> Float[Array, "n h2 w2 k"]:
    """Return logits at the size of the images, in at least float32, see `jsep.ops.resize`."""
    return ops.resize(logits.astype(accumulation_dtype(logits.dtype)), x.shape[1:3], align_corners=align_corners)
