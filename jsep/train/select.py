"""Trees of parameters by name: masks by wildcard and by what a leaf is, and where two trees differ."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jsep.errors import UserError

HEAD = "classifier"  # how every network names its last layer


def matching(tree: Any, patterns: Sequence[str]) -> Any:
    """True where the path of a leaf, or of a module above it, matches a wildcard.

    >>> matching({"stem": {"kernel": 0}, "stem_norm": {"scale": 0}}, ["stem"])
    {'stem': {'kernel': True}, 'stem_norm': {'scale': False}}
    """

    def matched(path: Any, _: Any) -> bool:
        return matches(keystr(path, simple=True, separator="/").split("/"), patterns)

    return jax.tree_util.tree_map_with_path(matched, tree)


def matches(path: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether the name of a leaf, or of a module above it, matches a wildcard."""
    above = ["/".join(path[: i + 1]) for i in range(len(path))]
    return any(fnmatch.fnmatchcase(name, pattern) for name in above for pattern in patterns)


def decayed(params: Any, on: Literal["all", "kernels", "dense"]) -> Any:
    """True where weight decay acts: everywhere, on kernels, or on kernels that mix channels.

    A kernel has two axes or more (biases and norms have one); a depthwise one sees one input channel.
    """

    def decays(leaf: Any) -> bool:
        depthwise = leaf.ndim == 4 and leaf.shape[2] == 1
        return on == "all" or (leaf.ndim > 1 and not (on == "dense" and depthwise))

    return jax.tree.map(decays, params)


def check_patterns(params: Any, patterns: Sequence[str], flag: str) -> None:
    """Refuse a wildcard that matches no parameter."""
    for pattern in patterns:
        if not any(jax.tree.leaves(matching(params, [pattern]))):
            names = ", ".join(list(params)[:3])
            raise UserError(f"{flag} {pattern}: no parameter matches it; their names are such as {names}")


def classes_of(params: Any) -> int:
    """How many classes a network's parameters tell apart."""
    return params[HEAD]["kernel"].shape[-1]


def differences(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The paths, such as params/stem/kernel, that only one of two trees has, or in another shape."""
    one, two = (
        {keystr(path, simple=True, separator="/"): np.shape(leaf) for path, leaf in tree_leaves_with_path(tree)}
        for tree in (wanted, given)
    )
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
