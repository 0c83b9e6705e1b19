"""Fitting cheaper convolutions to a dense one: pure functions of its kernel and of second moments, in float64.

A kernel has the shape (c, k, m): input channels, taps, output channels. The moments are centred: `gram` (c * k, c * k)
is the covariance of the windows that the new layer sees, with channels before taps; `cross` (c * k, m) is that of these
windows with the wanted responses. Separable methods return depthwise filters d (c, k) and pointwise rows p (c, m);
channel i of the kernel becomes the outer product of d[i] and p[i].

Depthwise decomposition: arXiv 1910.09455; only the abstract was accessible, the formulas are derived here. Channel
decomposition: Zhang et al., arXiv 1505.06798. Spatial decomposition: Jaderberg et al., arXiv 1405.3866.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# share of the mean eigenvalue that is added to moments before they are inverted; with 1e-8, a channel that hardly ever
# fires on the images of the fit gets weights that ruin other images
RIDGE = 1e-5
REFITS = 10  # rounds of `als`


class Separable(NamedTuple):
    """A separable kernel.

    Attributes:
        d: depthwise filter of each input channel.
        p: pointwise row of each input channel.
    """

    d: Float[Array, "c k"]
    p: Float[Array, "c m"]

    @property
    def kernel(self) -> Float[Array, "c k m"]:
        """The dense kernel that it amounts to."""
        return self.d[:, :, None] * self.p[:, None, :]


def svd(kernel: Float[Array, "c k m"]) -> Separable:
    """Return the separable kernel nearest to a dense one, without data.

    These are the leading singular vectors of each channel; the singular value is shared out equally between d and p.
    """
    taps = kernel.shape[1]
    d, p = _rank1(kernel, jnp.broadcast_to(jnp.eye(taps, dtype=kernel.dtype), (kernel.shape[0], taps, taps)))
    size = jnp.sqrt(jnp.linalg.norm(d, axis=1, keepdims=True))
    sign = jnp.where(d.sum(1, keepdims=True) < 0, -1.0, 1.0)
    return Separable(jnp.where(size > 0, d / size, 0) * sign, p * size * sign)


def data(kernel: Float[Array, "c k m"], gram: Float[Array, "ck ck"]) -> Separable:
    """Return the separable kernel whose responses are nearest for each channel separately.

    A generalised SVD in the metric of the channel's own moments.
    """
    return Separable(*_rank1(kernel, _own(gram, kernel.shape[0])))


@partial(jax.jit, static_argnames="sweeps")
def comp(
    kernel: Float[Array, "c k m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], sweeps: int = 1
) -> Separable:
    """Fit one channel after another to the part of the wanted response that all other channels leave unexplained.

    Args:
        kernel: the dense kernel.
        gram: covariance of the windows.
        cross: covariance of the windows with the wanted responses.
        sweeps: passes over all channels.
    """
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
    """Refit all pointwise rows and all depthwise filters in turn by least squares, after one sweep of `comp`."""
    found = comp(kernel, gram, cross, 1)
    return lax.fori_loop(0, REFITS, lambda _, now: _refit(now.d, gram, cross), found)


def _refit(d: Array, gram: Array, cross: Array) -> Separable:
    """Refit the pointwise rows to given filters, then the filters to these rows."""
    channels, taps = d.shape
    p = refit_pointwise(d, gram, cross)
    hessian = gram.reshape(channels, taps, channels, taps) * (p @ p.T)[:, None, :, None]
    wanted = jnp.einsum("ikm,im->ik", cross.reshape(channels, taps, -1), p)
    d = jnp.linalg.solve(_ridged(hessian.reshape(gram.shape)), wanted.ravel()).reshape(d.shape)
    return Separable(d, p)


def refit_pointwise(
    d: Float[Array, "c k"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"]
) -> Float[Array, "c m"]:
    """Return the pointwise rows that give the nearest responses with given depthwise filters."""
    channels, taps = d.shape
    mixed = jnp.einsum("ik,ikjl,jl->ij", d, gram.reshape(channels, taps, channels, taps), d)
    wanted = jnp.einsum("ik,ikm->im", d, cross.reshape(channels, taps, -1))
    return jnp.linalg.solve(_ridged(mixed), wanted)


def channel_svd(kernel: Float[Array, "c k m"], rank: int) -> tuple[Float[Array, "c k r"], Float[Array, "r m"]]:
    """Return the nearest product of a convolution to `rank` features and a pointwise convolution, without data."""
    channels, taps, outputs = kernel.shape
    u, s, v = jnp.linalg.svd(kernel.reshape(channels * taps, outputs), full_matrices=False)
    return (u[:, :rank] * s[None, :rank]).reshape(channels, taps, rank), v[:rank]


def channel(
    gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], channels: int, rank: int
) -> tuple[Float[Array, "c k r"], Float[Array, "r m"]]:
    """Return the convolution to `rank` features and the pointwise convolution whose responses are nearest.

    This is reduced-rank regression.
    """
    best = jnp.linalg.solve(_ridged(gram), cross)
    _, vectors = jnp.linalg.eigh(best.T @ gram @ best)
    leading = vectors[:, -rank:]
    return (best @ leading).reshape(channels, -1, rank), leading.T


def spatial(
    kernel: Float[Array, "c kh kw m"], gram: Float[Array, "ck ck"], cross: Float[Array, "ck m"], rank: int
) -> tuple[Float[Array, "c kh r"], Float[Array, "r kw m"]]:
    """Return a vertical convolution to `rank` features and a horizontal convolution behind it.

    The first is taken from the SVD of the kernel, the second is refitted to the wanted responses.
    """
    channels, height, width, outputs = kernel.shape
    flat = kernel.reshape(channels * height, width * outputs)
    u, s, _ = jnp.linalg.svd(flat, full_matrices=False)
    columns = (u[:, :rank] * s[None, :rank]).reshape(channels, height, rank)
    # the linear map of the first part from a window to its features: (c, kh, kw) -> (kw, r)
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
    """Refit pointwise rows and a bias so that the responses are nearest behind a ReLU.

    Zhang et al., arXiv 1505.06798, section 3.2: the weights and an auxiliary response are fitted in turn. The best
    weights met on the way are returned.

    Args:
        z: samples of the depthwise features.
        y: the wanted responses before the ReLU.
        p: pointwise rows to start from.
        bias: bias to start from.
        schedule: pairs of a penalty on the distance between auxiliary and actual response, and its number of rounds.
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
    """Return the root mean square error of the responses under the best bias, relative to that of the centred response.

    Args:
        kernel: the kernel to judge.
        gram: covariance of the windows.
        cross: covariance of the windows with the wanted responses.
        total: sum of the variances of the wanted responses.
    """
    lost = total - 2 * jnp.sum(kernel * cross) + jnp.sum(kernel * (gram @ kernel))
    return jnp.sqrt(jnp.maximum(lost, 0) / total)


def rank_at_equal_cost(kind: str, channels: int, taps: int, outputs: int, kernel_size: tuple[int, int]) -> int:
    """Return the largest rank of a channel or spatial decomposition that costs no more than the separable convolution.

    Args:
        kind: "channel" or "spatial".
        channels: input channels.
        taps: positions in the kernel.
        outputs: output channels.
        kernel_size: height and width of the kernel.

    >>> [rank_at_equal_cost("channel", c, 9, c, (3, 3)) for c in (24, 58, 116, 232)]
    [3, 6, 12, 24]
    """
    budget = channels * (taps + outputs)
    height, width = kernel_size
    price = channels * taps + outputs if kind == "channel" else channels * height + width * outputs
    return max(1, budget // price)


def _own(gram: Array, channels: int) -> Array:
    """Return the moments of each channel with itself: (c * k, c * k) -> (c, k, k)."""
    taps = gram.shape[0] // channels
    at = jnp.arange(channels)
    return gram.reshape(channels, taps, channels, taps)[at, :, at]


def _rank1(kernel: Array, metric: Array) -> tuple[Array, Array]:
    """Return d (c, k) and p (c, m) that minimise |kernel - d p'| for each channel in the metric (c, k, k)."""
    values, vectors = jnp.linalg.eigh(metric)
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None]) @ vectors.swapaxes(1, 2)
    weighted = root @ kernel  # (c, k, m)
    values, vectors = jnp.linalg.eigh(weighted @ weighted.swapaxes(1, 2))
    size = jnp.sqrt(jnp.maximum(values[:, -1:], 0))
    p = jnp.einsum("ckm,ck->cm", weighted, vectors[:, :, -1])
    p = jnp.where(size > 0, p / jnp.where(size > 0, size, 1), 0)
    return jnp.einsum("ckm,cm->ck", kernel, p), p


def _ridged(moments: Array) -> Array:
    """Add a small multiple of the identity, so that the moments can be inverted."""
    mean = jnp.trace(moments, axis1=-2, axis2=-1)[..., None, None] / moments.shape[-1]
    unit = jnp.broadcast_to(jnp.eye(moments.shape[-1], dtype=moments.dtype), moments.shape)
    return moments + (RIDGE * mean + jnp.finfo(moments.dtype).tiny) * unit
