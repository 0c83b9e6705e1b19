"""The data sets that jsep knows by name: where TFDS keeps them, and what is known of them before they are there."""

import dataclasses
import os
import re
from pathlib import Path

from jsep.errors import UserError, nearest

EMBEDDED = "mnist5k"


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known of a data set before it is there, and where TFDS keeps it.

    tfds_name: its name there. train, test: the splits to use. image_size: what images are brought to (0: none).
    classes, images, shape: its classes, images of both parts together, and their shape as jsep takes them.
    download: bytes that TFDS fetches. archives: what it is prepared from, of `address`; taken from downloads/manual of
    the data directory where they are there, or must be (by_hand). tensorflow: preparing it needs TensorFlow.
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


def _cifar(classes: int, download: int) -> Source:
    return Source(
        f"cifar{classes}",
        classes=classes,
        images=60_000,
        shape=(32, 32, 3),
        download=download,
        archives=(f"cifar-{classes}-binary.tar.gz",),
        address="https://www.cs.toronto.edu/~kriz",
        tensorflow=False,
    )


_SVHN = Source("svhn_cropped", classes=10, images=99_289, shape=(32, 32, 3), download=1_575_594_780)

CATALOG: dict[str, Source | None] = {
    EMBEDDED: None,
    "mnist": Source("mnist", classes=10, images=70_000, shape=(28, 28, 1), download=11_594_722),
    "fashion_mnist": Source("fashion_mnist", classes=10, images=70_000, shape=(28, 28, 1), download=30_878_645),
    "cifar10": _cifar(10, download=170_052_171),
    "cifar100": _cifar(100, download=168_513_733),
    "svhn_cropped": _SVHN,
    "svhn_cropped_extra": dataclasses.replace(_SVHN, train="train+extra", images=630_420),
    "caltech101": Source(
        "caltech101", image_size=128, classes=102, images=9_144, shape=(128, 128, 3), download=137_414_764
    ),
    "caltech256": Source(
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
    "imagenette": Source(
        "imagenette/160px-v2",
        test="validation",
        image_size=128,
        classes=10,
        images=13_394,
        shape=(128, 128, 3),
        download=99_003_388,
    ),
    "imagenet2012": Source(
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


def find_source(name: str) -> Source:
    """What is known of a data set that TFDS keeps.

    Raises:
        UserError: there is none of this name.
    """
    source = CATALOG.get(name)
    if source is None:
        raise UserError(
            f"There is no data set {name!r}; {nearest(name, CATALOG)} (or give the path of a prepared TFDS directory)"
        )
    return source


def data_folder(data_dir: Path | None) -> Path:
    """Where TFDS keeps prepared data sets; `~/tensorflow_datasets` or $TFDS_DATA_DIR unless said."""
    return (data_dir or Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))).expanduser()


def newest_version(folder: Path) -> Path | None:
    """The newest x.y.z folder that holds a prepared data set."""
    versions = [info.parent for info in folder.glob("*/dataset_info.json")]
    return max(versions, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], default=None)
