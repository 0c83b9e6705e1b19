"""Normalisation, augmentation and mixing of images on the device, under jit, and of boxes and masks with them.

Resident and streamed batches share this implementation. The random numbers of an image come from a key that is folded
with its position in the whole batch, so that the result does not depend on how many devices share the batch.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jsep.boxes import Objects
from jsep.data import pixels
from jsep.data.decode import CROP_AREA
from jsep.data.pixels import Image
from jsep.errors import UserError, require, require_types

TRIES = 10  # rectangles that are drawn to find one that fits into the image
FITTING = {  # the changes that each task knows
    "classification": ("crop", "flip", "resized_crop", "crop_area", "jitter", "randaugment", "erase"),
    "detection": ("flip", "jitter", "iou_crop", "zoom_out"),
    "segmentation": ("flip", "jitter", "scale"),
}
_FLIP = 1  # which of an image's keys decides whether it is mirrored


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes to training images; none by default.

    Where several are asked for, `augment` makes them in this order: `resized_crop`, `crop`, `flip`, `jitter`,
    `randaugment`, `erase`.
    """

    crop: int = 0
    """Pad images by this many black pixels and cut out a random window of the original size (4 is usual for CIFAR)."""
    flip: bool = False
    """Mirror half of the training images."""
    resized_crop: bool = False
    """Cut out a random part of the area at an aspect ratio of 3/4 to 4/3 and scale it back (Inception).
    Streamed images of different sizes are cut like this in any case."""
    crop_area: float = CROP_AREA
    """Least share of the area that --resized-crop cuts out."""
    jitter: float = 0.0
    """Change brightness, contrast and saturation by up to this share, as torchvision's ColorJitter (0.4 is usual)."""
    randaugment: tuple[int, int] = (0, 9)
    """torchvision's RandAugment: operations per image (2 is usual, 0 for none) and their magnitude from 0 to 30."""
    erase: float = 0.0
    """Probability that a rectangle of 2 to 33 % of an image is painted over with the mean colour."""
    iou_crop: bool = False
    """Detection: cut out a random window that some object lies in, as SSD is trained."""
    zoom_out: bool = False
    """Detection: put half of the pictures into a frame of the mean colour, up to four times as wide and high."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Segmentation: bounds of a random factor that pictures are scaled by, such as 0.5 2; what is too large is cut,
    what is too small is framed."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.crop >= 0, "crop", self.crop, "at least 0")
        require(0 < self.crop_area <= 1, "crop_area", self.crop_area, "greater than 0 and at most 1")
        require(0 <= self.jitter <= 1, "jitter", self.jitter, "from 0 to 1")
        require(0 <= self.erase <= 1, "erase", self.erase, "from 0 to 1")
        operations, magnitude = self.randaugment
        fits = operations >= 0 and 0 <= magnitude <= 30
        require(fits, "randaugment", self.randaugment, "at least 0 operations at a magnitude from 0 to 30")
        low, high = self.scale
        require(0.1 <= low <= high <= 10, "scale", self.scale, "two factors from 0.1 to 10, the smaller one first")

    def check(self, task: str) -> None:
        """Refuse changes that a task does not know, since they would leave its boxes or masks where they are.

        Args:
            task: a key of `FITTING`.

        Raises:
            UserError: such a change is asked for.

        >>> Augmentation(erase=0.5).check("detection")
        Traceback (most recent call last):
        jsep.errors.UserError: `erase`=0.5: detection knows flip, jitter, iou_crop, zoom_out: leave it out
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in FITTING[task] and value != field.default:
                raise UserError(f"`{field.name}`={value}: {task} knows {', '.join(FITTING[task])}: leave it out")


def normalize(
    images: UInt8[Array, "n h w c"] | Float[Array, "n h w c"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "n h w c"]:
    """Normalise images with a mean and a standard deviation for each channel.

    Args:
        images: values from 0 to 255.
        mean: mean of each channel, for values from 0 to 1.
        std: standard deviation of each channel, for values from 0 to 1.

    Returns:
        (images / 255 - mean) / std, in float32.

    >>> normalize(jnp.asarray([[[[0], [255]]]], jnp.uint8), (0.5,), (0.25,)).ravel()
    Array([-2.,  2.], dtype=float32)
    """
    shape = (1, 1, 1, -1)
    centre, scale = (jnp.asarray(value, jnp.float32).reshape(shape) for value in (mean, std))
    return (images.astype(jnp.float32) / 255 - centre) / scale


def augment(
    key: PRNGKeyArray,
    images: UInt8[Array, "n h w c"],
    positions: Int[Array, " n"],
    how: Augmentation,
    fill: tuple[int, ...] = (0,),
) -> UInt8[Array, "n h w c"]:
    """Augment each image with random numbers that belong to its position in the whole batch.

    Args:
        key: key of this step.
        images: the images of one device.
        positions: their positions in the whole batch.
        how: the changes to make.
        fill: colour that `how.erase` paints with, one value from 0 to 255 for each channel or one for all.

    >>> images = jnp.zeros((2, 32, 32, 3), jnp.uint8)
    >>> augment(jax.random.key(0), images, jnp.arange(2), Augmentation(crop=4, flip=True)).shape
    (2, 32, 32, 3)
    """
    keys = jax.vmap(lambda position: _keys(key, position))(positions)
    if how.resized_crop:
        images = jax.vmap(lambda key, image: _resized_crop(key, image, how.crop_area))(keys[:, 2], images)
    if how.crop:
        images = jax.vmap(lambda key, image: _padded_crop(key, image, how.crop))(keys[:, 0], images)
    if how.flip:
        images = jax.vmap(_flip)(keys[:, _FLIP], images)
    # one image at a time, so that each runs only its own operations and not all of them: 40 times faster on a CPU
    if how.jitter:
        images = lax.map(lambda one: _jitter(one[0], one[1], how.jitter), (keys[:, 3], images))
    if how.randaugment[0]:
        images = lax.map(lambda one: _rand_augment(one[0], one[1], *how.randaugment), (keys[:, 4], images))
    if how.erase:
        colour = jnp.asarray(fill, jnp.uint8)
        images = jax.vmap(lambda key, image: _erase(key, image, how.erase, colour))(keys[:, 5], images)
    return images


def augment_with(
    key: PRNGKeyArray,
    images: UInt8[Array, "n h w c"],
    targets: Any,
    positions: Int[Array, " n"],
    how: Augmentation,
) -> tuple[UInt8[Array, "n h w c"], Any]:
    """Augment images as `augment` does, with the same random numbers, and move boxes or masks along.

    Args:
        key: key of this step.
        images: the images of one device.
        targets: their `jsep.boxes.Objects`, or their masks of shape (n, h, w).
        positions: their positions in the whole batch.
        how: the changes to make, of which these tasks know `flip` and `jitter` on the device.

    >>> images, masks = jnp.zeros((2, 8, 8, 3), jnp.uint8), jnp.zeros((2, 8, 8), jnp.uint8)
    >>> images, masks = augment_with(jax.random.key(0), images, masks, jnp.arange(2), Augmentation(flip=True))
    """
    if how.flip:
        keys = jax.vmap(lambda position: _keys(key, position)[_FLIP])(positions)
        flipped = jax.vmap(jax.random.bernoulli)(keys)
        if isinstance(targets, Objects):
            left, top, right, bottom = jnp.split(targets.boxes, 4, -1)
            mirrored = jnp.concatenate([images.shape[2] - right, top, images.shape[2] - left, bottom], -1)
            moved = flipped[:, None, None] & targets.valid[..., None]
            targets = targets._replace(boxes=jnp.where(moved, mirrored, targets.boxes))
        else:
            targets = jnp.where(flipped[:, None, None], targets[..., ::-1], targets)
    return augment(key, images, positions, how), targets


def _keys(key: PRNGKeyArray, position: Int[Array, ""]) -> PRNGKeyArray:
    """Return the keys of an image's changes, by its position in the whole batch."""
    return jax.random.split(jax.random.fold_in(key, position), 6)


def _padded_crop(key: PRNGKeyArray, image: Image, crop: int) -> Image:
    padded = jnp.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * crop + 1)
    return lax.dynamic_slice(padded, (top, left, 0), image.shape)


def _flip(key: PRNGKeyArray, image: Image) -> Image:
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _resized_crop(key: PRNGKeyArray, image: Image, least: float) -> Image:
    height, width, _ = image.shape
    found, *window = _rectangle(key, height, width, (least, 1), (3 / 4, 4 / 3))
    top, left, h, w = jnp.where(found, jnp.stack(window), jnp.array([0, 0, height, width])).astype(jnp.float32)
    return _enlarged(image, top, left, h, w)


def _enlarged(image: Image, top: Array, left: Array, h: Array, w: Array) -> Image:
    """Cut out a rectangle and enlarge it to the size of the image (bilinear), without the pixels around it."""

    def weights(start: Float[Array, ""], length: Float[Array, ""], size: int) -> Float[Array, "size size"]:
        places = (jnp.arange(size, dtype=jnp.float32) + 0.5) * length / size - 0.5
        places = start + jnp.clip(places, 0, length - 1)  # at the edges the outermost pixel of the rectangle
        return jnp.maximum(0, 1 - jnp.abs(places[:, None] - jnp.arange(size, dtype=jnp.float32)[None]))

    height, width, _ = image.shape
    rows, columns = weights(top, h, height), weights(left, w, width)
    scaled = jnp.einsum("yh,hwc,xw->yxc", rows, image.astype(jnp.float32), columns, precision="highest")
    return jnp.clip(jnp.round(scaled), 0, 255).astype(jnp.uint8)


def _erase(key: PRNGKeyArray, image: Image, chance: float, fill: UInt8[Array, " c"]) -> Image:
    height, width, _ = image.shape
    key, chance_key = jax.random.split(key)
    found, top, left, h, w = _rectangle(key, height, width, (0.02, 0.33), (0.3, 3.3))
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
    inside = (y >= top) & (y < top + h) & (x >= left) & (x < left + w)
    erased = inside & found & jax.random.bernoulli(chance_key, chance)
    return jnp.where(erased[..., None], fill[None, None], image)


def _rectangle(
    key: PRNGKeyArray, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> tuple[Array, Array, Array, Array, Array]:
    """Draw a rectangle inside the image: whether one was found, and its top, left, height and width in pixels.

    Its share of the image's area lies between the bounds `area`, its height over its width between those of `aspect`.
    """
    area_key, aspect_key, place_key = jax.random.split(key, 3)
    areas = height * width * jax.random.uniform(area_key, (TRIES,), minval=area[0], maxval=area[1])
    bounds = jnp.log(jnp.asarray(aspect))
    aspects = jnp.exp(jax.random.uniform(aspect_key, (TRIES,), minval=bounds[0], maxval=bounds[1]))
    h, w = (jnp.round(jnp.sqrt(side)).astype(jnp.int32) for side in (areas * aspects, areas / aspects))
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    first = jnp.argmax(fits)
    h, w = h[first], w[first]
    room = jnp.stack([height - h, width - w])
    top, left = jax.random.randint(place_key, (2,), 0, jnp.maximum(room, 0) + 1, jnp.int32)
    return fits.any(), top, left, h, w


def _jitter(key: PRNGKeyArray, image: Image, strength: float) -> Image:
    """Change brightness, contrast and saturation in random order, by factors from 1 - strength to 1 + strength."""
    order_key, factor_key = jax.random.split(key)
    branches = (pixels.brightness, pixels.contrast, pixels.colour)
    factors = jax.random.uniform(factor_key, (3,), minval=max(0.0, 1 - strength), maxval=1 + strength)

    def step(image: Image, index: Array) -> tuple[Image, None]:
        return lax.switch(index, branches, image, factors[index]), None

    return lax.scan(step, image, jax.random.permutation(order_key, 3))[0]


def _rand_augment(key: PRNGKeyArray, image: Image, operations: int, magnitude: int) -> Image:
    """Apply random operations one after another, each with a random sign; all 14 are equally likely."""
    branches = _operations(magnitude, *image.shape[:2])

    def step(image: Image, key: PRNGKeyArray) -> tuple[Image, None]:
        which, sign = jax.random.split(key)
        index = jax.random.randint(which, (), 0, len(branches), jnp.int32)
        return lax.switch(index, list(branches.values()), image, jax.random.rademacher(sign, (), jnp.float32)), None

    return lax.scan(step, image, jax.random.split(key, operations))[0]


def _operations(magnitude: int, height: int, width: int) -> dict[str, Callable[[Image, Float[Array, ""]], Image]]:
    """Return RandAugment's operations (arXiv 1909.13719) with torchvision's ranges, as functions of image and sign."""
    share = magnitude / 30
    return {
        "Identity": lambda image, sign: image,
        "ShearX": lambda image, sign: pixels.shear_x(image, sign * 0.3 * share),
        "ShearY": lambda image, sign: pixels.shear_y(image, sign * 0.3 * share),
        "TranslateX": lambda image, sign: pixels.translate_x(image, sign * 150 / 331 * width * share),
        "TranslateY": lambda image, sign: pixels.translate_y(image, sign * 150 / 331 * height * share),
        "Rotate": lambda image, sign: pixels.rotate(image, sign * 30 * share),
        "Brightness": lambda image, sign: pixels.brightness(image, 1 + sign * 0.9 * share),
        "Color": lambda image, sign: pixels.colour(image, 1 + sign * 0.9 * share),
        "Contrast": lambda image, sign: pixels.contrast(image, 1 + sign * 0.9 * share),
        "Sharpness": lambda image, sign: pixels.sharpness(image, 1 + sign * 0.9 * share),
        "Posterize": lambda image, sign: pixels.posterize(image, 8 - round(4 * share)),
        "Solarize": lambda image, sign: pixels.solarize(image, 255 * (1 - share)),
        "AutoContrast": lambda image, sign: pixels.autocontrast(image),
        "Equalize": lambda image, sign: pixels.equalize(image),
    }


def mix(
    key: PRNGKeyArray,
    images: Float[Array, "n h w c"],
    targets: Float[Array, "n k"],
    positions: Int[Array, " n"],
    *,
    mixup: float = 0.0,
    cutmix: float = 0.0,
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """Mix every image with its neighbour, by mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899).

    Neighbours are the images at positions 2i and 2i + 1 of the (shuffled) batch, so that devices need not exchange
    images. Mixup blends both images; the share that an image keeps is drawn from Beta(mixup, mixup). CutMix pastes a
    box of the neighbour, whose area is drawn from Beta(cutmix, cutmix). If both are above 0, either is applied with a
    probability of one half. The targets are mixed in proportion to the pixels.

    Args:
        key: key of this step.
        images: the images of one device, an even number.
        targets: their class probabilities.
        positions: their positions in the whole batch.
        mixup: parameter of mixup's distribution; 0 for no mixup.
        cutmix: parameter of CutMix's distribution; 0 for no CutMix.

    Returns:
        The mixed images and targets.
    """
    if not mixup and not cutmix:
        return images, targets
    height, width = images.shape[1:3]

    def neighbours(x: Array) -> Array:
        return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)

    def blended(key: PRNGKeyArray, image: Array, other: Array) -> tuple[Array, Array]:
        kept = jax.random.beta(key, mixup, mixup, dtype=jnp.float32)
        return kept * image + (1 - kept) * other, kept

    def cut(key: PRNGKeyArray, image: Array, other: Array) -> tuple[Array, Array]:
        share_key, row_key, column_key = jax.random.split(key, 3)
        side = jnp.sqrt(1 - jax.random.beta(share_key, cutmix, cutmix, dtype=jnp.float32))

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
