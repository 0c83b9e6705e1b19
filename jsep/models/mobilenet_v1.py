"""MobileNet V1: depthwise 3x3, batch norm, ReLU, pointwise, batch norm, ReLU, thirteen times.

Paper: Howard et al., arXiv 1704.04861, Table 1 (its last depthwise convolution is printed with stride 2, but the size
stays: read stride 1). PyTorch's padding and batch-norm constants; the paper's ReLU (TF-slim, Keras, timm take ReLU6).
"""

import warnings
from typing import Any, Literal

import flax.linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Conv, DepthwiseConv, DiCE, GlobalAvgPool, GroupSum, PointwiseConv, classifier
from jsep.models.registry import IMAGENET, SHARING_PAPER, CountOrNone, option, register
from jsep.models.stage import Stage

# (features, stride of the first, number of blocks): Table 1 from its second row on
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))
ACTIVATIONS = {"relu": nn.relu, "relu6": nn.relu6}


class MobileNetV1(nn.Module):
    """MobileNet V1 for any input size and number of classes.

    width: multiplier of every layer's features. input: "imagenet" has a stem of stride 2, "cifar" one of stride 1 for
    32x32 images. padding: PyTorch's, or SAME as TF-slim and Keras have it. shallow: without the five blocks of 512
    features at stride 1. conv: what the blocks are, depthwise separable, a dense 3x3 convolution with batch norm and
    ReLU, or a DiCE unit. sharing: so many input channels of a separable block, weighted, share a depthwise kernel and
    a row of the pointwise one, as in form B of `SharedSeparableConv`; 0 for none. Where it does not divide the
    channels the block stays as it is, and a warning says so.
    """

    num_classes: int = 1000
    width: float = option(1.0)
    input: Literal["imagenet", "cifar"] = option("imagenet")
    act: Literal["relu", "relu6"] = option("relu")
    padding: Literal["TORCH", "SAME"] = option("TORCH")
    shallow: bool = option(False)
    conv: Literal["separable", "dense", "dice"] = option("separable")
    sharing: CountOrNone = option(0)
    dtype: Dtype | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False, features: bool = False
    ) -> Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]:
        """Logits; with `features` also each stage by name."""
        act = ACTIVATIONS[self.act]

        def normalized(x: Array, layer: Conv | DepthwiseConv | PointwiseConv, name: str) -> Array:
            norm = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, name=f"{name}_norm")
            return act(norm(layer(x), train=train))

        def shared(x: Array, name: str) -> Array:
            channels = x.shape[-1]
            if channels % self.sharing:
                sentence = f"{name}: sharing={self.sharing} does not divide its {channels} channels; it stays plain"
                warnings.warn(sentence, stacklevel=2)
                return x
            return GroupSum(channels // self.sharing, weighted=True, dtype=self.dtype, name=f"{name}_sum")(x)

        common: dict[str, Any] = {"use_bias": False, "dtype": self.dtype}
        stem_stride = 2 if self.input == "imagenet" else 1
        x = normalized(x, Conv(int(32 * self.width), 3, stem_stride, self.padding, name="stem", **common), "stem")
        stages = {}
        for stage, (base, first_stride, blocks) in enumerate(STAGES, start=1):
            width = int(base * self.width)
            for block in range(1 if self.shallow and base == 512 else blocks):
                stride = first_stride if block == 0 else 1
                name = f"stage{stage}_block{block + 1}"
                if self.conv == "dice":
                    x = DiCE(width, stride, self.axis_name, self.dtype, name=f"{name}_dice")(x, train=train)
                    continue
                if self.conv == "dense":
                    conv = Conv(width, 3, stride, self.padding, name=f"{name}_conv", **common)
                    x = normalized(x, conv, f"{name}_conv")
                    continue
                if self.sharing:
                    x = shared(x, name)
                depthwise = DepthwiseConv(3, stride, self.padding, name=f"{name}_depthwise", **common)
                x = normalized(x, depthwise, f"{name}_depthwise")
                pointwise = PointwiseConv(width, name=f"{name}_pointwise", **common)
                x = normalized(x, pointwise, f"{name}_pointwise")
            stages[f"stage{stage}"] = Stage(x, stem_stride * 2 ** (stage - 1))
        x = GlobalAvgPool(name="pool")(x)
        logits = classifier(x, self.num_classes, self.dtype)
        return (logits, stages) if features else logits


def _paper(top1: str, macs: str, params: str) -> dict[str, Any]:
    return {
        "paper": "arXiv 1704.04861",
        **IMAGENET,
        "certainty": "certain",
        "published": {"ImageNet top-1, %": top1, "MACs": macs, "parameters": params},
    }


@register(
    **_paper("70.6", "569 M", "4.2 M"),
    references={"pytorchcv:mobilenet_w1": {}, "timm:mobilenetv1_100": {"act": "relu6"}},
)
def mobilenet_v1(**fields: Any) -> MobileNetV1:
    """MobileNet V1 at full width."""
    return MobileNetV1(**fields)


@register(**_paper("68.4", "325 M", "2.6 M"), references={"pytorchcv:mobilenet_w3d4": {}})
def mobilenet_v1_075(**fields: Any) -> MobileNetV1:
    """MobileNet V1 at three quarters of the width."""
    fields.setdefault("width", 0.75)
    return MobileNetV1(**fields)


@register(**_paper("63.7", "149 M", "1.3 M"), references={"pytorchcv:mobilenet_wd2": {}})
def mobilenet_v1_050(**fields: Any) -> MobileNetV1:
    """MobileNet V1 at half the width."""
    fields.setdefault("width", 0.5)
    return MobileNetV1(**fields)


@register(**_paper("50.6", "41 M", "0.5 M"), references={"pytorchcv:mobilenet_wd4": {}})
def mobilenet_v1_025(**fields: Any) -> MobileNetV1:
    """MobileNet V1 at a quarter of the width."""
    fields.setdefault("width", 0.25)
    return MobileNetV1(**fields)


@register(**_paper("71.7", "4866 M", "29.3 M"))
def mobilenet_v1_full_conv(**fields: Any) -> MobileNetV1:
    """MobileNet V1's shape with dense convolutions."""
    fields.setdefault("conv", "dense")
    return MobileNetV1(**fields)


@register(**_paper("65.3", "307 M", "2.9 M"))
def mobilenet_v1_shallow(**fields: Any) -> MobileNetV1:
    """MobileNet V1 without the five blocks of 512 features at stride 1."""
    fields.setdefault("shallow", True)
    return MobileNetV1(**fields)


@register(
    paper=SHARING_PAPER,
    certainty="reconstructed",
    **IMAGENET,
)
def mobilenet_v1_wksc4(**fields: Any) -> MobileNetV1:
    """MobileNet V1, four weighted input channels to a depthwise separable kernel."""
    return MobileNetV1(**{"sharing": 4, **fields})
