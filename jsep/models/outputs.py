"""Which arrays of a network depend on its number of classes, found by comparing shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jsep.errors import UserError
from jsep.models.registry import create_model, model_info
from jsep.trees import flatten


def sized_by_classes(name: str, options: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Return the arrays of a network that are larger for more classes.

    Args:
        name: registered name of the network.
        options: its options.

    Returns:
        For each such array, by its path, an axis, its size with 2 classes, and what each further class adds.

    >>> sized_by_classes("resnet20", {"depth": 8})["params/classifier/kernel"]
    (1, 2, 1)
    """
    image = jax.ShapeDtypeStruct((1, *model_info(name).input_shape), jnp.float32)
    two, three = (
        flatten(jax.eval_shape(create_model(name, num_classes=classes, **options).init, jax.random.key(0), image))
        for classes in (2, 3)
    )
    found = {}
    for path, leaf in two.items():
        for axis, (less, more) in enumerate(zip(leaf.shape, three[path].shape, strict=True)):
            if less != more:
                found[path] = (axis, less, more - less)
    return found


def count_classes(name: str, options: Mapping[str, Any], variables: Any) -> int:
    """Return the number of classes of a network with these variables, of a detector with the background.

    Args:
        name: registered name of the network.
        options: its options.
        variables: its variables, or their shapes.

    >>> model = create_model("resnet20", depth=8, num_classes=7)
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    >>> count_classes("resnet20", {"depth": 8}, variables)
    7

    Raises:
        UserError: the variables belong to another network.
    """
    given = flatten(variables)
    for path, (axis, two, each) in sized_by_classes(name, options).items():
        if path in given and len(shape := given[path].shape) > axis:
            return 2 + (shape[axis] - two) // each
    raise UserError(f"The weights do not belong to {name}: choose others, or other options")
