"""Selections of parameters by name and kind: those that are frozen, those that decay, and the classifier."""

import fnmatch
from collections.abc import Sequence
from typing import Any, Literal

import jax

from jsep.errors import UserError
from jsep.trees import map_named

HEAD = "classifier"  # the name of the last layer of every network


def matching(tree: Any, patterns: Sequence[str]) -> Any:
    """Return a tree of booleans, true where the path of a leaf, or of a module above it, matches a wildcard.

    >>> matching({"stem": {"kernel": 0}, "stem_norm": {"scale": 0}}, ["stem"])
    {'stem': {'kernel': True}, 'stem_norm': {'scale': False}}
    """
    return map_named(lambda path, _: matches(path, patterns), tree)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a path, or the path of a module above it, matches a wildcard.

    >>> matches("stage1/conv/kernel", ["stage?"]), matches("stage1/conv/kernel", ["kernel"])
    (True, False)
    """
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(fnmatch.fnmatchcase(name, pattern) for name in above for pattern in patterns)


def decayed(params: Any, on: Literal["all", "kernels", "dense"]) -> Any:
    """Return a tree of booleans, true where weight decay acts.

    Args:
        params: the parameters.
        on: "all"; "kernels", the parameters with at least two axes, which leaves out biases and norms; or "dense",
            the kernels that are not depthwise, that is, see more than one input channel.
    """

    def decays(leaf: Any) -> bool:
        depthwise = leaf.ndim == 4 and leaf.shape[2] == 1
        return on == "all" or (leaf.ndim > 1 and not (on == "dense" and depthwise))

    return jax.tree.map(decays, params)


def check_frozen(params: Any, patterns: Sequence[str]) -> None:
    """Check that every wildcard of `freeze` matches a parameter.

    Raises:
        UserError: one does not.
    """
    for pattern in patterns:
        if not any(jax.tree.leaves(matching(params, [pattern]))):
            names = ", ".join(list(params)[:3])
            raise UserError(f"`freeze`={pattern}: no parameter matches it; their names are like {names}")


def classes_of(params: Any) -> int:
    """Return the number of classes of a network with these parameters."""
    return params[HEAD]["kernel"].shape[-1]
