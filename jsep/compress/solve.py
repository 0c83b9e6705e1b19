"""Cheaper convolutions that come closest to a dense one: pure functions of its kernel and of second moments, float64.

A kernel is (c, k, m): input channels, taps, outputs. Moments are centred: `gram` (c * k, c * k) of what the new layer
sees, channel-major; `cross` (c * k, m) of that with the response that is wanted. Separable methods give filters d
(c, k) and mixing rows p (c, m), so that channel i of the kernel becomes the outer product of d[i] and p[i].

Depth-wise decomposition: arXiv 1910.09455, of which the abstract is readable; the formulas are derived anew. Channel
decomposition: Zhang et al., arXiv 1505.06798; spatial decomposition: Jaderberg et al., arXiv 1405.3866.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# of the mean eigenvalue, added where moments are inverted; with 1e-8 a channel that hardly ever fires on the images of
# a fit gets weights that ruin others
RIDGE = 1e-5
REFITS = 10  # alternations of `als`


class Separable(NamedTuple):
    """Depthwise filters and pointwise rows."""

    d: Float[Array, "c k"]
    p: Float[Array, "c m"]

    @property
    def kernel(self) -> Float[Array, "c k m"]:
        return self.d[:, :, None] * self.p[:, None, :]


def svd(kernel: Float[Array, "c k m"]) -> Separable:
    """The nearest kernel, without data: the leading singular vectors of each channel, in equal parts."""
    taps = kernel.shape[1]
    d, p = _rank1(kernel, jnp.broadcast_to(jnp.eye(taps, dtype=kernel.dtype), (kernel.shape[0], taps, taps)))
    size = jnp.sqrt(jnp.linalg.norm(d, axis=1, keepdims=True))
    sign = jnp.where(d.sum(1, keepdims=True) < 0, -1.0, 1.0)
    return Separable(jnp.where(size > 0, d / size, 0) * sign, p * size * sign)


def data(kernel: Float[Array, "c k m"], gram: Float[Array, "ck ck"]) -> Separable:
    """The nearest responses, each channel for itself: a generalised SVD with the channel's own moments."""
    return Separable(*_rank1(kernel, _own(gram, kernel.shape[0])))


@partial(jax.jit, static_argnames="sweeps")
def comp(
    kernel: Float[Array, "c k m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], sweeps: int = 1
) -> Separable:
    """Channel after channel, each also repairs what the others leave; `sweeps` times through all channels."""
    channels, taps, outputs = kernel.shape
    own = _own(gram, channels)
    inverses = jnp.linalg.inv(_ridged(own))
    by_channel = gram.reshape(channels * taps, channels, taps)

    def visit(at: Array, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        now, residual, d, p = state
        i = at % channels
        mine = now[i] + inverses[i] @ lax.dynamic_slice_in_dim(residual, i * taps, taps)
        d_i, p_i = (a[0] for a in _rank1(mine[None], own[i][None]))
        new = jnp.outer(d_i, p_i)
        residual = residual - by_channel[:, i] @ (new - now[i])
        return now.at[i].set(new), residual, d.at[i].set(d_i), p.at[i].set(p_i)

    residual = cross - gram @ kernel.reshape(channels * taps, outputs)
    start = (kernel, residual, jnp.zeros_like(kernel[:, :, 0]), jnp.zeros_like(kernel[:, 0]))
    _, _, d, p = lax.fori_loop(0, sweeps * channels, visit, start)
    return Separable(d, p)


@jax.jit
def als(kernel: Float[Array, "c k m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"]) -> Separable:
    """One sweep of `comp`, then all pointwise rows and all filters refitted in turn by least squares."""
    found = comp(kernel, gram, cross, 1)
    return lax.fori_loop(0, REFITS, lambda _, now: _refit(now.d, gram, cross), found)


def _refit(d: Array, gram: Array, cross: Array) -> Separable:
    channels, taps = d.shape
    p = refit_pointwise(d, gram, cross)
    hessian = gram.reshape(channels, taps, channels, taps) * (p @ p.T)[:, None, :, None]
    wanted = jnp.einsum("ikm,im->ik", cross.reshape(channels, taps, -1), p)
    d = jnp.linalg.solve(_ridged(hessian.reshape(gram.shape)), wanted.ravel()).reshape(d.shape)
    return Separable(d, p)


def refit_pointwise(
    d: Float[Array, "c k"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"]
) -> Float[Array, "c m"]:
    """The best pointwise rows for given filters."""
    channels, taps = d.shape
    mixed = jnp.einsum("ik,ikjl,jl->ij", d, gram.reshape(channels, taps, channels, taps), d)
    wanted = jnp.einsum("ik,ikm->im", d, cross.reshape(channels, taps, -1))
    return jnp.linalg.solve(_ridged(mixed), wanted)


def channel_svd(kernel: Float[Array, "c k m"], rank: int) -> tuple[Float[Array, "c k r"], Float[Array, "r m"]]:
    """The nearest kernel of so many features and a pointwise convolution behind them, without data."""
    channels, taps, outputs = kernel.shape
    u, s, v = jnp.linalg.svd(kernel.reshape(channels * taps, outputs), full_matrices=False)
    return (u[:, :rank] * s[None, :rank]).reshape(channels, taps, rank), v[:rank]


def channel(
    gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], channels: int, rank: int
) -> tuple[Float[Array, "c k r"], Float[Array, "r m"]]:
    """The nearest responses (reduced-rank regression)."""
    best = jnp.linalg.solve(_ridged(gram), cross)
    _, vectors = jnp.linalg.eigh(best.T @ gram @ best)
    leading = vectors[:, -rank:]
    return (best @ leading).reshape(channels, -1, rank), leading.T


def spatial(
    kernel: Float[Array, "c kh kw m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], rank: int
) -> tuple[Float[Array, "c kh r"], Float[Array, "r kw m"]]:
    """Columns from the SVD of the kernel, rows refitted to the responses."""
    channels, height, width, outputs = kernel.shape
    flat = kernel.reshape(channels * height, width * outputs)
    u, s, _ = jnp.linalg.svd(flat, full_matrices=False)
    columns = (u[:, :rank] * s[None, :rank]).reshape(channels, height, rank)
    # what the first part makes of a window: (c, kh, kw) -> (kw, r)
    first = jnp.einsum("chr,vw->chvwr", columns, jnp.eye(width, dtype=kernel.dtype))
    first = first.reshape(channels * height * width, width * rank)
    rows = jnp.linalg.solve(_ridged(first.T @ gram @ first), first.T @ cross)
    return columns, rows.reshape(width, rank, outputs).swapaxes(0, 1)


@partial(jax.jit, static_argnames=("schedule",))
def relu_refit(
    z: Float[Array, "n c"],
    y: Float[Array, "n m"],
    p: Float[Array, "c m"],
    bias: Float[Array, " m"],
    schedule: tuple[tuple[float, int], ...] = ((0.1, 30), (1.0, 20)),
) -> tuple[Float[Array, "c m"], Float[Array, " m"]]:
    """Pointwise rows and bias that come closest behind a ReLU, from samples of features z and responses y.

    Zhang et al., arXiv 1505.06798, section 3.2: an auxiliary response is fitted in turn; the best pair met is kept.
    """
    wanted = jnp.maximum(y, 0)
    design = jnp.concatenate([z, jnp.ones((len(z), 1), z.dtype)], 1)
    normal = _ridged(design.T @ design / len(z))

    def loss(weights: Array) -> Array:
        return jnp.sum((wanted - jnp.maximum(design @ weights, 0)) ** 2)

    def alternate(strength: float, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        weights, best, least = state
        v = design @ weights
        off, on = jnp.minimum(v, 0), jnp.maximum(0, (strength * v + wanted) / (strength + 1))
        cost_off = wanted**2 + strength * (off - v) ** 2
        cost_on = (on - wanted) ** 2 + strength * (on - v) ** 2
        target = jnp.where(cost_off < cost_on, off, on)
        weights = jnp.linalg.solve(normal, design.T @ target / len(z))
        now = loss(weights)
        return weights, jnp.where(now < least, weights, best), jnp.minimum(now, least)

    start = jnp.concatenate([p, bias[None]])
    state = (start, start, loss(start))
    for strength, rounds in schedule:
        state = lax.fori_loop(0, rounds, lambda _, s, strength=strength: alternate(strength, s), state)
    return state[1][:-1], state[1][-1]


def error(
    kernel: Float[Array, "ck m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], total: Float[Array, ""]
) -> Float[Array, ""]:
    """Root mean square of the error over that of the centred response, with the best bias."""
    lost = total - 2 * jnp.sum(kernel * cross) + jnp.sum(kernel * (gram @ kernel))
    return jnp.sqrt(jnp.maximum(lost, 0) / total)


def rank_at_equal_cost(kind: str, channels: int, taps: int, outputs: int, kernel_size: tuple[int, int]) -> int:
    """Of channel or spatial decomposition: features with at most the MACs of the separable convolution.

    >>> [rank_at_equal_cost("channel", c, 9, c, (3, 3)) for c in (24, 58, 116, 232)]
    [3, 6, 12, 24]
    """
    budget = channels * (taps + outputs)
    height, width = kernel_size
    price = channels * taps + outputs if kind == "channel" else channels * height + width * outputs
    return max(1, budget // price)


def _own(gram: Array, channels: int) -> Array:
    """The moments of each channel with itself: (c * k, c * k) -> (c, k, k)"""
    taps = gram.shape[0] // channels
    at = jnp.arange(channels)
    return gram.reshape(channels, taps, channels, taps)[at, :, at]


def _rank1(kernel: Array, metric: Array) -> tuple[Array, Array]:
    """For each channel d (c, k) and p (c, m) with |kernel - d p'| least in the metric (c, k, k): d = kernel p."""
    values, vectors = jnp.linalg.eigh(metric)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None]) @ vectors.swapaxes(1, 2)
    weighted = root @ kernel  # (c, k, m)
    values, vectors = jnp.linalg.eigh(weighted @ weighted.swapaxes(1, 2))
    size = jnp.sqrt(jnp.maximum(values[:, -1:], 0))
    p = jnp.einsum("ckm,ck->cm", weighted, vectors[:, :, -1])
    p = jnp.where(size > 0, p / jnp.where(size > 0, size, 1), 0)
    return jnp.einsum("ckm,cm->ck", kernel, p), p


def _ridged(moments: Array) -> Array:
    mean = jnp.trace(moments, axis1=-2, axis2=-1)[..., None, None] / moments.shape[-1]
    unit = jnp.broadcast_to(jnp.eye(moments.shape[-1], dtype=moments.dtype), moments.shape)
    return moments + (RIDGE * mean + jnp.finfo(moments.dtype).tiny) * unit
