"""Batch normalisation."""

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jax import lax
from jaxtyping import Array, Float

from jsep import ops
from jsep.errors import UserError
from jsep.layers import fusion
from jsep.layers.watch import path_of
from jsep.ops import Moments


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
        fused = fusion.fusing(x)
        if not train:
            if not fused:
                return ops.batch_norm(x, running_mean.value, running_var.value, scale, bias, self.epsilon)
            mean, var = (jnp.asarray(v.value, jnp.float32) for v in (running_mean, running_var))
            running = Moments(mean, jnp.zeros(shape, jnp.float32), var)
            return fusion.normalise(x, fusion.normalisation(running, scale, bias, self.epsilon))
        axis_name = None if self.is_initializing() else self.axis_name
        if axis_name == self.axis_name:  # otherwise nobody knows how many devices there will be
            self._check_batch(x.size // shape[0] * (lax.axis_size(axis_name) if axis_name else 1))
        if fused:
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
