"""Folders for what is made, and files that are whole at any moment."""

import os
from pathlib import Path

from jsep.errors import UserError


def make_folder(path: Path) -> None:
    """Make what --out names. Raises `UserError` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made a folder ({error.strerror}): choose another --out") from error


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's content in one move: `path` holds the old or the new text, never half of one."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(text, encoding="utf-8", newline="")
    os.replace(beside, path)
