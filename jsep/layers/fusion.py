"""Fusing batch norms and activations into the convolutions around them, while a network is traced for a CPU.

Layers hand arrays to one another and know nothing of each other. This file remembers, for as long as an array lives,
how the layers made it: by a convolution with these moments, or by normalising those maps. A convolution that is given
normalised maps then reads the raw ones and normalises them itself (`jsep.ops.fused_conv`), and a batch norm takes the
moments that the convolution summed up. An array that nothing else reads is never computed: the compiler drops it. What
is returned is the same function of the same arrays either way, so the layers stay as they are. That is under `jit`; a
layer that is called with arrays of numbers is not fused.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float

from jsep import ops
from jsep.ops import Fold, Moments
from jsep.ops.norm import Vector

ACTIVATIONS = ((nn.relu, "relu"), (nn.relu6, "relu6"), (nn.hard_swish, "hard_swish"))


class _Folded(NamedTuple):
    """Maps before a normalisation, and the normalisation."""

    raw: Array
    fold: Fold


class _Memory:
    """A value for each of some arrays, known by their identity and forgotten with them."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[weakref.ref, Any]] = {}

    def remember(self, array: Array, value: Any) -> None:
        key = id(array)
        self._held[key] = (weakref.ref(array, lambda _: self._held.pop(key, None)), value)

    def recall(self, array: Array) -> Any:
        reference, value = self._held.get(id(array), (None, None))
        return value if reference is not None and reference() is array else None


_moments, _folded = _Memory(), _Memory()
_norm_follows: ContextVar[bool] = ContextVar("norm_follows", default=False)


@contextlib.contextmanager
def norm_follows(training: bool) -> Iterator[None]:
    """Let convolutions inside the context sum up the moments of their outputs, if a batch norm in training follows."""
    token = _norm_follows.set(training)
    try:
        yield
    finally:
        _norm_follows.reset(token)


def norm_is_next() -> bool:
    """Return whether a convolution is called inside `norm_follows(True)`."""
    return _norm_follows.get()


def convolve(
    x: Float[Array, "n h w c"], kernel: Float[Array | np.ndarray, "kh kw i o"], made_of: Array, **options: Any
) -> Float[Array, "n h2 w2 o"]:
    """Return a convolution of maps, reading what they were normalised from where that is known.

    Args:
        x: the maps, in the dtype of the computation.
        kernel: the kernel.
        made_of: the maps as they came into the layer.
        **options: those of `jsep.ops.fused_conv`.
    """
    folded, fold = _folded.recall(made_of) or (x, None)
    if folded.dtype != x.dtype:
        folded, fold = x, None
    y, moments = ops.fused_conv(folded, jnp.asarray(kernel), fold, **options)
    if moments is not None:
        _moments.remember(y, moments)
    return y


def fusing(x: Array) -> bool:
    """Return whether convolutions of this array are to be fused: those of a program for this CPU's native kernels."""
    known = isinstance(x, Tracer) and x.ndim == 4 and x.dtype in (jnp.float32, jnp.bfloat16)
    return known and ops.native_kernels()


def moments_of(x: Float[Array, "n h w c"]) -> Moments:
    """Return the moments of maps: those that the convolution which made them summed up, if it did."""
    known = _moments.recall(x)
    return Moments.of(x) if known is None else known


def concatenate(parts: Sequence[Float[Array, "n h w _"]]) -> Float[Array, "n h w c"]:
    """Join maps along their channels. If moments of one are known, those of all are, for every batch norm to come."""
    whole = jnp.concatenate(parts, -1)
    if any(_moments.recall(part) is not None for part in parts):
        vectors = zip(*map(moments_of, parts), strict=True)
        _moments.remember(whole, Moments(*(jnp.concatenate(vector) for vector in vectors)))
    return whole


def normalise(x: Array, fold: Fold) -> Array:
    """Return normalised maps, and remember what they were made of."""
    y = ops.apply_fold(x, fold)
    _folded.remember(y, _Folded(x, fold))
    return y


def activate(act: Callable[[Array], Array], x: Array) -> Array:
    """Return act(x), folded into the normalisation that made `x` if both are known."""
    made = _normalised(x)
    for known, name in ACTIVATIONS:
        if act is known and made is not None:
            return normalise(made.raw, made.fold._replace(act=name))
    return act(x)


def prelu(x: Array, slope: Vector) -> Array | None:
    """Return the PReLU of normalised maps, or None where it is not known what they were made of."""
    made = _normalised(x)
    return None if made is None else normalise(made.raw, made.fold._replace(act="prelu", slope=slope))


def _normalised(x: Array) -> _Folded | None:
    """Return what maps were made of if they are normalised and nothing else: a fold holds one activation."""
    made = _folded.recall(x)
    return made if made is not None and made.fold.act == "none" else None


def normalisation(moments: Moments, scale: Vector, bias: Vector, epsilon: float) -> Fold:
    """Return the fold of a batch norm with these moments."""
    scale, bias = (jnp.asarray(vector, moments.variance.dtype) for vector in (scale, bias))
    factor = scale * lax.rsqrt(moments.variance + epsilon)
    return Fold(moments.mean, factor, bias - moments.rest * factor)
