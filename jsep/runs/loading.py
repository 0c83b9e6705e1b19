"""Loading a trained network in one call: the module, its variables, and how pictures are prepared for it."""

import dataclasses
import io
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jsep.data import CATALOG, Data
from jsep.data.catalog import is_streamed
from jsep.data.decode import usual_share
from jsep.data.view import View
from jsep.errors import UserError, typed
from jsep.models.factored import create_factored
from jsep.runs.begin import misfits
from jsep.runs.data import DataRecord
from jsep.runs.trained import classes_in, open_trained
from jsep.train.classify import CLASSIFICATION
from jsep.train.setup import dataset_of, statistics_of, task_of


@dataclasses.dataclass(frozen=True)
class Preprocessing(View):
    """How pictures are prepared for a trained network, as in its evaluation.

    Attributes:
        mean: mean of each channel that is subtracted, for values from 0 to 1.
        std: standard deviation of each channel that the result is divided by.
        class_names: names of the classes in the order of the logits, of a detector without the background; empty where
            they are unknown.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Height of the images in pixels, which is their width as well where they are squares."""
        return self.shape[0]

    def __call__(self, picture: Any) -> Float[np.ndarray, "h w c"]:
        """Return what the network sees of a picture, normalised.

        Args:
            picture: the bytes of a file of any format that Pillow reads, an image of Pillow, or an array of its pixels
                from 0 to 255: (h, w) or (h, w, c).

        Raises:
            Unreadable: the picture cannot be prepared, see `View.of`.
        """
        return self.normalize(self.of(picture if isinstance(picture, bytes) else _as_file(picture)))

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
    """A trained network that is ready to be applied: `model.apply(variables, images)` gives its output.

    Attributes:
        model: the Linen module.
        variables: its parameters and running statistics.
        preprocessing: how its images are prepared.
    """

    model: nn.Module
    variables: dict[str, Any]
    preprocessing: Preprocessing


@typed
def load(source: str | Path, checkpoint: str = "best") -> Loaded:
    """Load a trained network: published weights, a file of weights or a run.

    Args:
        source: `timm/NAME.TAG` or `hf-hub:OWNER/NAME`, either with `@REVISION` if need be, from Hugging Face's hub;
            `torchvision/NAME.WEIGHTS`, such as torchvision/mobilenet_v2.IMAGENET1K_V2; a file of weights, or a folder
            with the files of a repository of the hub; or a run folder.
        checkpoint: "best", "last" or a step of a run.

    Returns:
        The network, its variables, and the preprocessing of images.

    Raises:
        UserError: there are no such weights, they cannot be downloaded or are damaged, jsep does not have their
            network, or nothing says how images are prepared for it.

    Examples:
        >>> model, variables, preprocessing = load("timm/resnet50.a1_in1k")  # doctest: +SKIP
        >>> image = preprocessing(Path("cat.jpg").read_bytes())  # doctest: +SKIP
        >>> logits = model.apply(variables, image[None])  # doctest: +SKIP
    """
    path = Path(source)
    config, _, variables, class_names = open_trained(path, checkpoint)
    choice, record = config.recipe.data, DataRecord.read(path)
    statistics, size = (choice.mean, choice.std), choice.eval_size or choice.image_size
    if not (choice.mean and (size or record)):  # in run folders of earlier versions, and where weights came without
        try:
            dataset = dataset_of(config)
        except UserError as error:
            raise UserError(
                f"{source} does not say how its images are prepared, and its data set cannot be loaded ({error}): make "
                "a run of it by jsep port, with `image_size`, `mean` and `std`"
            ) from error
        record, statistics = record or DataRecord.of(dataset), statistics_of(choice, dataset)
        class_names = class_names or dataset.class_names
    height, width, channels = record.image_shape if record else (size, size, len(choice.mean))
    shape = (choice.eval_size or height, choice.eval_size or width, channels)
    task = task_of(config)
    share = _crop_share(choice, record, shape[0]) if task is CLASSIFICATION else 1.0
    view = Preprocessing(shape, share, choice.interpolation, *statistics, class_names, task=task.name)
    model = create_factored(config.model, config.options, config.factored, num_classes=classes_in(config, variables))
    if wrong := misfits(model, shape, variables):
        raise UserError(
            f"The weights of {source} do not belong to the network in its config.json, or to images of such a shape, "
            f"since they differ in {wrong[0]}: restore config.json from a copy"
        )
    return Loaded(model.clone(dtype=jnp.dtype(config.recipe.dtype)), variables, view)


def _crop_share(choice: Data, record: DataRecord | None, side: int) -> float:
    """Return the crop share of the evaluation; where the configuration leaves it open, by whether images are streamed.

    A stream usually holds pictures of different sizes, of which 7/8 are kept.
    """
    entry = CATALOG.get(choice.name)
    images, shape = (entry.images, entry.shape) if entry else (0, ())
    if record:
        images, shape = record.train + record.test, record.image_shape
    return choice.crop_share or (usual_share(side) if choice.stream or is_streamed(images, shape) else 1.0)
