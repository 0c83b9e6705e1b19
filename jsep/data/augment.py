"""What is done to images on the device, under jit: normalisation, pad-crop and flip."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8


def normalize(
    images: UInt8[Array, "n h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "n h w c"]:
    """uint8 images to float32: divided by 255, less the mean, by the standard deviation of each channel."""
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
