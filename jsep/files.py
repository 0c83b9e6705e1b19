"""Folders for results, and files that are never half-written."""

import os
from pathlib import Path

from jsep.errors import UserError


def make_folder(path: Path) -> None:
    """Create a folder for results and its parents, where they are missing.

    Raises:
        UserError: the path is a file, or the folder cannot be created.
    """
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
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(beside, path)
