"""Intercepting the layers of a network: to count them, to record their inputs, or to compute something else instead."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn

Answer = Callable[..., Any]


def watch(answer: Answer, *kinds: type[nn.Module]) -> AbstractContextManager[None]:
    """Let `answer` stand in for every call of a layer, for as long as the context lasts.

    Args:
        answer: called as `answer(layer, call, *args, **kwargs)`, with the arguments of the layer; what it returns is
            what the network gets. `call(*args, **kwargs)` computes what the layer itself would return.
        *kinds: the classes of layers to watch; every module where none is given.

    Example: the paths of a network's convolutions, in the order of evaluation.

    >>> seen = []
    >>> def note(layer, call, *args, **kwargs):
    ...     seen.append(path_of(layer))
    ...     return call(*args, **kwargs)
    >>> with watch(note, layers.Conv):
    ...     _ = jax.eval_shape(create_model("resnet20", depth=8).init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    >>> seen[:2]
    ['stem', 'stage1_block1_conv1']
    """
    watched = kinds or (nn.Module,)

    def intercept(call: Answer, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != "__call__" or not isinstance(context.module, watched):
            return call(*args, **kwargs)
        return answer(context.module, call, *args, **kwargs)

    return nn.intercept_methods(intercept)


def path_of(layer: nn.Module) -> str:
    """Return where a layer lies in its network, such as stage1_block1/norm: the path of its parameters."""
    return "/".join(layer.path)
