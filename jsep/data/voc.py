"""VOC's layout: Annotations/ID.xml with boxes, JPEGImages/ID.jpg, SegmentationClass/ID.png and lists of IDs.

Boxes are taken as they stand in the files, as TFDS does, whether a program counts pixels from 0 or from 1.
"""

import collections
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from jsep.data.annotated import LONGEST, Annotated, Listing
from jsep.data.listing import ALL, SUFFIXES, THREADS, patiently, reading, shown, suffix_of, walk
from jsep.errors import UserError, counted, first_line

ANNOTATIONS, PICTURES, LISTS, SEGMENTATIONS = "Annotations", "JPEGImages", "ImageSets", "SegmentationClass"


def voc_listing(root: Path) -> Listing:
    """Read which pictures with boxes a set in VOC's layout has.

    Raises:
        UserError: a list is damaged, or a picture or its XML is missing.
    """
    pictures = by_stem(root, f"{PICTURES}/")
    described = {PurePosixPath(path).stem for path in walk(root / ANNOTATIONS, "") if suffix_of(path) == ".xml"}
    parts = voc_parts(root, "Main", sorted(described))
    for part, keys in parts.items():
        check_there(keys[""], described, f"the part {part!r} of {root}", f"an XML in {root / ANNOTATIONS}")
        check_there(keys[""], pictures, f"the part {part!r} of {root}", f"a picture in {root / PICTURES}")

    def read(keys: Sequence[str]) -> list[Annotated]:
        with ThreadPoolExecutor(THREADS) as threads:
            found = threads.map(lambda key: _annotated(root / ANNOTATIONS / f"{key}.xml", pictures[key]), keys)
            return list(patiently(found, len(keys), f"Reading {root / ANNOTATIONS}"))

    return Listing(parts, read, None)


def voc_parts(root: Path, kind: str, every: list[str]) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Return the IDs of each part that has a list; one part, `ALL`, if there are no lists.

    Args:
        root: the folder of the set.
        kind: "Main" or "Segmentation".
        every: all IDs, for a set without lists.
    """
    folder = root / LISTS / kind
    lists = [file for file in sorted(folder.glob("*.txt")) if "_" not in file.stem]  # those with _ are of one class
    parts = {}
    for file in lists:
        with reading(file):
            lines = file.read_bytes().decode("utf-8-sig", "replace").splitlines()
        keys = [line.split()[0] for line in lines if line.strip()]
        if twice := [key for key, number in collections.Counter(keys).items() if number > 1]:
            raise UserError(f"{file} lists {shown(twice[0])} twice: leave one of the lines")
        parts[file.stem] = {"": keys}
    return parts or {ALL: {"": every}}


def by_stem(root: Path, prefix: str) -> dict[str, str]:
    """Return the paths of pictures below a folder of a set, by their paths in it without suffixes.

    Raises:
        UserError: two pictures differ by their suffixes alone.
    """
    found: dict[str, str] = {}
    for path in sorted(walk(root / prefix, "")):
        if suffix_of(path) in SUFFIXES:
            stem = path[: -len(suffix_of(path))]
            if stem in found:
                raise UserError(f"{root / prefix} has both {shown(found[stem])} and {shown(path)}: delete one of them")
            found[stem] = path
    return {stem: f"{prefix}{path}" for stem, path in found.items()}


def check_there(wanted: Sequence[str], there: Mapping[str, str] | set[str], where: str, what: str) -> None:
    """Refuse a part of which something is missing."""
    if missing := [key for key in wanted if key not in there]:
        more = f", nor have {counted(len(missing) - 1, 'other')}" if len(missing) > 1 else ""
        raise UserError(f"{shown(missing[0])} in {where} has not {what}{more}: add it, or take it out of the part")


def _annotated(file: Path, path: str) -> Annotated:
    """Read an XML."""
    with reading(file):
        content = file.read_bytes()
    try:
        root = ET.fromstring(content)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{file} is no whole XML ({first_line(error)}): copy or export it again") from error
    size = tuple(_whole(root, f"size/{side}", file) for side in ("height", "width"))
    boxes, classes, crowd = [], [], []
    for number, one in enumerate(root.iter("object")):
        name = (one.findtext("name") or "").strip()
        if not name:
            raise UserError(f"The object number {number} in {file} has no name: add it, or delete the object")
        sides = [one.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            boxes.append([float(side or "") for side in sides])
        except ValueError as error:
            raise UserError(
                f"The object number {number} in {file} has no box of numbers (xmin, ymin, xmax, ymax): correct it"
            ) from error
        classes.append(name)
        crowd.append((one.findtext("difficult") or "0").strip() == "1")
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    return Annotated(path, file, (size[0], size[1]), boxes, classes, crowd, areas)


def _whole(root: ET.Element, place: str, file: Path) -> int:
    """Return a whole number in an XML; 0 where there is none, as some programs leave it."""
    text = (root.findtext(place) or "0").strip()
    if not text.isdecimal() or len(text) > len(str(LONGEST)):
        raise UserError(f"{file} has the {place} {text[:40]!r}: give a whole number of pixels, or leave it out")
    return int(text)
