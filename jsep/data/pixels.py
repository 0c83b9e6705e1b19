"""The operations of RandAugment and colour jitter on one image (h, w, c), under jit, as torchvision defines them.

They take and return uint8 with 1 or 3 channels, and round as torchvision does. The geometric ones take the nearest
pixel, and black outside the image.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

Image = UInt8[Array, "h w c"]
Scalar = Float[Array, ""]


def brightness(image: Image, factor: Scalar) -> Image:
    """Scale the brightness: a factor of 0 gives black, 1 the image itself."""
    return _blend(image, jnp.float32(0), factor)


def contrast(image: Image, factor: Scalar) -> Image:
    """Scale the contrast: a factor of 0 gives the mean grey, 1 the image itself."""
    return _blend(image, jnp.mean(_grey(image)), factor)


def colour(image: Image, factor: Scalar) -> Image:
    """Scale the saturation: a factor of 0 gives grey, 1 the image itself. Grey images do not change."""
    return _blend(image, _grey(image), factor)


def sharpness(image: Image, factor: Scalar) -> Image:
    """Scale the sharpness: 0 smooths by a 3x3 window, 1 gives the image itself. The border does not change."""
    height, width, _ = image.shape
    if min(height, width) <= 2:
        return image
    x = image.astype(jnp.float32)
    rows = x[:-2] + x[1:-1] + x[2:]
    sums = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    centre = x[1:-1, 1:-1]
    smooth = jnp.round((sums + 4 * centre) / 13)
    return image.at[1:-1, 1:-1].set(_blend(image[1:-1, 1:-1], smooth, factor))


def posterize(image: Image, bits: int) -> Image:
    """Keep only the highest `bits` bits of each value."""
    return image & jnp.uint8(256 - 2 ** (8 - bits))


def solarize(image: Image, threshold: float) -> Image:
    """Invert all values that are not below the threshold."""
    return jnp.where(image.astype(jnp.float32) >= threshold, 255 - image, image)


def autocontrast(image: Image) -> Image:
    """Stretch the values of each channel to the range from 0 to 255."""
    x = image.astype(jnp.float32)
    low, high = jnp.min(x, (0, 1), keepdims=True), jnp.max(x, (0, 1), keepdims=True)
    flat = high == low
    stretched = (x - jnp.where(flat, 0, low)) / jnp.where(flat, 1, (high - low) / 255)
    return _to_uint8(stretched)


def equalize(image: Image) -> Image:
    """Equalise the histogram of each channel, by PIL's rule."""

    def channel(values: UInt8[Array, " n"]) -> UInt8[Array, " n"]:
        histogram = jnp.zeros(256, jnp.int32).at[values].add(1)
        below = jnp.cumsum(histogram) - histogram  # pixels darker than each level
        last = histogram[jnp.max(values)]
        step = (values.size - last) // 255
        table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, 255).astype(jnp.uint8)
        return jnp.where(step == 0, values, table[values])

    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    return jnp.stack([channel(flat[:, i]) for i in range(channels)], -1).reshape(image.shape)


def shear_x(image: Image, amount: Scalar) -> Image:
    """Move each row in proportion to its distance from the first row."""
    return _affine(image, ((1, amount), (0, 1)), (amount * image.shape[0] / 2, 0))


def shear_y(image: Image, amount: Scalar) -> Image:
    """Move each column in proportion to its distance from the first column."""
    return _affine(image, ((1, 0), (amount, 1)), (0, amount * image.shape[1] / 2))


def translate_x(image: Image, pixels: Scalar) -> Image:
    """Move the image to the right by whole pixels."""
    return _affine(image, ((1, 0), (0, 1)), (-jnp.trunc(pixels), 0))


def translate_y(image: Image, pixels: Scalar) -> Image:
    """Move the image down by whole pixels."""
    return _affine(image, ((1, 0), (0, 1)), (0, -jnp.trunc(pixels)))


def rotate(image: Image, degrees: Scalar) -> Image:
    """Rotate the image anticlockwise about its centre."""
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _affine(image, ((cos, -sin), (sin, cos)), (0, 0))


def _affine(image: Image, matrix: tuple[tuple[Scalar | float, ...], ...], offset: tuple[Scalar | float, ...]) -> Image:
    """Take the pixel at (x, y) from matrix @ (x, y) + offset, both measured from the centre."""
    height, width, channels = image.shape
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - middle_y
    x = jnp.arange(width, dtype=jnp.float32)[None] - middle_x
    (xx, xy), (yx, yy) = matrix
    from_x = jnp.round(xx * x + xy * y + offset[0] + middle_x).astype(jnp.int32)
    from_y = jnp.round(yx * x + yy * y + offset[1] + middle_y).astype(jnp.int32)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    place = jnp.clip(from_y, 0, height - 1) * width + jnp.clip(from_x, 0, width - 1)
    moved = jnp.take(image.reshape(height * width, channels), place, axis=0)
    return jnp.where(inside[..., None], moved, jnp.uint8(0))


def _grey(image: Image) -> Float[Array, "h w 1"]:
    """Return the luma, rounded down."""
    x = image.astype(jnp.float32)
    if image.shape[-1] != 3:
        return x
    red, green, blue = jnp.split(x, 3, axis=-1)
    return jnp.floor(0.2989 * red + 0.587 * green + 0.114 * blue)


def _blend(image: Image, other: Float[Array, "..."], factor: Scalar) -> Image:
    """Interpolate between `other` (factor 0) and the image (factor 1), or extrapolate beyond it."""
    return _to_uint8(image.astype(jnp.float32) * factor + other * (1 - factor))


def _to_uint8(x: Float[Array, "h w c"]) -> Image:
    return jnp.clip(x, 0, 255).astype(jnp.uint8)
