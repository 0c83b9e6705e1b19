"""What a record becomes for each task: an image of a fixed size, and what is to be learnt from it."""

import dataclasses
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jsep.boxes import Objects
from jsep.data.augment import Augmentation
from jsep.data.catalog import Dataset
from jsep.data.decode import CROP_AREA, decode, evaluation_view, random_resized_crop, scaled
from jsep.data.masks import classes_only, decoded_mask
from jsep.data.objects import padded
from jsep.data.pictures import decoded
from jsep.data.windows import Window, iou_crop, kept, moved, seen, zoomed_out
from jsep.errors import UserError
from jsep.models.segmenter import IGNORED

Record = dict[str, Any]


class Example(Protocol):
    """How records become examples.

    Attributes:
        crops: whether training images are random resized crops.
    """

    @property
    def crops(self) -> bool: ...

    def training(self, record: Record, rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "h w c"], Any]:
        """Return an image to train on and its target. All that is random is drawn from `rng`."""
        ...

    def evaluation(self, record: Record) -> tuple[UInt8[np.ndarray, "h w c"], Any]:
        """Return an image to evaluate on and its target."""
        ...


def example_of(dataset: Dataset, how: Augmentation) -> Example:
    """Return how records of a data set become examples, with the changes to make on the host."""
    size, eval_size = dataset.image_shape[0], dataset.eval_shape[0]
    frame = tuple(round(255 * level) for level in dataset.mean)
    if dataset.task == "detection":
        return Detected(size, eval_size, dataset.max_objects, how, frame)
    if dataset.task == "segmentation":
        return Segmented(size, eval_size, len(dataset.class_names), how.scale, frame, dataset.interpolation)
    return Classified(
        dataset.image_shape,
        crops=dataset.ragged,
        eval_size=dataset.eval_size,
        crop_share=dataset.crop_share,
        interpolation=dataset.interpolation,
        crop_area=how.crop_area,
    )


@dataclasses.dataclass(frozen=True)
class Classified:
    """Pictures with one label each.

    Attributes:
        image_shape: height, width and channels of an image to train on; height and width are equal.
        crops: cut images to train on at random, since they differ in size.
        eval_size: side of images to evaluate on in pixels; 0 takes that of `image_shape`.
        crop_share: share of the shorter side that images to evaluate on keep.
        interpolation: "bilinear" or "bicubic".
        crop_area: least share of the area that `crops` cut out.
    """

    image_shape: tuple[int, int, int]
    crops: bool
    eval_size: int = 0
    crop_share: float = 1.0
    interpolation: str = "bilinear"
    crop_area: float = CROP_AREA

    def training(self, record: Record, rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "s s c"], np.int32]:
        size, _, channels = self.image_shape
        if self.crops:
            image = decoded(record, random_resized_crop, size, channels, rng, self.interpolation, self.crop_area)
        else:
            image = decoded(record, evaluation_view, size, channels, 1.0, self.interpolation)
        return image, np.int32(record["label"])

    def evaluation(self, record: Record) -> tuple[UInt8[np.ndarray, "s s c"], np.int32]:
        size, _, channels = self.image_shape
        how = (self.eval_size or size, channels, self.crop_share, self.interpolation)
        return decoded(record, evaluation_view, *how), np.int32(record["label"])


@dataclasses.dataclass(frozen=True)
class Detected:
    """Pictures with objects, scaled to a square whatever their aspect ratio, and the boxes with them.

    Attributes:
        size: side of images to train on in pixels.
        eval_size: side of images to evaluate on.
        room: number of objects that there is room for.
        how: what of `iou_crop` and `zoom_out` to do.
        frame: colour around a picture.
    """

    size: int
    eval_size: int
    room: int
    how: Augmentation
    frame: tuple[int, ...]
    crops = False

    def training(self, record: Record, rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "s s 3"], Objects]:
        return self._seen(record, self.size, rng)

    def evaluation(self, record: Record) -> tuple[UInt8[np.ndarray, "s s 3"], Objects]:
        return self._seen(record, self.eval_size)

    def _seen(
        self, record: Record, size: int, rng: np.random.Generator | None = None
    ) -> tuple[UInt8[np.ndarray, "s s 3"], Objects]:
        image, objects = _picture(record), record["objects"]
        boxes, labels = (objects[name][~objects["crowd"]] for name in ("boxes", "labels"))
        window = Window.of(image)
        if rng and self.how.zoom_out:
            window = zoomed_out(window, rng)
        if rng and self.how.iou_crop:
            window = iou_crop(window, boxes, rng)
            stay = kept(boxes, window)
            boxes, labels = boxes[stay], labels[stay]
        boxes = moved(boxes, window, size)
        stay = (boxes[:, 2:] > boxes[:, :2]).all(1)  # the smallest may have lost their extent
        objects = padded(boxes[stay], labels[stay], self.room, record["place"])
        return seen(image, window, size, self.frame), objects


@dataclasses.dataclass(frozen=True)
class Segmented:
    """Pictures with masks, both scaled to a square whatever their aspect ratio, masks by their nearest pixels.

    Attributes:
        size: side of images to train on in pixels.
        eval_size: side of images to evaluate on.
        classes: number of classes.
        scale: bounds of the factor that images to train on are scaled by.
        frame: colour around a picture.
        interpolation: "bilinear" or "bicubic", both with antialiasing.
    """

    size: int
    eval_size: int
    classes: int
    scale: tuple[float, float]
    frame: tuple[int, ...]
    interpolation: str = "bilinear"
    crops = False

    def training(
        self, record: Record, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
        image, mask = self._whole(record)
        size, (low, high) = self.size, self.scale
        side = round(size * rng.uniform(low, high))  # of the whole picture
        left, top = (int(place) for place in rng.integers(0, abs(side - size) + 1, 2))
        if side >= size:
            (x, right), (y, bottom) = (
                (start * length / side, (start + size) * length / side)
                for start, length in ((left, mask.width), (top, mask.height))
            )
            return self._scaled(image, mask, size, (x, y, right, bottom))
        inside = self._scaled(image, mask, side)
        framed = np.full((size, size, 3), self.frame, np.uint8), np.full((size, size), IGNORED, np.uint8)
        for whole, part in zip(framed, inside, strict=True):
            whole[top : top + side, left : left + side] = part
        return framed

    def evaluation(self, record: Record) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
        return self._scaled(*self._whole(record), self.eval_size)

    def _whole(self, record: Record) -> tuple[UInt8[np.ndarray, "h w 3"], Image.Image]:
        return _picture(record), Image.fromarray(classes_only(decoded_mask(record), self.classes))

    def _scaled(
        self,
        image: UInt8[np.ndarray, "h w 3"],
        mask: Image.Image,
        size: int,
        box: tuple[float, float, float, float] | None = None,
    ) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
        """Scale a picture and its mask, or a box of them, to a square."""
        nearest = mask.resize((size, size), Image.Resampling.NEAREST, box)
        return scaled(image, size, self.interpolation, box), np.asarray(nearest)


def _picture(record: Record) -> UInt8[np.ndarray, "h w 3"]:
    """Decode the picture of a record, which boxes and masks must fit."""
    image = decoded(record, decode, 3)
    if image.shape[:2] != record["size"]:
        raise UserError(
            f"The picture in {record['place']} is turned by EXIF data behind its pixels, and its boxes or mask may not "
            "be: save it upright"
        )
    return image
