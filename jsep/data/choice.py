"""Which images a network is trained on, and how they arrive."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jsep.errors import require


@dataclass(frozen=True)
class Data:
    """The images."""

    name: Annotated[str, tyro.conf.arg(name="data")] = "mnist5k"
    """Data set by name, or the path of a prepared TFDS directory."""
    data_dir: Path | None = None
    """Where TFDS keeps its data sets."""
    image_size: int = 0
    """Bring images to this size; 0 keeps the data set's own."""
    stream: bool = False
    """Decode from disk during training."""
    workers: int = 0
    """Processes that decode a stream; 0 takes threads."""
    normalize: Literal["dataset", "unit", "imagenet"] = "dataset"
    """Normalisation."""

    def __post_init__(self) -> None:
        require(self.image_size >= 0, "image_size", self.image_size, "at least 0")
        require(self.workers >= 0, "workers", self.workers, "at least 0")
