"""Preparing data sets through TFDS, after checking that everything it needs is there."""

import importlib.util
import shutil
import socket
from pathlib import Path
from typing import Any

from jsep.data.sources import EMBEDDED, CatalogEntry
from jsep.errors import UserError


def needs(entry: CatalogEntry, data_dir: Path) -> list[str]:
    """Return what preparing a data set takes, as phrases: download or archives, disk space, TensorFlow."""
    phrases = [f"a download of {_bytes(entry.download)}"]
    if entry.archives and not _missing(entry, data_dir):
        phrases = [f"{' and '.join(entry.archives)}, found in {_manual(data_dir)}"]
    elif entry.by_hand:
        phrases = [f"{' and '.join(entry.archives)} from {entry.address}, put into {_manual(data_dir)}"]
    room = _room(entry, data_dir)
    room = f"about {_bytes(room)}" if room else "about as much as the archives"
    phrases.append(f"{room} on the disk of {data_dir}; {_bytes(_free(data_dir))} are free")
    if entry.tensorflow:
        phrases.append("TensorFlow, once: pip install tensorflow-cpu scipy (reading needs none)")
    return phrases


def prepare(entry: CatalogEntry, data_dir: Path) -> None:
    """Download and prepare a data set through TFDS.

    Args:
        entry: the data set.
        data_dir: where TFDS keeps its data sets.

    Raises:
        UserError: an archive, the network, disk space or TensorFlow is missing, which is checked first, or TFDS fails.
    """
    tfds_name = entry.tfds_name
    otherwise = (
        f"put a prepared copy into {data_dir / tfds_name} or give the path of one, "
        f"or take `data`={EMBEDDED}, which needs no download"
    )
    missing = _missing(entry, data_dir)
    if entry.by_hand and missing:
        raise UserError(
            f"{tfds_name} is prepared from {' and '.join(missing)} (see {entry.address}): "
            f"put {'it' if len(missing) == 1 else 'them'} into {_manual(data_dir)}; or {otherwise}"
        )
    if (missing or not entry.archives) and not _has_network():  # TFDS would retry for minutes
        archive = f"put {missing[0]} from {entry.address} into {_manual(data_dir)}, or " if missing else ""
        raise UserError(
            f"{tfds_name} is not in {data_dir} and there is no network to download it: {archive}{otherwise}"
        )
    if entry.tensorflow and importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{tfds_name} is not in {data_dir}, and preparing it needs TensorFlow (reading it does not): "
            f"pip install tensorflow-cpu scipy, once; or {otherwise}"
        )
    if _free(data_dir) < _room(entry, data_dir):
        raise UserError(
            f"Preparing {tfds_name} takes about {_bytes(_room(entry, data_dir))} and {data_dir} has "
            f"{_bytes(_free(data_dir))} free: make room, or give another `data_dir`"
        )
    try:
        _builder(tfds_name, data_dir).download_and_prepare(file_format="array_record")
    except Exception as error:  # TFDS raises whatever its download, disk and builders raise
        raise UserError(f"TFDS could not prepare {tfds_name} ({error}): {otherwise}") from error


def _builder(name: str, data_dir: Path) -> Any:
    """Return the builder of a data set: jsep's where TFDS has none or needs TensorFlow to decode, otherwise TFDS's."""
    import tensorflow_datasets as tfds

    if name == "caltech256":
        from jsep.data import caltech256  # noqa: F401  importing it registers the name
    if name in ("cifar10", "cifar100"):
        from jsep.data import cifar

        return cifar.BUILDERS[name](data_dir=str(data_dir))
    return tfds.builder(name, data_dir=str(data_dir))


def _missing(entry: CatalogEntry, data_dir: Path) -> list[str]:
    """Return the archives that are not in downloads/manual."""
    return [name for name in entry.archives if not (_manual(data_dir) / name).is_file()]


def _manual(data_dir: Path) -> Path:
    return data_dir / "downloads" / "manual"


def _room(entry: CatalogEntry, data_dir: Path) -> int:
    """Return how many bytes are needed: for the download, and for the prepared set, which is about as large."""
    archives = [_manual(data_dir) / name for name in entry.archives]
    return 2 * entry.download + sum(path.stat().st_size for path in archives if path.is_file())


def _free(folder: Path) -> int:
    """Return how many bytes are free on the disk where a folder is or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _bytes(size: float) -> str:
    """Format a number of bytes.

    >>> _bytes(170_052_171), _bytes(155e9)
    ('170 MB', '155 GB')
    """
    return f"{size / 1e6:,.0f} MB" if size < 2e9 else f"{size / 1e9:,.0f} GB"


def _has_network(seconds: float = 3) -> bool:
    try:
        socket.create_connection(("storage.googleapis.com", 443), timeout=seconds).close()
    except OSError:
        return False
    return True
