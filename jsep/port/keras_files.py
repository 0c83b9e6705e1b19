"""Reading what Keras saves, by h5py alone: nothing is unpickled, and no code in a file is run."""
# h5py is an extra, and not where types are checked
# pyright: reportMissingImports=false

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jsep.errors import UserError
from jsep.models.registry import Fed
from jsep.port.architectures import Origin
from jsep.port.keras_names import CONV, DENSE, DEPTHWISE, NORM, SEPARABLE, STRUCTURES, Structure

SUFFIXES = (".keras", ".h5", ".hdf5")
EPSILON = 1e-3  # of batch norm in Keras, and in all its networks that jsep has
_KINDS = {"Conv2D": CONV, "DepthwiseConv2D": DEPTHWISE, "SeparableConv2D": SEPARABLE}
_KINDS |= {"BatchNormalization": NORM, "Dense": DENSE}
_LAST = ("linear", "softmax")  # activations behind a classifier, or none
_NESTED = ("Functional", "Model", "Sequential")
_MOST_EXPANSION = 100  # arrays that unpack to more than this many times the size of their file are refused
_MOST_ARRAYS = 4  # of a layer: those of a batch norm
_MOST_CONFIG = 2**26  # bytes of config.json; the largest networks of Keras take a hundredth of it
_NO_KERAS = "holds no weights of Keras: give a .weights.h5, .keras or .h5 file that Keras saved"


class _Layer(NamedTuple):
    """A layer with its arrays in Keras's order: those that are trained, then running statistics."""

    kind: str
    name: str
    arrays: list[np.ndarray]


def read_keras(path: Path) -> tuple[dict[str, np.ndarray], Origin, tuple[str, ...]]:
    """Read the weights of a network that Keras saved.

    Layers are numbered by kind in the order of the network, see `jsep.port.keras_names`, and arrays are called and laid
    out as PyTorch does it, so that all weights are converted in one way: conv2d_3.weight, dense.bias,
    batch_normalization.running_var, separable_conv2d_1.depthwise.weight.

    Args:
        path: a .weights.h5 or .keras file of Keras 3, or an .h5 file of Keras 2 or 3.

    Returns:
        The arrays by name; what the file says of the network; and sentences on what was left out.

    Raises:
        UserError: h5py is not installed, the file cannot be read, is no file of Keras, or holds a network with layers
            or settings that none of jsep's has.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"Reading {path.name} needs h5py: pip install 'jsep[keras]'") from error
    try:
        source, config = _unzipped(path) if path.suffix == ".keras" else (path, None)
        with h5py.File(source) as file:
            if "model_config" in file.attrs:
                config = json.loads(_text(file.attrs["model_config"]))
            arrays = _datasets(file, path)
            network = _network(config, path)
            _check_structure(network, path)
            if any(name.startswith("layers/") for name in arrays):
                layers, left = _layers(arrays, path)
            else:
                layers, left = _earlier_layers(file, arrays, network, path)
    except UserError:
        raise
    except Exception as error:  # what h5py, zip and JSON raise for files that are damaged, or are of another kind
        raise UserError(
            f"{path} cannot be read as a file of Keras, or is cut off ({type(error).__name__}): download it again"
        ) from error
    state: dict[str, np.ndarray] = {}
    seen: Counter[str] = Counter()
    for layer in layers:
        name = f"{layer.kind}_{seen[layer.kind]}" if seen[layer.kind] else layer.kind
        seen[layer.kind] += 1
        state |= {f"{name}.{key}": array for key, array in _torch_arrays(layer, path).items()}
    if not state:
        raise UserError(f"{path} {_NO_KERAS}")
    notes = ()
    if left:
        groups = ", ".join(sorted({name.partition("/")[0] for name in left}))
        notes = (f"{len(left)} arrays of {groups}, which only training needs, were left out.",)
    known = _structure(Counter(layer.kind for layer in layers))
    named = {"architecture": known.name, "certain": known.name != known.model} if known else {}
    return state, _origin(network)._replace(**named), notes


def _unzipped(path: Path) -> tuple[io.BytesIO, Any]:
    """Return the weights in a .keras file, and its config.json."""
    with zipfile.ZipFile(path) as archive:
        weights, config = archive.getinfo("model.weights.h5"), archive.getinfo("config.json")
        for entry, most in ((weights, _MOST_EXPANSION * path.stat().st_size), (config, _MOST_CONFIG)):
            if entry.file_size > most:
                raise UserError(
                    f"{path}: {entry.filename} unpacks to {entry.file_size:,} bytes, which no network of Keras takes: "
                    "download it again from a source that you trust"
                )
        return io.BytesIO(archive.read(weights)), json.loads(archive.read(config))


def _datasets(file: Any, path: Path) -> dict[str, Any]:
    """Return the arrays in a file by their paths, not read yet. Links to elsewhere are not followed."""
    found: dict[str, Any] = {}

    def keep(name: str, entry: Any) -> None:
        if hasattr(entry, "shape"):
            found[name] = entry

    file.visititems(keep)
    if any(entry.external or entry.is_virtual for entry in found.values()):
        raise UserError(f"{path} takes its arrays from other files, which is not followed: give a file that holds them")
    size = file.id.get_filesize()
    if sum(int(entry.nbytes) for entry in found.values()) > _MOST_EXPANSION * size:
        raise UserError(
            f"{path} has {size:,} bytes and announces arrays of more than {_MOST_EXPANSION} times that: download it "
            "again from a source that you trust"
        )
    return found


def _read(dataset: Any) -> np.ndarray:
    array = np.asarray(dataset[()])
    return array.view(jnp.bfloat16) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array


def _layers(arrays: Mapping[str, Any], path: Path) -> tuple[list[_Layer], list[str]]:
    """Return the layers of a file of Keras 3, and the names of arrays that are of no layer.

    Layers are numbered by kind, in a network inside the network anew. The order between the two is not in the file, so
    that layers of one kind must lie in one of them: a base without its top and a dense layer behind it do.
    """
    groups: dict[tuple[str, int], dict[int, Any]] = {}
    places: dict[str, str] = {}
    left = []
    for name, array in arrays.items():
        if found := re.fullmatch(r"((?:layers/\w+/)*)layers/(\w+?)(?:_(\d+))?/vars/(\d+)", name):
            place, kind, number, at = found.groups()
            if places.setdefault(kind, place) != place:
                raise UserError(
                    f"{path} holds several networks with layers of the kind {kind}, and not the order in which they "
                    "follow each other: save the weights of a network that holds no other"
                )
            groups.setdefault((kind, int(number or 0)), {})[int(at)] = array
        elif not name.startswith("layers/"):
            left.append(name)
        elif "seed_generator" not in name:
            raise UserError(f"{path}: {name.split('/')[1]} wraps a layer, as none does in jsep's networks")
    return [
        _Layer(kind, f"{kind}_{number}" if number else kind, [_read(found[i]) for i in sorted(found)])
        for (kind, number), found in sorted(groups.items())
    ], left


def _earlier_layers(
    file: Any, arrays: Mapping[str, Any], network: Sequence[Mapping[str, Any]], path: Path
) -> tuple[list[_Layer], list[str]]:
    """Return the layers of an .h5 file of Keras 2, or of its like by Keras 3, and the arrays that are of no layer."""
    top = "model_weights/" if "model_weights" in file else ""
    root = file[top] if top else file
    described = [layer["config"]["name"] for layer in network]
    classes = {layer["config"]["name"]: layer["class_name"] for layer in network}
    held: dict[str, list[str]] = {}
    for name in _names(root, "layer_names"):
        for key in _names(root[name], "weight_names"):
            if "seed_generator" not in key:
                held.setdefault(_owner(name, key, classes), []).append(f"{top}{name}/{key}")
    if repeated := [name for name in held if described.count(name) > 1]:
        raise UserError(f"{path} has several layers called {repeated[0]}: save the network as .keras")
    layers = []
    # a network inside the network keeps what is trained in front of what is not, which is not the order of its layers
    for name in sorted(held, key=described.index) if described else held:
        if not classes and len(held[name]) > _MOST_ARRAYS:
            raise UserError(
                f"{path}: {name} is a network of its own, and weights alone do not say the order of its layers: save "
                "the whole network by model.save"
            )
        kept = [_read(arrays[key]) for key in held[name]]
        told = classes.get(name, "")
        kind = _KINDS.get(told, told) or _kind_of(kept, held[name])
        layers.append(_Layer(kind, name, kept))
    taken = {key for keys in held.values() for key in keys}
    return layers, [key for key in arrays if key not in taken and "seed_generator" not in key]


def _owner(layer: str, key: str, classes: Mapping[str, str]) -> str:
    """Return the layer that an array belongs to: `layer`, or one of the network that `layer` is."""
    if classes.get(layer) not in _NESTED:
        return layer
    parts = key.split("/")[:-1]
    names = ("/".join(parts[i:]) for i in range(len(parts)))
    return next((name for name in names if name in classes), layer)


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names that Keras keeps in an attribute, or in several where it is too long for one."""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    if not parts:
        raise KeyError(attribute)
    return [_text(name) for part in parts for name in group.attrs[part]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)  # bytes where an early Keras 2 wrote them


def _kind_of(arrays: Sequence[np.ndarray], keys: Sequence[str]) -> str:
    """Return the kind of a layer in a file of weights alone, which does not say it, from its arrays."""
    ranks = [array.ndim for array in arrays]
    if ranks[:2] == [4, 4]:
        return SEPARABLE
    if ranks[0] == 4:
        return DEPTHWISE if "depthwise_kernel" in keys[0] else CONV
    return {2: DENSE, 1: NORM}.get(ranks[0], "")


def _torch_arrays(layer: _Layer, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a layer by PyTorch's names of them, in PyTorch's layout."""
    ranks = tuple(array.ndim for array in layer.arrays)
    first = layer.arrays[0]
    match layer.kind, ranks:
        case "conv2d", (4, *bias):
            found = {"weight": first.transpose(3, 2, 0, 1)}
        case "depthwise_conv2d", (4, *bias):
            found = {"weight": _depthwise(first)}
        case "separable_conv2d", (4, 4, *bias):
            found = {"depthwise.weight": _depthwise(first), "pointwise.weight": layer.arrays[1].transpose(3, 2, 0, 1)}
        case "dense", (2, *bias):
            found = {"weight": first.T}
        case "batch_normalization", (1, 1, 1):  # without a scale, as in keras.applications' Inception V3
            shift, mean, var = layer.arrays
            return {"weight": np.ones_like(shift), "bias": shift, "running_mean": mean, "running_var": var}
        case "batch_normalization", (1, 1, 1, 1):
            return dict(zip(("weight", "bias", "running_mean", "running_var"), layer.arrays, strict=True))
        case _:
            raise _unlike(path, layer)
    if bias not in ([], [1]):
        raise _unlike(path, layer)
    last = "pointwise.bias" if layer.kind == SEPARABLE else "bias"
    return found | ({last: layer.arrays[-1]} if bias else {})


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """Return a kernel (h, w, channels, multiplier) as (channels * multiplier, 1, h, w)."""
    height, width, *_ = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width)


def _unlike(path: Path, layer: _Layer) -> UserError:
    return UserError(
        f"{path}: the layer {layer.name} holds {len(layer.arrays)} arrays, which are not those of a "
        f"{', '.join(_KINDS)} layer: jsep reads networks of such layers only"
    )


def _network(config: Any, path: Path) -> list[dict[str, Any]]:
    """Return the layers that a file describes, after checking them; none if it holds weights alone.

    A network inside the network is followed by its layers.

    Raises:
        UserError: a setting that the arrays do not show is one that no network of jsep's has.
    """
    if config is None or config["class_name"] not in _NESTED:  # a network that is a class of its own has no description
        return []
    inner = config["config"]
    found: list[dict[str, Any]] = []
    for layer in inner if isinstance(inner, list) else inner["layers"]:
        kind, settings = layer["class_name"], layer["config"]
        if kind in ("Lambda", "Normalization"):
            raise UserError(f"{path}: {settings['name']} is a {kind} layer, which no network of jsep's has")
        if kind in _KINDS and (setting := _foreign_setting(kind, settings)):
            raise UserError(
                f"{path}: the layer {settings['name']} has {setting}={settings[setting]}, unlike the networks that "
                "jsep has from Keras: its weights would do something else here"
            )
        found += [layer, *_network(layer, path)]
    return found


def _foreign_setting(kind: str, settings: Mapping[str, Any]) -> str:
    """Return the name of a setting that no network of jsep's has, or an empty string."""
    allowed = {
        "data_format": settings.get("data_format") in (None, "channels_last"),
        "dilation_rate": np.all(np.asarray(settings.get("dilation_rate", 1)) == 1),
        "groups": settings.get("groups", 1) == 1,
    }
    if kind == "BatchNormalization":
        allowed |= {
            "axis": settings.get("axis", -1) in (-1, 3, [-1], [3]),
            "center": settings.get("center", True),
            "epsilon": np.isclose(settings.get("epsilon", EPSILON), EPSILON, rtol=1e-3),
        }
    return next((name for name, right in allowed.items() if not right), "")


def _structure(kinds: Mapping[str, int]) -> Structure | None:
    """Return the network that has these numbers of layers of each kind; None if jsep has no such network."""
    conv, depthwise, separable, norm = (kinds.get(kind, 0) for kind in (CONV, DEPTHWISE, SEPARABLE, NORM))
    return STRUCTURES.get((conv, depthwise, separable, norm))


def _check_structure(network: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Refuse a network with the layers of one that jsep has, but not its strides, activations, paddings or pools.

    A network with other layers is refused later, where arrays are missing or left over.
    """
    structure = _structure(Counter(_KINDS.get(layer["class_name"], "") for layer in network))
    if structure is None:
        return
    strided = sum(np.max(layer["config"].get("strides") or 1) > 1 for layer in network)
    foreign = {trait for layer in network for trait in _traits(layer)} - structure.traits - {*_LAST}
    wrong = [f"{strided} strided layers instead of {structure.strided}"] if strided != structure.strided else []
    wrong += [f"{trait}, which {structure.name} does not use" for trait in sorted(foreign)]
    side = _origin(network).image_size
    if structure.name == "MobileNet" and side % 32:
        wrong.append(f"images of {side} pixels, whose maps of odd sizes Keras pads on one side only")
    if wrong:
        raise UserError(
            f"{path} has the layers of {structure.name}, but with {wrong[0]}: jsep's network would give other logits "
            "with its weights"
        )


def _traits(layer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the activation, the padding and the pool of a layer, as far as it has them."""
    kind, settings = layer["class_name"], layer["config"]
    if "Pooling" in kind:
        yield f"{kind} {settings['pool_size'][0]} {settings['padding']}" if "pool_size" in settings else kind
    elif kind in _KINDS and "padding" in settings:
        yield settings["padding"]
    if kind == "ReLU":
        yield {None: "relu", 6.0: "relu6"}.get(settings.get("max_value"), "ReLU")
    elif kind.endswith("LU"):
        yield kind
    if "activation" in settings:
        yield str(settings["activation"])


def _origin(network: Sequence[Mapping[str, Any]]) -> Origin:
    """Return the size of the images that a network takes and how it scales their values, as far as it says that."""
    side, scale, offset, rescaled = 0, np.full(3, 255.0), np.zeros(3), False  # from values between 0 and 1
    for layer in network:
        settings = layer["config"]
        shape = settings.get("batch_shape") or settings.get("batch_input_shape")
        if not side and shape and len(shape) == 4 and shape[1] == shape[2]:
            side = shape[1] or 0
        if layer["class_name"] == "Rescaling":
            factor, rescaled = np.asarray(settings["scale"]), True
            scale, offset = scale * factor, offset * factor + np.asarray(settings["offset"])
        if layer["class_name"] in _KINDS:
            break
    fed = Fed(tuple((-offset / scale).tolist()), tuple((1 / scale).tolist())) if rescaled else None
    return Origin(fed=fed, image_size=side)
