"""Rolling pointwise convolution: 1x1 kernels that read overlapping windows of channels, which wrap around."""

import math
import warnings
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float


def rolling_windows(channels: int, groups: int, overlap: float) -> np.ndarray:
    """Return the input channels of all distinct windows, as an array (windows, channels / groups).

    >>> rolling_windows(4, 2, 0.5).tolist()
    [[0, 1], [1, 2], [2, 3], [3, 0]]
    """
    width = channels // groups
    step = width - int(overlap * width)
    starts = np.arange(channels // math.gcd(channels, step)) * step
    return (starts[:, None] + np.arange(width)) % channels


class RollingPointwiseConv(nn.Module):
    """1x1 convolution without bias whose outputs read cyclic windows of c / groups channels.

    (n, h, w, c) -> (n, h, w, features), with the parameters and MACs of a grouped 1x1 convolution. Paper: Wang, Feng,
    Ding, arXiv 2101.00745 ("sliding-channel convolution"; "rolling pointwise" in the authors' code).

    Attributes:
        features: output channels; must be a multiple of the number of windows.
        groups: a window has c / groups channels. 1 is the dense 1x1 convolution, which is also used, with a warning,
            if `groups` does not divide c.
        overlap: share of its channels that a window has in common with the next one, at least 0 and less than 1.
        order: "block" gives each window a run of neighbouring outputs, "cyclic" deals them out to the windows in turn.
        dtype: dtype of the computation.
    """

    features: int
    groups: int = 2
    overlap: float = 0.5
    order: Literal["block", "cyclic"] = "block"
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w f"]:
        channels, groups = x.shape[-1], self.groups
        if not 0 <= self.overlap < 1:
            raise ValueError(f"{self.name}: overlap={self.overlap} must be at least 0 and less than 1")
        if channels % groups:
            warnings.warn(
                f"{self.name}: groups={groups} does not divide {channels} channels; it is dense", stacklevel=2
            )
            groups = 1
        windows = rolling_windows(channels, groups, self.overlap) if groups > 1 else np.arange(channels)[None]
        count, width = windows.shape
        if self.features % count:
            raise ValueError(f"{self.name}: {count} windows must divide the {self.features} features")
        shape = (count, width, self.features // count)
        kernel = self.param("kernel", nn.initializers.lecun_normal(batch_axis=0), shape, jnp.float32)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        y = jnp.einsum("nhwgi,gio->nhwgo", x[..., windows], kernel)
        y = y if self.order == "block" else jnp.swapaxes(y, -1, -2)
        return y.reshape(*x.shape[:-1], self.features)
