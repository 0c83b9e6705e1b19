"""A normalisation and an activation as one function of an array, which a convolution may apply while it reads it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jsep.ops.norm import Vector, by_channel
from jsep.ops.precision import accumulation_dtype

ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "prelu")  # in the order of the native kernels' numbers


class Fold(NamedTuple):
    """The function act((x - mean) * factor + bias) of maps, with vectors of one value for each channel.

    Attributes:
        mean: what is subtracted first, which keeps the digits of activations far from zero.
        factor: what the difference is multiplied by.
        bias: what is added.
        act: the activation, one of `ACTIVATIONS`.
        slope: slope of "prelu" below zero.
    """

    mean: Vector
    factor: Vector
    bias: Vector
    act: str = "none"
    slope: Vector | None = None

    def rows(self, dtype: DTypeLike) -> Float[Array, "4 c"]:
        """Return the vectors as the rows of a matrix: mean, factor, bias, slope."""
        slope = jnp.zeros_like(self.bias) if self.slope is None else self.slope
        return jnp.stack([jnp.asarray(vector).astype(dtype) for vector in (*self[:3], slope)])


def apply_fold(x: Float[Array, "*batch c"], fold: Fold) -> Float[Array, "*batch c"]:
    """Return act((x - mean) * factor + bias) in the dtype of `x`.

    The gradient saves only `x`, and passes over it twice: for the sums, and for the gradient of `x`. There is no
    forward-mode differentiation.

    >>> fold = Fold(jnp.asarray([1.0]), jnp.asarray([2.0]), jnp.asarray([3.0]), "relu6")
    >>> apply_fold(jnp.asarray([[-4.0], [1.0], [9.0]]), fold).ravel()
    Array([0., 3., 6.], dtype=float32)
    """
    return _apply(x, fold.rows(accumulation_dtype(x.dtype)), fold.act)


def plain_fold(x: Array, rows: Array, act: str) -> Array:
    """Return what `apply_fold` does, differentiable in every way."""
    mean, factor, bias, slope = (by_channel(row, x) for row in rows)
    v = (x.astype(rows.dtype) - mean) * factor + bias
    return _activate(v, slope, act).astype(x.dtype)


def _activate(v: Array, slope: Array | np.ndarray, act: str) -> Array:
    match act:
        case "none":
            return v
        case "relu":
            return jax.nn.relu(v)
        case "relu6":
            return jax.nn.relu6(v)
        case "hard_swish":
            return jax.nn.hard_swish(v)
        case "prelu":
            return jnp.where(v >= 0, v, v * slope)
    raise ValueError(f"act={act!r}: it must be one of {', '.join(ACTIVATIONS)}")


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _apply(x: Array, rows: Array, act: str) -> Array:
    return plain_fold(x, rows, act)


def _apply_fwd(x: Array, rows: Array, act: str) -> tuple[Array, tuple[Array, Array]]:
    return plain_fold(x, rows, act), (x, rows)


def _apply_bwd(act: str, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, rows = saved
    dtype = accumulation_dtype(x.dtype)
    mean, factor, bias, slope = (by_channel(row, x) for row in rows)
    wide = x.astype(dtype)

    def before_activation(centred: Array) -> tuple[Array, Array]:
        """Return the gradient of what goes into the activation, and that of the slope."""
        _, transpose = jax.vjp(partial(_activate, act=act), centred * factor + bias, jnp.broadcast_to(slope, x.shape))
        return transpose(g.astype(dtype))

    # written in two ways, since XLA on a CPU stores a difference that two operations share
    centred = wide + -mean
    dv, dslope = before_activation(centred)
    over = tuple(range(x.ndim - 1))
    dfactor, dbias = jnp.sum(dv * centred, over), jnp.sum(dv, over)
    slopes = jnp.sum(dslope, over) if act == "prelu" else jnp.zeros_like(dbias)
    dx = before_activation(wide - mean)[0] * factor
    return dx.astype(x.dtype), jnp.stack([-rows[1] * dbias, dfactor, dbias, slopes])


_apply.defvjp(_apply_fwd, _apply_bwd)
