"""Facts that the name of an architecture tells and its arrays do not: options, and the statistics of its images."""

import fnmatch
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsep.errors import UserError
from jsep.models import list_models, model_info
from jsep.models.registry import FED_HALVES, FED_IMAGENET, Fed
from jsep.port.keras_names import STRUCTURES
from jsep.port.tags import OPTIONS


class Architecture(NamedTuple):
    """A network of a PyTorch package or of Keras, in our terms.

    Attributes:
        package: pytorchcv, torchvision, timm or keras.
        name: its name there.
        model: registered name of ours.
        options: options that make ours equal.
        fed: what its published weights were fed, if that differs from other weights of the package.
    """

    package: str
    name: str
    model: str
    options: Mapping[str, Any] = {}
    fed: Fed | None = None


# earlier names of networks that are references by another one
_EARLIER = {"gluon_inception_v3": "inception_v3", "tv_resnet34": "resnet34", "tv_resnet50": "resnet50"}
_EARLIER |= {"tv_resnet101": "resnet101", "tv_resnet152": "resnet152"}
# what timm's weights of such a name were fed, where others of the network were fed something else; a tag behind a dot
# says where weights come from
_FED = {
    "tf_mobilenetv3_*": FED_HALVES,
    "gluon_inception_v3": FED_IMAGENET,
    "*.gluon_in1k": FED_IMAGENET,
    "*.ra4_*": FED_HALVES,
    "*.miil_*": Fed((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


# timm's networks that are near one of ours and not equal to it, and what they have that ours does not
_DIFFERENT = {
    "mobilenetv1_100h": "a 1x1 convolution in front of its classifier",
    "mobilenetv2_1?0d": "more blocks in each stage",
    "mobilenetv3_large_150d": "more blocks in each stage",
    "mobilenetv3_rw": "no shortcut in its first block and no bias in its head",
    "tf_mobilenetv3_*_minimal_100": "ReLU and no squeeze and excitation",
    "mixnet_x*l": "more blocks in each stage",
    "resnet*[cdst]": "a stem of three 3x3 convolutions, or shortcuts with pools",
    "seresnet*[cdst]": "a stem of three 3x3 convolutions, or shortcuts with pools",
    "ecaresnet*": "a stem of three 3x3 convolutions, and shortcuts with pools",
    "resnet*_gn": "group norms",
    "resnet*_clip*": "a pool with attention and a stem of three 3x3 convolutions",
    "legacy_seresnet*": "the strides of Caffe's ResNet",
    "xception*": "the layers of DeepLab (Chollet's network is called legacy_xception)",
    "inception_v4": "other blocks than Inception V3",
    "densenet*": "the stem and the pools for 224x224 images, where jsep's is for 32x32 ones",
    "vgg*": "dense layers for 224x224 images, where jsep's is for 32x32 ones",
}
_WEIGHTS = "jsep models --weights lists what it has"
# arguments of timm that leave the logits alone
_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate", "img_size", "aux_logits"}


@functools.cache
def _known() -> dict[str, list[Architecture]]:
    """Return the architectures by name; packages may share a name."""
    known: dict[str, list[Architecture]] = {}
    for model in list_models():
        for reference, options in model_info(model).references.items():
            package, _, name = reference.partition(":")
            known.setdefault(name, []).append(Architecture(package, name, model, options))
    known |= {one.name: [Architecture("keras", one.name, one.model)] for one in STRUCTURES.values()}
    return known | {name: known[now] for name, now in _EARLIER.items()}


class Origin(NamedTuple):
    """Facts that a file states about the network whose weights it holds.

    Attributes:
        architecture: name of the architecture, of some weights with their tag behind a dot; empty if the file gives
            none.
        certain: whether the contents of the file say so, not only its name.
        fed: what the network was fed, if the file says so.
        image_size: side of the images in pixels, if the file says so; or 0.
        eval_size: side of the images at evaluation, where it is another one; or 0.
        crop_share: share of the shorter side that the centre crop of the evaluation keeps; or 0.
        interpolation: "bilinear" or "bicubic", if the file says so.
        num_classes: number of logits, if the file says so; or 0.
        class_names: names of the classes by label, if the file says so.
    """

    architecture: str = ""
    certain: bool = False
    fed: Fed | None = None
    image_size: int = 0
    eval_size: int = 0
    crop_share: float = 0.0
    interpolation: str = ""
    num_classes: int = 0
    class_names: tuple[str, ...] = ()


def registered_name(origin: Origin, source: object, named: str = "") -> str:
    """Return our name of the network that weights say they are of.

    Args:
        origin: what the file says.
        source: the file or the published name, for messages.
        named: our name for files that do not say it, or say no more than the family; empty for none.

    Raises:
        UserError: nobody says it, or the network is none of ours.
    """
    name = origin.architecture.partition(".")[0]
    if name and (origin.certain or not named):
        if found := _known().get(name):
            family = model_info(found[0].model).family
            # Keras has one name for a network of all widths
            same = named and found[0].package == "keras" and model_info(named).family == family
            return named if same else found[0].model
        if reason := next((why for pattern, why in _DIFFERENT.items() if fnmatch.fnmatchcase(name, pattern)), ""):
            raise UserError(f"{source} is a {name}, which jsep does not have, since it has {reason}; {_WEIGHTS}")
        if not named:
            raise UserError(f"{source} is a {name}, which jsep does not have; {_WEIGHTS}")
    if not named:
        raise UserError(
            f"{source} does not say which network its weights are of: give the network in front of the flags of jsep "
            f"train, or make a run of it by jsep port NETWORK {source}"
        )
    return named


def find_architecture(origin: Origin, model: str) -> list[Architecture]:
    """Return the architectures of a name that belong to the family of a network, one for each package.

    Args:
        origin: what the file says.
        model: registered name of the network.

    Raises:
        UserError: the file says that it is of another family.
    """
    name = origin.architecture
    found = _known().get(name.partition(".")[0], [])
    family = model_info(model).family
    fitting = [one for one in found if model_info(one.model).family == family]
    if found and not fitting and origin.certain:
        raise UserError(f"The weights are those of {name}, which is {found[0].model} in jsep: give that as the model")
    fed = next((fed for pattern, fed in _FED.items() if fnmatch.fnmatchcase(name, pattern)), None)
    return [one._replace(fed=fed, options={**one.options, **OPTIONS.get(name, {})}) for one in fitting]


def origin_of(path: Path, content: Mapping[Any, Any]) -> Origin:
    """Return what a file of weights, and a config.json beside it as on Hugging Face's hub, say of the network.

    Args:
        path: the file.
        content: its entries, or its metadata.
    """
    beside = read_config(path.with_name("config.json"))
    said = _stated(beside, path.with_name("config.json"))
    arguments = [content.get(key) for key in ("args", "hyper_parameters", "config")]
    holders = (content, *(vars(one) if hasattr(one, "__dict__") else one for one in arguments), beside)
    for holder in (one for one in holders if isinstance(one, Mapping)):
        for key in ("architecture", "arch", "model_name", "model"):
            if isinstance(name := holder.get(key), str):
                return Origin(name.rpartition("/")[2].removeprefix("hf-hub:"), True, **said)
    return Origin(_in_text(path.stem), False, **said)


def read_config(path: Path) -> Mapping[str, Any]:
    """Return a config.json in the layout of timm on Hugging Face's hub; an empty one if there is none of this kind."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "architecture" in found else {}


def _stated(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what a config.json says of a network, as fields of an `Origin`.

    Raises:
        UserError: it asks for what jsep does not have.
    """
    trained = config.get("pretrained_cfg")
    trained = trained if isinstance(trained, Mapping) else config
    given = config.get("model_args")
    arguments = {key: value for key, value in given.items() if key not in _HARMLESS} if isinstance(given, dict) else {}
    arguments |= {key: config[key] for key in ("global_pool",) if key in config}
    arguments |= {key: trained[key] for key in ("crop_mode", "interpolation") if key in trained}
    allowed = {"global_pool": ("avg", "fast"), "crop_mode": ("center",), "interpolation": ("bilinear", "bicubic")}
    for key, value in arguments.items():
        if value not in allowed.get(key, ()):
            raise UserError(f"{path}: {key} is {value!r}, which jsep's networks do not have: choose other weights")
    size, tested = _side(trained.get("input_size")), _side(trained.get("test_input_size"))
    classes = config.get("num_classes", trained.get("num_classes"))
    classes = classes if isinstance(classes, int) and classes > 0 else 0
    share = trained.get("test_crop_pct") or trained.get("crop_pct")
    return {
        "fed": _fed(trained.get("mean"), trained.get("std")),
        "image_size": size,
        "eval_size": tested if tested != size else 0,
        "crop_share": float(share) if isinstance(share, float | int) and 0 < share <= 1 else 0.0,
        "interpolation": trained.get("interpolation", ""),
        "num_classes": classes,
        "class_names": _labels(config.get("label_names", trained.get("label_names")), classes),
    }


def _side(size: Any) -> int:
    """Return the side of images in pixels from their shape (c, h, w); or 0."""
    side = size[-1] if isinstance(size, list) and size else 0
    return side if isinstance(side, int) and side > 1 else 0


def _labels(names: Any, classes: int) -> tuple[str, ...]:
    """Return the names of the classes from a list, or from a dictionary by label, if each class has one."""
    if isinstance(names, dict):
        names = [names.get(str(label)) for label in range(classes)]
    whole = isinstance(names, list) and len(names) == classes and all(isinstance(name, str) for name in names)
    return tuple(names) if whole else ()


def _fed(mean: Any, std: Any) -> Fed | None:
    """Return a mean and deviation that a file gives, if they are what they should be."""
    numbers = isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) > 0
    if (
        not numbers
        or not all(isinstance(value, float | int) for value in [*mean, *std])
        or not (min(std) > 0 and 0 <= min(mean) <= max(mean) <= 1)
    ):
        return None
    return Fed(tuple(map(float, mean)), tuple(map(float, std)))


def _in_text(text: str) -> str:
    """Return the longest known name in the name of a file, with a tag behind a dot, or an empty string.

    >>> _in_text("mixnet_s-a907afbc"), _in_text("inception_v3.gluon_in1k"), _in_text("best")
    ('mixnet_s', 'inception_v3.gluon_in1k', '')
    """
    for name in sorted(_known(), key=len, reverse=True):
        if found := re.search(rf"(?<![a-z0-9]){re.escape(name)}(\.[a-z0-9_]+)?(?![a-z0-9])", text.lower()):
            return found[0]
    return ""
