"""Trees of arrays by the paths of their leaves, such as params/stem/kernel."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.tree_util import keystr
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from jsep.errors import UserError
from jsep.files import write_atomically

# what safetensors calls the dtypes that arrays are read from; those left out, such as the 8-bit floats, need a scale
_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16, "BOOL": np.bool_}
_DTYPES |= {f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits // 8}") for kind in "IU" for bits in (8, 16, 32, 64)}


def flatten(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths, joined by slashes.

    >>> flatten({"params": {"stem": {"kernel": 1, "bias": 2}}})
    {'params/stem/bias': 2, 'params/stem/kernel': 1}
    """
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries from leaves by path: the inverse of `flatten` for trees of dictionaries.

    >>> unflatten({"params/stem/bias": 2})
    {'params': {'stem': {'bias': 2}}}
    """
    return unflatten_dict(dict(leaves), sep="/")


def map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """Return a tree of the same structure whose leaves are `function(path, leaf)`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(_name(path), leaf), tree)


def differences(wanted: Any, given: Any, free: Callable[[str], bool] = lambda path: False) -> list[str]:
    """Return the sorted paths that only one of two trees has, or that have another shape in each.

    Args:
        wanted: a tree of arrays, or of their shapes.
        given: another one.
        free: tells by its path whether the last axis of an array may have any size.

    >>> differences({"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros(2), "b": np.zeros(4)})
    ['b']
    """

    def shape(path: str, leaf: Any) -> tuple[int, ...]:
        return (*np.shape(leaf)[:-1], -1) if free(path) else np.shape(leaf)

    one, two = ({path: shape(path, leaf) for path, leaf in flatten(tree).items()} for tree in (wanted, given))
    return sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))


def on_host(tree: Any) -> Any:
    """Return a tree of NumPy arrays in C order that own their memory.

    Every array goes through here on its way to a file. An array that comes from a device keeps the device's strides,
    which on a TPU are often not those of C, and some writers, such as safetensors 0.8, take its memory as it lies.

    Args:
        tree: arrays of NumPy or JAX.
    """
    return jax.tree.map(lambda leaf: np.array(leaf, order="C"), jax.device_get(tree))


def not_finite(tree: Any) -> list[str]:
    """Return the paths of the arrays that hold NaN or infinity.

    >>> not_finite({"a": np.ones(2), "b": np.array([1, np.nan])})
    ['b']
    """
    return [path for path, leaf in flatten(tree).items() if not np.isfinite(leaf).all()]


def as_weights(arrays: Mapping[str, Any], source: object) -> dict[str, np.ndarray]:
    """Return arrays as weights of a network: in float32, and checked to be numbers.

    Args:
        arrays: arrays of any floating-point dtype by name.
        source: the file or run that they come from, for messages.

    Raises:
        UserError: an array has another dtype, or holds NaN or infinity.
    """
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, np.floating) or array.dtype.itemsize == 1:
            raise UserError(
                f"{source}: {name} has the dtype {array.dtype}: give weights in float32, float16 or bfloat16"
            )
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused below
        found = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    if wrong := not_finite(found):
        more = f" and {len(wrong) - 1} more arrays" if len(wrong) > 1 else ""
        raise UserError(
            f"{source} holds values that are not finite numbers, in {wrong[0]}{more}: give weights of a training that "
            "did not diverge"
        )
    return found


def save_arrays(path: Path, tree: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write the leaves of a tree to a safetensors file, each under its path in the tree.

    The file is written as a whole, see `write_atomically`, then read again and compared.

    Args:
        path: the file to create or replace.
        tree: arrays of NumPy or JAX, such as the variables of a network.
        metadata: strings to keep in the header of the file.

    Raises:
        UserError: the file does not hold the arrays; it is deleted.
    """
    arrays = flatten(on_host(tree))
    write_atomically(path, save(arrays, None if metadata is None else dict(metadata)))
    found, _ = load_arrays(path)
    if wrong := [name for name in arrays if not np.array_equal(found[name], arrays[name], equal_nan=True)]:
        path.unlink()
        raise UserError(f"{path} came back from disk with other values, in {wrong[0]}: try another disk for `out`")


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        The arrays by name, and the metadata of the file.

    Raises:
        UserError: the file cannot be read, or holds an array of a dtype that NumPy and ml_dtypes have no numbers for.
    """
    try:
        content = path.read_bytes()
        entries = dict(deserialize(content))
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}): download it again") from error
    for name, entry in entries.items():
        if entry["dtype"] not in _DTYPES:
            raise UserError(
                f"{path}: {name} has the dtype {entry['dtype']}: give weights in float32, float16 or bfloat16"
            )
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    arrays = {
        name: np.frombuffer(entry["data"], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in entries.items()
    }
    return arrays, header.get("__metadata__") or {}


def _name(path: Any) -> str:
    return keystr(path, simple=True, separator="/")
