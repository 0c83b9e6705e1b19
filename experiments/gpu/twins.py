"""More PyTorch twins than `jsep bench` has: from torchvision, timm and pytorchcv, with as many parameters."""
# PyTorch is an extra, and not installed where types are checked
# pyright: reportMissingImports=false

from typing import Any

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Efficient channel attention (arXiv 1910.03151): a convolution over the channels of the mean of each map."""

    def __init__(self, kernel_size: int):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv(x.mean((2, 3))[:, None])[:, 0]
        return x * torch.sigmoid(weights)[:, :, None, None]


def _torchvision(name: str) -> Any:
    def make(num_classes: int) -> nn.Module:
        import torchvision.models

        return getattr(torchvision.models, name)(num_classes=num_classes)

    return make


def _timm(name: str) -> Any:
    def make(num_classes: int) -> nn.Module:
        import timm

        return timm.create_model(name, num_classes=num_classes)

    return make


def _pytorchcv(name: str) -> Any:
    def make(num_classes: int) -> nn.Module:
        try:
            from pytorchcv.model_provider import get_model
        except ModuleNotFoundError as error:
            raise LookupError(f"{name}: pytorchcv is not installed") from error
        return get_model(name, num_classes=num_classes)

    return make


def _eca_resnet50(num_classes: int) -> nn.Module:
    network = _torchvision("resnet50")(num_classes)
    kernels = {256: 3, 512: 5, 1024: 5, 2048: 7}  # as its authors released it
    for block in network.modules():
        if hasattr(block, "conv3"):  # a bottleneck: attention stands before the sum
            block.bn3 = nn.Sequential(block.bn3, ChannelAttention(kernels[block.bn3.num_features]))
    return network


def register() -> None:
    """Add the twins to those of `jsep bench`."""
    from jsep.bench.torch_models import TWINS

    TWINS.update(
        resnet50=_torchvision("resnet50"),
        shufflenet_v2_x1_0=_torchvision("shufflenet_v2_x1_0"),
        eca_resnet50=_eca_resnet50,
        xception=_timm("legacy_xception"),
        dicenet_x1_0=_pytorchcv("dicenet_w1"),
    )
