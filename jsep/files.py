"""Folders for results, and files that are never half-written."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jsep.errors import NotWritten, UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # also as pathlib leaves it, gs:/bucket; C:/ is a drive


def local_path(path: str | Path) -> Path:
    """Return the path of a local file or folder, with ~ expanded.

    Raises:
        UserError: it is a URL, or empty.

    >>> local_path("gs://bucket/run")
    Traceback (most recent call last):
    jsep.errors.UserError: gs://bucket/run is not on this machine: copy it here, or mount it as a folder
    """
    if not str(path):
        raise UserError("An empty path names nothing: give that of a file or folder")
    if _URL.match(str(path)):
        address = re.sub(":/+", "://", str(path), count=1)
        raise UserError(f"{address} is not on this machine: copy it here, or mount it as a folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~ of an unknown user
        raise UserError(f"{path} cannot be found ({error}): give the whole path") from error


def make_folder(path: Path) -> None:
    """Create a folder for results and its parents, where they are missing.

    Raises:
        UserError: the path is a file or a URL, or the folder cannot be created.
    """
    path = local_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {path} cannot be created ({error.strerror}): choose another `out`") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in one move: at any moment `path` holds the old content or the new, never a part of it.

    Args:
        path: the file to create or replace.
        content: text, which is encoded as UTF-8 with its line ends unchanged, or bytes.
    """
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the error of a full disk or of a read-only file system into a sentence that names the file.

    Args:
        path: the file that is written in the context.

    Raises:
        NotWritten: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{path} could not be written ({error.strerror or error})") from error
