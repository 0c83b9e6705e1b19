"""The files of each class in each part of a data set of pictures: below class folders, or in the lines of a CSV."""

import collections
import contextlib
import csv
import io
import os
import posixpath
import time
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jsep.errors import UserError, counted, first_line

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
)
KINDS = {  # what the usual names of parts mean, in lower case
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
ALL = "all"  # the part that others are held out of
COLUMNS = {  # headings of a CSV, in lower case
    "path": ("path", "image", "file", "filename", "filepath", "image_path"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "subset", "part"),
}
THREADS = 16  # that list folders or read heads of files, which is mostly waiting for the disk
PATIENCE = 5  # seconds after which a line says what takes so long
_UNSEEN = ("__macosx", "thumbs.db", "desktop.ini")

T = TypeVar("T")
Classes = Mapping[str, Sequence[str]]  # the files of each class, as paths below the folder of the set
Parts = Mapping[str, Path | Classes]  # those of each part, or the folder that holds its class folders


def named(word: str, parts: Iterable[str]) -> str | None:
    """Return the part that goes by a name, or by another word for it; None if there is none.

    >>> named("validation", ["Train", "val"]), named("val2", ["Train", "val"])
    ('val', None)
    """
    kind = KINDS.get(word.lower())
    same = (part for part in parts if part == word or (kind and KINDS.get(part.lower()) == kind))
    return word if word in parts else next(same, None)


def folder_parts(root: Path, chosen: Sequence[str]) -> Parts:
    """Return the parts of a folder of images; one part, `ALL`, if it holds class folders.

    A test part without class folders has no labels, and is left out.

    Args:
        root: the folder.
        chosen: names of parts to take in addition to the usual ones.
    """
    usual = [one for one in subfolders(root) if one.name.lower() in KINDS]
    found = [one for one in subfolders(root) if one in usual or one.name in chosen]
    deep = [one for one in found if subfolders(one)]
    if not deep and len(usual) < 2:  # a class may be called "train"
        return {ALL: root}
    return {one.name: one for one in found if one in deep or one.name in chosen or KINDS[one.name.lower()] != "test"}


def listed(root: Path, folder: Path) -> Classes:
    """List the pictures below each class folder.

    Args:
        root: the folder of the set.
        folder: the folder of one part, which holds class folders.

    Raises:
        UserError: there are no class folders, or a folder cannot be read.
    """
    inside, loose = subfolders(folder), _loose(folder)
    if not inside:
        what = f"{counted(loose, 'picture')} but no class folders" if loose else "neither pictures nor folders of them"
        raise UserError(
            f"{folder} holds {what}: put each picture into a folder named after its class, or give a .csv with the "
            "columns path and label (of ImageNet's validation images, the classes are in its development kit)"
        )
    classes: dict[str, list[str]] = {}
    others = collections.Counter[str]()
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    with ThreadPoolExecutor(THREADS) as threads:
        walks = threads.map(lambda one: list(walk(one, f"{prefix}{one.name}/")), inside)
        files_of = patiently(walks, len(inside), f"Listing the class folders of {folder}")
        for one, files in zip(inside, files_of, strict=True):
            pictures = classes.setdefault(composed(shown(one.name)), [])
            for file in files:
                suffix = suffix_of(file)
                if suffix in SUFFIXES:
                    pictures.append(file)
                else:
                    others[suffix or "no suffix"] += 1
    left = [f"{counted(others.total(), 'file')} other than pictures ({few(sorted(others))})"] if others else []
    left += [f"{counted(loose, 'picture')} outside class folders"] if loose else []
    if left:
        warnings.warn(f"Left out of {folder}: {' and '.join(left)}", stacklevel=2)
    return classes


def walk(folder: Path | str, prefix: str) -> Iterator[str]:
    """Yield the files below a folder, with a prefix before their paths in it."""
    with reading(folder), os.scandir(folder) as entries:
        for entry in entries:
            if _unseen(entry.name):
                continue
            if not entry.is_dir():
                if entry.is_file() or entry.is_symlink():  # a link to nowhere is reported when it is read
                    yield f"{prefix}{entry.name}"
                continue
            if entry.is_symlink() and Path(folder).resolve().is_relative_to(Path(entry.path).resolve()):
                raise UserError(f"{shown(entry.path)} is a link to a folder that holds it: delete the link")
            yield from walk(entry.path, f"{prefix}{entry.name}/")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in order."""
    with reading(folder), os.scandir(folder) as entries:
        return [folder / name for name in sorted(e.name for e in entries if e.is_dir() and not _unseen(e.name))]


def _loose(folder: Path) -> int:
    """Return the number of pictures that lie in a folder itself."""
    with reading(folder), os.scandir(folder) as entries:
        return sum(suffix_of(entry.name) in SUFFIXES and not _unseen(entry.name) for entry in entries)


def _unseen(name: str) -> bool:
    """Return whether a name is that of a hidden file, or of one that an operating system leaves behind."""
    return name.startswith(".") or name.lower() in _UNSEEN


def suffix_of(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def csv_parts(path: Path) -> Parts:
    """Return the parts that a CSV lists; one part, `ALL`, if it has no column of them.

    Raises:
        UserError: the file is no CSV in UTF-8, a column is missing, a line lacks a value, or labels contradict.
    """
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise UserError(f"{path} is a file: give a folder of images, or a .csv with the columns path and label")
    with reading(path):
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not in UTF-8 ({first_line(error)}): save it as a CSV in UTF-8") from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=text.partition("\n")[0].count))
    parts: dict[str, dict[str, list[str]]] = {}
    labels: dict[str, tuple[str, int]] = {}
    seen: set[tuple[str, str]] = set()
    repeated = 0
    try:
        places = _columns(path, next(lines, []))
        for cells in filter(any, lines):
            line = lines.line_num
            row = {what: cells[place].strip() if place < len(cells) else "" for what, place in places.items()}
            if missing := [what for what in places if not row[what]]:
                raise UserError(f"Line {line} of {path} has no {missing[0]}: add it, or delete the line")
            name, label, part = posixpath.normpath(row["path"]), composed(row["label"]), row.get("split", ALL)
            known, where = labels.setdefault(name, (label, line))
            if known != label:
                raise UserError(
                    f"{path} lists {name} as {known} (line {where}) and as {label} (line {line}): leave one label for "
                    "each picture"
                )
            repeated += (part, name) in seen
            if (part, name) not in seen:
                parts.setdefault(part, {}).setdefault(label, []).append(name)
            seen.add((part, name))
    except csv.Error as error:
        raise UserError(f"Line {lines.line_num} of {path} cannot be read ({error}): correct it") from error
    if repeated:
        warnings.warn(f"Left out of {path}: {counted(repeated, 'line')} like earlier ones", stacklevel=2)
    if not parts:
        raise UserError(f"{path} lists no pictures: give their paths and labels")
    return parts


def _columns(path: Path, headings: Sequence[str]) -> dict[str, int]:
    """Return the places of the columns of paths, labels and, where there is one, parts."""
    found = [heading.strip().lower() for heading in headings]
    places = {}
    for what, words in COLUMNS.items():
        place = next((found.index(word) for word in words if word in found), None)
        if place is not None:
            places[what] = place
        elif what != "split":
            given = ", ".join(headings) or "none"
            raise UserError(
                f"{path} has no column of {what}s among its headings ({given[:160]}): call one {' or '.join(words)}"
            )
    return places


def patiently(items: Iterable[T], number: int, doing: str) -> Iterator[T]:
    """Yield items that may take long to come, and say once how many of them have come after some seconds."""
    started, told = time.monotonic(), False
    for done, item in enumerate(items, start=1):
        if not told and time.monotonic() - started > PATIENCE:
            told = True
            warnings.warn(f"{doing} takes a while: {done:,} of {number:,} so far", stacklevel=2)
        yield item


def few(words: Sequence[str]) -> str:
    """Return the first words of many as text.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(words) - 3
    return ", ".join(words) if rest <= 0 else f"{', '.join(words[:3])} and {rest:,} more"


def composed(name: str) -> str:
    """Return a name in Unicode's NFC form; macOS takes accented letters apart."""
    return unicodedata.normalize("NFC", name)


def shown(path: Path | str) -> str:
    """Return a path as it can be printed, whatever its encoding."""
    return str(path).encode(errors="surrogateescape").decode(errors="replace")


@contextlib.contextmanager
def reading(path: Path | str, listing: Path | None = None) -> Iterator[None]:
    """Turn an error of the file system into a sentence that names the file or folder, and the CSV that lists it."""
    try:
        yield
    except OSError as error:
        if listing and isinstance(error, FileNotFoundError):
            raise UserError(
                f"{shown(path)} is listed in {listing}, and there is no such file: correct the path there, or delete "
                "the line"
            ) from error
        raise UserError(
            f"{shown(path)} cannot be read ({error.strerror or error}): make it readable, or take it out of the set"
        ) from error
