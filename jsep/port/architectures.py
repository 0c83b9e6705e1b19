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
        architecture: name of the architecture; empty if the file gives none.
        certain: whether the contents of the file say so, not only its name.
        fed: what the network was fed, if the file says so.
        image_size: side of the images in pixels, if the file says so; or 0.
    """

    architecture: str = ""
    certain: bool = False
    fed: Fed | None = None
    image_size: int = 0


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
    return [one._replace(fed=fed) for one in fitting]


def origin_of(path: Path, content: Mapping[Any, Any]) -> Origin:
    """Return what a file of weights, and a config.json beside it as on Hugging Face's hub, say of the network.

    Args:
        path: the file.
        content: its entries, or its metadata.
    """
    beside = _config(path.with_name("config.json"))
    trained = beside.get("pretrained_cfg")
    trained = trained if isinstance(trained, Mapping) else beside
    size = trained.get("input_size")
    said: dict[str, Any] = {"fed": _fed(trained.get("mean"), trained.get("std"))}
    side = size[-1] if isinstance(size, list) and size else 0
    said["image_size"] = side if isinstance(side, int) and side > 1 else 0
    arguments = [content.get(key) for key in ("args", "hyper_parameters", "config")]
    holders = (content, *(vars(one) if hasattr(one, "__dict__") else one for one in arguments), beside)
    for holder in (one for one in holders if isinstance(one, Mapping)):
        for key in ("architecture", "arch", "model_name", "model"):
            if isinstance(name := holder.get(key), str):
                return Origin(name.rpartition("/")[2].removeprefix("hf-hub:"), True, **said)
    return Origin(_in_text(path.stem), False, **said)


def _config(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):  # there is none, or none of this kind
        return {}
    return found if isinstance(found, dict) and "architecture" in found else {}


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
