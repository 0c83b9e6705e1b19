"""Selections of parameters by name and kind: those that are frozen, those that decay, and the classifier."""

import difflib
import fnmatch
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax

from jsep.errors import UserError
from jsep.trees import map_named

HEAD = "classifier"  # the name of the last layer of every network
BACKBONE = "backbone"  # a word for everything else, among the wildcards


def matching(tree: Any, patterns: Sequence[str]) -> Any:
    """Return a tree of booleans, true where the path of a leaf, or of a module above it, matches a wildcard.

    >>> matching({"stem": {"kernel": 0}, "stem_norm": {"scale": 0}}, ["stem"])
    {'stem': {'kernel': True}, 'stem_norm': {'scale': False}}
    """
    return map_named(lambda path, _: matches(path, patterns), tree)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Return whether a path, or the path of a module above it, matches a wildcard.

    The word "backbone" matches everything but the classifier.

    >>> matches("stage1/conv/kernel", ["stage?"]), matches("stage1/conv/kernel", ["kernel"])
    (True, False)
    >>> matches("stage1/conv/kernel", ["backbone"]), matches("classifier/kernel", ["backbone"])
    (True, False)
    """
    parts = path.split("/")
    if BACKBONE in patterns and parts[0] != HEAD:
        return True
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


def thaw(entry: str) -> tuple[str, float]:
    """Return the wildcard of an entry of `freeze`, and the epochs after which what it matches is trained.

    >>> thaw("stage*:2"), thaw("stem")
    (('stage*', 2), ('stem', inf))

    Raises:
        UserError: what follows the colon is not a number of epochs.
    """
    pattern, colon, epochs = entry.partition(":")
    if not colon:
        return pattern, math.inf
    if not epochs.isdecimal() or int(epochs) < 1:
        raise UserError(f"`freeze`={entry}: a whole number of epochs, at least 1, must follow the colon")
    return pattern, int(epochs)


def named_backbone(freeze: Sequence[str], backbone: str) -> tuple[str, ...]:
    """Return the entries of `freeze` with another wildcard in place of the word "backbone".

    >>> named_backbone(["stem", "backbone:2"], "backbone/*")
    ('stem', 'backbone/*:2')
    """
    return tuple(backbone + entry.removeprefix(BACKBONE) if thaw(entry)[0] == BACKBONE else entry for entry in freeze)


def still_frozen(freeze: Sequence[str], epoch: int) -> tuple[str, ...]:
    """Return the wildcards of `freeze` that hold in an epoch.

    >>> [still_frozen(["stem", "stage*:2"], epoch) for epoch in (1, 2)]
    [('stem', 'stage*'), ('stem',)]

    Args:
        freeze: the entries, see `thaw`.
        epoch: the epoch, counted from 0.
    """
    return tuple(pattern for pattern, epochs in map(thaw, freeze) if epoch < epochs)


def delays(freeze: Sequence[str]) -> list[int]:
    """Return the epochs, counted from 0, in which something that `freeze` names begins to be trained.

    >>> delays(["stem", "stage1*:4", "stage2*:2"])
    [2, 4]
    """
    return sorted({int(epochs) for _, epochs in map(thaw, freeze) if math.isfinite(epochs)})


def frozen_epochs(path: str, freeze: Sequence[str]) -> float:
    """Return the number of epochs that a parameter is frozen for: the most of those entries of `freeze` that match it.

    >>> [frozen_epochs(path, ["stem", "s*:2"]) for path in ("stem/kernel", "stage1/kernel", "classifier/bias")]
    [inf, 2, 0]
    """
    return max((epochs for pattern, epochs in map(thaw, freeze) if matches(path, [pattern])), default=0)


def check_frozen(params: Any, freeze: Sequence[str]) -> None:
    """Check that every wildcard of `freeze` matches a parameter.

    Raises:
        UserError: one does not.
    """
    for pattern in still_frozen(freeze, 0):
        if not any(jax.tree.leaves(matching(params, [pattern]))):
            close = difflib.get_close_matches(pattern, [BACKBONE, *params], cutoff=0.7)
            names = f"their names are like {', '.join(list(params)[:3])}"
            hint = f"did you mean {' or '.join(close)}?" if close else names
            raise UserError(f"`freeze`={pattern}: no parameter matches it; {hint}")


def classes_of(params: Any) -> int:
    """Return the number of classes of a network with these parameters."""
    return params[HEAD]["kernel"].shape[-1]
