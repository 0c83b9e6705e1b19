"""Parameters by name and by kind: which are frozen, which decay, how many classes they tell apart."""

import fnmatch
from collections.abc import Sequence
from typing import Any, Literal

import jax

from jsep.errors import UserError
from jsep.trees import map_named

HEAD = "classifier"  # the name of the last layer of every network


def matching(tree: Any, patterns: Sequence[str]) -> Any:
    """Return a tree that is true where the path of a leaf, or of a module above it, matches a wildcard.

    >>> matching({"stem": {"kernel": 0}, "stem_norm": {"scale": 0}}, ["stem"])
    {'stem': {'kernel': True}, 'stem_norm': {'scale': False}}
    """
    return map_named(lambda path, _: matches(path, patterns), tree)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a path, or that of a module above it, matches a wildcard.

    >>> matches("stage1/conv/kernel", ["stage?"]), matches("stage1/conv/kernel", ["kernel"])
    (True, False)
    """
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern) for name in above for pattern in patterns)


def decayed(params: Any, on: Literal["all", "kernels", "dense"]) -> Any:
    """Return a tree that is true where weight decay acts: everywhere, on kernels, or on kernels that mix channels.

    A kernel has at least two axes, where biases and norms have one. A depthwise kernel sees one input channel.
    """

    def decays(leaf: Any) -> bool:
        depthwise = leaf.ndim == 4 and leaf.shape[2] == 1
        return on == "all" or (leaf.ndim > 1 and not (on == "dense" and depthwise))

    return jax.tree.map(decays, params)


def check_frozen(params: Any, patterns: Sequence[str]) -> None:
    """Refuse a wildcard of `freeze` that matches no parameter."""
    for pattern in patterns:
        if not any(jax.tree.leaves(matching(params, [pattern]))):
            names = ", ".join(list(params)[:3])
            raise UserError(f"`freeze`={pattern}: no parameter matches it; their names are like {names}")


def classes_of(params: Any) -> int:
    """Return how many classes a network with these parameters tells apart."""
    return params[HEAD]["kernel"].shape[-1]
