"""Normalisation over a batch, over groups of channels, and of the channels of each position."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import fusion
from jsep.layers.watch import path_of
from jsep.ops import Moments
from jsep.ops.norm import Vector, by_channel
from jsep.ops.precision import accumulation_dtype


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with running statistics in `batch_stats`.

    Statistics are computed in at least float32. The running variance is the biased one, as in Flax; PyTorch's is
    n / (n - 1) times as large. As in PyTorch, training refuses a batch with a single value for each channel, which
    would always be normalised to 0.

    Attributes:
        momentum: share of the running statistics that an update keeps (0.9 is PyTorch's 0.1).
        epsilon: number added to the variance.
        axis_name: mapped axis whose devices share batch statistics; None outside `pmap`.
        dtype: dtype of the computation.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"], *, train: bool) -> Float[Array, "*batch c"]:
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        (x,) = promote_dtype(x, dtype=self.dtype)
        if not train:
            return _normalised(x, running_mean.value, running_var.value, scale, bias, self.epsilon)
        axis_name = None if self.is_initializing() else self.axis_name
        if axis_name == self.axis_name:  # otherwise nobody knows how many devices there will be
            self._check_batch(x.size // shape[0] * (lax.axis_size(axis_name) if axis_name else 1))
        if fusion.fusing(x):
            moments = fusion.moments_of(x).over_devices(axis_name)
            y = fusion.normalise(x, fusion.normalisation(moments, scale, bias, self.epsilon))
            mean, var = moments.mean, moments.variance
        else:
            y, mean, var = ops.batch_norm_train(x, scale, bias, self.epsilon, axis_name)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * var
        return y

    def _check_batch(self, values: int) -> None:
        """Refuse a batch in which each channel has so few values, over all devices, that they have no variance."""
        if values < 2:
            raise UserError(
                f"{path_of(self) or 'BatchNorm'} has {values or 'no'} value for each channel to normalise in training: "
                "raise `batch_size`, lower `accumulate` or use larger images"
            )


class FrozenBatchNorm(BatchNorm):
    """Batch normalisation by constants, scale and bias among them: all are in `batch_stats`, and nothing of it trains.

    Detectors begin with the weights of a classifier and have too few pictures in a batch for statistics of their own.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"], *, train: bool) -> Float[Array, "*batch c"]:
        initial = {"mean": jnp.zeros, "var": jnp.ones, "scale": jnp.ones, "bias": jnp.zeros}
        held = {
            name: self.variable("batch_stats", name, init, x.shape[-1:], jnp.float32).value
            for name, init in initial.items()
        }
        (x,) = promote_dtype(x, dtype=self.dtype)
        return _normalised(x, **held, epsilon=self.epsilon)


class GroupNorm(nn.Module):
    """Normalisation of each image over groups of channels and all positions. Paper: Wu and He, arXiv 1803.08494.

    Attributes:
        groups: number of groups, which divides the channels.
        epsilon: number added to the variance.
        dtype: dtype of the computation; sums are at least float32.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        (x,) = promote_dtype(x, dtype=self.dtype)
        wide = x.astype(accumulation_dtype(x.dtype)).reshape(*x.shape[:-1], self.groups, -1)
        wide = wide - wide.mean((1, 2, 4), keepdims=True)
        y = wide * lax.rsqrt(jnp.square(wide).mean((1, 2, 4), keepdims=True) + self.epsilon)
        return (y.reshape(x.shape) * by_channel(scale, x) + by_channel(bias, x)).astype(x.dtype)


class L2Norm(nn.Module):
    """The channels of each position over their Euclidean length, times a scale for each channel.

    Paper: Liu et al., arXiv 1506.04579, section 3.3.

    Attributes:
        scale_init: initializer of the scales.
    """

    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
        scale = self.param("scale_weight", self.scale_init, x.shape[-1:], jnp.float32)
        wide = x.astype(accumulation_dtype(x.dtype))
        length = jnp.sqrt(jnp.maximum(jnp.square(wide).sum(-1, keepdims=True), 1e-24))  # the gradient at 0 is 0
        return (wide / length * by_channel(scale, x)).astype(x.dtype)


def _normalised(x: Array, mean: Vector, var: Vector, scale: Vector, bias: Vector, epsilon: float) -> Array:
    """Return maps normalised by moments that are known."""
    if not fusion.fusing(x):
        return ops.batch_norm(x, mean, var, scale, bias, epsilon)
    mean, var = jnp.asarray(mean, jnp.float32), jnp.asarray(var, jnp.float32)
    moments = Moments(mean, jnp.zeros_like(mean), var)
    return fusion.normalise(x, fusion.normalisation(moments, scale, bias, epsilon))
