"""The base of every family: the fields that all networks have, convolution with batch norm, and the classifier."""

import bisect
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from jsep.errors import UserError
from jsep.layers import BatchNorm, Dropout, FrozenBatchNorm, GlobalAvgPool, classifier, conv_norm
from jsep.models.stage import Stage
from jsep.ops.geometry import EmptyMap

Output = Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]] | dict[str, Stage]


def floored(features: int, width: float) -> int:
    """Return features * width without its fraction: the features of a layer in a network of another width.

    Raises:
        UserError: no feature is left.

    >>> floored(64, 0.3)
    19
    """
    if (found := int(features * width)) < 1:
        sentence = f"it leaves none of the {features} features of a layer; choose a larger one"
        raise UserError(f"option width={width}: {sentence}")
    return found


class Network(nn.Module):
    """Base of every family. A family adds its options and `__call__(x, *, train=False, features=False) -> Output`.

    The call returns logits; with `features=True` also the maps at the end of each stage by name. It refuses images that
    are too small for the network.

    Attributes:
        num_classes: number of logits; with 0 the network has no classifier and returns its stages alone, the last
            of which, called head, holds the maps that the classifier would read.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics and draw dropout together; None outside `pmap`.
        epsilon: number that batch norms add to the variance.
        norm_momentum: share of the running statistics that batch norms keep.
        frozen_norm: batch norms are constants: they neither train nor follow the batch. Those inside of other layers,
            such as DiCE units, are not.
    """

    num_classes: int = 1000
    dtype: Dtype | None = None
    axis_name: str | None = None
    epsilon: float = 1e-5
    norm_momentum: float = 0.9
    frozen_norm: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = refusing_small_images(cls.__call__)

    # nowrap: a method of its own would show in the names of compiled operations, between the network and its layers

    @nn.nowrap
    def norm(self, name: str) -> BatchNorm:
        """Return a batch norm with the family's constants."""
        kind = FrozenBatchNorm if self.frozen_norm else BatchNorm
        return kind(self.norm_momentum, self.epsilon, self.axis_name, self.dtype, name=name)

    @nn.nowrap
    def conv_norm(
        self,
        x: Float[Array, "n h w c"],
        conv: nn.Module,
        act: Callable[[Array], Array] | None = None,
        *,
        norm: str = "",
        train: bool,
    ) -> Float[Array, "n h2 w2 f"]:
        """Apply a convolution, a batch norm called {name of the convolution}_norm by default, and an activation."""
        return conv_norm(x, conv, self.norm(norm or f"{conv.name}_norm"), act, train=train)

    @nn.nowrap
    def classified(
        self,
        x: Float[Array, "n h w c"],
        stages: Mapping[str, Stage],
        *,
        train: bool,
        features: bool,
        dropout: float = 0.0,
        pooled: Callable[[Array], Array] | None = None,
        kernel_init: Initializer = nn.initializers.lecun_normal(),  # noqa: B008
    ) -> Output:
        """Return what a network returns, from its last maps.

        Args:
            x: the last maps.
            stages: maps at the end of each stage by name.
            train: apply dropout.
            features: return the stages beside the logits.
            dropout: rate of dropout in front of the classifier.
            pooled: layers that make features (n, k) of the maps; by default their means.
            kernel_init: initializer of the classifier.
        """
        if not self.num_classes:
            return {**stages, "head": Stage(x, list(stages.values())[-1].stride)}
        x = pooled(x) if pooled else GlobalAvgPool(name="pool")(x)
        if dropout:
            x = Dropout(dropout, self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype, kernel_init)
        return (logits, dict(stages)) if features else logits


def refusing_small_images(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call of a family with an error that says which images it takes, in place of one about a window."""

    @functools.wraps(call)
    def checked(self: nn.Module, x: Array, **kwargs: Any) -> Any:
        if jnp.ndim(x) != 4:
            raise UserError(f"{type(self).__name__} takes images of shape (n, h, w, c), not {jnp.shape(x)}")
        try:
            return call(self, x, **kwargs)
        except EmptyMap:
            least = _least_side(self, call, x.shape[-1])
        raise UserError(
            f"{type(self).__name__} needs images of at least {least}x{least}, not {x.shape[1]}x{x.shape[2]}"
        )

    return checked


def _least_side(network: nn.Module, call: Callable[..., Any], channels: int) -> int:
    """Return the side of the smallest square images that a network takes, found by evaluating it on shapes."""
    network = network.clone(parent=None, name=None)

    def fits(side: int) -> bool:
        try:
            x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
            jax.eval_shape(functools.partial(network.init, method=call), jax.random.key(0), x)
        except (EmptyMap, UserError):  # the latter of its backbone
            return False
        return True

    high = next((side for side in (2**i for i in range(12)) if fits(side)), 2**12)  # failing early is quick
    sides = range(high // 2 + 1, high)
    return sides.start + bisect.bisect_left(sides, True, key=fits)
