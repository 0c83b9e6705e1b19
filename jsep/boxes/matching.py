"""Which object each anchor of a picture has to find: its number, `BACKGROUND` or `IGNORED`."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BACKGROUND, IGNORED = -1, -2


def match(
    overlaps: Float[Array, "m a"],
    valid: Bool[Array, " m"],
    low: float = 0.4,
    high: float = 0.5,
    allow_low_quality: bool = True,
) -> Int[Array, " a"]:
    """Match each anchor with the object that it overlaps most, the first of several.

    Paper: Ren et al., arXiv 1506.01497, section 3.1.2, in torchvision's form.

    Args:
        overlaps: IoU of each object with each anchor.
        valid: which objects there are.
        low: anchors that overlap every object by less are background.
        high: anchors that overlap an object by as much are matched; between the two they are ignored.
        allow_low_quality: match, besides, all anchors that no other anchor exceeds in its overlap with some object,
            with the object that they overlap most themselves, which may be another one.

    >>> overlaps = jnp.asarray([[0.6, 0.45, 0.1], [0.2, 0.3, 0.2]])
    >>> match(overlaps, jnp.asarray([True, False])).tolist()
    [0, -2, -1]
    >>> match(overlaps, jnp.asarray([True, True])).tolist()
    [0, 0, -1]
    """
    overlaps, best, most = _best(overlaps, valid)
    found = jnp.where(most < low, BACKGROUND, jnp.where(most < high, IGNORED, best))
    if allow_low_quality:
        unexceeded = (overlaps == overlaps.max(1, keepdims=True)) & valid[:, None]
        found = jnp.where(unexceeded.any(0), best, found)
    return found


def match_ssd(overlaps: Float[Array, "m a"], valid: Bool[Array, " m"], threshold: float = 0.5) -> Int[Array, " a"]:
    """Match as an SSD: each anchor with an object that it overlaps enough, and each object with its best anchor.

    Paper: Liu et al., arXiv 1512.02325, section 2.2. Where several objects have the same best anchor, the last gets it,
    as in torchvision.

    Args:
        overlaps: IoU of each object with each anchor.
        valid: which objects there are.
        threshold: least overlap of an anchor that is not the best of an object.

    >>> match_ssd(jnp.asarray([[0.6, 0.2, 0.0], [0.7, 0.1, 0.0]]), jnp.asarray([True, True])).tolist()
    [1, -1, -1]
    """
    overlaps, best, most = _best(overlaps, valid)
    # no scatter: where several write to one place, it does not say which is the last
    forced = (overlaps.argmax(1)[:, None] == jnp.arange(overlaps.shape[1])[None]) & valid[:, None]
    last = jnp.max(jnp.where(forced, jnp.arange(len(valid))[:, None], BACKGROUND), 0, initial=BACKGROUND)
    return jnp.where(last != BACKGROUND, last, jnp.where(most < threshold, BACKGROUND, best))


def _best(overlaps: Array, valid: Array) -> tuple[Array, Array, Array]:
    """Return the overlaps, -1 where there is no object, and for each anchor the object it overlaps most, and how much.

    One object that is not there is added, so that there is always a best one.
    """
    overlaps = jnp.where(valid[:, None], overlaps, -1)
    padded = jnp.concatenate([overlaps, jnp.full_like(overlaps, -1, shape=(1, overlaps.shape[1]))])
    return overlaps, padded.argmax(0), padded.max(0)
