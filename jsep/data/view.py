"""How pictures are prepared for a network that is not trained any more, as in the evaluation."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from jsep.data.decode import Unreadable, decode, evaluation_view, scaled
from jsep.data.windows import Window, seen
from jsep.models.registry import Task


@dataclasses.dataclass(frozen=True)
class View:
    """The part and size of a picture that a network sees.

    Attributes:
        shape: height, width and channels of the images that it takes.
        crop_share: share of the shorter side that is kept; 0 is the usual 7/8, see `jsep.data.decode.evaluation_view`.
        interpolation: "bilinear" or "bicubic".
        task: what the network does. Detectors and segmenters see the whole picture, scaled to a square.
    """

    shape: tuple[int, int, int]
    crop_share: float = 1.0
    interpolation: str = "bilinear"
    task: Task = dataclasses.field(default="classification", kw_only=True)

    @property
    def whole(self) -> bool:
        """Whether the network sees the whole picture, whatever its aspect ratio."""
        return self.task != "classification"

    def of(self, encoded: bytes) -> UInt8[np.ndarray, "h w c"]:
        """Decode a picture and bring it to the shape.

        Args:
            encoded: a file of any format that Pillow reads.

        Raises:
            Unreadable: it cannot be decoded; or the network takes images that are no squares, and this has another
                shape.
        """
        height, width, channels = self.shape
        if self.whole:
            return self.scaled(decode(encoded, channels))
        if height == width:
            return evaluation_view(encoded, height, channels, self.crop_share, self.interpolation)
        image = decode(encoded, channels)
        if image.shape != self.shape:
            found = "x".join(map(str, image.shape[:2]))
            raise Unreadable(f"it is {found}, and the network takes {height}x{width}")
        return image

    def scaled(self, picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
        """Scale a decoded picture to the shape, as the task's evaluation does."""
        if self.task == "detection":
            return seen(picture, Window.of(picture), self.shape[0])
        return scaled(picture, self.shape[0], self.interpolation)
