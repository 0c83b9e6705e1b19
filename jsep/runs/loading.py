"""Loading a trained network in one call: the module, its variables, and how images are prepared for it."""

import dataclasses
import io
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jsep.data.decode import evaluation_view
from jsep.errors import UserError, typed
from jsep.models.factored import create_factored
from jsep.runs.data import DataRecord
from jsep.runs.trained import open_trained
from jsep.train.select import classes_of


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a trained network, as in its evaluation.

    Attributes:
        image_size: side of the images in pixels.
        mean: mean of each channel that is subtracted, for values from 0 to 1.
        std: standard deviation of each channel that the result is divided by.
        crop_share: share of the shorter side that the centre crop keeps; 0 for 7/8.
        interpolation: "bilinear" or "bicubic".
        class_names: names of the classes in the order of the logits; empty where they are unknown.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float = 0.0
    interpolation: str = "bilinear"
    class_names: tuple[str, ...] = ()

    def __call__(self, picture: Any) -> Float[np.ndarray, "s s c"]:
        """Return the central square of a picture, scaled and normalised.

        Args:
            picture: the bytes of a file of any format that Pillow reads, an image of Pillow, or an array of its pixels
                from 0 to 255: (h, w) or (h, w, c).

        Raises:
            Unreadable: the file is damaged, or holds no picture.
        """
        encoded = picture if isinstance(picture, bytes) else _as_file(picture)
        return self.normalize(
            evaluation_view(encoded, self.image_size, len(self.mean), self.crop_share, self.interpolation)
        )

    def normalize(self, pixels: UInt8[np.ndarray, "*n h w c"]) -> Float[np.ndarray, "*n h w c"]:
        """Return pixels as the network takes them: from 0 to 1, minus the mean, divided by the deviation."""
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        return (np.asarray(pixels, np.float32) / np.float32(255) - mean) / std


def _as_file(picture: Any) -> bytes:
    """Return pixels as a file without loss, so that there is one way from a picture to what the network sees."""
    pixels = np.asarray(picture, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


class Loaded(NamedTuple):
    """A trained network that is ready to be applied: `model.apply(variables, images)` gives its logits.

    Attributes:
        model: the Linen module.
        variables: its parameters and running statistics.
        preprocessing: how its images are prepared.
    """

    model: nn.Module
    variables: dict[str, Any]
    preprocessing: Preprocessing


@typed
def load(source: str | Path) -> Loaded:
    """Load a trained network: published weights, a file of weights or a run.

    Args:
        source: `timm/NAME.TAG` or `hf-hub:OWNER/NAME`, either with `@REVISION` if need be, from Hugging Face's hub;
            `torchvision/NAME.WEIGHTS`, such as torchvision/mobilenet_v2.IMAGENET1K_V2; a file of weights, or a folder
            with the files of a repository of the hub; or a run folder, of which the best checkpoint is taken.

    Returns:
        The network, its variables, and the preprocessing of images.

    Raises:
        UserError: there are no such weights, they cannot be downloaded or are damaged, or jsep does not have their
            network.

    Examples:
        >>> model, variables, preprocessing = load("timm/resnet50.a1_in1k")  # doctest: +SKIP
        >>> image = preprocessing(Path("cat.jpg").read_bytes())  # doctest: +SKIP
        >>> logits = model.apply(variables, image[None])  # doctest: +SKIP
    """
    path = Path(source)
    config, _, variables, class_names = open_trained(path)
    data, record = config.recipe.data, DataRecord.read(path)
    size = data.eval_size or data.image_size or (record.image_shape[0] if record else 0)
    if not size or not data.mean:
        raise UserError(
            f"{source} does not say how its images are prepared: make a run of it by jsep port, with `image_size`, "
            "`mean` and `std`"
        )
    view = Preprocessing(size, data.mean, data.std, data.crop_share, data.interpolation, class_names)
    model = create_factored(config.model, config.options, config.factored, num_classes=classes_of(variables["params"]))
    return Loaded(model, variables, view)
