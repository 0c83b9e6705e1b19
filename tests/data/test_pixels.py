"""Every pixel operation against torchvision's, on smooth noise and on flat images."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from jsep.data import pixels
from jsep.data.augment import _operations

UP, DOWN = jnp.float32(1), jnp.float32(-1)


def smooth(height: int, width: int, channels: int) -> np.ndarray:
    """Images in which some levels are more frequent than others, as in photographs."""
    coarse = np.random.default_rng(channels).integers(20, 230, (height // 4, width // 4, channels), np.uint8)
    picture = Image.fromarray(coarse[..., 0] if channels == 1 else coarse).resize((width, height))
    return np.asarray(picture).reshape(height, width, channels)


IMAGES = {"colour": smooth(40, 56, 3), "grey": smooth(40, 56, 1), "flat": np.full((8, 8, 3), 90, np.uint8)}


@pytest.fixture(scope="module")
def torchvision():
    """Apply torchvision's operation of a RandAugment name to an (h, w, c) array."""
    v2 = pytest.importorskip("torchvision.transforms.v2.functional", reason="torchvision is not installed")
    torch = pytest.importorskip("torch")

    def affine(image, **changes):
        neutral = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        return v2.affine(image, **(neutral | changes))

    def degrees(amount):
        return math.degrees(math.atan(amount))

    corner = {"center": [0, 0]}
    functions = {
        "Identity": lambda image, _: image,
        "ShearX": lambda image, m: affine(image, shear=[degrees(m), 0.0], **corner),
        "ShearY": lambda image, m: affine(image, shear=[0.0, degrees(m)], **corner),
        "TranslateX": lambda image, m: affine(image, translate=[int(m), 0]),
        "TranslateY": lambda image, m: affine(image, translate=[0, int(m)]),
        "Rotate": lambda image, m: v2.rotate(image, m),
        "Brightness": lambda image, m: v2.adjust_brightness(image, 1 + m),
        "Color": lambda image, m: v2.adjust_saturation(image, 1 + m),
        "Contrast": lambda image, m: v2.adjust_contrast(image, 1 + m),
        "Sharpness": lambda image, m: v2.adjust_sharpness(image, 1 + m),
        "Posterize": lambda image, m: v2.posterize(image, int(m)),
        "Solarize": lambda image, m: v2.solarize(image, m),
        "AutoContrast": lambda image, _: v2.autocontrast(image),
        "Equalize": lambda image, _: v2.equalize(image),
    }

    def run(name: str, image: np.ndarray, magnitude: float) -> np.ndarray:
        channels_first = torch.from_numpy(image.transpose(2, 0, 1).copy())
        return functions[name](channels_first, magnitude).numpy().transpose(1, 2, 0)

    return run


GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
NAMES = list(_operations(0, 1, 1))


@pytest.mark.parametrize("name", NAMES)
def test_operations_equal_torchvisions(name, torchvision):
    """Colours agree to one level of 256; geometry exactly, except for ties of the nearest neighbour (at most 1 %)."""
    t = pytest.importorskip("torchvision.transforms")
    for image in IMAGES.values():
        height, width, _ = image.shape
        for level in (9, 30):
            ours = jax.jit(_operations(level, height, width)[name])
            magnitudes, signed = t.RandAugment()._augmentation_space(31, (height, width))[name]
            magnitude = float(magnitudes[level]) if magnitudes.ndim else 0.0
            for sign in (UP, DOWN) if signed else (UP,):
                found = np.asarray(ours(image, sign)).astype(int)
                expected = torchvision(name, image, magnitude * float(sign)).astype(int)
                apart = np.abs(found - expected)
                if name in GEOMETRIC:
                    assert (apart > 0).mean() < 0.01
                else:
                    assert apart.max() <= 1


@pytest.mark.parametrize("name", [name for name in NAMES if name != "Identity"])
def test_every_operation_does_something(name):
    image = IMAGES["colour"]
    changed = np.asarray(_operations(17, *image.shape[:2])[name](jnp.asarray(image), UP))
    assert (changed != image).mean() > 0.05


def test_pil_agrees():
    """PIL is a second reference; it rounds its blends differently."""
    image = IMAGES["colour"]
    picture = Image.fromarray(image)
    np.testing.assert_array_equal(pixels.equalize(jnp.asarray(image)), ImageOps.equalize(picture))
    np.testing.assert_array_equal(pixels.posterize(jnp.asarray(image), 5), ImageOps.posterize(picture, 5))
    np.testing.assert_array_equal(pixels.solarize(jnp.asarray(image), 128), ImageOps.solarize(picture, 128))
    apart = np.asarray(pixels.autocontrast(jnp.asarray(image))).astype(int) - np.asarray(ImageOps.autocontrast(picture))
    assert np.abs(apart).max() <= 1
