"""PyTorch networks to compare ours with. They are built with random weights and statistics, never downloaded."""
# torch is an extra, and not where types are checked
# pyright: reportMissingImports=false

import re
from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import nn

from jsep.models.resnet import BLOCKS, RELEASED_ECA, WIDTHS


def build(reference: str, num_classes: int, size: int) -> nn.Module:
    """Build a PyTorch network by package and name, such as "pytorchcv:resnet20_cifar10", in evaluation mode.

    Slopes of PReLU, and scales, biases and statistics of batch norms are random, because two networks can agree with
    default ones and still differ. The statistics are near those of random images, and most units are active, so that
    neither signals nor rounding grow without bound through a hundred layers.

    Args:
        reference: package and name. A name of timm may end in the attention of its blocks: "resnet50/eca" (kernels by
            the paper's formula) or "resnet50/released_eca" (kernels of the released models); in "/tf" for padding and
            epsilon of TensorFlow, where timm has no such name: "mobilenetv2_100/tf"; or in "/stride8" or "/stride16"
            for dilation in place of strides. SSDLite's may end in "/full", for all features in the last stage of its
            backbone, and that of a segmenter in "/auxiliary", for a second head. A name that ends in "+separable",
            "+separable_bn" or "+separable_bn_relu" has depthwise separable convolutions in place of its 3x3 ones.
        num_classes: number of logits.
        size: side of the images, in pixels; the last pool takes any.
    """
    torch.manual_seed(0)
    model = make(reference, num_classes)
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    norms: list[Any] = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.25, 0.75)
        nn.init.normal_(norm.bias, mean=0.3, std=0.2)
        norm.momentum = 1.0  # the statistics of one batch alone
    with torch.no_grad():
        if norms:
            answers(model.train(), torch.randn(8, 3, size, size))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= 0.5 + torch.rand_like(norm.running_var)
    return model.eval()


def make(reference: str, num_classes: int) -> nn.Module:
    """Make a PyTorch network by package and name, see `build`, as its package initialises it."""
    package, _, name = reference.partition(":")
    name, _, separable = name.partition("+")
    model = _MAKERS[package](name, num_classes)
    if separable:
        _replace_3x3(model, separable.removeprefix("separable").removeprefix("_"))
    return model


def _pytorchcv(name: str, num_classes: int) -> nn.Module:
    from pytorchcv.model_provider import get_model
    from pytorchcv.models.pyramidnet_cifar import get_pyramidnet_cifar

    if pyramid := re.fullmatch(r"pyramidnet(\d+)_a(\d+)(_bn)?_cifar10", name):  # any size, not only their names
        depth, alpha, bottleneck = int(pyramid[1]), int(pyramid[2]), bool(pyramid[3])
        model: Any = get_pyramidnet_cifar(num_classes=num_classes, blocks=depth, alpha=alpha, bottleneck=bottleneck)
    else:
        model = get_model(name, num_classes=num_classes)
    if hasattr(model.features, "final_pool"):
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)
    else:
        model.features.final_block.pool = nn.AdaptiveAvgPool2d(1)
    return model


def _timm(name: str, num_classes: int) -> nn.Module:
    import timm
    from timm.layers.eca import EcaModule

    name, _, attention = name.partition("/")
    options: Any = {"aux_logits": False} if name == "inception_v3" else {}
    if attention == "tf":
        options = {"pad_type": "same", "bn_eps": 1e-3}
    elif attention == "released_eca":
        depth = int(name.removeprefix("resnet"))
        widths = (width * (4 if BLOCKS[depth][1] else 1) for width in WIDTHS)
        sizes = dict(zip(widths, RELEASED_ECA[depth], strict=True))
        options = {"block_args": {"attn_layer": lambda channels, **_: EcaModule(kernel_size=sizes[channels])}}
    elif attention.startswith("stride"):
        options = {"output_stride": int(attention.removeprefix("stride"))}
    elif attention:
        options = {"block_args": {"attn_layer": attention}}
    return timm.create_model(name, num_classes=num_classes, **options)


def answers(model: nn.Module, images: torch.Tensor) -> Any:
    """Return what a network answers: its logits, or for a detector its answers at all anchors by torchvision's names.

    Torchvision's detectors take pictures of any size and resize them; here they are given images as they are. Anchors
    are float32, whatever the dtype of the images.
    """
    if not hasattr(model, "anchor_generator"):
        return model(images)
    from torchvision.models.detection.image_list import ImageList

    found: Any = model
    maps = list(found.backbone(images).values())
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    anchors = found.anchor_generator(ImageList(images.float(), sizes), [y.float() for y in maps])
    return {**found.head(maps), "anchors": anchors[0]}


def _torchvision(name: str, num_classes: int) -> nn.Module:
    import torchvision

    name, _, form = name.partition("/")
    options: Any = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    if hasattr(torchvision.models.detection, name):
        options = {"weights_backbone": None}
    if hasattr(torchvision.models.segmentation, name):
        options = {"weights_backbone": None} | ({"aux_loss": True} if form == "auxiliary" else {})
    model: Any = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    if form == "full":  # theirs has it with trained weights of the backbone only
        ssdlite, norm = torchvision.models.detection.ssdlite, partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
        model.backbone = ssdlite._mobilenet_extractor(torchvision.models.mobilenet_v3_large(norm_layer=norm), 6, norm)
        model.head = ssdlite.SSDLiteHead([672, 960, 512, 256, 256, 128], [6] * 6, num_classes, norm)
    return model


_MAKERS = {"pytorchcv": _pytorchcv, "timm": _timm, "torchvision": _torchvision}


def _replace_3x3(model: nn.Module, inner: str) -> None:
    for module in list(model.modules()):
        for name, conv in list(module.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3) and conv.in_channels > 3:
                setattr(module, name, _separable(conv, inner))


def _separable(conv: Any, inner: str) -> nn.Sequential:
    """Return the layers of our SeparableConv, under the same names."""
    channels = conv.in_channels
    depthwise = nn.Conv2d(channels, channels, 3, conv.stride, conv.padding, groups=channels, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(depthwise=depthwise)
    if inner:
        layers["norm"] = nn.BatchNorm2d(channels)
    if inner == "bn_relu":
        layers["relu"] = nn.ReLU()
    layers["pointwise"] = nn.Conv2d(channels, conv.out_channels, 1, bias=False)
    return nn.Sequential(layers)
