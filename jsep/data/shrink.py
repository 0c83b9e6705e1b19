"""Resized copies of data sets: smaller pictures, written once, so that every epoch decodes less."""

import collections
import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from jsep.data.catalog import Dataset, load_choice
from jsep.data.choice import Data
from jsep.data.decode import decode
from jsep.data.pictures import decoded
from jsep.data.records import CHUNK, Records
from jsep.data.sources import EMBEDDED, data_folder
from jsep.errors import UserError, first_line, require, typed


class Copy(NamedTuple):
    """A resized copy of a data set.

    Attributes:
        folder: its folder, which `--data` takes.
        images: number of pictures.
        before: bytes of the original pictures.
        after: bytes of the resized ones; both are 0 if the copy was there already.
    """

    folder: Path
    images: int
    before: int = 0
    after: int = 0


@typed
def shrink(
    name: str,
    short_side: int,
    quality: int = 90,
    data_dir: Path | None = None,
    *,
    skip_unreadable: bool = False,
    report: Callable[[int, int], None] = lambda done, images: None,
) -> Copy:
    """Write a copy of a data set whose pictures are JPEGs with a shorter side of `short_side` pixels.

    The copy is a prepared TFDS directory of ArrayRecord files: `NAME_320_q90/1.0.0` in `data_dir`. It has the same
    classes, labels and order, in a part to train on and one to evaluate on. It appears when it is complete.

    Args:
        name: a data set, see `jsep.data.load`.
        short_side: shorter side in pixels; smaller pictures keep their size.
        quality: quality of the JPEGs, from 1 to 100.
        data_dir: where TFDS keeps its data sets; by default $TFDS_DATA_DIR, or else ~/tensorflow_datasets.
        skip_unreadable: leave out pictures that cannot be decoded.
        report: called with the number of pictures copied so far, beginning with 0, and the number of all.

    Raises:
        UserError: the data set cannot be loaded, a picture cannot be decoded, or the copy cannot be written.
    """
    require(short_side >= 1, "short_side", short_side, "at least 1")
    require(1 <= quality <= 100, "quality", quality, "from 1 to 100")
    if name == EMBEDDED:
        raise UserError(f"{EMBEDDED} is part of jsep, with images of 28 pixels: choose a larger data set")
    choice = Data(name, data_dir, image_size=short_side, stream=True, skip_unreadable=skip_unreadable)
    dataset = load_choice(choice)
    home = data_folder(data_dir)
    copy = re.sub(r"\W+", "_", f"{dataset.name}_{short_side}_q{quality}")
    folder, images = home / copy / "1.0.0", len(dataset.train) + len(dataset.test)
    if (folder / "dataset_info.json").is_file():
        return Copy(folder, images)
    sizes: collections.Counter[str] = collections.Counter()

    def count(before: int, after: int) -> None:
        sizes.update(done=1, before=before, after=after)
        report(sizes["done"], images)

    report(0, images)
    builder = _builder(copy, dataset, short_side, quality, home, count)
    try:
        with tempfile.TemporaryDirectory() as downloads, _quiet():  # nothing is downloaded
            builder.download_and_prepare(download_dir=downloads, file_format="array_record")
    except UserError:
        raise
    except Exception as error:  # TFDS raises whatever its disk raises
        raise UserError(f"{folder} could not be written ({first_line(error)}): choose another `data_dir`") from error
    return Copy(folder, images, sizes["before"], sizes["after"])


def shrunk(encoded: bytes, short_side: int, quality: int, channels: int = 3) -> bytes:
    """Return a picture as an upright JPEG with a shorter side of at most `short_side` pixels.

    A JPEG that is small enough is returned as it is, with its EXIF orientation.

    Args:
        encoded: a file of any format that Pillow reads.
        short_side: shorter side in pixels; the longer one is rounded down.
        quality: quality of the JPEG, from 1 to 100.
        channels: 1 or 3.

    Raises:
        Unreadable: see `jsep.data.decode.decode`.
    """
    image = decode(encoded, channels)
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    shorter = min(picture.size)
    if shorter <= short_side and encoded.startswith(b"\xff\xd8"):
        return encoded
    if shorter > short_side:
        wide, high = (short_side * side // shorter for side in picture.size)
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the progress bars of TFDS off."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()


def _builder(
    name: str, dataset: Dataset, short_side: int, quality: int, home: Path, count: Callable[[int, int], None]
) -> Any:
    """Return the TFDS builder of a copy, which calls `count` with the bytes of each picture before and after."""
    import tensorflow_datasets as tfds

    channels = dataset.image_shape[-1]

    def resized(record: dict[str, Any]) -> bytes:
        return decoded(record, shrunk, short_side, quality, channels)

    def examples(part: Records) -> Iterator[tuple[int, dict[str, Any]]]:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for start in range(0, len(part), CHUNK):
                records = part.__getitems__(range(start, min(start + CHUNK, len(part))))
                for i, (record, picture) in enumerate(zip(records, threads.map(resized, records), strict=True), start):
                    count(len(record["image"]), len(picture))
                    yield i, {"image": io.BytesIO(picture), "label": record["label"]}

    class Shrunk(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tfds.core.Path(home)  # no package is looked for on disk

        def _info(self) -> tfds.core.DatasetInfo:
            image = tfds.features.Image(shape=(None, None, channels), encoding_format="jpeg")
            label = tfds.features.ClassLabel(names=list(dataset.class_names))
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{dataset.name} with a shorter side of {short_side} pixels, as JPEG of quality {quality}",
                features=tfds.features.FeaturesDict({"image": image, "label": label}),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            tested = "validation" if getattr(dataset.test, "split", "").startswith("val") else "test"
            return {"train": self._generate_examples(dataset.train), tested: self._generate_examples(dataset.test)}

        def _generate_examples(self, part: Any) -> Any:
            return examples(part)

        def _log_download_bytes(self) -> None:  # would print that a set of unknown size is downloaded
            pass

        def _log_download_done(self) -> None:
            pass

    Shrunk.name = name
    return Shrunk(data_dir=str(home))
