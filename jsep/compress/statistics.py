"""Recomputing the running statistics of batch norms after the layers before them have changed."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jsep import ops
from jsep.layers import BatchNorm
from jsep.layers.watch import Answer, watch


def renew_statistics(
    model: nn.Module, variables: dict[str, Any], batches: Iterable[Float[Array, "n h w c"]], seed: int = 0
) -> dict[str, Any]:
    """Replace the running statistics of all batch norms by the mean of the statistics of some batches.

    Args:
        model: the network, without an `axis_name`: it runs on one device.
        variables: its parameters and statistics; the old statistics have no influence.
        batches: normalised images; at least one batch.
        seed: seed of the dropout.

    Returns:
        The variables with the new statistics.
    """
    nothing = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @ops.jit_inference
    def of_batch(params: Any, x: Array) -> dict[str, Any]:
        rngs = {"dropout": jax.random.key(seed)}
        with watch(_whole, BatchNorm):
            _, seen = model.apply(
                {"params": params, "batch_stats": nothing}, x, train=True, mutable=["batch_stats"], rngs=rngs
            )
        return dict(seen["batch_stats"])

    seen = [of_batch(variables["params"], x) for x in batches]
    return {**variables, "batch_stats": jax.tree.map(lambda *each: jnp.mean(jnp.stack(each), 0), *seen)}


def _whole(layer: nn.Module, call: Answer, *args: Any, **kwargs: Any) -> Any:
    """Call a batch norm and make its running statistics those of the batch.

    They start from zero, so that the call leaves (1 - momentum) times the batch's in them.
    """
    y = call(*args, **kwargs)
    assert isinstance(layer, BatchNorm)
    for name, value in layer.variables["batch_stats"].items():
        layer.put_variable("batch_stats", name, value / (1 - layer.momentum))
    return y
