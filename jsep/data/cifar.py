"""TFDS builders of CIFAR-10 and CIFAR-100 that read the binary archives without TensorFlow, unlike TFDS's own.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009). They prepare the same data sets as TFDS: same
name, version, features and order, with the images as PNG.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorflow_datasets.image_classification import cifar

SIDE = 32


class Cifar10(cifar.Cifar10, skip_registration=True):  # the registered name remains that of TFDS's builder
    """10 classes, 50,000 + 10,000 images of 32x32."""

    name = "cifar10"
    url_infos = cifar.Cifar10.url_infos  # address, size and checksum of the archive, which TFDS stores with each class

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return _split_generators(self.info.features, self._cifar_info, dl_manager)


class Cifar100(cifar.Cifar100, skip_registration=True):
    """100 classes, 50,000 + 10,000 images of 32x32."""

    name = "cifar100"
    url_infos = cifar.Cifar100.url_infos

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return _split_generators(self.info.features, self._cifar_info, dl_manager)


BUILDERS = {builder.name: builder for builder in (Cifar10, Cifar100)}


def _split_generators(features: Any, facts: cifar.CifarInfo, dl_manager: Any) -> dict[str, Any]:
    """Open the archive in downloads/manual of the data directory, or download it where it is not there."""
    archive = Path(dl_manager.download_dir) / "manual" / Path(facts.url).name
    if not archive.is_file():
        archive = Path(dl_manager.download(facts.url))
    with tarfile.open(archive) as tar:
        for key, file in zip(facts.label_keys, facts.label_files, strict=True):
            features[key].names = _member(tar, facts.prefix + file).decode().split()
    return {
        "train": _examples(archive, facts, facts.train_files, "train"),
        "test": _examples(archive, facts, facts.test_files, "test"),
    }


def _examples(
    archive: Path, facts: cifar.CifarInfo, files: Sequence[str], split: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    keys = facts.label_keys
    index = 0
    with tarfile.open(archive) as tar:
        for file in files:
            # a row is one byte for each label, then the red, the green and the blue plane
            rows = np.frombuffer(_member(tar, facts.prefix + file), np.uint8).reshape(-1, len(keys) + 3 * SIDE**2)
            for row in rows:
                labels = dict(zip(keys, row[: len(keys)].tolist(), strict=True))
                planes = row[len(keys) :].reshape(3, SIDE, SIDE)
                png = io.BytesIO()
                Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))).save(png, "PNG")
                yield index, {"id": f"{split}_{index:05d}", "image": io.BytesIO(png.getvalue()), **labels}
                index += 1


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file: Any = tar.extractfile(name)
    return file.read()
