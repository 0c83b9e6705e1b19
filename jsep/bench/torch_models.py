"""PyTorch twins of jsep's networks to compare speed with: the same layers, parameters and padding."""
# torch is an extra, and not installed where types are checked
# pyright: reportMissingImports=false

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class MobileNetV1(nn.Sequential):
    """MobileNet V1 (arXiv 1704.04861, Table 1); for images of 32x32, `stem_stride` is 1."""

    def __init__(self, num_classes: int = 1000, width: float = 1.0, stem_stride: int = 2):
        widths = [int(width * base) for base in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        channels = int(32 * width)
        layers = _conv_norm_relu(3, channels, 3, stem_stride)
        for features, stride in zip(widths, strides, strict=True):
            layers += _conv_norm_relu(channels, channels, 3, stride, groups=channels)
            layers += _conv_norm_relu(channels, features, 1)
            channels = features
        super().__init__(*layers, _GlobalAvgPool(), nn.Linear(channels, num_classes))


class DenseNet(nn.Sequential):
    """DenseNet for images of 32x32 (arXiv 1608.06993), with the options of jsep's DenseNet."""

    def __init__(self, num_classes: int, depth: int, growth: int, bottleneck: bool, compression: float):
        channels = 2 * growth if bottleneck else 16
        parts: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
        for block in range(3):
            for _ in range((depth - 4) // (6 if bottleneck else 3)):
                layer = _norm_relu_conv(channels, 4 * growth, 1) if bottleneck else []
                layer += _norm_relu_conv(4 * growth if bottleneck else channels, growth, 3)
                parts.append(_Concatenated(*layer))
                channels += growth
            if block < 2:
                kept = int(compression * channels)
                parts += [*_norm_relu_conv(channels, kept, 1), nn.AvgPool2d(2)]
                channels = kept
        norm = [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), _GlobalAvgPool()]
        super().__init__(*parts, *norm, nn.Linear(channels, num_classes))


class ResNet(nn.Sequential):
    """ResNet for images of 32x32 (arXiv 1512.03385, Section 4.2), shortcuts padded with zeros."""

    def __init__(self, num_classes: int, depth: int):
        parts, channels = _conv_norm_relu(3, 16, 3), 16
        for features in (16, 32, 64):
            for _ in range((depth - 2) // 6):
                parts.append(_Residual(channels, features))
                channels = features
        super().__init__(*parts, _GlobalAvgPool(), nn.Linear(channels, num_classes))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.stride, self.more = 1 + (inputs < outputs), outputs - inputs
        last = _conv_norm_relu(outputs, outputs, 3)[:-1]
        self.branch = nn.Sequential(*_conv_norm_relu(inputs, outputs, 3, self.stride), *last)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        if self.more:
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return (y + x).relu_()


class VGG(nn.Sequential):
    """VGG-16 with batch norm for images of 32x32 (arXiv 1409.1556, Table 1), with the options of jsep's VGG."""

    def __init__(self, num_classes: int, width: float, sharing: int):
        parts, channels = [], 3
        for stage, (base, convolutions) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
            parts += [nn.MaxPool2d(2)] if stage else []
            for _ in range(convolutions):
                shared = sharing if channels > 3 else 1
                parts += [_GroupSum(shared)] if shared > 1 else []
                parts += _conv_norm_relu(channels // shared, int(width * base), 3)
                channels = int(width * base)
        super().__init__(*parts, _GlobalAvgPool(), nn.Linear(channels, num_classes))


class _GroupSum(nn.Module):
    """Sums of neighbouring channels: with the convolution behind it, one whose channels share kernels."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.permute(0, 2, 3, 1).unflatten(3, (-1, self.size))  # as they lie in memory
        return grouped.sum(4).permute(0, 3, 1, 2)


class SSDLite(nn.Module):
    """torchvision's SSDLite of images that are normalised and scaled already.

    The call answers at all anchors, the part that `torch.compile` can compile; loss and detections are shaped by their
    values.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        from torchvision.models.detection import ssdlite320_mobilenet_v3_large

        self.network: Any = ssdlite320_mobilenet_v3_large(num_classes=num_classes, weights_backbone=None)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
        features = list(self.network.backbone(x).values())
        return self.network.head(features), features, x

    def loss(self, answers: tuple[dict[str, Tensor], list[Tensor], Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        """Return the sum of the losses of classes and boxes."""
        from torchvision.ops import box_iou

        head, anchors, _ = self._with_anchors(answers)
        pairs = zip(targets, anchors, strict=True)
        matched = [self.network.proposal_matcher(box_iou(target["boxes"], own)) for target, own in pairs]
        losses = self.network.compute_loss(targets, head, anchors, matched)
        return losses["classification"] + losses["bbox_regression"]

    def detect(self, answers: tuple[dict[str, Tensor], list[Tensor], Tensor]) -> list[dict[str, Tensor]]:
        """Return the detections, after suppression."""
        return self.network.postprocess_detections(*self._with_anchors(answers))

    def _with_anchors(self, answers: Any) -> tuple[dict[str, Tensor], list[Tensor], list[tuple[int, int]]]:
        from torchvision.models.detection.image_list import ImageList

        head, features, x = answers
        sizes = [(x.shape[2], x.shape[3])] * len(x)
        return head, self.network.anchor_generator(ImageList(x, sizes), features), sizes


class Segmenter(nn.Module):
    """A segmenter of torchvision, which returns its logits alone."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"]


class _Concatenated(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return torch.cat([input, super().forward(input)], 1)


class _GlobalAvgPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _conv_norm_relu(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _norm_relu_conv(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), conv]


def _densenet_bc(
    num_classes: int, depth: int = 100, growth: int = 12, bottleneck: bool = True, compression: float = 0.5
) -> nn.Module:
    return DenseNet(num_classes, depth, growth, bottleneck, compression)


def _shufflenet_v2_x0_5(num_classes: int, input: str = "imagenet") -> nn.Module:
    from torchvision.models import shufflenet_v2_x0_5

    network: Any = shufflenet_v2_x0_5(num_classes=num_classes)
    if input == "cifar":
        network.conv1[0].stride = (1, 1)
        network.maxpool = nn.Identity()
    return network


def _mobilenet_v2(num_classes: int, width: float = 1.0, input: str = "imagenet") -> nn.Module:
    from torchvision.models import MobileNetV2

    stages = [[1, 16, 1, 1], [6, 24, 2, 1 if input == "cifar" else 2]]
    stages += [[6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]
    network: Any = MobileNetV2(num_classes, width, stages)
    if input == "cifar":
        network.features[0][0].stride = (1, 1)
    return network


def _mobilenet_v3_small(num_classes: int, input: str = "imagenet") -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    network: Any = mobilenet_v3_small(num_classes=num_classes)
    if input == "cifar":
        stem, first = network.features[:2]
        stem[0].stride = first.block[0][0].stride = (1, 1)
        first.use_res_connect = True
    return network


def _resnet(num_classes: int, depth: int = 20) -> nn.Module:
    return ResNet(num_classes, depth)


def _vgg16(num_classes: int, width: float = 1.0, sharing: int = 1) -> nn.Module:
    return VGG(num_classes, width, sharing)


def _mobilenet_v1(num_classes: int, width: float = 1.0, input: str = "imagenet") -> nn.Module:
    return MobileNetV1(num_classes, width, stem_stride=1 if input == "cifar" else 2)


def _lraspp(num_classes: int) -> nn.Module:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return Segmenter(lraspp_mobilenet_v3_large(num_classes=num_classes, weights_backbone=None))


TWINS: dict[str, Callable[..., nn.Module]] = {
    "densenet100_k12_bc": _densenet_bc,
    "lraspp": _lraspp,
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
    "mobilenet_v3_small": _mobilenet_v3_small,
    "resnet20": _resnet,
    "shufflenet_v2_x0_5": _shufflenet_v2_x0_5,
    "ssdlite320": SSDLite,
    "vgg16_bn": _vgg16,
    "vgg16_ksc4": partial(_vgg16, sharing=4),
}


def twin(name: str, num_classes: int, params: int, **options: object) -> nn.Module:
    """Return the PyTorch network of a registered name, in channels_last.

    Args:
        name: registered name.
        num_classes: number of classes.
        params: number of parameters of jsep's network, which the twin must have, too.
        **options: options of the network.

    Raises:
        LookupError: there is no twin, or it has another number of parameters.
    """
    if name not in TWINS:
        raise LookupError(f"{name} has no PyTorch twin")
    try:
        network = TWINS[name](num_classes, **options)
    except TypeError as error:
        raise LookupError(f"{name} has no PyTorch twin with {' '.join(options)}") from error
    found = sum(parameter.numel() for parameter in network.parameters())
    if found != params:
        raise LookupError(f"the PyTorch twin of {name} has {found:,} parameters and not {params:,}")
    return network.to(memory_format=torch.channels_last)
