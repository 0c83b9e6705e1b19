"""Convolution, batch normalisation and activation in a row: the step that networks are made of."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from jsep.layers import fusion
from jsep.layers.norm import BatchNorm, FrozenBatchNorm


class WithBatchNorm(nn.Module):
    """Base of the convolutions that hold batch norms of their own, and are therefore called with `train`."""


def call_conv(conv: nn.Module, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n h2 w2 f"]:
    """Call a convolution, with `train` if it holds batch norms of its own."""
    return conv(x, train=train) if isinstance(conv, WithBatchNorm) else conv(x)


def conv_norm(
    x: Float[Array, "n h w c"],
    conv: nn.Module,
    norm: BatchNorm,
    act: Callable[[Array], Array] | None = None,
    *,
    train: bool,
) -> Float[Array, "n h2 w2 f"]:
    """Apply a convolution, batch normalisation and an activation.

    Every network comes through here wherever the three follow one another, so that they can be fused: see
    `jsep.layers.fusion`.

    Args:
        x: input maps.
        conv: the convolution. It needs no bias.
        norm: the batch norm of its output.
        act: the activation; None leaves the normalised maps as they are.
        train: normalise by the statistics of the batch, and update the running ones.

    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, *, train=False):
    ...         conv = layers.Conv(8, 3, 2, use_bias=False, name="stem")
    ...         return layers.conv_norm(x, conv, layers.BatchNorm(name="stem_norm"), nn.relu, train=train)
    >>> Net().init_with_output(jax.random.key(0), jnp.ones((1, 32, 32, 3)))[0].shape
    (1, 16, 16, 8)
    """
    with fusion.norm_follows(train and not isinstance(norm, FrozenBatchNorm)):
        y = call_conv(conv, x, train=train)
    y = norm(y, train=train)
    return y if act is None else fusion.activate(act, y)
