"""int8 files: what they are calibrated on, and what rounding to 8 bits costs."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from jsep.errors import UserError, first_line
from jsep.export.program import Function, logits_of

Ranges = Literal["extremes", "average"]
FALL = 0.02  # loss of accuracy that is worth a remark; less is common, and near the chance of a thousand images


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The images that show which values each activation of a network takes, and how its range is made from them.

    Attributes:
        images: training images with values from 0 to 1.
        ranges: "extremes" spans the least and the greatest value over all images; "average" spans the mean of the
            least and the mean of the greatest value of each image, which clips outliers and is finer for the rest.
        batch: number of images that the float file takes at once.
    """

    images: Float[np.ndarray, "n h w c"]
    ranges: Ranges
    batch: int

    def batches(self) -> Iterator[Float[np.ndarray, "batch h w c"]]:
        """Generate the images in whole batches; the last one begins again with the first images."""
        endless = itertools.cycle(self.images)
        for _ in range(0, len(self.images), self.batch):
            yield np.stack(list(itertools.islice(endless, self.batch)))


@dataclasses.dataclass(frozen=True)
class Scale:
    """The meaning of integers: the real number is `scale` * (integer - `zero_point`)."""

    scale: float
    zero_point: int


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """A library that makes int8 files of float ones.

    Attributes:
        package: the module that it needs.
        write: writes an int8 file from a float one; with True, of integers alone.
        scales: returns the scales of the input and of the output of an int8 file.
    """

    package: str
    write: Callable[[Path, Path, Calibration, bool], None]
    scales: Callable[[Path], tuple[Scale, Scale]]


@dataclasses.dataclass(frozen=True)
class Int8Report:
    """Comparison of an int8 file with the float network on the test images.

    Attributes:
        integer: whether its input and output are integers too.
        calibration_images: number of training images that it was calibrated on.
        ranges: how the ranges of the activations were made from these, see `Calibration`.
        input: scale of the input.
        output: scale of the output.
        test_images: number of test images compared on.
        float_accuracy: fraction of them that the float network classifies correctly.
        accuracy: fraction of them that the int8 file classifies correctly.
        same: fraction of them that get the same class from both.
        float_bytes: size of the float file.
        bytes: size of the int8 file.
    """

    integer: bool
    calibration_images: int
    ranges: Ranges
    input: Scale
    output: Scale
    test_images: int
    float_accuracy: float
    accuracy: float
    same: float
    float_bytes: int
    bytes: int

    @property
    def advice(self) -> str:
        """A sentence with a remedy where the accuracy falls by more than `FALL`, and otherwise nothing."""
        if self.float_accuracy - self.accuracy <= FALL:
            return ""
        other = "average" if self.ranges == "extremes" else "extremes"
        return (
            f"int8 costs this network {100 * (self.float_accuracy - self.accuracy):.1f} points of accuracy: try "
            f"`ranges`={other}, or more images to calibrate on with `calibrate`={5 * self.calibration_images}"
        )


def quantize_file(
    quantizer: Quantizer,
    load: Callable[[Path], Function],
    source: Path,
    path: Path,
    calibration: Calibration,
    integer: bool,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
) -> Int8Report:
    """Write an int8 file from a float one, run it on test images, and compare.

    Args:
        quantizer: the library that writes it.
        load: returns the function in a file.
        source: the float file.
        path: the int8 file.
        calibration: the images that it is calibrated on.
        integer: whether input and output are to be integers too, and nothing inside a float.
        images: test images.
        labels: their classes.

    Raises:
        UserError: the library cannot quantise this network, or the file is of no use.
    """
    try:
        quantizer.write(source, path, calibration, integer)
        live, logits = (logits_of(load(one), images) for one in (source, path))
    except (UserError, OSError):
        raise
    except Exception as error:  # the libraries raise whatever they meet
        raise UserError(
            f"This network cannot be written in int8 ({first_line(error)}): leave `int8` out, or try another `to`"
        ) from error
    if not np.isfinite(logits).all() or (len(images) > 1 and not np.ptp(logits, 0).any() and np.ptp(live, 0).any()):
        raise UserError(
            "In int8 this network gives no usable logits: calibrate on more images by `calibrate`, or leave `int8` out"
        )
    inside, outside = quantizer.scales(path)
    classes = live.argmax(1), logits.argmax(1)
    return Int8Report(
        integer,
        len(calibration.images),
        calibration.ranges,
        inside,
        outside,
        len(images),
        float((classes[0] == labels).mean()),
        float((classes[1] == labels).mean()),
        float((classes[0] == classes[1]).mean()),
        source.stat().st_size,
        path.stat().st_size,
    )
