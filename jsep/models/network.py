"""The base of every family: the fields that all networks have, convolution with batch norm, and the classifier."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import flax.linen as nn
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from jsep.layers import BatchNorm, Dropout, GlobalAvgPool, classifier, conv_norm
from jsep.models.stage import Stage

Output = Float[Array, "n k"] | tuple[Float[Array, "n k"], dict[str, Stage]]


class Network(nn.Module):
    """Base of every family. A family adds its options and `__call__(x, *, train=False, features=False) -> Output`.

    The call returns logits; with `features=True` also the maps at the end of each stage by name.

    Attributes:
        num_classes: number of logits.
        dtype: dtype of the computation; None computes in that of the input. Parameters are float32.
        axis_name: mapped axis whose devices share batch statistics and draw dropout together; None outside of `pmap`.
    """

    num_classes: int = 1000
    dtype: Dtype | None = None
    axis_name: str | None = None

    norm_momentum: ClassVar[float] = 0.9
    norm_epsilon: ClassVar[float] = 1e-5

    # nowrap: a method of its own would show in the names of compiled operations, between the network and its layers

    @nn.nowrap
    def norm(self, name: str) -> BatchNorm:
        """Return a batch norm with the family's constants."""
        return BatchNorm(self.norm_momentum, self.norm_epsilon, self.axis_name, self.dtype, name=name)

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
        x: Float[Array, "n *hw c"],
        stages: Mapping[str, Stage],
        *,
        train: bool,
        features: bool,
        dropout: float = 0.0,
        kernel_init: Initializer = nn.initializers.lecun_normal(),  # noqa: B008
    ) -> Output:
        """Return what a network returns, from its last maps or from features that are pooled already.

        Args:
            x: maps, which are averaged first, or features of shape (n, c).
            stages: maps at the end of each stage by name.
            train: apply dropout.
            features: return the stages beside the logits.
            dropout: rate of dropout in front of the classifier.
            kernel_init: initializer of the classifier.
        """
        if x.ndim == 4:
            x = GlobalAvgPool(name="pool")(x)
        if dropout:
            x = Dropout(dropout, self.axis_name, name="dropout")(x, train=train)
        logits = classifier(x, self.num_classes, self.dtype, kernel_init)
        return (logits, dict(stages)) if features else logits
