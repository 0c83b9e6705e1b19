"""What is done to images on the device, under jit: normalisation, pad-crop, flip, mixing."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8


def normalize(
    images: UInt8[Array, "n h w c"] | Float[Array, "n h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "n h w c"]:
    """Images of 0 to 255 to float32: divided by 255, less the mean, by the standard deviation of each channel."""
    shape = (1, 1, 1, -1)
    centre, scale = (jnp.asarray(value, jnp.float32).reshape(shape) for value in (mean, std))
    return (images.astype(jnp.float32) / 255 - centre) / scale


def augment(
    key: PRNGKeyArray,
    images: UInt8[Array, "n h w c"],
    positions: Int[Array, " n"],
    *,
    crop: int = 0,
    flip: bool = False,
) -> UInt8[Array, "n h w c"]:
    """Pad by `crop` black pixels and cut a random window; mirror left to right with a chance of one half.

    Each image draws from a key folded from its position in the whole batch, so that the result does not depend on
    how many devices share the batch.
    """
    if not crop and not flip:
        return images
    height, width, channels = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (crop, crop), (crop, crop), (0, 0)))

    def one(image: Array, position: Array) -> Array:
        offset_key, flip_key = jax.random.split(jax.random.fold_in(key, position))
        if crop:
            top, left = jax.random.randint(offset_key, (2,), 0, 2 * crop + 1)
            image = lax.dynamic_slice(image, (top, left, 0), (height, width, channels))
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        return image

    return jax.vmap(one)(padded, positions)


def mix(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n k"],
    positions: Int[Array, " n"],
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): every image takes something of its neighbour.

    Neighbours are the places 2 i and 2 i + 1 of the (shuffled) batch, so that devices need nothing of each other. The
    share that an image keeps is drawn from Beta(mixup, mixup), or for a box from Beta(cutmix, cutmix); with both
    above 0 an image is mixed or cut with a chance of one half each. Targets are shared out as the pixels are.

    Args:
        key: of this step.
        images: of one device, an even number.
        targets: probabilities of the classes.
        positions: in the whole batch.
        mixup: 0 for none.
        cutmix: 0 for none.
    """
    if not mixup and not cutmix:
        return images, targets
    height, width = images.shape[1:3]

    def neighbours(x: Array) -> Array:
        return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)

    def blended(key: PRNGKeyArray, image: Array, other: Array) -> tuple[Array, Array]:
        kept = jax.random.beta(key, mixup, mixup)
        return kept * image + (1 - kept) * other, kept

    def cut(key: PRNGKeyArray, image: Array, other: Array) -> tuple[Array, Array]:
        share_key, row_key, column_key = jax.random.split(key, 3)
        side = jnp.sqrt(1 - jax.random.beta(share_key, cutmix, cutmix))

        def inside(key: PRNGKeyArray, size: int) -> Array:
            middle = jax.random.randint(key, (), 0, size).astype(jnp.float32)
            return jnp.abs(jnp.arange(size, dtype=jnp.float32) - middle) < side * size / 2

        box = inside(row_key, height)[:, None] & inside(column_key, width)[None]
        kept = 1 - jnp.mean(box.astype(jnp.float32))
        return jnp.where(box[..., None], other, image), kept

    def one(image: Array, other: Array, target: Array, its: Array, position: Array) -> tuple[Array, Array]:
        choice_key, draw_key = jax.random.split(jax.random.fold_in(key, position))
        if mixup and cutmix:
            found, kept = lax.cond(jax.random.bernoulli(choice_key), blended, cut, draw_key, image, other)
        else:
            found, kept = (blended if mixup else cut)(draw_key, image, other)
        return found, kept * target + (1 - kept) * its

    return jax.vmap(one)(images, neighbours(images), targets, neighbours(targets), positions)
