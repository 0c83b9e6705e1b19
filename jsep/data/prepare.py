"""Preparing data sets through TFDS: what it needs is said before anything is begun."""

import importlib.util
import shutil
import socket
from pathlib import Path
from typing import Any

from jsep.data.sources import EMBEDDED, Source
from jsep.errors import UserError


def needs(source: Source, data_dir: Path) -> list[str]:
    """What preparing takes, a phrase each: download or archives, disk, TensorFlow."""
    said = [f"a download of {_bytes(source.download)}"]
    if source.archives and not _missing(source, data_dir):
        said = [f"{' and '.join(source.archives)}, which lies in {_manual(data_dir)}"]
    elif source.by_hand:
        said = [f"{' and '.join(source.archives)} of {source.address}, put into {_manual(data_dir)}"]
    room = _room(source, data_dir)
    room = f"about {_bytes(room)}" if room else "about as much as the archives"
    said.append(f"{room} on the disk of {data_dir}; {_bytes(_free(data_dir))} are free")
    if source.tensorflow:
        said.append("TensorFlow, once: pip install tensorflow-cpu scipy (reading needs none)")
    return said


def prepare(source: Source, data_dir: Path) -> None:
    """Download and prepare through TFDS.

    Raises:
        UserError: an archive, the network or TensorFlow is missing, which is found at once, or TFDS fails.
    """
    tfds_name = source.tfds_name
    otherwise = (
        f"put a prepared copy under {data_dir / tfds_name} or name its folder, "
        f"or use --data {EMBEDDED}, which needs no download"
    )
    missing = _missing(source, data_dir)
    if source.by_hand and missing:
        raise UserError(
            f"{tfds_name} is prepared from {' and '.join(missing)} of {source.address}: "
            f"put {'it' if len(missing) == 1 else 'them'} into {_manual(data_dir)}; or {otherwise}"
        )
    if (missing or not source.archives) and not _has_network():  # TFDS itself would retry for minutes
        archive = f"put {missing[0]} of {source.address} into {_manual(data_dir)}, or " if missing else ""
        raise UserError(
            f"{tfds_name} is not in {data_dir} and there is no network to download it: {archive}{otherwise}"
        )
    if source.tensorflow and importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{tfds_name} is not in {data_dir}, and preparing it needs TensorFlow (reading it does not): "
            f"pip install tensorflow-cpu scipy, once; or {otherwise}"
        )
    if _free(data_dir) < _room(source, data_dir):
        raise UserError(
            f"Preparing {tfds_name} takes about {_bytes(_room(source, data_dir))} and {data_dir} has "
            f"{_bytes(_free(data_dir))} free: make room, or name another folder with --data-dir"
        )
    try:
        _builder(tfds_name, data_dir).download_and_prepare(file_format="array_record")
    except Exception as error:  # TFDS raises whatever its download, disk and builders raise
        raise UserError(f"TFDS could not prepare {tfds_name} ({error}): {otherwise}") from error


def _builder(name: str, data_dir: Path) -> Any:
    """Ours where TFDS has none, or one that needs TensorFlow for what Pillow can do; else TFDS's."""
    import tensorflow_datasets as tfds

    if name == "caltech256":
        from jsep.data import caltech256  # noqa: F401  it makes its name known to TFDS
    if name in ("cifar10", "cifar100"):
        from jsep.data import cifar

        return cifar.BUILDERS[name](data_dir=str(data_dir))
    return tfds.builder(name, data_dir=str(data_dir))


def _missing(source: Source, data_dir: Path) -> list[str]:
    """The archives that have not been put into their place by hand."""
    return [name for name in source.archives if not (_manual(data_dir) / name).is_file()]


def _manual(data_dir: Path) -> Path:
    return data_dir / "downloads" / "manual"


def _room(source: Source, data_dir: Path) -> int:
    """Bytes that are written: the download and the prepared set, which is about as large."""
    archives = [_manual(data_dir) / name for name in source.archives]
    return 2 * source.download + sum(path.stat().st_size for path in archives if path.is_file())


def _free(folder: Path) -> int:
    """Bytes left where the folder is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _bytes(size: float) -> str:
    """As people write it.

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
