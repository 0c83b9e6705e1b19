"""SSDLite: a detector that reads the maps of a classifier and of four more depthwise separable layers.

Papers: Liu et al., arXiv 1512.02325 (SSD), and Sandler et al., arXiv 1801.04381, section 6.2 (SSDLite), in the form of
torchvision's ssdlite320_mobilenet_v3_large.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep import boxes
from jsep.layers import BatchNorm, DepthwiseConv, PointwiseConv, conv_norm, watch
from jsep.models.network import Network
from jsep.models.registry import create_model, option
from jsep.models.stage import Stage

SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)  # sides of the default boxes on each map, as shares of the image
RATIOS = (2, 3)
ANCHORS = 2 + 2 * len(RATIOS)
EXTRA = (512, 256, 256, 128)
_normal = nn.initializers.normal(0.03)


class Answers(NamedTuple):
    """What a detector says of each anchor.

    Attributes:
        logits: of each class.
        codes: where the object lies, see `jsep.boxes.decode`.
        anchors: the anchors, in pixels.
    """

    logits: Float[Array, "n a k"]
    codes: Float[Array, "n a 4"]
    anchors: Float[Array, "a 4"]


class SSDLite(nn.Module):
    """SSDLite over any backbone.

    It reads two maps of the backbone, of strides 16 and 32, and four smaller ones. Where the first block of stride 32
    begins with an expansion, as in MobileNet V2 and V3, the map of stride 16 is that expansion.

    Attributes:
        num_classes: number of classes with the background, which is class 0.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics; None outside `pmap`.
        backbone: registered name of the classifier whose maps are read.
        tail: "reduced" halves the last stage of MobileNet V3.
    """

    num_classes: int = 91
    dtype: Dtype | None = None
    axis_name: str | None = None
    backbone: str = option("mobilenet_v3_large")
    tail: str = option("reduced")

    @nn.compact
    def __call__(self, x: Float[Array, "n h w 3"], *, train: bool = False) -> Answers:
        """Return the answers at all anchors."""
        common: dict[str, Any] = {"use_bias": False, "kernel_init": _normal, "dtype": self.dtype}

        def convolved(x: Array, conv: nn.Module) -> Array:
            norm = BatchNorm(0.97, 1e-3, self.axis_name, self.dtype, name=f"{conv.name}_norm")
            return conv_norm(x, conv, norm, nn.relu6, train=train)

        size = (x.shape[1], x.shape[2])
        maps = list(self._backbone_maps(x, train))
        for number, features in enumerate(EXTRA, start=1):
            y = convolved(maps[-1], PointwiseConv(features // 2, name=f"extra{number}_reduce", **common))
            y = convolved(y, DepthwiseConv(3, 2, name=f"extra{number}_depthwise", **common))
            maps.append(convolved(y, PointwiseConv(features, name=f"extra{number}_expand", **common)))

        def head(kind: str, each: int) -> Array:
            found = []
            for number, y in enumerate(maps, start=1):
                y = convolved(y, DepthwiseConv(3, name=f"{kind}{number}_depthwise", **common))
                last = PointwiseConv(ANCHORS * each, kernel_init=_normal, dtype=self.dtype, name=f"{kind}{number}")
                found.append(last(y).reshape(len(x), -1, each))  # (n, h, w, anchor * each) -> (n, h * w * anchor, each)
            return jnp.concatenate(found, 1)

        anchors = boxes.default_boxes(size, [y.shape[1:3] for y in maps], SCALES, [RATIOS] * len(maps))
        return Answers(head("class", self.num_classes), head("box", 4), jnp.asarray(anchors))

    def _backbone_maps(self, x: Array, train: bool) -> tuple[Array, Array]:
        """Return the maps of strides 16 and 32."""
        options: dict[str, Any] = {"tail": self.tail} if self.backbone.startswith("mobilenet_v3") else {}
        network = create_model(self.backbone, dtype=self.dtype, axis_name=self.axis_name, **options)
        assert isinstance(network, Network)
        network = network.clone(num_classes=0, norm_momentum=0.97, epsilon=1e-3, parent=self, name="backbone")
        expansions: dict[str, Array] = {}

        def note(layer: nn.Module, call: Any, *args: Any, **kwargs: Any) -> Any:
            y = call(*args, **kwargs)
            if layer.name and layer.name.endswith("_block1_expand_norm"):
                expansions[layer.name.partition("_")[0]] = y
            return y

        with watch(note, BatchNorm):
            stages: dict[str, Stage] = network(x, train=train)
        named = [(name, stage) for name, stage in stages.items() if name != "head"]
        before = [stage.maps for _, stage in named if stage.stride == 16]
        last = next(name for name, stage in named if stage.stride == 32)
        act = {"mobilenet_v2": nn.relu6, "mobilenet_v3": nn.hard_swish}.get(self.backbone[:12])
        first = act(expansions[last]) if act and last in expansions else before[-1]
        return first, stages["head"].maps


def loss(answers: Answers, objects: boxes.Objects, axis_name: str | None = None) -> boxes.Losses:
    """Return the loss of a batch, see `jsep.boxes.ssd_loss`."""
    return boxes.ssd_loss(answers.logits, answers.codes, objects, answers.anchors, axis_name=axis_name)


def detect(answers: Answers, size: tuple[int, int]) -> boxes.Detections:
    """Return the detections of a batch, with torchvision's thresholds."""
    select = partial(boxes.select_by_class, score=0.001, candidates=300, overlap=0.55, limit=300)

    def one(logits: Array, codes: Array) -> boxes.Detections:
        return select(jax.nn.softmax(logits), boxes.clip(boxes.decode(codes, answers.anchors), *size))

    return jax.vmap(one)(answers.logits, answers.codes)
