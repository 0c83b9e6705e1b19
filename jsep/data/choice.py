"""The choice of a data set: a part of a recipe."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jsep.errors import require, require_types


@dataclasses.dataclass(frozen=True)
class Data:
    """The data set, and how its images reach the network."""

    name: Annotated[str, tyro.conf.arg(name="data")] = "mnist5k"
    """Data set: one that `jsep data list` shows, or a path.
    That of a folder of images, a .csv of paths and labels, or a prepared TFDS directory."""
    data_dir: Path | None = None
    """Where TFDS keeps its data sets; $TFDS_DATA_DIR or ~/tensorflow_datasets by default."""
    image_size: int = 0
    """Side in pixels that images are scaled and cut to; 0 keeps the data set's own size."""
    eval_size: int = 0
    """Side in pixels of images at evaluation; 0 takes --image-size."""
    crop_share: float = 0.0
    """Share of the shorter side that the centre crop of the evaluation keeps, such as 0.875.
    0 is 7/8 for streamed images of different sizes, and 1 otherwise."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Interpolation of resized images."""
    train_split: str = ""
    """Part to train on, such as train+extra or 'train[:90%]'; train by default."""
    eval_split: str = ""
    """Part to evaluate on, such as test or 'train[90%:]'.
    By default the usual part of a data set that jsep knows, or else validation or test, if they have labels."""
    stream: bool = False
    """Read and decode images from disk during training even if all would fit into memory.
    More than 4 GiB of images are streamed in any case."""
    workers: int = 0
    """Processes that decode a stream; 0 uses threads."""
    skip_unreadable: bool = False
    """Leave out pictures that cannot be decoded, and count them; all are tried when the data set is opened.
    By default they end the command."""
    normalize: Literal["dataset", "unit", "imagenet"] = "dataset"
    """Normalise by the mean and deviation of the training images (dataset) or of ImageNet (imagenet).
    unit keeps values from 0 to 1."""
    mean: tuple[float, ...] = ()
    """Mean of each channel to normalise by, for values from 0 to 1; none by default, so that --normalize decides."""
    std: tuple[float, ...] = ()
    """Standard deviation of each channel to normalise by, likewise."""
    holdout: float = 0.2
    """Share of each class of a folder of images to evaluate on, where it has no val or test."""
    split_seed: int = 0
    """Seed of the choice of these pictures."""
    max_objects: int = 0
    """Detection: room for the objects of a picture, in every batch.
    By default the most that any picture has, which are counted when the data set is opened."""
    void: int = 255
    """Segmentation: value in masks from which on pixels are of no class, such as 11 for CamVid."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.image_size >= 0, "image_size", self.image_size, "at least 0")
        require(self.eval_size >= 0, "eval_size", self.eval_size, "at least 0")
        require(0 <= self.crop_share <= 1, "crop_share", self.crop_share, "between 0 and 1")
        require(self.workers >= 0, "workers", self.workers, "at least 0")
        require(len(self.mean) == len(self.std), "mean", self.mean, f"of as many values as `std`={self.std}")
        require(all(0 <= value <= 1 for value in self.mean), "mean", self.mean, "between 0 and 1 for each channel")
        require(all(value > 0 for value in self.std), "std", self.std, "greater than 0 for each channel")
        require(0 < self.holdout < 1, "holdout", self.holdout, "greater than 0 and less than 1")
        require(self.split_seed >= 0, "split_seed", self.split_seed, "at least 0")
        require(self.max_objects >= 0, "max_objects", self.max_objects, "at least 0")
        require(2 <= self.void <= 255, "void", self.void, "from 2 to 255")
