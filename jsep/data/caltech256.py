"""A TFDS builder of Caltech-256, which TFDS lacks. Importing this module registers the name `caltech256` there.

Griffin, Holub, Perona: Caltech-256 Object Category Dataset (2007).
"""

import hashlib
import io
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from jsep.data.sources import find_entry

ENTRY = find_entry("caltech256")
ARCHIVE, ADDRESS = ENTRY.archives[0], ENTRY.address
TRAIN_PER_CLASS = 60
# folder 257 is clutter, not a class; the archive also holds a stray file and a folder of duplicates
_IMAGE = re.compile(r"256_ObjectCategories/(?!257)\d{3}\.[^/]+/\d{3}_\d{4}\.jpg")


class Caltech256(tfds.core.GeneratorBasedBuilder):
    """256 classes of 80 to 827 images: 60 of each class for training, the rest for testing.

    The 60 are the first in the order of a hash of the file names, which is as good as random and always the same.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Put {ARCHIVE} from {ADDRESS} there."

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")
        features = tfds.features.FeaturesDict({"image": image, "label": tfds.features.ClassLabel()})
        return self.dataset_info_from_configs(features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        archive = Path(dl_manager.manual_dir) / ARCHIVE
        with tarfile.open(archive) as tar:
            names = [name for name in tar.getnames() if _IMAGE.fullmatch(name)]
        classes: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            classes[name.split("/")[1]].append(name)
        labels = {folder: folder.partition(".")[2] for folder in classes}
        features: Any = self.info.features
        features["label"].names = list(labels.values())
        train = {
            name
            for files in classes.values()
            for name in sorted(files, key=lambda name: hashlib.sha256(name.encode()).digest())[:TRAIN_PER_CLASS]
        }
        return {
            "train": self._generate_examples(archive, train),
            "test": self._generate_examples(archive, set(names) - train),
        }

    def _generate_examples(self, archive: Path, names: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name not in names:
                    continue
                file: Any = tar.extractfile(member)
                _, folder, name = member.name.split("/")
                yield name, {"image": _coloured(file.read()), "label": folder.partition(".")[2]}


def _coloured(jpeg: bytes) -> io.BytesIO:
    """Return a JPEG unchanged, or encoded again with three channels where it is one of the few grey ones."""
    picture = Image.open(io.BytesIO(jpeg))
    if picture.mode == "RGB":
        return io.BytesIO(jpeg)
    coloured = io.BytesIO()
    picture.convert("RGB").save(coloured, "JPEG", quality=100, subsampling=0)
    return io.BytesIO(coloured.getvalue())
