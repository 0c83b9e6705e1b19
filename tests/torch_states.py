"""Weights by the names of PyTorch's packages, drawn at random, for tests without PyTorch."""

import numpy as np

from jsep.models import create_model
from jsep.port.convert import LEAVES
from jsep.port.names import layouts
from jsep.trees import flatten


def state_of(drawn, name, source, shape, classes=5, **options):
    """Draw weights of a network by the names of a package."""
    model = create_model(name, num_classes=classes, **options)
    layout = next(one for one in layouts(model) if source in one.source)
    state = {}
    for path, array in flatten(drawn(model, (1, *shape))).items():
        _, *layers, kind = path.split("/")
        value = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        state[f"{layout.torch('/'.join(layers))}.{LEAVES[kind]}"] = np.ascontiguousarray(value)
    return state
