"""Trees of arrays by the paths of their leaves, such as params/stem/kernel."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from jax.tree_util import keystr
from safetensors.numpy import save

from jsep.files import write_atomically


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


def differences(wanted: Any, given: Any) -> list[str]:
    """Return the sorted paths that only one of two trees has, or that have another shape in each.

    >>> differences({"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.zeros(2), "b": np.zeros(4)})
    ['b']
    """
    one, two = ({path: np.shape(leaf) for path, leaf in flatten(tree).items()} for tree in (wanted, given))
    return sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))


def save_arrays(path: Path, tree: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write the leaves of a tree to a safetensors file, each under its path in the tree.

    Every array is copied into C order first: safetensors 0.8 writes any other order wrongly, and an array that comes
    from a device may have any strides. The file is written as a whole, see `write_atomically`.

    Args:
        path: the file to create or replace.
        tree: arrays of NumPy or JAX, such as the variables of a network.
        metadata: texts to keep in the header of the file.
    """
    arrays = {name: np.array(leaf, order="C") for name, leaf in flatten(tree).items()}
    write_atomically(path, save(arrays, None if metadata is None else dict(metadata)))


def _name(path: Any) -> str:
    return keystr(path, simple=True, separator="/")
