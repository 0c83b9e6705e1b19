"""Do the DiCENets for segmentation that their authors trained find the same classes here as in their own code?

Method     Weights by the names of EdgeNets (safetensors) are ported, and evaluated by the rules of that repository:
           each picture is scaled to a square by Pillow's bilinear filter, its mask to the nearest pixel, and the mean
           IoU is that of all 21 classes, where one that is not there counts 0.
Command    python studies/dicenet_segmentation.py WIDTH SIDE WEIGHTS PREPARED_TFDS_DIRECTORY
           The data set has the features `image` and `segmentation_mask`, of Pascal VOC's classes.
Hardware   Any; a minute on a CPU core.
Result     A hundred pictures of COCO val2017 with VOC's classes, by the authors' code and by ours.

           width  side  pixel accuracy    mean IoU
           0.5     256  .8464             .2971
           1.0     384  .8654             .3302
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jsep import create_model, ops
from jsep.data import normalize
from jsep.models.registry import FED_IMAGENET
from jsep.models.segmenter import IGNORED
from jsep.port import from_torch, read_state

NAME = "dicenet_segmentation_x1_0"
CLASSES, BATCH = 21, 10


def pictures(folder: Path, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pictures of the validation part and their masks, scaled to a square."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(folder)
    encoded = {name: tfds.decode.SkipDecoding() for name in ("image", "segmentation_mask")}
    for record in builder.as_data_source("validation", decoders=encoded):
        image = Image.open(io.BytesIO(record["image"])).convert("RGB")
        mask = Image.open(io.BytesIO(record["segmentation_mask"]))
        yield (
            np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)),
            np.asarray(mask.resize((side, side), Image.Resampling.NEAREST)),
        )


def measure(width: float, side: int, weights: Path, folder: Path) -> tuple[float, float]:
    """Return the share of pixels whose class is found, and the mean IoU."""
    model = create_model(NAME, width=width)
    variables = from_torch(NAME, read_state(weights), width=width)

    @ops.jit_inference
    def classes_of(images: jnp.ndarray) -> jnp.ndarray:
        return model.apply(variables, normalize(images, *FED_IMAGENET)).logits.argmax(-1)  # pyright: ignore

    images, masks = map(np.stack, zip(*pictures(folder, side), strict=True))
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for start in range(0, len(images), BATCH):
        found, wanted = np.asarray(classes_of(images[start : start + BATCH])), masks[start : start + BATCH]
        counted = wanted != IGNORED
        pairs = wanted[counted].astype(np.int64) * CLASSES + found[counted]
        confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return right.sum() / confusion.sum(), float((right / np.maximum(union, 1)).mean())


def main() -> None:
    """Measure, and print."""
    width, side, weights, folder = sys.argv[1:]
    accuracy, miou = measure(float(width), int(side), Path(weights), Path(folder))
    print(f"{Path(weights).name} at {side} pixels: pixel accuracy {accuracy:.4f}, mean IoU {miou:.4f}")


if __name__ == "__main__":
    main()
