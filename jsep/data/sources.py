"""The data sets that jsep knows by name: where TFDS keeps them, and their figures before they are downloaded."""

import contextlib
import dataclasses
import difflib
import os
import re
from pathlib import Path

from jsep.errors import UserError, nearest
from jsep.files import local_path

EMBEDDED = "mnist5k"


@dataclasses.dataclass(frozen=True)
class CatalogEntry:
    """A data set of TFDS, as far as it is known before it is downloaded.

    Attributes:
        tfds_name: its name in TFDS.
        train: the split to train on.
        test: the split to test on.
        image_size: side in pixels that images are brought to; 0 keeps their own size.
        classes: number of classes.
        images: number of images, in both parts together.
        shape: height, width and channels of an image at `image_size`.
        download: bytes that TFDS downloads.
        archives: files that it is prepared from; those in downloads/manual of the data directory are not downloaded.
        address: where the archives come from.
        by_hand: whether the archives must be put into downloads/manual by hand.
        tensorflow: whether preparing it needs TensorFlow.
    """

    tfds_name: str
    train: str = "train"
    test: str = "test"
    image_size: int = 0
    classes: int = 0
    images: int = 0
    shape: tuple[int, int, int] = (0, 0, 0)
    download: int = 0
    archives: tuple[str, ...] = ()
    address: str = ""
    by_hand: bool = False
    tensorflow: bool = True


def _cifar(classes: int, download: int) -> CatalogEntry:
    return CatalogEntry(
        f"cifar{classes}",
        classes=classes,
        images=60_000,
        shape=(32, 32, 3),
        download=download,
        archives=(f"cifar-{classes}-binary.tar.gz",),
        address="https://www.cs.toronto.edu/~kriz",
        tensorflow=False,
    )


_SVHN = CatalogEntry("svhn_cropped", classes=10, images=99_289, shape=(32, 32, 3), download=1_575_594_780)

CATALOG: dict[str, CatalogEntry | None] = {
    EMBEDDED: None,
    "mnist": CatalogEntry("mnist", classes=10, images=70_000, shape=(28, 28, 1), download=11_594_722),
    "fashion_mnist": CatalogEntry("fashion_mnist", classes=10, images=70_000, shape=(28, 28, 1), download=30_878_645),
    "cifar10": _cifar(10, download=170_052_171),
    "cifar100": _cifar(100, download=168_513_733),
    "svhn_cropped": _SVHN,
    "svhn_cropped_extra": dataclasses.replace(_SVHN, train="train+extra", images=630_420),
    "caltech101": CatalogEntry(
        "caltech101", image_size=128, classes=102, images=9_144, shape=(128, 128, 3), download=137_414_764
    ),
    "caltech256": CatalogEntry(
        "caltech256",
        image_size=128,
        classes=256,
        images=29_780,
        shape=(128, 128, 3),
        archives=("256_ObjectCategories.tar",),
        address="https://data.caltech.edu/records/nyy15-4j048",
        by_hand=True,
        tensorflow=False,
    ),
    "imagenette": CatalogEntry(
        "imagenette/160px-v2",
        test="validation",
        image_size=128,
        classes=10,
        images=13_394,
        shape=(128, 128, 3),
        download=99_003_388,
    ),
    "imagenet2012": CatalogEntry(
        "imagenet2012",
        test="validation",
        image_size=224,
        classes=1000,
        images=1_331_167,
        shape=(224, 224, 3),
        archives=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
        address="https://www.image-net.org/download-images",
        by_hand=True,
    ),
}


def find_entry(name: str) -> CatalogEntry:
    """Return the catalogue's entry of a data set that TFDS keeps.

    Raises:
        UserError: the catalogue has no such data set.
    """
    entry = CATALOG.get(name)
    if entry is None:
        beside = []
        with contextlib.suppress(OSError):
            beside = difflib.get_close_matches(name, os.listdir(), cutoff=0.7)
        raise UserError(
            f"There is no data set {name!r}, nor a file or folder of this name; {nearest(name, [*CATALOG, *beside])} "
            "(a path may be that of a folder of images, a .csv or a prepared TFDS directory)"
        )
    return entry


def data_folder(data_dir: Path | None) -> Path:
    """Return where TFDS keeps its data sets: by default $TFDS_DATA_DIR, or else ~/tensorflow_datasets."""
    return local_path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def newest_version(folder: Path) -> Path | None:
    """Return the folder of the newest prepared version (x.y.z) of a data set; None where there is none."""
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return max(versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], default=None)
