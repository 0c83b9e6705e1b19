"""Batch norms with statistics of their own after the layers before them have changed."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jsep.layers import BatchNorm


def renew_statistics(
    model: nn.Module, variables: dict[str, Any], batches: Iterable[Array], seed: int = 0
) -> dict[str, Any]:
    """The variables with other running statistics: the mean of those of each batch. Nothing is left of the earlier.

    Args:
        model: on one device, that is without an axis name.
        variables: its parameters and statistics.
        batches: images (n, h, w, c), normalised; at least one batch.
        seed: of dropout.
    """

    nothing = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @jax.jit
    def of_batch(params: Any, x: Array) -> dict[str, Any]:
        rngs = {"dropout": jax.random.key(seed)}
        with nn.intercept_methods(_whole):
            _, seen = model.apply(
                {"params": params, "batch_stats": nothing}, x, train=True, mutable=["batch_stats"], rngs=rngs
            )
        return dict(seen["batch_stats"])

    seen = [of_batch(variables["params"], x) for x in batches]
    return {**variables, "batch_stats": jax.tree.map(lambda *each: jnp.mean(jnp.stack(each), 0), *seen)}


def _whole(call: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """A batch norm whose running statistics were zero has a share of the batch's now; make it all of them."""
    layer, y = context.module, call(*args, **kwargs)
    if isinstance(layer, BatchNorm) and context.method_name == "__call__":
        for name, value in layer.variables["batch_stats"].items():
            layer.put_variable("batch_stats", name, value / (1 - layer.momentum))
    return y
