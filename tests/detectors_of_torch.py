"""Losses and detections of torchvision's detectors from answers, as their `forward` computes them."""

from typing import Any

import numpy as np
import torch
import torchvision

from jsep import boxes


def drawn_objects(rng: np.random.Generator, counts: tuple[int, ...], side: int, classes: int = 91) -> boxes.Objects:
    """Return objects of pictures of a size, padded to the largest number, in float64."""
    most = max(counts)
    corner = rng.uniform(0, 0.7 * side, (len(counts), most, 2))
    return boxes.Objects(
        np.concatenate([corner, corner + rng.uniform(0.05 * side, 0.3 * side, corner.shape)], -1),  # pyright: ignore
        rng.integers(1, classes, (len(counts), most)).astype(np.int32),  # pyright: ignore
        np.arange(most) < np.array(counts)[:, None],  # pyright: ignore
    )


def freeze(model: Any) -> None:
    """Give RetinaNet's first version constant batch norms, as it has in torchvision with trained weights."""
    modules = list(model.modules())
    second = any(isinstance(module, torch.nn.GroupNorm) for module in modules)
    if isinstance(model, torchvision.models.detection.RetinaNet) and not second:
        for module in modules:
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().requires_grad_(False)


def spread(model: Any) -> None:
    """Widen the answers of a new detector, so that scores differ; nothing is taken for background by RetinaNet."""
    retinanet = isinstance(model, torchvision.models.detection.RetinaNet)
    with torch.no_grad():
        for module in model.head.modules():
            if isinstance(module, torch.nn.Conv2d) and (retinanet or module.bias is not None):
                module.weight *= 3
        if retinanet:
            classes: Any = model.head.classification_head
            classes.cls_logits.bias.fill_(-3)
            classes.cls_logits.bias[:: classes.num_classes] = -40


def thin(model: Any, factor: int) -> None:
    """Give an SSD over VGG-16 new layers, which have a fraction of the features."""
    torch.manual_seed(0)
    for part, divisor in ((model.backbone, factor), (model.head, 1)):
        for module in list(part.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, torch.nn.Conv2d):
                    shape: Any = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation")}
                    inside, out = max(3, layer.in_channels // factor), layer.out_channels // divisor
                    setattr(module, name, torch.nn.Conv2d(inside, out, **shape))
    scale = model.backbone.scale_weight
    model.backbone.scale_weight = torch.nn.Parameter(scale.data[: len(scale) // factor])


def losses_of(model: Any, answered: dict[str, torch.Tensor], objects: boxes.Objects) -> dict[str, torch.Tensor]:
    """Return the losses of answers."""
    counts = np.asarray(objects.valid).sum(1)
    targets = [
        {"boxes": torch.tensor(own[:count]), "labels": torch.tensor(labels[:count]).long()}
        for own, labels, count in zip(np.asarray(objects.boxes), np.asarray(objects.labels), counts, strict=True)
    ]
    anchors = [answered["anchors"].to(answered["bbox_regression"])] * len(targets)
    if isinstance(model, torchvision.models.detection.RetinaNet):
        return model.compute_loss(targets, answered, anchors)
    matched = [
        model.proposal_matcher(torchvision.ops.box_iou(target["boxes"], own))
        if len(target["boxes"])
        else torch.full((len(own),), -1)
        for target, own in zip(targets, anchors, strict=True)
    ]
    return model.compute_loss(targets, answered, anchors, matched)


def detections_of(
    model: Any, answered: dict[str, torch.Tensor], levels: tuple[int, ...], size: tuple[int, int]
) -> list[dict[str, torch.Tensor]]:
    """Return the detections of answers."""
    found: Any = {key: answered[key] for key in ("cls_logits", "bbox_regression")}
    anchors: Any = answered["anchors"].to(found["bbox_regression"])
    number = len(found["cls_logits"])
    if isinstance(model, torchvision.models.detection.RetinaNet):
        found = {key: list(value.split(levels, 1)) for key, value in found.items()}
        anchors = list(anchors.split(levels))
    return model.postprocess_detections(found, [anchors] * number, [size] * number)
