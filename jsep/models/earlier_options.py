"""Options of networks as they were called before version 0.2, for the reader of run folders."""

from collections.abc import Mapping
from typing import Any

from jsep.models.registry import model_info

_SEPARABLE = {"none": "dense", "sep": "separable", "sep_bn": "separable_bn", "sep_bn_relu": "separable_bn_relu"}
_SHARED = {"ds": "separable", "wksc_ds": "wksc_separable"}


def modern_options(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the options in a run folder that was written before version 0.2 to those of today.

    Args:
        model: registered name.
        options: options as they were named then. Options of today come back as they are, with two exceptions on
            MobileNet V1: `sharing` without `conv`, and `conv="separable"` on mobilenet_v1_wksc4, had other meanings.

    >>> modern_options("densenet100_k12_bc", {"separable": "sep_bn", "se": "growth"})
    {'conv': 'separable_bn', 'attention': 'se', 'attention_at': 'growth'}
    """
    info, found = model_info(model), dict(options)
    match str(info.family).rpartition(":")[2]:
        case "CifarResNet" | "DenseNet" | "PyramidNet":
            if "separable" in found:
                found["conv"] = _SEPARABLE[found.pop("separable")]
            if "se" in found:  # True or False, or in DenseNet the place
                place = found.pop("se")
                found["attention"] = "none" if place in (False, "none") else "se"
                if isinstance(place, str) and place != "none":
                    found["attention_at"] = place
        case "VGG" | "ResNet":
            if "conv" in found:
                found["conv"] = _SHARED.get(found["conv"], found["conv"])
        case "MobileNetV1":  # kernels were shared in separable blocks if `sharing` was not 0
            now = info.fixed.get("conv", "separable")
            sharing = found.get("sharing", info.fixed.get("sharing", 0))
            if found.get("conv", now.removeprefix("wksc_")) == "separable":
                conv = "wksc_separable" if sharing else "separable"
                if conv != found.get("conv", now):
                    found["conv"] = conv
    if "sharing" in found and "ksc" not in str(found.get("conv", info.fixed.get("conv"))):
        del found["sharing"]  # it has no effect
    return found
