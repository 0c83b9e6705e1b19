"""Convolutions by the native kernels of a CPU, as differentiable functions of arrays.

The price of their gradient is forward-mode differentiation: `jax.jvp`, `jax.jacfwd` and `jax.hessian` do not pass
through a `custom_vjp`. Gradients of gradients in reverse mode do, by the plain form of the gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from jsep import native
from jsep.ops.fold import ACTIVATIONS, plain_fold
from jsep.ops.geometry import Geometry, pad
from jsep.ops.lowering import native_kernels


class Job(NamedTuple):
    """Description of a convolution, apart from its arrays.

    Attributes:
        geometry: strides, padding and dilation.
        groups: groups of input channels; as many as channels in a depthwise convolution.
        depthwise: whether it is depthwise.
        act: activation of the folded input.
        moments: whether the moments of the output are wanted.
    """

    geometry: Geometry
    groups: int = 1
    depthwise: bool = False
    act: str = "none"
    moments: bool = False

    def attributes(self) -> dict[str, Any]:
        """Return what the kernels call it."""
        strides, ((top, _), (left, _)), dilation = self.geometry
        act = ACTIVATIONS.index(self.act)
        geometry = (*strides, top, left, *dilation)
        return {"geometry": geometry, "groups": self.groups, "act": act, "depthwise": self.depthwise}


def natively(x: Array, kernel: Array, job: Job) -> Callable[..., Array] | None:
    """Return the convolution (x, kernel) -> y by the native kernels; None where they are not to be used."""
    if not usable(x, kernel):
        return None

    def convolve(x: Array, kernel: Array) -> Array:
        result: Any = native_conv(x, kernel, jnp.zeros((4, 0), jnp.float32), job)
        return result[0]

    return convolve


def usable(x: Array, kernel: Array) -> bool:
    """Return whether the program may call the kernels, and they know these arrays."""
    return native_kernels() and x.dtype == kernel.dtype and x.dtype in (jnp.float32, jnp.bfloat16)


def xla_conv(x: Array, kernel: Array, geometry: Geometry, groups: int, precision: lax.Precision | None = None) -> Array:
    """Return the convolution as XLA's own operation."""
    strides, pads, dilation = geometry
    if min(map(min, pads)) < 0:  # XLA on a CPU reads out of bounds if one end is cut and the other padded
        x = pad(x, [(min(low, 0), min(high, 0)) for low, high in pads])
        pads = [(max(low, 0), max(high, 0)) for low, high in pads]
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilation,
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision=precision,
    )


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def native_conv(x: Array, kernel: Array, fold: Array, job: Job) -> tuple[Array, Array]:
    """Return conv(act((x - mean) * factor + bias)) and its moments, by the native kernels.

    Args:
        x: activations (n, h, w, c).
        kernel: kernel (kh, kw, c / groups, o).
        fold: mean, factor, bias and slope (4, c) in float32, or (4, 0) where x is read as it is.
        job: the rest.

    Returns:
        The output (n, h2, w2, o), and (3, o) in float32: the means, what their rounding left out, and the biased
        variances; (3, 0) if they are not wanted.
    """
    y = jax.eval_shape(partial(xla_conv, geometry=job.geometry, groups=job.groups), x, kernel)
    moments = jax.ShapeDtypeStruct((3, kernel.shape[-1] if job.moments else 0), jnp.float32)
    y, moments = native.call("forward", (y, moments), x, kernel, fold, **job.attributes())
    return y, moments


def _forward(x: Any, kernel: Any, fold: Any, job: Job) -> tuple[tuple[Array, Array], Any]:
    result: Any = native_conv(x.value, kernel.value, fold.value, job)
    y, moments = result
    wanted = () if x.perturbed else None  # a flag as part of the tree's structure; images need no gradient
    return (y, moments), (x.value, kernel.value, fold.value, y if job.moments else None, moments, wanted)


def _backward(job: Job, saved: Any, cotangents: Any) -> tuple[Array | None, Array, Array]:
    x, kernel, fold, y, moments, wanted = saved
    g, more = map(_instantiated, cotangents)
    if y is None:
        y, vectors = jnp.zeros((0,), x.dtype), jnp.zeros((3, 0), jnp.float32)
    else:
        count = max(1, y.size // y.shape[-1])
        vectors = jnp.stack([moments[0], more[0] / count, more[2] * (2 / count)])
    gradients: Any = _gradients(x, kernel, fold, g, y, vectors, job, wanted is not None)
    dx, dkernel, dfold = gradients
    return (dx if wanted is not None else None), dkernel, dfold


def _instantiated(cotangent: Any) -> Array:
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    array: Any = cotangent.aval
    return jnp.zeros(array.shape, array.dtype)


native_conv.defvjp(_forward, _backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _gradients(
    x: Array, kernel: Array, fold: Array, g: Array, y: Array, vectors: Array, job: Job, wanted: bool
) -> tuple[Array, Array, Array]:
    """Return the gradients of x (empty if it is not wanted), kernel and fold.

    Args:
        x: see `native_conv`.
        kernel: see `native_conv`.
        fold: see `native_conv`.
        g: gradient of the output itself.
        y: the output, or (0,) without moments.
        vectors: mean, constant and slope (3, o) of the gradient that the moments add: constant + slope * (y - mean).
        job: see `native_conv`.
        wanted: whether the gradient of x is.
    """
    dx, dkernel = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, kernel))
    outputs = (dx if wanted else jax.ShapeDtypeStruct((0,), x.dtype), dkernel)
    sums = jax.ShapeDtypeStruct((3, fold.shape[1]), jnp.float32)
    arrays = (x, kernel, fold, g, y, vectors)
    dx, dkernel, sums = native.call("backward", (*outputs, sums), *arrays, **job.attributes())
    return dx, dkernel, jnp.concatenate([-fold[1:2] * sums[1:2], sums])


def _plain_gradients(
    x: Array, kernel: Array, fold: Array, g: Array, y: Array, vectors: Array, job: Job, wanted: bool
) -> tuple[Array, ...]:
    """Return what `_gradients` does, in plain JAX."""

    def conv(x: Array, kernel: Array, fold: Array) -> Array:
        folded = plain_fold(x, fold, job.act) if fold.size else x
        return xla_conv(folded, kernel, job.geometry, job.groups)

    if y.ndim > 1:
        mean, constant, slope = vectors.reshape(3, 1, 1, 1, -1)
        wide_g, wide_y = (a.astype(vectors.dtype) for a in (g, y))
        g = (wide_g + constant + slope * (wide_y - mean)).astype(g.dtype)
    dx, dkernel, dfold = jax.vjp(conv, x, kernel, fold)[1](g)
    return (dx if wanted else jnp.zeros((0,), x.dtype)), dkernel, dfold


def _gradients_forward(*args: Any) -> tuple[Any, Any]:
    return _gradients(*args), args[:6]


def _gradients_backward(job: Job, wanted: bool, saved: Any, cotangents: Any) -> Any:
    return jax.vjp(partial(_plain_gradients, job=job, wanted=wanted), *saved)[1](cotangents)


_gradients.defvjp(_gradients_forward, _gradients_backward)
