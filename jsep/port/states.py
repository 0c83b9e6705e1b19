"""Finding the weights in what people save: under wrappers, behind prefixes, beside averages and other entries."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jsep.errors import UserError

# keys that training scripts keep the weights of a network under; of several sets the first of these is taken
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "module", "weights", "params")
# modules that wrap a whole network, so that their names come before all others, and those that wrap any part of it
PREFIXES = ("module", "model", "net", "network", "online_model")
ANYWHERE = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
AVERAGE = re.compile(r"(^|[_.])(ema|swa|avg|averaged?)([_.]|$)")
COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


class Found(NamedTuple):
    """The weights of one network.

    Attributes:
        arrays: arrays by name, without prefixes, as they were saved.
        notes: sentences on what was taken and what was left.
    """

    arrays: dict[str, Any]
    notes: tuple[str, ...]


def find_state(content: Any, source: object, *, average: bool = False) -> Found:
    """Find the weights of a network in a saved object.

    Args:
        content: what was saved: a state dict, or nested dictionaries around one.
        source: the file that it comes from, for messages.
        average: take the moving average of the weights rather than the weights.

    Raises:
        UserError: there are no weights, no averaged ones where they are asked for, or those of several networks.
    """
    sets = dict(_sets(content))
    if not sets:
        raise UserError(f"{source} holds no weights by PyTorch's names: {_complaint(content)}")
    averaged = [label for label, arrays in sets.items() if COUNTER in arrays or AVERAGE.search(label)]
    plain = [label for label in sets if label not in averaged]
    if average and not averaged:
        raise UserError(f"{source} holds no averaged weights: leave `average` out")
    chosen = _preferred(averaged if average else plain or averaged, source)
    others = [label or "the top" for label in sets if label != chosen]
    notes = []
    if chosen in averaged:
        notes.append(f"The weights are averaged ones{f', under {chosen}' if chosen else ''}.")
    elif others:
        notes.append(f"The weights are those under {chosen or 'the top'}.")
    if others:
        hint = " (`average` of jsep port takes averaged weights)" if averaged and chosen in plain else ""
        notes.append(f"Weights under {', '.join(others)} were left out{hint}.")
    arrays = {key: value for key, value in sets[chosen].items() if key != COUNTER}
    return Found(arrays, tuple(notes))


def to_numpy(name: str, value: Any, source: object) -> np.ndarray:
    """Return a tensor of PyTorch, or an array, as an array of NumPy.

    Raises:
        UserError: NumPy has no numbers for its dtype or its memory layout.
    """
    try:
        if not hasattr(value, "detach"):
            return np.asarray(value)
        tensor = value.detach().cpu()
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:  # quantised, sparse, 8-bit and empty tensors
        raise UserError(
            f"{source}: {name} is a tensor of {value.dtype} that has no plain values: give weights in float32, "
            "float16 or bfloat16"
        ) from error


def _sets(content: Any, label: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every state dict in nested dictionaries by the keys that lead to it."""
    if not isinstance(content, Mapping):
        return
    arrays = {key: value for key, value in content.items() if isinstance(key, str) and _is_array(value)}
    if any(key.endswith("weight") for key in arrays):
        groups: dict[str, dict[str, Any]] = {}
        for key, value in _without_prefix(arrays).items():
            first, _, rest = key.partition(".")
            own = rest and AVERAGE.search(first)  # averages may lie beside the weights, under a prefix
            groups.setdefault(first if own else "", {})[rest if own else key] = value
        for prefix, group in groups.items():
            yield ".".join(filter(None, (label, prefix))), _without_prefix(group)
    for key, value in content.items():
        if isinstance(key, str) and "optim" not in key:
            yield from _sets(value, f"{label}.{key}" if label else key)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _preferred(labels: list[str], source: object) -> str:
    """Return the label of the set to take."""
    ranked = [label for word in ("", *WRAPPERS) for label in labels if label.split(".")[-1] == word]
    if not ranked and len(labels) > 1:
        raise UserError(
            f"{source} holds the weights of several networks ({', '.join(labels)}): save those to be ported as a file "
            "of their own"
        )
    return (ranked or labels)[0]


def _without_prefix(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays without what stands before all their names, however often it is repeated."""
    # a scalar without a dot in its name, such as an epoch, is no weight
    found = {ANYWHERE.sub("", key): value for key, value in arrays.items() if "." in key or np.shape(value)}
    while firsts := {key.partition(".")[0] for key in found}:
        dropped = firsts if len(firsts) == 1 else firsts & set(PREFIXES)
        dropped = {first for first in dropped if not AVERAGE.search(first)}  # which `_sets` looks for
        kept = {key: key.partition(".")[2] if key.partition(".")[0] in dropped else key for key in found}
        # a layer and its array are left of every name, and two names do not become one
        if (
            not dropped
            or len(set(kept.values())) < len(kept)
            or any("." in key and "." not in kept[key] for key in kept)
        ):
            break
        found = {kept[key]: value for key, value in found.items()}
    return found | ({COUNTER: arrays[COUNTER]} if COUNTER in arrays else {})


def _complaint(content: Any) -> str:
    """Say what an object without a state dict is, and what to do."""
    remedy = "save the state_dict() of the network"
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}; {remedy}"
    if not content:
        return f"it is empty; {remedy}"
    keys = ", ".join(str(key) for key in list(content)[:3])
    if not any(isinstance(key, str) for key in content):
        return f"its keys are no names ({keys}); {remedy}"
    if any(str(key).startswith("params/") for key in content):
        return f"they are jsep's own, such as {keys}, which `init` of a training takes"
    return f"no name ends in weight, they are like {keys}; {remedy}"
